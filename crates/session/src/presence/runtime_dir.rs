//! The directories of one user below `/run/sshbox`.
//!
//! `users/NAME/` is for the host: the locks, `init.sock` and the notes. `boxes/NAME/` is what the
//! container sees at its `/run/sshbox`: `boot.sock`, a passwd entry, its host key and the welcome text.
//! `accounts/NAME` is the note of `sshbox-keys` about the account behind the name.

use super::locks::open_lock_file;
use crate::atomic;
use identity::{GID, Login};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, chown};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The runtime directory of one user.
#[derive(Debug)]
pub struct UserRuntimeDir {
    pub(super) uid: u32,
    /// For the host.
    pub(super) user: PathBuf,
    /// For the container.
    pub(super) box_dir: PathBuf,
    /// The note of `sshbox-keys`.
    pub(super) login_account: PathBuf,
}

impl UserRuntimeDir {
    /// The directories of `login` below `run`. Creates nothing.
    #[must_use]
    pub fn of(run: &Path, login: &Login) -> Self {
        Self {
            uid: login.uid(),
            user: run.join("users").join(login.as_str()),
            box_dir: run.join("boxes").join(login.as_str()),
            login_account: run.join("accounts").join(login.as_str()),
        }
    }

    /// Creates the directories and locks that are missing. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn prepare(&self) -> io::Result<()> {
        create_directory(&self.user, 0o711)?;
        create_directory(&self.box_dir, 0o711)?;
        // boot.sock is open to every uid in the container; the closed parent keeps host users out.
        if let Some(parent) = self.box_dir.parent() {
            fs::set_permissions(parent, Permissions::from_mode(0o700))?;
        }
        open_lock_file(&self.state_lock())?;
        // live.lock is created last: where a session finds it, nothing is missing.
        for lock in [self.wake_lock(), self.ask_lock(), self.live_lock()] {
            let owner = Some(rustix::fs::Uid::from_raw(self.uid));
            rustix::fs::fchown(&open_lock_file(&lock)?, owner, Some(rustix::fs::Gid::from_raw(GID)))?;
        }
        Ok(())
    }

    /// Whether [`Self::prepare`] has nothing to create.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        [self.live_lock(), self.wake_lock(), self.ask_lock(), self.state_lock()]
            .iter()
            .all(|lock| lock.exists())
    }

    /// Removes the whole runtime directory of a user that does not exist any more.
    ///
    /// # Errors
    /// The I/O error, except that something did not exist.
    pub fn remove(&self) -> io::Result<()> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        gone(fs::remove_file(&self.login_account))?;
        gone(fs::remove_dir_all(&self.user))?;
        gone(fs::remove_dir_all(&self.box_dir))
    }

    /// The directory that the container sees at `/run/sshbox`.
    #[must_use]
    pub fn box_dir(&self) -> &Path {
        &self.box_dir
    }

    /// The socket at which `sshbox-init` accepts sessions.
    #[must_use]
    pub fn init_socket(&self) -> PathBuf {
        self.user.join("init.sock")
    }

    /// The socket at which `sshbox-init` fetches the listening `init.sock`.
    #[must_use]
    pub fn boot_socket(&self) -> PathBuf {
        self.box_dir.join("boot.sock")
    }

    /// Lets this user, and nobody else, connect to `init.sock`.
    ///
    /// # Errors
    /// The I/O error.
    pub fn give_init_socket(&self) -> io::Result<()> {
        let path = self.init_socket();
        chown(&path, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(GID)))?;
        fs::set_permissions(path, Permissions::from_mode(0o600))
    }

    /// Lets every uid in the container connect to `boot.sock`.
    ///
    /// # Errors
    /// The I/O error.
    pub fn give_boot_socket(&self) -> io::Result<()> {
        fs::set_permissions(self.boot_socket(), Permissions::from_mode(0o666))
    }

    /// Writes the login name for the container, as a line of passwd(5). For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_passwd_entry(&self, line: &str) -> io::Result<()> {
        atomic::replace(atomic::directory(&self.box_dir)?, "passwd", line.as_bytes(), 0o644, None)
    }

    /// Writes the host key of the container's SSH server, readable by its user only. For root.
    ///
    /// # Errors
    /// The I/O error; the old key stays.
    pub fn give_host_key(&self, key: &str, uid: u32, gid: u32) -> io::Result<()> {
        let owner = Some((uid, gid));
        atomic::replace(
            atomic::directory(&self.box_dir)?,
            "ssh_host_ed25519_key",
            key.as_bytes(),
            0o600,
            owner,
        )
    }

    /// Writes the text that `sshbox-init` shows at the first login. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_welcome_text(&self, text: &str) -> io::Result<()> {
        atomic::replace(atomic::directory(&self.box_dir)?, "first-words", text.as_bytes(), 0o644, None)
    }

    pub(super) fn live_lock(&self) -> PathBuf {
        self.user.join("live.lock")
    }

    pub(super) fn wake_lock(&self) -> PathBuf {
        self.user.join("wake.lock")
    }

    pub(super) fn ask_lock(&self) -> PathBuf {
        self.user.join("ask.lock")
    }

    pub(super) fn state_lock(&self) -> PathBuf {
        self.user.join("state.lock")
    }
}

fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.raw_os_error() != Some(Errno::EEXIST as i32) => return Err(error),
        _ => {}
    }
    // The umask may have cleared bits, now or in a program that was killed before this line.
    if fs::symlink_metadata(path)?.mode() & 0o7777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::tests::prepared;

    #[test]
    fn f32_a_directory_with_a_wrong_mode_is_repaired() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        fs::set_permissions(dir.path().join("users/alice"), Permissions::from_mode(0o700)).unwrap();
        runtime_dir.prepare().unwrap();
        assert_eq!(fs::metadata(dir.path().join("users/alice")).unwrap().mode() & 0o7777, 0o711);
    }
}
