//! Two directories and a file of one user below `/run/sshbox`.
//!
//! `users/NAME/` is used on the host: it has the locks, `init.sock`, and the files that `account_note.rs`,
//! `asked_note.rs`, `limits_note.rs`, `network_note.rs`, `pace.rs`, `session_slots.rs` and `stop_record.rs` write. `boxes/NAME/` is what the
//! container sees at its `/run/sshbox`: it has `boot.sock`, a passwd entry, the files that are its
//! /etc/passwd and /etc/group, the host key of the container's SSH server and the welcome text. The file
//! `accounts/NAME` contains the id of the account that logged in last, `accounts/.NAME.answer` what
//! `login_answer.rs` says, and `accounts/.NAME.session` what `site_settings_note.rs` says; `sshbox-keys` writes all
//! three.

use super::locks::open_lock_file;
use crate::atomic;
use identity::{GID, Login};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, chown};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The file in `boxes/NAME/` that is mounted at the container's `/etc/passwd`.
pub const ETC_PASSWD: &str = "etc-passwd";

/// The file in `boxes/NAME/` that is mounted at the container's `/etc/group`.
pub const ETC_GROUP: &str = "etc-group";

/// The runtime directories and the login account note of one user.
#[derive(Debug)]
pub struct UserRuntimeDir {
    pub(super) uid: u32,
    /// `users/NAME`, used on the host.
    pub(super) host_dir: PathBuf,
    /// `boxes/NAME`, which the container sees.
    pub(super) box_dir: PathBuf,
    /// `accounts/NAME`, the file that `sshbox-keys` writes.
    pub(super) login_account_note: PathBuf,
}

impl UserRuntimeDir {
    /// The paths for `login` below `run`. Creates nothing.
    #[must_use]
    pub fn of(run: &Path, login: &Login) -> Self {
        Self {
            uid: login.uid(),
            host_dir: run.join("users").join(login.as_str()),
            box_dir: run.join("boxes").join(login.as_str()),
            login_account_note: run.join("accounts").join(login.as_str()),
        }
    }

    /// The users who have had a container since boot.
    ///
    /// # Errors
    /// The I/O error.
    pub fn users(run: &Path) -> io::Result<Vec<Login>> {
        let names = fs::read_dir(run.join("users"))?.filter_map(|entry| Some(entry.ok()?.file_name()));
        Ok(names.filter_map(|name| Login::parse(name.as_bytes()).ok()).collect())
    }

    /// Creates the directories and locks that are missing, and corrects the modes of directories and the
    /// owners of locks. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn prepare(&self) -> io::Result<()> {
        create_directory(&self.box_dir, 0o711)?;
        // Every uid of the container can connect to boot.sock. Mode 0700 of `boxes/`, the common parent of
        // all users' directories, keeps the users of the host out; the container does not see the parent.
        if let Some(parent) = self.box_dir.parent() {
            fs::set_permissions(parent, Permissions::from_mode(0o700))?;
        }
        self.prepare_host_side()
    }

    /// The part of [`Self::prepare`] that a login needs before there is a box. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn prepare_host_side(&self) -> io::Result<()> {
        create_directory(&self.host_dir, 0o711)?;
        // Only root starts and stops containers, so state.lock stays root's. Sessions take the other locks.
        open_lock_file(&self.state_lock())?;
        // live.lock is created last. A session can open it only after the fchown; then all others exist.
        for lock in self.users_files() {
            let owner = Some(rustix::fs::Uid::from_raw(self.uid));
            rustix::fs::fchown(&open_lock_file(&lock)?, owner, Some(rustix::fs::Gid::from_raw(GID)))?;
        }
        Ok(())
    }

    /// Whether all locks and files of sessions exist, which [`Self::prepare`] creates after the directories.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.state_lock().exists() && self.users_files().iter().all(|file| file.exists())
    }

    /// Removes both directories and the notes. The caller makes sure that the user no longer exists.
    ///
    /// # Errors
    /// The I/O error. A path that does not exist is no error.
    pub fn remove(&self) -> io::Result<()> {
        let remove_directory = |path| match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        atomic::remove(&self.login_account_note)?;
        atomic::remove(&self.login_answer_file())?;
        self.remove_site_settings()?;
        remove_directory(&self.host_dir)?;
        remove_directory(&self.box_dir)
    }

    /// The directory that the container sees at `/run/sshbox`.
    #[must_use]
    pub fn box_dir(&self) -> &Path {
        &self.box_dir
    }

    /// The socket at which `sshbox-init` accepts sessions. It is on the host: the container receives the
    /// listening file descriptor, not the path.
    #[must_use]
    pub fn init_socket(&self) -> PathBuf {
        self.host_dir.join("init.sock")
    }

    /// The socket to which `sshbox-init` connects when it starts. Over it, the starting program sends the
    /// listening file descriptor of `init.sock`.
    #[must_use]
    pub fn boot_socket(&self) -> PathBuf {
        self.box_dir.join("boot.sock")
    }

    /// Makes the user the owner of the existing `init.sock`, with mode 0600: only this user and root can
    /// connect.
    ///
    /// # Errors
    /// The I/O error.
    pub fn set_init_socket_owner(&self) -> io::Result<()> {
        let path = self.init_socket();
        chown(&path, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(GID)))?;
        fs::set_permissions(path, Permissions::from_mode(0o600))
    }

    /// Sets the mode of the existing `boot.sock` to 0666, so that every uid of the container can connect.
    /// Users of the host cannot reach it: see [`Self::prepare`].
    ///
    /// # Errors
    /// The I/O error.
    pub fn set_boot_socket_mode(&self) -> io::Result<()> {
        fs::set_permissions(self.boot_socket(), Permissions::from_mode(0o666))
    }

    /// Writes `passwd`, for images that read it with libnss-extrausers: one line of passwd(5), with its
    /// newline, for the login name. For root, to whom the file belongs.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_passwd_entry(&self, line: &str) -> io::Result<()> {
        atomic::replace(atomic::directory(&self.box_dir)?, "passwd", line.as_bytes(), 0o644, None)
    }

    /// Writes the files that are mounted at the container's `/etc/passwd` and `/etc/group`. A running container
    /// keeps those of its start. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_etc(&self, passwd: &[u8], group: &[u8]) -> io::Result<()> {
        let dir = atomic::directory(&self.box_dir)?;
        atomic::replace(&dir, ETC_PASSWD, passwd, 0o644, None)?;
        atomic::replace(&dir, ETC_GROUP, group, 0o644, None)
    }

    /// Writes the host key of the container's SSH server. `uid` and `gid` are those of the user that the
    /// container runs as, not of the login: only that user can read the key. For root.
    ///
    /// # Errors
    /// The I/O error; the old key stays.
    pub fn write_host_key(&self, key: &str, uid: u32, gid: u32) -> io::Result<()> {
        let owner = Some((uid, gid));
        atomic::replace(
            atomic::directory(&self.box_dir)?,
            "ssh_host_ed25519_key",
            key.as_bytes(),
            0o600,
            owner,
        )
    }

    /// Writes `first-words`, the welcome text. `sshbox-init` shows it at the first login with a terminal
    /// ever, and again when the text has changed. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_welcome_text(&self, text: &str) -> io::Result<()> {
        atomic::replace(atomic::directory(&self.box_dir)?, "first-words", text.as_bytes(), 0o644, None)
    }

    /// Tells `sshbox-init` with the file `home-limited` whether the home has a limit of its own, so that it
    /// says when the home is nearly full. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_home_limited(&self, is_limited: bool) -> io::Result<()> {
        let name = "home-limited";
        if is_limited {
            return atomic::replace(atomic::directory(&self.box_dir)?, name, b"", 0o644, None);
        }
        atomic::remove(&self.box_dir.join(name))
    }

    /// Held by each open session.
    pub(super) fn live_lock(&self) -> PathBuf {
        self.host_dir.join("live.lock")
    }

    /// Held by the session that requests a start of the container.
    pub(super) fn wake_lock(&self) -> PathBuf {
        self.host_dir.join("wake.lock")
    }

    /// Held by the session that has any other request at `sshbox-wake`.
    pub(super) fn ask_lock(&self) -> PathBuf {
        self.host_dir.join("ask.lock")
    }

    /// The files that belong to the user, `live.lock` last.
    fn users_files(&self) -> [PathBuf; 5] {
        [self.wake_lock(), self.ask_lock(), self.pace_file(), self.sessions_file(), self.live_lock()]
    }

    /// Held by the root process that starts or stops the container.
    pub(super) fn state_lock(&self) -> PathBuf {
        self.host_dir.join("state.lock")
    }
}

fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.raw_os_error() != Some(Errno::EEXIST as i32) => return Err(error),
        _ => {}
    }
    // The umask may have cleared bits in this call of mkdir, or in that of a program which was killed before
    // it set the mode.
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
