//! Prepares the disk of a home: decides by what it finds, so that each step can be interrupted anywhere and
//! the next call goes on from there.

use crate::error::DiskError;
use crate::growth::{self, SizeChange};
use crate::home_dir::{HomeDir, HomeKind};
use crate::images_dir::ImageFiles;
use crate::prepared::Prepared;
use crate::{image, mounting, project};
use host::config::Config;
use host::quota::{Backend, DiskLimit};
use identity::Login;
use nix::sys::stat::Mode;
use session::deadlines::{DISK_PROGRAM, DISK_TURN};
use session::times::later;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// How long a mount may still be in use after a box has stopped.
const RELEASED: Duration = Duration::from_secs(1);

/// Time between two looks whether it is.
const RETRY: Duration = Duration::from_millis(20);

/// What is found at the paths of a home and its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    home: HomeKind,
    image: bool,
    copy: bool,
}

/// What to do about a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Make an image and mount it.
    CreateImage,
    /// A copy of the home that was moved aside is complete: use it as the image and mount it.
    UseCopy,
    /// Mount the image.
    MountImage,
    /// It is mounted: adjust its size.
    Adjust,
    /// Leave it to the project quotas.
    Project,
    /// Leave it without a limit.
    Leave,
    /// The image is gone.
    RefuseMissing,
    /// There are two homes.
    RefuseTwo,
}

/// A home that exists decides by itself; only a new one follows the configuration.
fn decide(found: Found, backend: Backend) -> Action {
    match (found.home, found.image, found.copy) {
        (HomeKind::Mounted, true, _) => Action::Adjust,
        (HomeKind::Missing | HomeKind::MountPoint, true, _) => Action::MountImage,
        (HomeKind::Missing | HomeKind::MountPoint, false, true) => Action::UseCopy,
        (HomeKind::MountPoint, false, false) => Action::RefuseMissing,
        (HomeKind::Plain | HomeKind::Unfinished, true, _) => Action::RefuseTwo,
        (HomeKind::Missing, false, false) => match backend {
            Backend::Image => Action::CreateImage,
            Backend::Project => Action::Project,
            Backend::None => Action::Leave,
        },
        (HomeKind::Plain | HomeKind::Unfinished, false, _) if backend == Backend::Project => Action::Project,
        // A mount of the admin's, or a home from before: `sshbox quota` gives it a limit.
        (HomeKind::Mounted | HomeKind::Plain | HomeKind::Unfinished, false, _) => Action::Leave,
    }
}

/// The paths of one home.
pub(crate) struct Paths {
    pub(crate) home: HomeDir,
    pub(crate) files: ImageFiles,
}

impl Paths {
    pub(crate) fn of(config: &Config, login: &Login) -> Result<Self, DiskError> {
        let home = HomeDir::open(PathBuf::from(config.container.home.fill(login)))?;
        let files = ImageFiles::open(PathBuf::from(config.disk.image.fill(login)))?;
        Ok(Self { home, files })
    }

    fn look(&self) -> Result<Found, DiskError> {
        let Self { home, files } = self;
        Ok(Found { home: home.kind()?, image: files.exists()?, copy: files.copy_exists()? })
    }
}

/// Prepares the disk of a home whose box is about to start.
///
/// # Errors
/// [`DiskError`]: the box must not start.
pub fn prepare(config: &Config, login: &Login, limit: DiskLimit) -> Result<Prepared, DiskError> {
    let paths = Paths::of(config, login)?;
    let _lock = paths.files.lock(DISK_TURN)?;
    prepare_locked(config, login, limit, &paths, Some(DISK_PROGRAM))
}

/// [`prepare`] for a caller that has the lock. A check of a file system may take until `deadline`.
pub(crate) fn prepare_locked(
    config: &Config,
    login: &Login,
    limit: DiskLimit,
    paths: &Paths,
    deadline: Option<Duration>,
) -> Result<Prepared, DiskError> {
    let Paths { home, files } = paths;
    let backend = Backend::of(config);
    let found = paths.look()?;
    match decide(found, backend) {
        Action::CreateImage => {
            image::create(files, limit)?;
            mount(paths, limit, deadline)
        }
        Action::UseCopy => {
            files.use_copy()?;
            mount(paths, limit, deadline)
        }
        Action::MountImage => mount(paths, limit, deadline),
        Action::Adjust => adjust_between_starts(paths, limit, deadline),
        Action::Project => project::prepare(config, login, home, found.home, limit),
        Action::Leave => {
            if found.copy {
                // Of a conversion that was interrupted before the home was moved aside.
                files.discard_copy()?;
            }
            Ok(Prepared::done(Backend::None))
        }
        Action::RefuseMissing => Err(DiskError::ImageMissing(files.path.clone())),
        Action::RefuseTwo => Err(DiskError::TwoHomes(home.path.clone(), files.path.clone())),
    }
}

/// Applies a changed limit to a home whose box may run.
///
/// # Errors
/// [`DiskError`]: the limit is as before.
pub fn resize(config: &Config, login: &Login, limit: DiskLimit) -> Result<Prepared, DiskError> {
    let paths = Paths::of(config, login)?;
    let _lock = paths.files.lock(DISK_TURN)?;
    let found = paths.look()?;
    match decide(found, Backend::of(config)) {
        Action::Adjust => adjust_mounted(&paths.files, limit),
        Action::Project if found.home == HomeKind::Plain => {
            project::prepare(config, login, &paths.home, found.home, limit)
        }
        // There is no home in use.
        _ => Ok(Prepared::done(Backend::None)),
    }
}

/// Unmounts the home, for a caller that has the lock. Returns whether it was mounted.
pub(crate) fn release_locked(paths: &Paths) -> Result<bool, DiskError> {
    let found = paths.look()?;
    let is_ours = found.home == HomeKind::Mounted && found.image;
    if is_ours {
        mounting::release(&paths.home)?;
    }
    Ok(is_ours)
}

fn mount(paths: &Paths, limit: DiskLimit, deadline: Option<Duration>) -> Result<Prepared, DiskError> {
    let Paths { home, files } = paths;
    growth::repair(files, deadline)?;
    let wanted = image::size(limit);
    let mut note = None;
    if growth::needed(files, wanted)? == SizeChange::Grow && !growth::is_possible_mounted() {
        // A home that stays too small is better than none.
        note = growth::grow_unmounted(files, wanted, deadline).err().map(|error| not_grown(&error));
    }
    // Closed even to its owner: nobody can take it for a home while nothing is mounted.
    home.create(Mode::empty())?;
    mounting::mount(&files.path, home)?;
    let adjusted = adjust_mounted(files, limit)?;
    Ok(Prepared { note: note.or(adjusted.note), ..adjusted })
}

/// Adjusts the size of an image that has stayed mounted since the last stop of the box. If it can grow only
/// unmounted, it is unmounted for that, unless a container still uses it.
fn adjust_between_starts(
    paths: &Paths,
    limit: DiskLimit,
    deadline: Option<Duration>,
) -> Result<Prepared, DiskError> {
    let Paths { home, files } = paths;
    let grows = growth::needed(files, image::size(limit))? == SizeChange::Grow;
    if !grows || growth::is_possible_mounted() || mounting::release(home).is_err() {
        return adjust_mounted(files, limit);
    }
    // The engine may still be taking down the container.
    let until = later(Instant::now(), RELEASED);
    while mounting::attached(&files.path)?.is_some() && Instant::now() < until {
        thread::sleep(RETRY);
    }
    mount(paths, limit, deadline)
}

fn adjust_mounted(files: &ImageFiles, limit: DiskLimit) -> Result<Prepared, DiskError> {
    let wanted = image::size(limit);
    let note = match growth::needed(files, wanted)? {
        SizeChange::None => None,
        SizeChange::Grow if growth::is_possible_mounted() => {
            growth::grow_mounted(files, wanted).err().map(|error| not_grown(&error))
        }
        SizeChange::Grow => Some("the home grows at the next start of the box".to_owned()),
        SizeChange::Shrink => Some("the home is larger than its limit; sshbox quota shrinks it".to_owned()),
    };
    Ok(Prepared { backend: Backend::Image, note })
}

fn not_grown(error: &DiskError) -> String {
    format!("the home did not grow: {}", session::exit::chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p5_what_is_found_decides_and_no_home_is_replaced() {
        use Backend::{Image, None, Project};
        use HomeKind::{Missing, MountPoint, Mounted, Plain, Unfinished};
        for (home, image, copy, backend, expected) in [
            (Missing, false, false, Image, Action::CreateImage),
            (Missing, false, false, Project, Action::Project),
            (Missing, false, false, None, Action::Leave),
            // After a reboot, and after a crash between image and mount point.
            (MountPoint, true, false, Image, Action::MountImage),
            (Missing, true, false, Image, Action::MountImage),
            // The configuration has changed: the home is where it was.
            (MountPoint, true, false, None, Action::MountImage),
            (MountPoint, true, false, Project, Action::MountImage),
            (Mounted, true, false, None, Action::Adjust),
            (Mounted, true, false, Image, Action::Adjust),
            // The disk with the images is not there, or an admin has moved the image.
            (MountPoint, false, false, Image, Action::RefuseMissing),
            (MountPoint, false, false, None, Action::RefuseMissing),
            (Plain, true, false, Image, Action::RefuseTwo),
            (Unfinished, true, false, Image, Action::RefuseTwo),
            // Homes from before, and mounts of the admin's.
            (Plain, false, false, Image, Action::Leave),
            (Plain, false, false, Project, Action::Project),
            (Unfinished, false, false, Image, Action::Leave),
            (Mounted, false, false, Image, Action::Leave),
            (Mounted, false, false, Project, Action::Leave),
            // A conversion, interrupted before and after the home was moved aside.
            (Plain, false, true, Image, Action::Leave),
            (Missing, false, true, Image, Action::UseCopy),
            (MountPoint, false, true, None, Action::UseCopy),
            (Missing, false, true, None, Action::UseCopy),
        ] {
            let found = Found { home, image, copy };
            assert_eq!(decide(found, backend), expected, "{found:?} {backend}");
        }
    }
}
