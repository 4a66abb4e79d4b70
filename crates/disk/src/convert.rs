//! Gives a limit to a home that exists: copies it into an image, or marks its files with a project. For an
//! admin's explicit command, while the caller keeps the box stopped. The only code that reads homes.
//!
//! The home that was copied is moved aside and kept. Until that move the home is where it was, and an
//! interrupted copy counts for nothing; after it, `prepare` completes the rest.

use crate::error::DiskError;
use crate::growth::{self, SizeChange};
use crate::home_dir::{HomeDir, HomeKind};
use crate::images_dir::ImageFiles;
use crate::prepare::{Paths, prepare_locked, release_locked};
use crate::prepared::Prepared;
use crate::{image, mounting, project, tools};
use host::config::Config;
use host::quota::{Backend, DiskLimit};
use identity::Login;
use nix::sys::stat::{Mode, mkdirat};
use session::atomic;
use session::deadlines::DISK_TURN;
use std::path::PathBuf;

/// What was done.
#[derive(Debug)]
pub struct Converted {
    /// What enforces the limit now.
    pub backend: Backend,
    /// Where the home is kept that was copied.
    pub kept: Option<PathBuf>,
    /// What could not be done.
    pub note: Option<String>,
}

/// Gives the home of `login` this limit. The caller makes sure that no box uses the home.
///
/// # Errors
/// [`DiskError`]: the home is as before.
pub fn convert(config: &Config, login: &Login, limit: DiskLimit) -> Result<Converted, DiskError> {
    let paths = Paths::of(config, login)?;
    let _lock = paths.files.lock(DISK_TURN)?;
    let backend = Backend::of(config);
    let has_image = paths.files.exists()?;
    let mut kept = None;
    match paths.home.kind()? {
        HomeKind::Plain if !has_image && backend == Backend::Image => {
            kept = Some(copy(&paths, limit)?);
        }
        HomeKind::Plain if !has_image && backend == Backend::Project => {
            project::convert(config, login, &paths.home.path, limit)?;
        }
        HomeKind::Mounted | HomeKind::MountPoint if has_image => {
            release_locked(&paths)?;
            resize(&paths, image::size(limit))?;
        }
        _ => {}
    }
    let Prepared { backend, note } = prepare_locked(config, login, limit, &paths, None)?;
    Ok(Converted { backend, kept, note })
}

/// Sets the size of an image that is not mounted.
fn resize(paths: &Paths, wanted: u64) -> Result<(), DiskError> {
    match growth::needed(&paths.files, wanted)? {
        SizeChange::None => Ok(()),
        SizeChange::Grow => growth::grow_unmounted(&paths.files, wanted, None),
        SizeChange::Shrink => growth::shrink(&paths.files, wanted),
    }
}

/// Copies the home into a new image, and moves the home aside. Returns where it is.
fn copy(paths: &Paths, limit: DiskLimit) -> Result<PathBuf, DiskError> {
    let Paths { home, files } = paths;
    let kept_name = format!(".{}.sshbox-before-quota", home.name.to_string_lossy());
    let kept = home.base_path.join(&kept_name);
    if kept.symlink_metadata().is_ok() {
        let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(DiskError::file("keep the home as", kept)(exists));
    }
    let used = used(home)?;
    require_room(files, used.saturating_add(image::SMALLEST))?;
    let new = image::make(files, limit)?;
    let copied = copy_into(paths, &new).and_then(|()| files.finish_copy());
    if copied.is_err() {
        files.give_up();
    }
    copied?;
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    rustix::fs::renameat_with(&home.base, &*home.name, &home.base, &*kept_name, flags)
        .map_err(std::io::Error::from)
        .and_then(|()| atomic::flush(&home.base))
        .map_err(DiskError::file("move aside", &home.path))?;
    Ok(kept)
}

/// How many bytes of the disk the home takes: what a copy of it takes, too.
fn used(home: &HomeDir) -> Result<u64, DiskError> {
    let path = home.path.to_string_lossy();
    let arguments = ["--summarize", "--one-file-system", "--block-size=1", "--", &*path];
    let told = tools::run("du", &arguments, None)?.must_succeed()?;
    let bytes = told.split_whitespace().next().and_then(|bytes| bytes.parse().ok());
    let failed = DiskError::file("measure", &home.path);
    bytes.ok_or_else(|| failed(std::io::Error::from(std::io::ErrorKind::InvalidData)))
}

/// Refuses a copy that would fill the host's disk.
fn require_room(files: &ImageFiles, needed: u64) -> Result<(), DiskError> {
    let free = files.free_bytes()?;
    if free < needed { Err(DiskError::NoSpace(files.path.clone(), free, needed)) } else { Ok(()) }
}

/// Mounts the new image beside the home and copies. cp(1) follows no link in the home and keeps owners, modes,
/// times, hard links, attributes and holes.
fn copy_into(paths: &Paths, new: &std::path::Path) -> Result<(), DiskError> {
    let home = &paths.home;
    let name = format!(".{}.sshbox-copy", home.name.to_string_lossy());
    match mkdirat(&home.base, &*name, Mode::empty()) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(errno) => return Err(DiskError::file("create", home.base_path.join(&name))(errno)),
    }
    let beside = HomeDir::open(home.base_path.join(&name))?;
    if beside.kind()? == HomeKind::Mounted {
        // Of a copy that was interrupted: its image is gone already.
        mounting::release(&beside)?;
    }
    mounting::mount(new, &beside)?;
    let from = home.path.join(".");
    let arguments =
        ["--archive", "--one-file-system", "--", &from.to_string_lossy(), &beside.path.to_string_lossy()];
    let copied = tools::run("cp", &arguments, None).and_then(tools::Ended::must_succeed);
    // Otherwise a host that is out of space would be noticed only after the home was moved aside.
    let copied = copied.and_then(|_| flush(&beside));
    mounting::release(&beside)?;
    // Cannot fail: it is empty, and only root can change the directory above.
    let _ = nix::unistd::unlinkat(&home.base, &*name, nix::unistd::UnlinkatFlags::RemoveDir);
    copied
}

/// Writes all of the new file system to the disk.
fn flush(beside: &HomeDir) -> Result<(), DiskError> {
    let directory = std::fs::File::open(&beside.path).map_err(DiskError::file("open", &beside.path))?;
    rustix::fs::syncfs(directory).map_err(DiskError::file("write", &beside.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_needs_the_room_that_the_home_takes() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("alice");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("file"), vec![1; 1 << 20]).unwrap();
        let used = used(&HomeDir::open(home).unwrap()).unwrap();
        assert!((1 << 20..2 << 20).contains(&used), "{used}");
        let files = ImageFiles::open(dir.path().join("alice.img")).unwrap();
        require_room(&files, 1).unwrap();
        assert!(matches!(require_room(&files, u64::MAX), Err(DiskError::NoSpace(_, _, u64::MAX))));
    }
}
