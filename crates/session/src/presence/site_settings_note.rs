//! The file `accounts/.NAME.session`: the variables and the directory that the site gives to new sessions of
//! this user. `sshbox-keys` writes it and `sshbox-shell` reads it, under the uid of the login. The variables may
//! hold a token, so an entry of the file's access control list admits that uid and no other: `sshbox-keys`
//! cannot give the file away.

use super::{AccountNoteError, UserRuntimeDir};
use crate::atomic;
use crate::wire::{Fields, SiteSettings};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;

/// Longest file, in bytes. The settings of an account have at most a third of it.
const LONGEST: u64 = 256 * 1024;

/// Last field: a file without it is torn and says nothing.
const END: &str = "end";

impl UserRuntimeDir {
    /// The settings of the site for a session that begins now. None, if there is no note that can be read.
    #[must_use]
    pub fn site_settings(&self) -> SiteSettings {
        let mut note = Vec::new();
        let read = File::open(self.site_settings_file())
            .and_then(|file| file.take(LONGEST).read_to_end(&mut note).map(drop));
        let fields = Fields::from_bytes(note);
        match read {
            Ok(()) if fields.get(END).is_some() => SiteSettings::of(&fields),
            _ => SiteSettings::default(),
        }
    }

    /// Records the settings, or removes the note if there are none. For `sshbox-keys`.
    ///
    /// # Errors
    /// The I/O error. The note is then removed, if that works.
    pub fn write_site_settings(&self, settings: &SiteSettings) -> Result<(), AccountNoteError> {
        let path = self.site_settings_file();
        let write = || {
            if settings.is_empty() {
                return self.remove_site_settings();
            }
            let note = settings.add_to(Fields::default()).with(END, b"");
            if fs::read(&path).is_ok_and(|known| known == note.bytes()) {
                return Ok(());
            }
            let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let dir = atomic::directory(dir)?;
            atomic::replace_for_reader(dir, &name.to_string_lossy(), note.bytes(), self.uid)
        };
        write().map_err(|error| {
            // It may belong to an earlier account of this name.
            let stale = atomic::remove(&path).is_err() && path.exists();
            AccountNoteError { error, stale }
        })
    }

    pub(super) fn remove_site_settings(&self) -> io::Result<()> {
        atomic::remove(&self.site_settings_file())
    }

    fn site_settings_file(&self) -> PathBuf {
        let name = self.login_account_note.file_name().unwrap_or_default().to_string_lossy();
        self.login_account_note.with_file_name(format!(".{name}.session"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::tests::prepared;
    use std::os::unix::fs::PermissionsExt as _;

    fn settings() -> SiteSettings {
        let variables = vec![(b"TOKEN".to_vec(), b"one\ntwo".to_vec()), (b"A".to_vec(), vec![])];
        SiteSettings { variables, directory: Some(b"/srv/x".to_vec()) }
    }

    #[test]
    fn f32_settings_are_whole_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        assert!(runtime_dir.site_settings().is_empty());
        let path = dir.path().join("accounts/.alice.session");
        runtime_dir.write_site_settings(&settings()).unwrap();
        runtime_dir.write_site_settings(&settings()).unwrap();
        assert_eq!(runtime_dir.site_settings(), settings());
        for torn in ["", "site=A=1\0", "site=A=1\0end", "site=A=1\0en"] {
            fs::write(&path, torn).unwrap();
            assert!(runtime_dir.site_settings().is_empty(), "{torn:?}");
        }
        runtime_dir.write_site_settings(&settings()).unwrap();
        assert_eq!(runtime_dir.site_settings(), settings());
        for _ in 0..2 {
            runtime_dir.write_site_settings(&SiteSettings::default()).unwrap();
            assert!(!path.exists());
        }
    }

    #[test]
    fn a18_a_note_that_cannot_be_replaced_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        runtime_dir.write_site_settings(&settings()).unwrap();
        // A directory in place of the temporary file makes the write fail.
        fs::create_dir(dir.path().join("accounts/..alice.session.new")).unwrap();
        let other = SiteSettings { directory: None, ..settings() };
        let failed = runtime_dir.write_site_settings(&other).unwrap_err();
        assert!(!failed.stale && runtime_dir.site_settings().is_empty(), "{failed:?}");
    }

    #[test]
    fn a7_the_note_is_closed_to_group_and_others() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        for directory in ["one", "two"] {
            let directory = Some(directory.into());
            runtime_dir.write_site_settings(&SiteSettings { directory, ..settings() }).unwrap();
            let path = dir.path().join("accounts/.alice.session");
            // The bits of the group are the mask of the list: only the login's uid has an entry.
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
            let mut list = [0; 128];
            let length = rustix::fs::getxattr(&path, "system.posix_acl_access", &mut list).unwrap();
            let uid = identity::Login::parse(b"alice").unwrap().uid();
            assert_eq!(list[..length], *atomic::access_list(uid));
        }
    }
}
