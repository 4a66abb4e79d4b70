//! The account cache: the last reply for each user, `NAME.json` in `/var/cache/sshbox/`. A file that
//! cannot be parsed counts as absent, and the next reply replaces it.
//!
//! While that directory cannot be written, `/run/sshbox/accounts/` holds the records, as `.NAME.json`,
//! until the next boot. So logins go on with a directory that is missing, read-only or full.

mod open;
mod outcomes;
mod record;
mod revocations;
mod slots;
#[cfg(test)]
mod tests;

pub use outcomes::LookupOutcome;
pub use record::AccountRecord;

use identity::Login;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use session::atomic;
use session::clock::Now;
use session::times::later;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How often a lock that another login holds is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Directory for what cannot be written to the cache. A tmpfs.
const FALLBACK: &str = "/run/sshbox/accounts";

/// The cache.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    fallback: PathBuf,
}

/// The right to ask the account source about one user. Released on drop and when the process ends.
#[derive(Debug)]
pub struct LookupLock {
    _file: File,
}

impl Cache {
    /// The cache in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), fallback: FALLBACK.into() }
    }

    /// Check that a record can be written to the directory, by writing a file and removing it.
    ///
    /// # Errors
    /// As the file system reports.
    pub fn check_writable(&self) -> io::Result<()> {
        atomic::replace(atomic::directory(&self.dir)?, ".check", &[b'x'; 4096], 0o600, None)?;
        fs::remove_file(self.dir.join(".check"))
    }

    /// Whether this is the first call since a record was last written to the directory, so that the
    /// caller logs a failure once. Without `/run/sshbox` every call counts as the first.
    #[must_use]
    pub fn is_first_failure(&self) -> bool {
        let mark = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.failure_mark());
        mark.is_ok() || !self.failure_mark().exists()
    }

    /// Wait until no other login of this user asks the account source, for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut` if another login held the lock all the time. Else as the file system reports.
    pub fn lock_lookup(&self, login: &Login, timeout: Duration) -> io::Result<LookupLock> {
        let file = open::read_write(&self.dir, ".lock")
            .or_else(|error| open::read_write(&self.fallback, ".lock").map_err(|_| error))?;
        // One byte per user, at the offset of the uid. The file stays empty.
        #[expect(clippy::cast_possible_truncation, reason = "the C library's own constants for these fields")]
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: libc::off_t::from(login.uid()),
            l_len: 1,
            l_pid: 0,
        };
        let deadline = later(Instant::now(), timeout);
        loop {
            match fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)) {
                Ok(_) => return Ok(LookupLock { _file: file }),
                Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) if Instant::now() < deadline => {
                    thread::sleep(LOCK_RETRY);
                }
                Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The record of this user. `None` if there is none, or an invalid or revoked one.
    #[must_use]
    pub fn read(&self, login: &Login) -> Option<AccountRecord> {
        // A record in the fallback directory is newer: it could not be written to the other one.
        AccountRecord::read(&self.fallback_path(login), login).or_else(|| {
            AccountRecord::read(&self.path(login), login)
                .filter(|record| !revocations::covers(&self.fallback, login, record))
        })
    }

    /// Replace the record of this user. If that fails, the record serves from the fallback directory.
    ///
    /// # Errors
    /// As the file system reports, `ENOSPC` above all.
    pub fn write(&self, login: &Login, new: &AccountRecord) -> io::Result<()> {
        let text = serde_json::to_vec(new)?;
        let written = replace(&self.dir, &format!("{login}.json"), &text);
        if written.is_ok() {
            let _ = fs::remove_file(self.fallback_path(login));
            let _ = fs::remove_file(self.failure_mark());
            return written;
        }
        // The old record must not serve again if it says something else, such as a removed key. The
        // fallback directory does not prevent that: it may be full too, and a reboot clears it.
        if AccountRecord::read(&self.path(login), login).is_some_and(|old| old.account != new.account) {
            let _ = fs::remove_file(self.path(login));
        }
        if replace(&self.fallback, &format!(".{login}.json"), &text).is_err() {
            let _ = fs::remove_file(self.fallback_path(login));
        }
        written
    }

    /// Remove the record of this user, because the reply to a request of time `requested` refused the
    /// user. A record that cannot be removed no longer counts.
    ///
    /// # Errors
    /// As the file system reports if a record may remain. If there was none, that is no error.
    pub fn revoke(&self, login: &Login, requested: &Now) -> io::Result<()> {
        let removed = self.remove(login);
        if open::is_absent(&self.path(login)) && self.dir.is_dir() {
            return if open::is_absent(&self.fallback_path(login)) { Ok(()) } else { removed };
        }
        // The record remains, or the whole directory is gone and may be mounted again with the record.
        let _ = revocations::add(&self.fallback, login, requested);
        removed?;
        Err(io::ErrorKind::NotFound.into())
    }

    /// Remove the record of a login name that is not used again. Root may call this.
    ///
    /// # Errors
    /// As the file system reports. If there is no record, that is no error.
    pub fn remove(&self, login: &Login) -> io::Result<()> {
        let remove = |path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let fallback_removed = remove(self.fallback_path(login));
        remove(self.path(login)).and(fallback_removed)
    }

    /// The outcome of the last lookup that found no account for this user, and when it was requested,
    /// since boot.
    #[must_use]
    pub fn last_outcome(&self, login: &Login, now: &Now) -> Option<(LookupOutcome, Duration)> {
        // Both directories may have one: the cache may have failed and recovered.
        [&self.dir, &self.fallback]
            .into_iter()
            .filter_map(|dir| outcomes::read(dir, login, now))
            .max_by_key(|(_, requested)| *requested)
    }

    /// Store the outcome of a lookup of time `requested` that found no account.
    ///
    /// # Errors
    /// As the file system reports. The only consequence is another request.
    pub fn store_outcome(&self, login: &Login, outcome: LookupOutcome, requested: &Now) -> io::Result<()> {
        outcomes::write(&self.dir, login, outcome, requested)
            .or_else(|error| outcomes::write(&self.fallback, login, outcome, requested).map_err(|_| error))
    }

    fn path(&self, login: &Login) -> PathBuf {
        self.dir.join(format!("{login}.json"))
    }

    fn fallback_path(&self, login: &Login) -> PathBuf {
        self.fallback.join(format!(".{login}.json"))
    }

    /// Exists from the first failed write until a write succeeds.
    fn failure_mark(&self) -> PathBuf {
        self.fallback.join(".told")
    }
}

/// The caller holds the lookup lock of the user, so no other process writes this record.
fn replace(dir: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    atomic::replace(atomic::directory(dir)?, name, text, 0o600, None)
}
