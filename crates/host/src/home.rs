//! Home directories on the host. Root creates a home and makes the user its owner. Root never reads or
//! removes anything in a home and follows no link there, because the user may be hostile.
//!
//! Beside `NAME` lies `.NAME.sshbox-id`, the id of the account for which the home was created. No
//! login begins with a dot, so these names never collide with a home. Only `sshbox chown` and
//! `sshbox adopt` change what is in a home: see `change_owner`.

mod account_note;
pub mod change_owner;
mod create;
mod error;
mod known;
mod owners;
#[cfg(test)]
mod tests;

pub use error::HomeError;
pub use known::{KNOWN_HOMES, is_lost, remember};
pub use owners::owners;

use crate::config::{Template, UidGid};
use crate::quota;
use identity::Login;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fstat};
use rustix::fs::StatVfs;
use session::box_status::Disk;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Flags for opening a directory.
const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC).union(OFlag::O_RDONLY);

/// Create the home of `login` if it does not exist, and check that it belongs to this account and to
/// `owner`: a box could not use the home of another uid. Only one process may call this for a login at a
/// time.
///
/// # Errors
/// [`HomeError`]. An existing home is unchanged then.
pub fn ensure(
    template: &Template,
    login: &Login,
    account: Option<&str>,
    owner: UidGid,
) -> Result<PathBuf, HomeError> {
    let HomePath { home, base, name, base_fd } = HomePath::open(template, login)?;
    if let Some(account) = account {
        account_note::check(&base_fd, &name, account, &base, &home)?;
    }
    let done = match open_home(&base_fd, &name) {
        Ok(existing) => {
            create::complete(&base_fd, &existing, owner).and_then(|()| fstat(&existing)).map(Some)
        }
        Err(Errno::ENOENT) => create::create(&base_fd, &name, owner).map(|()| None),
        Err(errno) => return Err(HomeError::Create(home, errno)),
    };
    match done {
        Ok(Some(found)) if found.st_uid != owner.uid => {
            Err(HomeError::OtherOwner { home, owner: (found.st_uid, found.st_gid), expected: owner })
        }
        Ok(_) => Ok(home),
        // Another file has the temporary name. Name that one: the home itself does not exist.
        Err(Errno::ENOTDIR) => Err(HomeError::Create(base.join(create::temporary(&name)), Errno::ENOTDIR)),
        Err(errno) => Err(HomeError::Create(home, errno)),
    }
}

/// An existing home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeInfo {
    /// Uid and gid of the directory.
    pub owner: (u32, u32),
    /// The id of the account for which it was created, if it is known.
    pub account: Option<String>,
}

/// Find the home of `login`. Changes nothing.
///
/// # Errors
/// [`HomeError`].
pub fn inspect(template: &Template, login: &Login) -> Result<HomeInfo, HomeError> {
    let HomePath { home, base, name, base_fd } = HomePath::open(template, login)?;
    let stat =
        open_home(&base_fd, &name).and_then(|fd| fstat(&fd)).map_err(|errno| HomeError::Open(home, errno))?;
    let account = account_note::read(&base_fd, &name)
        .map_err(|error| HomeError::Note(base.join(account_note::file_name(&name)), error))?;
    Ok(HomeInfo { owner: (stat.st_uid, stat.st_gid), account })
}

/// Disk usage of the file system that holds `home`, or will hold it. A home that is mounted from its image,
/// or has a project quota, shows a size that the directory above does not: then that is its limit. `None` if
/// the home is in an image that is not mounted.
#[must_use]
pub fn disk_usage(home: &Path) -> Option<Disk> {
    if quota::is_mount_point(home) {
        return None;
    }
    let measure = |path: &Path| rustix::fs::statvfs(path).ok();
    let shared = home.ancestors().skip(1).find_map(measure);
    let size = |found: &StatVfs| (found.f_fsid, found.f_blocks, found.f_frsize);
    let own = measure(home);
    let is_limited = own.is_some() && own.as_ref().map(size) != shared.as_ref().map(size);
    let found = own.or(shared)?;
    Some(Disk {
        used: found.f_blocks.saturating_sub(found.f_bfree).saturating_mul(found.f_frsize),
        free: found.f_bavail.saturating_mul(found.f_frsize),
        limit: is_limited.then(|| found.f_blocks.saturating_mul(found.f_frsize)),
    })
}

/// The path of a home, and the directory above it, opened.
struct HomePath {
    home: PathBuf,
    base: PathBuf,
    name: OsString,
    base_fd: OwnedFd,
}

impl HomePath {
    fn open(template: &Template, login: &Login) -> Result<Self, HomeError> {
        let home = PathBuf::from(template.fill(login));
        let (Some(base), Some(name)) = (home.parent(), home.file_name()) else {
            return Err(HomeError::Base(home, Errno::EINVAL));
        };
        let (base, name) = (base.to_owned(), name.to_owned());
        let base_fd =
            open(&base, DIRECTORY, Mode::empty()).map_err(|errno| HomeError::Base(base.clone(), errno))?;
        Ok(Self { home, base, name, base_fd })
    }
}

/// Open a home for fstat(2) only.
fn open_home(base: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(base, name, DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_PATH, Mode::empty())
}
