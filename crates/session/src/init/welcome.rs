//! The welcome text at the first login with a terminal, and again when it has changed. The host writes
//! it; a copy in the home records what the user has read. Nothing here blocks, because PID 1 has one
//! thread and the user can replace every file in the home.

use nix::libc;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The text, as the host has written it.
pub const TEXT: &str = "/run/sshbox/first-words";

/// The copy in the home.
const COPY: &str = ".local/state/sshbox/first-words";

/// A file in the home by which login(1) and sshd(8) show no message.
const HUSH: &str = ".hushlogin";

/// Longest text that is shown, in bytes; a terminal without a reader holds more.
const LONGEST: u64 = 2048;

/// The text, if it is new to the user with this home; records that it was shown.
pub fn new_text(text: &Path, home: &Path) -> Option<Vec<u8>> {
    let text = read(text).ok().filter(|text| !text.is_empty())?;
    let copy = home.join(COPY);
    if home.join(HUSH).symlink_metadata().is_ok() || read(&copy).is_ok_and(|shown| shown == text) {
        return None;
    }
    // With a full or read-only home it is shown at each login.
    let _ = write(&copy, &text);
    Some(text)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open(OpenOptions::new().read(true), path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent()
        && !folder.is_dir()
    {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = open(OpenOptions::new().write(true).create(true).truncate(true).mode(0o600), path)?;
    file.write_all(text)
}

/// Opens a regular file. The user may have put a FIFO there, which would block PID 1.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn home() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (text, home) = (dir.path().join("text"), dir.path().join("home"));
        fs::create_dir(&home).unwrap();
        fs::write(&text, "2 cores\n").unwrap();
        (dir, text, home)
    }

    #[test]
    fn it_is_shown_once_and_again_when_it_has_changed() {
        let (_dir, text, home) = home();
        assert_eq!(new_text(&text, &home).unwrap(), b"2 cores\n");
        assert_eq!(new_text(&text, &home), None);
        fs::write(&text, "4 cores\n").unwrap();
        assert_eq!(new_text(&text, &home).unwrap(), b"4 cores\n");
        assert_eq!(new_text(&text, &home), None);
        fs::remove_file(&text).unwrap();
        assert_eq!(new_text(&text, &home), None, "a host that writes none");
    }

    #[test]
    fn a_hushlogin_hides_it() {
        let (_dir, text, home) = home();
        fs::write(home.join(HUSH), "").unwrap();
        assert_eq!(new_text(&text, &home), None);
        assert!(!home.join(COPY).exists());
    }

    #[test]
    fn no_file_in_place_of_the_copy_blocks() {
        let (_dir, text, home) = home();
        let copy = home.join(COPY);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        nix::unistd::mkfifo(&copy, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(new_text(&text, &home).is_some());
        fs::remove_file(&copy).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &copy).unwrap();
        assert!(new_text(&text, &home).is_some());
        fs::remove_file(&copy).unwrap();
        fs::write(&copy, vec![b'x'; 1 << 20]).unwrap();
        assert!(new_text(&text, &home).is_some());
        assert_eq!(new_text(&text, &home), None);
        fs::remove_dir_all(home.join(".local")).unwrap();
        fs::write(home.join(".local"), "no directory").unwrap();
        assert!(new_text(&text, &home).is_some());
    }
}
