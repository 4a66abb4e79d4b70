//! Opens files of the cache. The user `sshbox-keys` owns them, and root reads them too: root must not
//! follow a symbolic link in their place, or block on a FIFO.

use nix::fcntl::OFlag;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Open for reading. Fails for a symbolic link, and does not block on a FIFO.
pub fn read_only(path: &Path) -> io::Result<File> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Open for reading and writing; create the file if it does not exist.
pub fn read_write(dir: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(dir.join(name))
}

/// Whether the file does not exist. `false` if that is unknown.
pub fn is_absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
