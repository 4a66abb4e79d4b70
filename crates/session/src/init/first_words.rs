//! What a person is told at the first login with a terminal, and again when it has changed. The
//! host writes it for the box; what was told already is noted in the home, where only this init
//! and the user of the box write. Nothing in here waits: PID 1 has one thread.

use nix::libc;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Where the host has written it.
pub const WORDS: &str = "/run/sshbox/first-words";

/// Where it is noted, in the home.
const NOTE: &str = ".local/state/sshbox/first-words";

/// What login(1) and sshd(8) take as the wish to be told nothing.
const HUSH: &str = ".hushlogin";

/// Longest text that is shown, in bytes. A terminal that nobody reads yet takes more.
const LONGEST: u64 = 2048;

/// The words, if they are news to the user with this home, and notes that they are told.
pub fn news(words: &Path, home: &Path) -> Option<Vec<u8>> {
    let words = read(words).ok().filter(|words| !words.is_empty())?;
    let note = home.join(NOTE);
    if home.join(HUSH).symlink_metadata().is_ok() || read(&note).is_ok_and(|told| told == words) {
        return None;
    }
    // With a full or closed home it is told each time.
    let _ = write(&note, &words);
    Some(words)
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

/// Opens a regular file; the user may have put a FIFO there, which would keep PID 1 waiting.
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
        let (words, home) = (dir.path().join("words"), dir.path().join("home"));
        fs::create_dir(&home).unwrap();
        fs::write(&words, "2 cores\n").unwrap();
        (dir, words, home)
    }

    #[test]
    fn it_is_told_once_and_again_when_it_has_changed() {
        let (_dir, words, home) = home();
        assert_eq!(news(&words, &home).unwrap(), b"2 cores\n");
        assert_eq!(news(&words, &home), None);
        fs::write(&words, "4 cores\n").unwrap();
        assert_eq!(news(&words, &home).unwrap(), b"4 cores\n");
        assert_eq!(news(&words, &home), None);
        fs::remove_file(&words).unwrap();
        assert_eq!(news(&words, &home), None, "a host that writes none");
    }

    #[test]
    fn who_has_a_hushlogin_is_told_nothing() {
        let (_dir, words, home) = home();
        fs::write(home.join(HUSH), "").unwrap();
        assert_eq!(news(&words, &home), None);
        assert!(!home.join(NOTE).exists());
    }

    #[test]
    fn what_a_user_puts_in_place_of_the_note_holds_nobody_up() {
        let (_dir, words, home) = home();
        let note = home.join(NOTE);
        fs::create_dir_all(note.parent().unwrap()).unwrap();
        nix::unistd::mkfifo(&note, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(news(&words, &home).is_some());
        fs::remove_file(&note).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &note).unwrap();
        assert!(news(&words, &home).is_some());
        fs::remove_file(&note).unwrap();
        fs::write(&note, vec![b'x'; 1 << 20]).unwrap();
        assert!(news(&words, &home).is_some());
        assert_eq!(news(&words, &home), None);
        fs::remove_dir_all(home.join(".local")).unwrap();
        fs::write(home.join(".local"), "no directory").unwrap();
        assert!(news(&words, &home).is_some());
    }
}
