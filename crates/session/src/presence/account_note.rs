//! Two notes about the account behind a login name: the one that the running container was started
//! for, and the one that logged in last. A name can be deleted and given to another person while the
//! container of the first one runs. Each note ends with its newline; without it the note is torn and
//! says nothing.

use super::UserRuntimeDir;
use crate::atomic;
use std::fs;
use std::io;

/// The note about the account that logs in could not be written.
#[derive(Debug)]
pub struct AccountNoteError {
    /// Why.
    pub error: io::Error,
    /// Whether the note of an earlier login is still there.
    pub stale: bool,
}

impl UserRuntimeDir {
    /// Records the id of the account that the container was started for. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_box_account(&self, account: &str) -> io::Result<()> {
        atomic::replace(
            atomic::directory(&self.host_dir)?,
            "account",
            format!("{account}\n").as_bytes(),
            0o644,
            None,
        )
    }

    /// Whether this user has had a container since boot.
    #[must_use]
    pub fn has_run_since_boot(&self) -> bool {
        self.host_dir.join("account").exists()
    }

    /// Whether the running container was started for the account that logged in last; `false` when a
    /// note is missing.
    #[must_use]
    pub fn box_is_of_login_account(&self) -> bool {
        let of_container = fs::read(self.host_dir.join("account"));
        let of_login = fs::read(&self.login_account_note);
        let (Ok(of_container), Ok(of_login)) = (of_container, of_login) else { return false };
        of_container == of_login && of_container.ends_with(b"\n")
    }

    /// Records the id of the account that logs in now. For `sshbox-keys`.
    ///
    /// # Errors
    /// The I/O error. The note is then removed, if that works.
    pub fn write_login_account(&self, account: &str) -> Result<(), AccountNoteError> {
        let note = format!("{account}\n");
        if fs::read(&self.login_account_note).is_ok_and(|known| known == note.as_bytes()) {
            return Ok(());
        }
        let write = || {
            let (Some(dir), Some(name)) =
                (self.login_account_note.parent(), self.login_account_note.file_name())
            else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            atomic::replace(atomic::directory(dir)?, &name.to_string_lossy(), note.as_bytes(), 0o644, None)
        };
        write().map_err(|error| {
            // The note of another account must not count for this one.
            let stale = atomic::remove(&self.login_account_note).is_err() && self.login_account_note.exists();
            AccountNoteError { error, stale }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::tests::prepared;

    #[test]
    fn f32_a_torn_note_says_nothing_of_an_account() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        runtime_dir.write_box_account("42").unwrap();
        runtime_dir.write_login_account("42").unwrap();
        assert!(runtime_dir.box_is_of_login_account());
        for torn in ["", "4", "42"] {
            fs::write(dir.path().join("accounts/alice"), torn).unwrap();
            fs::write(dir.path().join("users/alice/account"), torn).unwrap();
            assert!(!runtime_dir.box_is_of_login_account(), "{torn}");
            runtime_dir.write_login_account("42").unwrap();
            runtime_dir.write_box_account("42").unwrap();
            assert!(runtime_dir.box_is_of_login_account(), "{torn}");
        }
        runtime_dir.write_login_account("43").unwrap();
        assert!(!runtime_dir.box_is_of_login_account());
    }

    #[test]
    fn a18_a_note_that_cannot_be_replaced_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        runtime_dir.write_box_account("42").unwrap();
        runtime_dir.write_login_account("42").unwrap();
        // A directory in place of the temporary file makes the write fail.
        fs::create_dir(dir.path().join("accounts/.alice.new")).unwrap();
        let failed = runtime_dir.write_login_account("43").unwrap_err();
        assert!(!failed.stale && !runtime_dir.box_is_of_login_account(), "{failed:?}");
    }
}
