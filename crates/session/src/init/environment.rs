//! The environment of a session, the same for every way in: a shell, a command, a file transfer, the
//! SSH server of the box and what that runs. As sshd sets it: the image's variables, then the
//! user's, then the client's. A type of terminal and a locale that the box does not know are replaced.

use super::locales::{self, Locales};
use super::person::Person;
use super::terminals;
use crate::escape::printable;
use crate::texts;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// Search path of sshd, for an image that sets none.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/games";

/// Variables from outside.
pub type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// What a session's program gets.
#[derive(Debug)]
pub struct Environment {
    /// The variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// The client's type of terminal, if the box does not know it.
    unknown_terminal: Option<Vec<u8>>,
}

impl Environment {
    /// Of the image's variables, the user, and what came with the session.
    pub fn new(
        image: impl IntoIterator<Item = (OsString, OsString)>,
        client: &Variables,
        person: &Person,
    ) -> Self {
        let mut variables: BTreeMap<OsString, OsString> = image.into_iter().collect();
        // Docker's own: the name of the host is for programs to ask, and PID 1 has no terminal.
        for docker in ["HOSTNAME", "TERM"] {
            variables.remove(OsStr::new(docker));
        }
        variables.entry("PATH".into()).or_insert_with(|| PATH.into());
        for name in ["USER", "LOGNAME"] {
            variables.insert(name.into(), person.name.clone());
        }
        variables.insert("HOME".into(), person.home.clone().into());
        variables.insert("SHELL".into(), person.shell.clone().into());
        let locales = match variables.get(OsStr::new("LOCPATH")) {
            // Who keeps locales elsewhere knows what is there.
            Some(_) => None,
            None => Locales::below(Path::new(locales::FOLDER)),
        };
        let terminfo = variables.get(OsStr::new("TERMINFO")).cloned();
        let mut unknown_terminal = None;
        for (name, value) in client {
            let value = if locales.as_ref().is_some_and(|locales| locales.lack(name, value)) {
                locales::FALLBACK.as_bytes()
            } else if name == b"TERM" && terminals::is_unknown(value, &person.home, terminfo.as_deref()) {
                unknown_terminal = Some(value.clone());
                terminals::FALLBACK.as_bytes()
            } else {
                value
            };
            variables.insert(OsString::from_vec(name.clone()), OsStr::from_bytes(value).to_owned());
        }
        Self { variables, unknown_terminal }
    }

    /// A line for the terminal of a shell whose type the box does not know: once for each type while
    /// the box runs. What has been told is in the box's memory, and goes with it.
    pub fn news(&self) -> Option<String> {
        let name = self.unknown_terminal.as_ref()?;
        let told = if terminals::is_name(name) { OsStr::from_bytes(name) } else { OsStr::new("?") };
        let mut note = OsString::from("/tmp/.sshbox-terminal-");
        note.push(told);
        // Without room for the note nothing is told: better than at each login.
        File::options().write(true).create_new(true).open(note).ok()?;
        Some(texts::unknown_terminal(&printable(name), terminals::FALLBACK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_comes_after_the_user_and_the_user_after_the_image() {
        let person = Person { name: "user".into(), home: "/home/user".into(), shell: "/bin/bash".into() };
        let pair = |name: &str, value: &str| (name.into(), value.into());
        let image = [
            pair("HOME", "/image"),
            pair("HOSTNAME", "x"),
            pair("TERM", "x"),
            pair("LANG", "C.UTF-8"),
            pair("A", "image"),
        ];
        let client = vec![(b"LANG".to_vec(), b"C".to_vec()), (b"COLORTERM".to_vec(), b"truecolor".to_vec())];
        let found = Environment::new(image.clone(), &client, &person).variables;
        let expected = [
            ("A", "image"),
            ("COLORTERM", "truecolor"),
            ("HOME", "/home/user"),
            ("LANG", "C"),
            ("LOGNAME", "user"),
            ("PATH", PATH),
            ("SHELL", "/bin/bash"),
            ("USER", "user"),
        ];
        assert_eq!(found, expected.map(|(name, value)| pair(name, value)).into());
        // Without the client's the image's language stays.
        let found = Environment::new(image, &vec![], &person).variables;
        assert_eq!(found[OsStr::new("LANG")], "C.UTF-8");
    }
}
