//! Which terminal types a container has: its terminfo entries, found as ncurses finds them (terminfo(5)).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Replaces an unknown type: nearly all terminals are compatible with it.
pub const FALLBACK: &str = "xterm-256color";

/// Where distributions install entries.
const FOLDERS: [&str; 4] = ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo"];

/// Longest name of a terminal type, in bytes.
const LONGEST: usize = 64;

/// Whether a container with this home, and this TERMINFO in its image, lacks the client's terminal type.
/// An invalid name is always unknown. In a container without entries every valid name is accepted.
pub fn is_unknown(name: &[u8], home: &Path, terminfo: Option<&OsStr>) -> bool {
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    folders.push(home.join(".terminfo"));
    folders.extend(terminfo.map(PathBuf::from));
    !is_name(name) || (!is_in(&folders, name) && is_in(&folders, FALLBACK.as_bytes()))
}

/// Whether this is a valid name of a terminal type, and no path.
pub fn is_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
    name.len() <= LONGEST && name.iter().all(plain) && name.first().is_some_and(u8::is_ascii_alphanumeric)
}

fn is_in(folders: &[PathBuf], name: &[u8]) -> bool {
    let (Some(first), Ok(name)) = (name.first(), std::str::from_utf8(name)) else {
        return false;
    };
    // The directory is the first letter, or its number on file systems that ignore case.
    let below = [char::from(*first).to_string(), format!("{first:02x}")];
    folders.iter().any(|folder| below.iter().any(|letter| folder.join(letter).join(name).exists()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn entries_are_found_by_letter_and_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let folders = [dir.path().join("none"), dir.path().to_owned()];
        for entry in ["x/xterm-256color", "67/ghostty"] {
            fs::create_dir(dir.path().join(entry).parent().unwrap()).unwrap();
            fs::write(dir.path().join(entry), "").unwrap();
        }
        for known in ["xterm-256color", "ghostty"] {
            assert!(is_in(&folders, known.as_bytes()), "{known}");
        }
        let long = "x".repeat(65);
        for wrong in ["", ".", "..", "x/xterm-256color", "../x/xterm-256color", "\u{e9}", &long, "a\n"] {
            assert!(!is_name(wrong.as_bytes()) && is_unknown(wrong.as_bytes(), dir.path(), None), "{wrong}");
        }
        assert!(is_name(b"xterm") && !is_in(&folders, b"xterm"));
    }

    #[test]
    fn a_users_own_entry_is_found() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".terminfo/x")).unwrap();
        fs::write(home.path().join(".terminfo/x").join(FALLBACK), "").unwrap();
        assert!(is_unknown(b"mine", home.path(), None));
        fs::create_dir(home.path().join(".terminfo/m")).unwrap();
        fs::write(home.path().join(".terminfo/m/mine"), "").unwrap();
        assert!(!is_unknown(b"mine", home.path(), None));
        assert!(is_unknown(b"../m/mine", home.path(), None));
    }
}
