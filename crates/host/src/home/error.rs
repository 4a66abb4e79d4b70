//! Why a home cannot be used.

use crate::config::UidGid;
use nix::errno::Errno;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a home cannot be used.
#[derive(Debug)]
pub enum HomeError {
    /// Opening the directory above the homes failed.
    Base(PathBuf, Errno),
    /// Creating the home, or opening it as a directory, failed.
    Create(PathBuf, Errno),
    /// Opening the home as a directory failed; it may not exist.
    Open(PathBuf, Errno),
    /// Reading or writing the file with the account id failed.
    Note(PathBuf, io::Error),
    /// The home belongs to another account with the same name.
    OtherAccount {
        /// The home.
        home: PathBuf,
        /// The account for which it was created.
        was: String,
        /// The account that logs in.
        now: String,
    },
    /// The home belongs to another uid than that of the box.
    OtherOwner {
        /// The home.
        home: PathBuf,
        /// Its uid and gid.
        owner: (u32, u32),
        /// The user of the box.
        expected: UidGid,
    },
}

impl fmt::Display for HomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(path, _) => write!(f, "cannot open {}", path.display()),
            Self::Create(path, _) => write!(f, "cannot create the home {}", path.display()),
            Self::Open(path, _) => write!(f, "cannot open the home {} as a directory", path.display()),
            Self::Note(path, _) => write!(f, "cannot read or write {}", path.display()),
            Self::OtherAccount { home, was, now } => {
                write!(
                    f,
                    "home {} belongs to account {was}, not to account {now}; see \"Replace or remove a user\" in operate.md",
                    home.display()
                )
            }
            Self::OtherOwner { home, owner: (uid, gid), expected } => {
                write!(f, "home {} belongs to {uid}:{gid}, not to {expected}", home.display())
            }
        }
    }
}

impl std::error::Error for HomeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Base(_, error) | Self::Create(_, error) | Self::Open(_, error) => Some(error),
            Self::Note(_, error) => Some(error),
            Self::OtherAccount { .. } | Self::OtherOwner { .. } => None,
        }
    }
}
