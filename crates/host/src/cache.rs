//! The account cache. For each user, `NAME.json` in `/var/cache/sshbox/` holds the account of the last
//! reply of the account source. A reply that refuses the user removes the file. A file that cannot be
//! parsed counts as absent, and the next reply replaces it.
//!
//! `/run/sshbox/accounts/`, a tmpfs, holds records in two cases, until the next boot. There they are named
//! `.NAME.json`: `NAME` is the login account note of the same user.
//! - While `/var/cache/sshbox/` cannot be written, so that users can log in even if the cache directory is
//!   missing, read-only or full.
//! - When a login gets the account that `/var/cache/sshbox/` has already. Only the time of the reply is new,
//!   and a flush of the disk would make the login wait for whatever a box writes there.

mod open;
mod outcomes;
mod record;
mod revocations;
mod slots;
#[cfg(test)]
mod tests;

pub use outcomes::LookupOutcome;
pub use record::AccountRecord;

use crate::config::TimeSpan;
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

/// Time between two attempts to take a lock that another login holds.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Directory for the records that are not written to the cache directory. A tmpfs.
const FALLBACK: &str = "/run/sshbox/accounts";

/// The account cache, in a directory and a fallback directory.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    fallback: PathBuf,
}

/// A lock that allows a login to ask the account source about one user. It is released on drop and when
/// the process ends.
#[derive(Debug)]
pub struct LookupLock {
    _file: File,
}

impl Cache {
    /// The cache in `dir`, with `/run/sshbox/accounts` as the fallback directory. Opens nothing.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), fallback: FALLBACK.into() }
    }

    /// Check that a record can be written to the cache directory, by writing a file and removing it.
    ///
    /// # Errors
    /// As the file system reports.
    pub fn check_writable(&self) -> io::Result<()> {
        atomic::replace(atomic::directory(&self.dir)?, ".check", &[b'x'; 4096], 0o600, None)?;
        fs::remove_file(self.dir.join(".check"))
    }

    /// Create the mark that a record could not be written to the cache directory. Returns whether the mark
    /// is new, so that the caller logs the failure once: [`Self::write`] removes the mark when it succeeds.
    /// If the mark cannot be created, every failure is new.
    #[must_use]
    pub fn mark_first_failure(&self) -> bool {
        let mark = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.failure_mark());
        mark.is_ok() || !self.failure_mark().exists()
    }

    /// Take the lock that allows to ask the account source about this user. Wait for at most `timeout`
    /// while another login of the user holds it.
    ///
    /// # Errors
    /// `TimedOut` if another login held the lock all the time. Otherwise the error of the cache directory;
    /// then the lock file can be opened in neither directory.
    pub fn lock_lookup(&self, login: &Login, timeout: Duration) -> io::Result<LookupLock> {
        // A login that opened the file just before the cache directory became unusable or usable again
        // does not exclude this one. Then both ask the account source, as logins do without a lock file.
        // Records stay whole without the lock: see `atomic`.
        let file = open::read_write(&self.dir, ".lock")
            .or_else(|error| open::read_write(&self.fallback, ".lock").map_err(|_| error))?;
        // Locks one byte per user, at the offset of the uid, which may lie beyond the end of the file.
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

    /// The record of this user. `None` if there is none, or if it is invalid or revoked.
    #[must_use]
    pub fn read(&self, login: &Login) -> Option<AccountRecord> {
        // A record in the fallback directory is newer: it was not written to the cache directory. It needs no
        // revocation: `sshbox-keys` owns that directory, on a tmpfs, and can always remove a file
        // there. So the revocation of one user does not cost another user this record.
        AccountRecord::read(&self.fallback_path(login), login).or_else(|| {
            AccountRecord::read(&self.path(login), login)
                .filter(|record| !revocations::covers(&self.fallback, login, record))
        })
    }

    /// Replace the record of this user. If that fails, write the new record to the fallback directory, from
    /// which [`Self::read`] returns it. The caller holds the lookup lock of the user if it could get it.
    ///
    /// # Errors
    /// The error of the cache directory, most often `ENOSPC`, even if the fallback directory has the record.
    pub fn write(&self, login: &Login, new: &AccountRecord) -> io::Result<()> {
        let text = serde_json::to_vec(new)?;
        let written = replace(&self.dir, &format!("{login}.json"), &text);
        if written.is_ok() {
            let _ = fs::remove_file(self.fallback_path(login));
            let _ = fs::remove_file(self.failure_mark());
            return written;
        }
        // Remove an old record that differs, so that for example a key which the user has deleted is not
        // accepted again. A new record in the fallback directory does not suffice: that directory may be
        // full, too, and a reboot empties it.
        if AccountRecord::read(&self.path(login), login).is_some_and(|old| old.account != new.account) {
            let _ = fs::remove_file(self.path(login));
        }
        if replace(&self.fallback, &format!(".{login}.json"), &text).is_err() {
            let _ = fs::remove_file(self.fallback_path(login));
        }
        written
    }

    /// Store the record of a reply to a login, which must not wait for the disk if nothing is lost: if the
    /// cache directory has the same account, from a reply that still serves for half of `stale` after a
    /// reboot, store the new record in the fallback directory alone. Otherwise as [`Self::write`].
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_at_login(
        &self,
        login: &Login,
        new: &AccountRecord,
        now: &Now,
        stale: TimeSpan,
    ) -> io::Result<()> {
        // If the last write failed, find out whether the cache directory can be written again.
        let known = !self.failure_mark().exists()
            && AccountRecord::read(&self.path(login), login).is_some_and(|old| {
                // With zero, no record serves after a reboot.
                let serves = stale.0.is_zero() || old.serves(now, TimeSpan(stale.0 / 2));
                old.account == new.account && serves
            });
        let stored = known && {
            let text = serde_json::to_vec(new)?;
            replace(&self.fallback, &format!(".{login}.json"), &text).is_ok()
        };
        if stored { Ok(()) } else { self.write(login, new) }
    }

    /// Remove the record of this user from both directories, because the account source refused the user
    /// in its reply to a request of time `requested`. If a record may remain in the cache directory, store a
    /// revocation, so that [`Self::read`] returns no record there that was requested up to that time.
    ///
    /// # Errors
    /// An error if a record may remain: that of the file system, or `NotFound` if the whole cache directory
    /// does not exist. A user who had no record is no error.
    pub fn revoke(&self, login: &Login, requested: &Now) -> io::Result<()> {
        let removed = self.remove(login);
        if open::is_absent(&self.path(login)) && self.dir.is_dir() {
            return if open::is_absent(&self.fallback_path(login)) { Ok(()) } else { removed };
        }
        // The record remains, or the whole directory is absent and may be mounted again with the record.
        let _ = revocations::add(&self.fallback, login, requested);
        removed?;
        Err(io::ErrorKind::NotFound.into())
    }

    /// Remove the record of this user from both directories. Of the functions that change the cache, only
    /// this one may run as root: the others create files, which must belong to `sshbox-keys`.
    ///
    /// # Errors
    /// As the file system reports. A user who had no record is no error.
    pub fn remove(&self, login: &Login) -> io::Result<()> {
        let fallback_removed = atomic::remove(&self.fallback_path(login));
        atomic::remove(&self.path(login)).and(fallback_removed)
    }

    /// The outcome of this user's last lookup that found no account, and the time of its request on the
    /// clock that counts from boot. `None` if there was no such lookup since boot.
    #[must_use]
    pub fn last_outcome(&self, login: &Login, now: &Now) -> Option<(LookupOutcome, Duration)> {
        // Both directories have one if the cache directory was unusable for a while.
        [&self.dir, &self.fallback]
            .into_iter()
            .filter_map(|dir| outcomes::read(dir, login, now))
            .max_by_key(|(_, requested)| *requested)
    }

    /// Store the outcome of a lookup of time `requested` that found no account.
    ///
    /// # Errors
    /// As the file system reports. The only consequence of an error is another request.
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

    /// Created by [`Self::mark_first_failure`], removed by a successful [`Self::write`].
    fn failure_mark(&self) -> PathBuf {
        self.fallback.join(".told")
    }
}

fn replace(dir: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    atomic::replace(atomic::directory(dir)?, name, text, 0o600, None)
}
