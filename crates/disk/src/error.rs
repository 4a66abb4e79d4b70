//! Why the disk of a home cannot be prepared.

use session::exit::{ExitStatus, Failure};
use session::texts;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why the disk of a home cannot be prepared. Nothing is lost then.
#[derive(Debug)]
pub enum DiskError {
    /// A file or directory cannot be used: what was done, and with which path.
    File(&'static str, PathBuf, io::Error),
    /// The directory of the images can be changed by others than root.
    Untrusted(PathBuf),
    /// Something other than a regular file of root's has the name of an image.
    NoImage(PathBuf),
    /// Neither the image nor a copy of it exists, but the directory over which it was mounted.
    ImageMissing(PathBuf),
    /// A home and an image exist, and the image is not mounted.
    TwoHomes(PathBuf, PathBuf),
    /// A program cannot be started.
    Start(&'static str, io::Error),
    /// A program is not on this host: its name, and the package that has it.
    NotInstalled(&'static str, &'static str),
    /// A program failed: its name, its status, its last words.
    Program(&'static str, String, String),
    /// A program took too long and was killed.
    Timeout(&'static str, Duration),
    /// The image has no ext4 file system, or one with errors that cannot be repaired without an admin.
    Damaged(PathBuf),
    /// The file system has errors, and their repair takes longer than a login can wait.
    RepairTooLong(PathBuf),
    /// Another program works on the same home.
    Busy(PathBuf),
    /// The home is in use, so it cannot be unmounted.
    InUse(PathBuf),
    /// The file system of the homes is not known, so it cannot enforce a quota.
    NoFileSystem(PathBuf),
    /// The file system is mounted without project quotas.
    NotEnforced(PathBuf),
    /// Not enough space on the host: the path, and how many bytes are free and needed.
    NoSpace(PathBuf, u64, u64),
}

impl DiskError {
    /// The error of an operation on a file.
    pub(crate) fn file<E: Into<io::Error>>(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |error| Self::File(what, path, error.into())
    }

    /// What the caller sees.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let (status, advice) = match self {
            Self::Busy(_) | Self::InUse(_) => (ExitStatus::TryAgain, texts::DISK_BUSY),
            Self::Timeout(..) => (ExitStatus::TryAgain, texts::DISK_TOO_SLOW),
            Self::Damaged(_) => (ExitStatus::Unavailable, texts::DISK_DAMAGED),
            Self::RepairTooLong(_) => (ExitStatus::Unavailable, texts::DISK_REPAIR),
            Self::NotInstalled(..) | Self::NotEnforced(_) => (ExitStatus::Config, texts::DISK_NOT_SET_UP),
            Self::ImageMissing(_) => (ExitStatus::Unavailable, texts::IMAGE_MISSING),
            Self::TwoHomes(..) => (ExitStatus::Unavailable, texts::TWO_HOMES),
            Self::Untrusted(_) => (ExitStatus::Config, texts::DISK_FAILED),
            _ => (ExitStatus::Unavailable, texts::DISK_FAILED),
        };
        Failure::because(status, advice, self)
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(what, path, _) => write!(f, "cannot {what} {}", path.display()),
            Self::Untrusted(path) => {
                write!(f, "{} must belong to root and be closed to the writes of others", path.display())
            }
            Self::NoImage(path) => {
                write!(f, "{} is no regular file of root's with one name", path.display())
            }
            Self::ImageMissing(path) => write!(f, "there is no image {}", path.display()),
            Self::TwoHomes(home, image) => {
                write!(f, "both {} and {} exist; move one of them away", home.display(), image.display())
            }
            Self::Start(program, _) => write!(f, "cannot run {program}"),
            Self::NotInstalled(program, package) => {
                write!(f, "{program} is not installed; run apt install {package}")
            }
            Self::Program(program, status, words) => write!(f, "{program}: {status}: {words}"),
            Self::Timeout(program, time) => write!(f, "{program} did not end within {time:?}"),
            Self::Damaged(image) => {
                write!(f, "{} has errors; make a copy of it, then run e2fsck on it", image.display())
            }
            Self::RepairTooLong(image) => {
                write!(
                    f,
                    "{} has errors, and a login cannot wait for e2fsck; run sshbox quota",
                    image.display()
                )
            }
            Self::Busy(path) => write!(f, "another program has locked {}", path.display()),
            Self::InUse(path) => write!(f, "{} is in use", path.display()),
            Self::NoFileSystem(path) => write!(f, "the file system of {} is not known", path.display()),
            Self::NotEnforced(path) => {
                write!(f, "{} enforces no project quotas; mount it with prjquota", path.display())
            }
            Self::NoSpace(path, free, needed) => {
                write!(f, "{} has {free} bytes free and {needed} are needed", path.display())
            }
        }
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File(_, _, error) | Self::Start(_, error) => Some(error),
            _ => None,
        }
    }
}
