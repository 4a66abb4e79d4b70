//! The environment of a session, the same for a shell, a command, a file transfer, the container's SSH
//! server and the programs of that. The later replaces the earlier: the image's variables, the user's, the
//! client's, and then those of the site, which has no variables of the user. A terminal type or locale that the container does not have is replaced.

use super::container_user::ContainerUser;
use super::locales::{self, Locales};
use super::terminals;
use crate::escape::printable;
use crate::texts;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

/// sshd's default PATH, for an image that sets none.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/games";

/// Variables from the client or the site.
pub type Variables = Vec<(Vec<u8>, Vec<u8>)>;

/// The environment of a session's program.
#[derive(Debug)]
pub struct Environment {
    /// The variables.
    pub variables: BTreeMap<OsString, OsString>,
    /// The client's terminal type, if the container has no entry for it.
    unknown_terminal: Option<Vec<u8>>,
}

impl Environment {
    /// Merges the image's variables, the user's, the client's and the site's.
    pub fn new(
        image: impl IntoIterator<Item = (OsString, OsString)>,
        client: &Variables,
        site: &Variables,
        user: &ContainerUser,
    ) -> Self {
        let mut variables: BTreeMap<OsString, OsString> = image.into_iter().collect();
        // Container engines set these for PID 1: programs ask for the host name, and PID 1 has no terminal.
        for of_engine in ["HOSTNAME", "TERM"] {
            variables.remove(OsStr::new(of_engine));
        }
        variables.entry("PATH".into()).or_insert_with(|| PATH.into());
        for name in ["USER", "LOGNAME"] {
            variables.insert(name.into(), user.name.clone());
        }
        variables.insert("HOME".into(), user.home.clone().into());
        variables.insert("SHELL".into(), user.shell.clone().into());
        let locales = match variables.get(OsStr::new("LOCPATH")) {
            // An image with LOCPATH is responsible for its locales.
            Some(_) => None,
            None => Locales::below(Path::new(locales::FOLDER)),
        };
        let terminfo = variables.get(OsStr::new("TERMINFO")).cloned();
        let mut unknown_terminal = None;
        for (name, value) in client.iter().chain(site) {
            let value = if locales.as_ref().is_some_and(|locales| locales.lacks(name, value)) {
                locales::FALLBACK.as_bytes()
            } else if name == b"TERM" && terminals::is_unknown(value, &user.home, terminfo.as_deref()) {
                unknown_terminal = Some(value.clone());
                terminals::FALLBACK.as_bytes()
            } else {
                value
            };
            variables.insert(OsString::from_vec(name.clone()), OsStr::from_bytes(value).to_owned());
        }
        Self { variables, unknown_terminal }
    }

    /// A line for a shell on an unknown type of terminal: once for each type while the container runs. A
    /// file in `/tmp`, which is a tmpfs, records that it was shown.
    pub fn terminal_note(&self) -> Option<String> {
        let name = self.unknown_terminal.as_ref()?;
        let shown = if terminals::is_name(name) { OsStr::from_bytes(name) } else { OsStr::new("?") };
        let mut note = OsString::from("/tmp/.sshbox-terminal-");
        note.push(shown);
        // Without room for the file show nothing: better than a line at each login.
        File::options().write(true).create_new(true).open(note).ok()?;
        Some(texts::unknown_terminal(&printable(name), terminals::FALLBACK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_comes_after_the_client_the_client_after_the_user_and_the_user_after_the_image() {
        let user =
            ContainerUser { name: "user".into(), home: "/home/user".into(), shell: "/bin/bash".into() };
        let pair = |name: &str, value: &str| (name.into(), value.into());
        let image = [
            pair("HOME", "/image"),
            pair("HOSTNAME", "x"),
            pair("TERM", "x"),
            pair("LANG", "C.UTF-8"),
            pair("A", "image"),
        ];
        let client = vec![(b"LANG".to_vec(), b"C".to_vec()), (b"COLORTERM".to_vec(), b"truecolor".to_vec())];
        let site = vec![(b"COLORTERM".to_vec(), b"site".to_vec()), (b"TOKEN".to_vec(), b"t".to_vec())];
        let found = Environment::new(image.clone(), &client, &site, &user).variables;
        let expected = [
            ("A", "image"),
            ("COLORTERM", "site"),
            ("HOME", "/home/user"),
            ("LANG", "C"),
            ("LOGNAME", "user"),
            ("PATH", PATH),
            ("SHELL", "/bin/bash"),
            ("TOKEN", "t"),
            ("USER", "user"),
        ];
        assert_eq!(found, expected.map(|(name, value)| pair(name, value)).into());
        // Without the client's the image's language stays.
        let found = Environment::new(image, &vec![], &vec![], &user).variables;
        assert_eq!(found[OsStr::new("LANG")], "C.UTF-8");
    }
}
