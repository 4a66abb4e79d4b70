//! The file `accounts/.NAME.answer`: what the account source answered last, as far as `sshbox-shell` and
//! `pam_sshbox` need it, which read no configuration and no cache. So a session that begins over an open connection is
//! refused as soon as any login has learned that its key or its user is refused now, without a question per
//! session. `sshbox-keys` writes it; the id of the account is in a note of its own, whose format earlier
//! releases know.

use super::{AccountNoteError, CONNECTIONS_DEFAULT, UserRuntimeDir};
use crate::atomic;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;

/// Longest file, in bytes: a hundred fingerprints take a tenth of it.
const LONGEST: u64 = 64 * 1024;

/// Last line: a file without it is torn and says nothing.
const END: &str = "end";

/// The last answer of the account source about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginAnswer {
    /// The user may log in.
    Accepted {
        /// How many sessions may be open at once.
        sessions: u32,
        /// How many connections may be open at once.
        connections: u32,
        /// How long a connection waits for the start of the container to forward into it; `None` if it does not
        /// forward.
        forward: Option<Duration>,
        /// Fingerprints of the keys that log in.
        fingerprints: Vec<String>,
    },
    /// The user may not log in.
    Refused,
}

impl LoginAnswer {
    fn parse(text: &str) -> Option<Self> {
        let mut lines: Vec<&str> = text.strip_suffix('\n')?.lines().collect();
        if lines.pop() != Some(END) {
            return None;
        }
        if lines == ["refused"] {
            return Some(Self::Refused);
        }
        let values = |name: &'static str| lines.iter().filter_map(move |line| line.strip_prefix(name));
        Some(Self::Accepted {
            sessions: values("sessions ").next()?.parse().ok()?,
            // An earlier release writes neither.
            connections: match values("connections ").next() {
                Some(number) => number.parse().ok()?,
                None => CONNECTIONS_DEFAULT,
            },
            forward: match values("forward ").next() {
                Some(wait) => Some(Duration::from_millis(wait.parse().ok()?)),
                None => None,
            },
            fingerprints: values("key ").map(str::to_owned).collect(),
        })
    }
}

impl fmt::Display for LoginAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { sessions, connections, forward, fingerprints } => {
                writeln!(f, "sessions {sessions}\nconnections {connections}")?;
                if let Some(wait) = forward {
                    writeln!(f, "forward {}", wait.as_millis())?;
                }
                for fingerprint in fingerprints {
                    writeln!(f, "key {fingerprint}")?;
                }
            }
            Self::Refused => f.write_str("refused\n")?,
        }
        f.write_str(END)?;
        f.write_char('\n')
    }
}

impl UserRuntimeDir {
    /// The last answer; `None` if there is none, as after a login by an earlier release.
    #[must_use]
    pub fn login_answer(&self) -> Option<LoginAnswer> {
        let mut text = String::new();
        File::open(self.login_answer_file()).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        LoginAnswer::parse(&text)
    }

    /// Whether this user has logged in since boot, so that there is something to keep up to date. Nothing is
    /// written for other names: a client can try any number of them.
    #[must_use]
    pub fn has_login_answer(&self) -> bool {
        self.login_answer_file().exists()
    }

    /// Records the last answer. For `sshbox-keys`.
    ///
    /// # Errors
    /// The I/O error. The file is then removed, if that works.
    pub fn write_login_answer(&self, answer: &LoginAnswer) -> Result<(), AccountNoteError> {
        if self.login_answer().as_ref() == Some(answer) {
            return Ok(());
        }
        let path = self.login_answer_file();
        let write = || {
            let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let text = answer.to_string();
            atomic::replace(atomic::directory(dir)?, &name.to_string_lossy(), text.as_bytes(), 0o644, None)
        };
        write().map_err(|error| {
            // An old answer could refuse a new key, or accept one that was removed.
            let stale = atomic::remove(&path).is_err() && path.exists();
            AccountNoteError { error, stale }
        })
    }

    pub(super) fn login_answer_file(&self) -> PathBuf {
        let name = self.login_account_note.file_name().unwrap_or_default().to_string_lossy();
        self.login_account_note.with_file_name(format!(".{name}.answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::tests::prepared;
    use std::fs;

    fn accepted() -> LoginAnswer {
        LoginAnswer::Accepted {
            sessions: 50,
            connections: 20,
            forward: Some(Duration::from_secs(3)),
            fingerprints: vec!["SHA256:a".to_owned(), "SHA256:b".to_owned()],
        }
    }

    #[test]
    fn f32_an_answer_is_whole_or_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        assert!(!runtime_dir.has_login_answer() && runtime_dir.login_answer().is_none());
        let LoginAnswer::Accepted { sessions, connections, fingerprints, .. } = accepted() else { panic!() };
        let closed = LoginAnswer::Accepted { sessions, connections, forward: None, fingerprints };
        for answer in [accepted(), closed, LoginAnswer::Refused] {
            runtime_dir.write_login_answer(&answer).unwrap();
            runtime_dir.write_login_answer(&answer).unwrap();
            assert_eq!(runtime_dir.login_answer(), Some(answer));
        }
        let path = dir.path().join("accounts/.alice.answer");
        for torn in [
            "",
            "refused\n",
            "sessions 50\nkey SHA256:a\n",
            "sessions x\nend\n",
            "key a\nend\n",
            "end",
            "sessions 5\nforward x\nend\n",
        ] {
            fs::write(&path, torn).unwrap();
            assert_eq!(runtime_dir.login_answer(), None, "{torn}");
        }
        fs::write(&path, "sessions 7\nlater x\nkey SHA256:a\nend\n").unwrap();
        let fingerprints = vec!["SHA256:a".to_owned()];
        assert_eq!(
            runtime_dir.login_answer(),
            Some(LoginAnswer::Accepted {
                sessions: 7,
                connections: CONNECTIONS_DEFAULT,
                forward: None,
                fingerprints
            })
        );
    }

    #[test]
    fn p14_an_answer_that_cannot_be_replaced_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        runtime_dir.write_login_answer(&accepted()).unwrap();
        // A directory in place of the temporary file makes the write fail.
        fs::create_dir(dir.path().join("accounts/..alice.answer.new")).unwrap();
        let failed = runtime_dir.write_login_answer(&LoginAnswer::Refused).unwrap_err();
        assert!(!failed.stale && runtime_dir.login_answer().is_none(), "{failed:?}");
    }
}
