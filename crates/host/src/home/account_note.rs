//! The file `.NAME.sshbox-id` beside a home: the id of the account for which the home was created. A
//! later account with the same name must not get the home.

use super::error::HomeError;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use session::atomic;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Longest account id, in bytes.
const ID_MAX: u64 = 255;

/// Flags for opening the file. A link or a FIFO in its place must not redirect or block root.
const FLAGS: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK);

/// The name of the file for the home called `name`.
pub fn file_name(name: &OsStr) -> String {
    format!(".{}.sshbox-id", name.to_string_lossy())
}

/// Read the id. `None` if there is no file, or if it does not hold one complete line: an earlier
/// version could lose the end of the file in a power loss.
pub fn read(base: &OwnedFd, name: &OsStr) -> io::Result<Option<String>> {
    match openat(base, &*file_name(name), FLAGS, Mode::empty()) {
        Ok(fd) => {
            let mut text = Vec::new();
            File::from(fd).take(ID_MAX + 1).read_to_end(&mut text)?;
            let id =
                text.strip_suffix(b"\n").filter(|id| !id.is_empty() && id.iter().all(u8::is_ascii_graphic));
            Ok(id.map(|id| String::from_utf8_lossy(id).into_owned()))
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Check that the home belongs to `account`. Write the id if there is none.
pub fn check(
    base: &OwnedFd,
    name: &OsStr,
    account: &str,
    base_path: &Path,
    home: &Path,
) -> Result<(), HomeError> {
    let failed = |error: io::Error| HomeError::Note(base_path.join(file_name(name)), error);
    match read(base, name).map_err(failed)? {
        Some(was) if was == account => Ok(()),
        Some(was) => Err(HomeError::OtherAccount { home: home.to_owned(), was, now: account.to_owned() }),
        None => {
            let text = format!("{account}\n");
            atomic::replace(base, &file_name(name), text.as_bytes(), 0o600, None).map_err(failed)
        }
    }
}
