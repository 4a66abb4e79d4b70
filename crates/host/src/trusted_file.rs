//! Files that decide what root or `sshbox-keys` does: configuration, token, CA certificates. Only root
//! and the program's own user may be able to change them.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// Why a file cannot be trusted.
#[derive(Debug)]
pub enum UntrustedFile {
    /// Reading its attributes failed.
    Stat(io::Error),
    /// It is a directory, a FIFO or a device.
    NotAFile,
    /// It belongs to this user, who is neither root nor the program's own user.
    Owner(u32),
    /// Its mode lets the group or others write.
    Writable(u32),
}

impl fmt::Display for UntrustedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stat(_) => f.write_str("its owner cannot be read"),
            Self::NotAFile => f.write_str("it is not a regular file"),
            Self::Owner(uid) => write!(f, "it belongs to uid {uid}; chown it to root"),
            Self::Writable(mode) => {
                write!(f, "its mode is {:04o}; chmod it so that only its owner can write", mode & 0o7777)
            }
        }
    }
}

impl std::error::Error for UntrustedFile {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Stat(error) => Some(error),
            _ => None,
        }
    }
}

/// Check that only root and the program's own user can change this open file.
///
/// # Errors
/// [`UntrustedFile`], which names the fix.
pub fn check(file: &File) -> Result<(), UntrustedFile> {
    let metadata = file.metadata().map_err(UntrustedFile::Stat)?;
    if !metadata.is_file() {
        return Err(UntrustedFile::NotAFile);
    }
    if metadata.uid() != 0 && metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(UntrustedFile::Owner(metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(UntrustedFile::Writable(metadata.mode()));
    }
    Ok(())
}
