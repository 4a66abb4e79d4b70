//! The locks below `/run/sshbox`, and the time of the last session, which `live.lock` holds.
//!
//! `live.lock`: shared by every session, which also holds its slot in it (`session_slots`); the reaper takes
//! it exclusively to stop a container.
//! `state.lock`: held by the process that starts or stops the container.
//! `wake.lock` and `ask.lock`: one session of a user at a time has a request at `sshbox-wake`.

use super::UserRuntimeDir;
use crate::times::later;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Longest text of a moment in `live.lock`.
const MOMENT_MAX: u64 = 64;

/// Time between two attempts to take a lock.
const RETRY: Duration = Duration::from_millis(5);

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct LockGuard(pub(super) File);

/// The right of one session to request a start, until this is dropped.
#[derive(Debug)]
pub struct WakeTurn {
    /// Whether another session had it first.
    pub waited: bool,
    _held: LockGuard,
}

impl UserRuntimeDir {
    /// Marks a session as open for as long as the lock is held: the container is not stopped for being
    /// idle. Waits while the container is being stopped.
    ///
    /// # Errors
    /// `NotFound` when this user has had no container since boot, `TimedOut`, or the error of the system call.
    pub fn lock_live_shared(&self, patience: Duration) -> io::Result<LockGuard> {
        let lock = self.live_file()?;
        lock.share(patience)?;
        Ok(lock)
    }

    /// `live.lock` without a lock, for a slot in it.
    ///
    /// # Errors
    /// `NotFound` when this user has not logged in since boot, or the error of the system call.
    pub fn live_file(&self) -> io::Result<LockGuard> {
        Ok(LockGuard(open_users_lock(&self.live_lock())?))
    }

    /// Waits for the turn to request a start: one session of a user at a time does.
    ///
    /// # Errors
    /// `TimedOut`, or the error of the system call.
    pub fn turn_to_wake(&self, patience: Duration) -> io::Result<WakeTurn> {
        turn(&self.wake_lock(), patience)
    }

    /// Waits for the turn to send any other request: one session of a user at a time does, so that no
    /// user takes up all connections of `sshbox-wake`. The lock differs from the one above, so that
    /// `@status` works while a start hangs.
    ///
    /// # Errors
    /// `NotFound` when this user has had no container since boot, `TimedOut`, or the error of the system call.
    pub fn turn_to_ask(&self, patience: Duration) -> io::Result<WakeTurn> {
        turn(&self.ask_lock(), patience)
    }

    /// Keeps sessions out; `None` when one is open. For the reaper.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn try_lock_live(&self) -> io::Result<Option<LockGuard>> {
        try_lock(open_lock_file(&self.live_lock())?)
    }

    /// Takes the right to start or stop the container. For root.
    ///
    /// # Errors
    /// `TimedOut`, or the error of the system call.
    pub fn lock_state(&self, patience: Duration) -> io::Result<LockGuard> {
        let file = open_lock_file(&self.state_lock())?;
        retry(patience, || file.try_lock())?;
        Ok(LockGuard(file))
    }

    /// The same without waiting; `None` when another process holds it.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn try_lock_state(&self) -> io::Result<Option<LockGuard>> {
        try_lock(open_lock_file(&self.state_lock())?)
    }

    /// When a session was last known to be open, since boot; `None` when that is not known.
    ///
    /// # Errors
    /// The I/O error.
    pub fn last_presence(&self) -> io::Result<Option<Duration>> {
        // The user's own program can write to it.
        let mut text = String::new();
        File::open(self.live_lock())?.take(MOMENT_MAX).read_to_string(&mut text)?;
        Ok(text.strip_suffix('\n').and_then(|text| text.parse().ok()).map(Duration::from_millis))
    }

    /// Records that a session was open at `moment`. For root, without the lock.
    ///
    /// # Errors
    /// The I/O error.
    pub fn record_presence(&self, moment: Duration) -> io::Result<()> {
        write_moment(&open_lock_file(&self.live_lock())?, moment)
    }
}

/// Lets one `sshbox doctor` run at a time; `None` when another runs.
///
/// # Errors
/// The error of the system call.
pub fn doctor_lock(run: &Path) -> io::Result<Option<LockGuard>> {
    try_lock(open_lock_file(&run.join("doctor.lock"))?)
}

/// Lets one check of the users with open connections run at a time; `None` when another runs.
///
/// # Errors
/// The error of the system call.
pub fn recheck_lock(run: &Path) -> io::Result<Option<LockGuard>> {
    try_lock(open_lock_file(&run.join("recheck.lock"))?)
}

/// Lets one process on the host at a time do what the container engine would otherwise do twice.
///
/// # Errors
/// `TimedOut`, or the error of the system call.
pub fn host_lock(run: &Path, patience: Duration) -> io::Result<LockGuard> {
    let file = open_lock_file(&run.join("host.lock"))?;
    retry(patience, || file.try_lock())?;
    Ok(LockGuard(file))
}

/// Lets one process on the host at a time load the rules for packets.
///
/// # Errors
/// `TimedOut`, or the error of the system call.
pub fn network_lock(run: &Path, patience: Duration) -> io::Result<LockGuard> {
    let file = open_lock_file(&run.join("network.lock"))?;
    retry(patience, || file.try_lock())?;
    Ok(LockGuard(file))
}

/// Lets one process on the host at a time choose a project id for a home.
///
/// # Errors
/// `TimedOut`, or the error of the system call.
pub fn projects_lock(run: &Path, patience: Duration) -> io::Result<LockGuard> {
    let file = open_lock_file(&run.join("projects.lock"))?;
    retry(patience, || file.try_lock())?;
    Ok(LockGuard(file))
}

/// Whether a reaper runs. Creates no file and keeps no lock.
///
/// # Errors
/// The error of the system call.
pub fn reaper_at_work(run: &Path) -> io::Result<bool> {
    match File::open(run.join("reap.lock")) {
        Ok(lock) => Ok(try_lock(lock)?.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Lets one reaper run at a time; `None` when another runs.
///
/// # Errors
/// The error of the system call.
pub fn reaper_lock(run: &Path) -> io::Result<Option<LockGuard>> {
    try_lock(open_lock_file(&run.join("reap.lock"))?)
}

impl LockGuard {
    /// Takes the lock of [`UserRuntimeDir::lock_live_shared`] as well.
    ///
    /// # Errors
    /// `TimedOut`, or the error of the system call.
    pub fn share(&self, patience: Duration) -> io::Result<()> {
        retry(patience, || self.0.try_lock_shared())
    }

    /// Records in `live.lock` that a session was open at `moment`.
    ///
    /// # Errors
    /// The I/O error.
    pub fn record_presence(&self, moment: Duration) -> io::Result<()> {
        write_moment(&self.0, moment)
    }
}

/// Writes 21 bytes at once: a later moment overwrites an earlier one in one step.
fn write_moment(file: &File, moment: Duration) -> io::Result<()> {
    file.write_all_at(format!("{:020}\n", moment.as_millis()).as_bytes(), 0)?;
    // A longer text that is no moment may have been there.
    file.set_len(21)
}

fn turn(lock: &Path, patience: Duration) -> io::Result<WakeTurn> {
    let file = open_users_lock(lock)?;
    let began = Instant::now();
    retry(patience, || file.try_lock())?;
    Ok(WakeTurn { waited: began.elapsed() >= RETRY, _held: LockGuard(file) })
}

fn try_lock(file: File) -> io::Result<Option<LockGuard>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(LockGuard(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

pub(super) fn retry(
    patience: Duration,
    mut attempt: impl FnMut() -> Result<(), TryLockError>,
) -> io::Result<()> {
    let end = later(Instant::now(), patience);
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(RETRY),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

pub(super) fn open_lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow())
        .open(path)
}

/// Opens a lock that belongs to the user. One that root has created and not yet given to the user
/// counts as missing: `NotFound`.
pub(super) fn open_users_lock(lock: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(nofollow()).open(lock);
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::ErrorKind::NotFound.into(),
        _ => error,
    })
}

pub(super) fn nofollow() -> i32 {
    nix::fcntl::OFlag::O_NOFOLLOW.bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::tests::{locked_by_reaper, prepared};
    use crate::soon::soon;
    use identity::Login;
    use std::fs;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn sessions_share_and_the_reaper_stays_out() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        let first = runtime_dir.lock_live_shared(NOW).unwrap();
        let second = runtime_dir.lock_live_shared(NOW).unwrap();
        assert!(runtime_dir.try_lock_live().unwrap().is_none());
        drop(first);
        assert!(runtime_dir.try_lock_live().unwrap().is_none());
        drop(second);
        let reaper = locked_by_reaper(&runtime_dir);
        assert_eq!(runtime_dir.lock_live_shared(NOW).unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(reaper);
        soon(|| runtime_dir.lock_live_shared(NOW).is_ok());
    }

    #[test]
    fn one_transition_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        let held = runtime_dir.lock_state(NOW).unwrap();
        assert!(runtime_dir.try_lock_state().unwrap().is_none());
        assert_eq!(runtime_dir.lock_state(NOW).unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(held);
        soon(|| runtime_dir.try_lock_state().unwrap().is_some());
    }

    #[test]
    fn f26_a_torn_moment_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        assert_eq!(runtime_dir.last_presence().unwrap(), None);
        runtime_dir.record_presence(Duration::from_secs(90_000)).unwrap();
        runtime_dir.lock_live_shared(NOW).unwrap().record_presence(Duration::from_secs(7)).unwrap();
        assert_eq!(runtime_dir.last_presence().unwrap(), Some(Duration::from_secs(7)));
        for torn in ["0000", "", "x\n", "-1\n", "no moment, and longer than one\n"] {
            fs::write(runtime_dir.live_lock(), torn).unwrap();
            assert_eq!(runtime_dir.last_presence().unwrap(), None, "{torn}");
            // The next moment replaces it: else the container would never count as idle.
            runtime_dir.record_presence(Duration::from_secs(7)).unwrap();
            assert_eq!(runtime_dir.last_presence().unwrap(), Some(Duration::from_secs(7)), "{torn}");
        }
    }

    #[test]
    fn a_user_without_a_container_has_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = UserRuntimeDir::of(dir.path(), &Login::parse(b"bob").unwrap());
        assert_eq!(runtime_dir.lock_live_shared(NOW).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
