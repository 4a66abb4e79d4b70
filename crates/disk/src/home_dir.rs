//! What lies at the path of a home: nothing, a directory, a mounted image, or the directory over which an image
//! is mounted. Opens nothing in a home and follows no link.

use crate::error::DiskError;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What lies at the path of a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeKind {
    /// Nothing.
    Missing,
    /// A directory over which an image is mounted at other times.
    MountPoint,
    /// A directory of root's, closed to others: a home that has not been handed over to its user yet.
    Unfinished,
    /// A home like that of any other user; or something that is no home, which the start of the box refuses.
    Plain,
    /// A file system of its own.
    Mounted,
}

/// The path of a home, and the directory above it, opened.
#[derive(Debug)]
pub struct HomeDir {
    /// The path.
    pub path: PathBuf,
    /// Its last part.
    pub name: OsString,
    /// The directory above.
    pub base: OwnedFd,
    /// The path of the directory above.
    pub base_path: PathBuf,
}

impl HomeDir {
    /// Opens the directory above `path`.
    pub fn open(path: PathBuf) -> Result<Self, DiskError> {
        let (Some(base), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(DiskError::file("use", path)(Errno::EINVAL));
        };
        let (base_path, name) = (base.to_owned(), name.to_owned());
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let base = open(base, flags, Mode::empty()).map_err(DiskError::file("open", &base_path))?;
        Ok(Self { path, name, base, base_path })
    }

    /// Looks at the path.
    pub fn kind(&self) -> Result<HomeKind, DiskError> {
        let base = fstat(&self.base).map_err(DiskError::file("look at", &self.base_path))?;
        match fstatat(&self.base, &*self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(home) => Ok(kind(&base, &home)),
            Err(Errno::ENOENT) => Ok(HomeKind::Missing),
            Err(errno) => Err(DiskError::file("look at", &self.path)(errno)),
        }
    }

    /// Creates the directory with this mode, for root; it may exist.
    pub fn create(&self, mode: Mode) -> Result<(), DiskError> {
        match mkdirat(&self.base, &*self.name, mode) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(DiskError::file("create", &self.path)(errno)),
        }
    }
}

fn kind(base: &FileStat, home: &FileStat) -> HomeKind {
    let is_directory = home.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
    if !is_directory {
        HomeKind::Plain
    } else if home.st_dev != base.st_dev {
        HomeKind::Mounted
    } else if host::quota::is_closed(home) {
        HomeKind::MountPoint
    } else if home.st_uid == 0 && home.st_mode & 0o7777 == 0o700 {
        HomeKind::Unfinished
    } else {
        HomeKind::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p5_whatever_lies_in_place_of_a_home_is_told_apart() {
        const DIRECTORY: u32 = 0o040_000;
        let stat = |mode, uid, device| {
            let dir = tempfile::tempdir().unwrap();
            let mut stat = nix::sys::stat::stat(dir.path()).unwrap();
            (stat.st_mode, stat.st_uid, stat.st_dev) = (mode, uid, device);
            stat
        };
        let base = stat(DIRECTORY | 0o700, 0, 5);
        for (mode, uid, device, expected) in [
            (DIRECTORY, 0, 5, HomeKind::MountPoint),
            (DIRECTORY | 0o700, 0, 5, HomeKind::Unfinished),
            (DIRECTORY | 0o700, 1000, 5, HomeKind::Plain),
            // A user can close the own home, and it stays one.
            (DIRECTORY, 1000, 5, HomeKind::Plain),
            (DIRECTORY | 0o755, 0, 5, HomeKind::Plain),
            (DIRECTORY | 0o700, 1000, 6, HomeKind::Mounted),
            (DIRECTORY, 0, 6, HomeKind::Mounted),
            (0o120_777, 0, 5, HomeKind::Plain),
            (0o100_600, 0, 5, HomeKind::Plain),
        ] {
            assert_eq!(kind(&base, &stat(mode, uid, device)), expected, "{mode:o} {uid} {device}");
        }
    }

    #[test]
    fn nothing_is_missing_and_a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let home = HomeDir::open(dir.path().join("alice")).unwrap();
        assert_eq!(home.kind().unwrap(), HomeKind::Missing);
        std::os::unix::fs::symlink("/root", dir.path().join("alice")).unwrap();
        assert_eq!(home.kind().unwrap(), HomeKind::Plain);
        assert!(HomeDir::open(dir.path().join("none/alice")).is_err());
    }
}
