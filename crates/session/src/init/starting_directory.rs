//! Where a session begins: in the directory that the account names, if there is one and the user may enter it,
//! otherwise in the home. Creates nothing.

use crate::escape::printable;
use crate::texts;
use rustix::fs::{Access, access};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The directory of a session.
#[derive(Debug, PartialEq, Eq)]
pub struct StartingDirectory {
    /// The path.
    pub path: PathBuf,
    /// A line for a shell on a terminal: the directory of the account is missing.
    pub note: Option<String>,
}

impl StartingDirectory {
    /// The directory of a session; `wanted` is an absolute path or one below `home`.
    pub fn choose(wanted: Option<&[u8]>, home: &Path) -> Self {
        let Some(wanted) = wanted else {
            return Self { path: home_or_root(home), note: None };
        };
        let path = home.join(OsStr::from_bytes(wanted));
        if can_enter(&path) {
            return Self { path, note: None };
        }
        Self { path: home_or_root(home), note: Some(texts::no_directory(&printable(wanted))) }
    }
}

fn home_or_root(home: &Path) -> PathBuf {
    if can_enter(home) { home.to_owned() } else { PathBuf::from("/") }
}

fn can_enter(path: &Path) -> bool {
    path.is_dir() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_session_begins_where_the_account_says_or_in_the_home() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir_all(home.join("proj")).unwrap();
        fs::write(home.join("file"), "").unwrap();
        std::os::unix::fs::symlink("proj", home.join("link")).unwrap();
        let at = |path: &Path| StartingDirectory { path: path.to_owned(), note: None };
        assert_eq!(StartingDirectory::choose(None, &home), at(&home));
        assert_eq!(StartingDirectory::choose(Some(b"proj"), &home), at(&home.join("proj")));
        assert_eq!(StartingDirectory::choose(Some(b"link"), &home), at(&home.join("link")));
        assert_eq!(StartingDirectory::choose(Some(b"/"), &home), at(Path::new("/")));
        for missing in [&b"file"[..], b"none", b"none/below", b"/none", &[b'x'; 5000]] {
            let found = StartingDirectory::choose(Some(missing), &home);
            assert_eq!(found.path, home);
            assert!(found.note.unwrap().starts_with("sshbox: this box has no directory "));
        }
        assert!(!home.join("none").exists());
        assert_eq!(StartingDirectory::choose(None, Path::new("/none")), at(Path::new("/")));
        assert_eq!(StartingDirectory::choose(Some(b"x"), Path::new("/none")).path, Path::new("/"));
    }

    #[test]
    fn a14_a_directory_is_told_without_escape_sequences() {
        let note = StartingDirectory::choose(Some(b"a\x1b[31m\nb"), Path::new("/")).note.unwrap();
        assert!(note.contains(r"a\x1b[31m\x0ab") && note.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
}
