//! Who is there: the locks and sockets of one user under `/run/sshbox`, which root makes.
//!
//! `users/NAME/` is the host's side: `live.lock`, held shared by every session and holding
//! the last moment at which somebody was there; `state.lock`, held by whoever starts or
//! stops the box; `wake.lock`, held by the session that has it started; `ask.lock`, held by
//! the one that says a word to `sshbox-wake`; `init.sock`, which leads into the box; `ended`,
//! why it was stopped last. `boxes/NAME/` is what the box sees of it: `boot.sock`, its
//! user's login name, its host key, and what a person is told first. `accounts/NAME` is where
//! `sshbox-keys` says which account the name stands
//! for. Locks are the kernel's and die with their process.

use crate::atomic;
use crate::box_status::LastStop;
use crate::times::later;
use identity::{GID, Login};
use nix::errno::Errno;
use nix::unistd::{Gid, Uid, chown};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Where all of it is.
pub const RUN: &str = "/run/sshbox";

/// The socket of `sshbox-wake`.
pub const WAKE_SOCKET: &str = "/run/sshbox/wake.sock";

/// Name of the file that says why the box was stopped last.
const ENDED: &str = "ended";

/// How often a lock that somebody else holds is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// What the names of visitors begin with: throw-away users of `sshbox doctor`, for one login.
pub const VISITOR: &str = "sshbox-doctor-";

/// The place of one user.
#[derive(Debug)]
pub struct UserRuntimeDir {
    uid: u32,
    user: PathBuf,
    box_dir: PathBuf,
    told: PathBuf,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct LockGuard(File);

/// The turn to have a box started, until this is dropped.
#[derive(Debug)]
pub struct WakeTurn {
    /// Whether another session had it first.
    pub waited: bool,
    _held: LockGuard,
}

/// The end of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRecord {
    /// When, since boot.
    pub moment: Duration,
    /// Why, for its user.
    pub reason: String,
    /// Whether it has been started again since.
    pub over: bool,
}

impl StopRecord {
    fn parse(text: &str) -> Option<Self> {
        let (moment, rest) = text.strip_suffix('\n')?.split_once(' ')?;
        let (over, reason) = rest.split_once(' ')?;
        let moment = Duration::from_millis(moment.parse().ok()?);
        Some(Self { moment, reason: reason.to_owned(), over: over == "past" })
    }
}

impl fmt::Display for StopRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = if self.over { "past" } else { "now" };
        writeln!(f, "{} {over} {}", self.moment.as_millis(), self.reason)
    }
}

/// Which account logs in could not be written down.
#[derive(Debug)]
pub struct AccountNoteError {
    /// Why.
    pub error: io::Error,
    /// Whether a note of an earlier login is still there.
    pub stale: bool,
}

impl UserRuntimeDir {
    /// The place of this user below `run`.
    #[must_use]
    pub fn of(run: &Path, login: &Login) -> Self {
        Self {
            uid: login.uid(),
            user: run.join("users").join(login.as_str()),
            box_dir: run.join("boxes").join(login.as_str()),
            told: run.join("accounts").join(login.as_str()),
        }
    }

    /// Makes directories and locks where they are missing. For root.
    ///
    /// # Errors
    /// What the file system says.
    pub fn prepare(&self) -> io::Result<()> {
        directory(&self.user, 0o711)?;
        directory(&self.box_dir, 0o711)?;
        // The parent of what boxes see is closed, so that nobody on the host gets in.
        if let Some(parent) = self.box_dir.parent() {
            fs::set_permissions(parent, Permissions::from_mode(0o700))?;
        }
        open(&self.state())?;
        // The one that sessions look for comes last: where it is theirs, nothing is missing.
        for lock in [self.wake(), self.ask(), self.live()] {
            let owner = Some(rustix::fs::Uid::from_raw(self.uid));
            rustix::fs::fchown(&open(&lock)?, owner, Some(rustix::fs::Gid::from_raw(GID)))?;
        }
        Ok(())
    }

    /// Whether [`Self::prepare`] has nothing to make.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        [self.live(), self.wake(), self.ask(), self.state()].iter().all(|lock| lock.exists())
    }

    /// Removes all of it; for a user whom nobody will ask for again.
    ///
    /// # Errors
    /// What the file system says; that something was not there is fine.
    pub fn remove(&self) -> io::Result<()> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        gone(fs::remove_file(&self.told))?;
        gone(fs::remove_dir_all(&self.user))?;
        gone(fs::remove_dir_all(&self.box_dir))
    }

    /// The directory that the box sees at `/run/sshbox`.
    #[must_use]
    pub fn box_dir(&self) -> &Path {
        &self.box_dir
    }

    /// The socket at which the box's init takes sessions.
    #[must_use]
    pub fn init_socket(&self) -> PathBuf {
        self.user.join("init.sock")
    }

    /// The socket at which the box's init fetches the listening `init.sock`.
    #[must_use]
    pub fn boot_socket(&self) -> PathBuf {
        self.box_dir.join("boot.sock")
    }

    /// Lets only this user connect to their `init.sock`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn give_init_socket(&self) -> io::Result<()> {
        let path = self.init_socket();
        chown(&path, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(GID)))?;
        fs::set_permissions(path, Permissions::from_mode(0o600))
    }

    /// Lets the box's user, whoever that is, connect to `boot.sock`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn give_boot_socket(&self) -> io::Result<()> {
        fs::set_permissions(self.boot_socket(), Permissions::from_mode(0o666))
    }

    /// Says that somebody is there, for as long as the lock is held. Waits while the box is
    /// being stopped.
    ///
    /// # Errors
    /// `NotFound` when this user never had a box since boot, `TimedOut`, or what the kernel says.
    pub fn lock_live_shared(&self, patience: Duration) -> io::Result<LockGuard> {
        let file = handed_over(&self.live())?;
        wait(patience, || file.try_lock_shared())?;
        Ok(LockGuard(file))
    }

    /// Waits for one's turn to have the box started: one session of a user at a time does.
    ///
    /// # Errors
    /// `TimedOut`, or what the kernel says.
    pub fn turn_to_wake(&self, patience: Duration) -> io::Result<WakeTurn> {
        turn(&self.wake(), patience)
    }

    /// Waits for one's turn to say a word to `sshbox-wake`: one of a user at a time does, so that
    /// nobody fills the places of all. Another lock than the one above, for a box whose start
    /// hangs can still be looked at.
    ///
    /// # Errors
    /// `NotFound` when this user never had a box since boot, `TimedOut`, or what the kernel says.
    pub fn turn_to_ask(&self, patience: Duration) -> io::Result<WakeTurn> {
        turn(&self.ask(), patience)
    }

    /// Claims that nobody is there; `None` when somebody is. For the reaper.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn try_lock_live(&self) -> io::Result<Option<LockGuard>> {
        attempt(open(&self.live())?)
    }

    /// Claims the right to start or stop the box. For root.
    ///
    /// # Errors
    /// `TimedOut`, or what the kernel says.
    pub fn lock_state(&self, patience: Duration) -> io::Result<LockGuard> {
        let file = open(&self.state())?;
        wait(patience, || file.try_lock())?;
        Ok(LockGuard(file))
    }

    /// The same without waiting; `None` when somebody else is at it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn try_lock_state(&self) -> io::Result<Option<LockGuard>> {
        attempt(open(&self.state())?)
    }

    /// When somebody was last known to be there, since boot; `None` when that is not known.
    ///
    /// # Errors
    /// What the file system says.
    pub fn last_presence(&self) -> io::Result<Option<Duration>> {
        let text = fs::read_to_string(self.live())?;
        Ok(text.strip_suffix('\n').and_then(|text| text.parse().ok()).map(Duration::from_millis))
    }

    /// Writes down that somebody was there at `moment`. For root, who may have no lock.
    ///
    /// # Errors
    /// What the file system says.
    pub fn record_presence(&self, moment: Duration) -> io::Result<()> {
        write_moment(&open(&self.live())?, moment)
    }

    /// Tells the box the login's name, as a line of `passwd(5)`. For root.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_passwd_entry(&self, line: &str) -> io::Result<()> {
        atomic::replace(atomic::directory(&self.box_dir)?, "passwd", line.as_bytes(), 0o644, None)
    }

    /// Gives the box its host key, for its own user alone to read. For root.
    ///
    /// # Errors
    /// What the file system says; a box that runs keeps the key that it has.
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

    /// What a person is told of the box at the first login, for its init to show. For root.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_first_words(&self, words: &str) -> io::Result<()> {
        atomic::replace(atomic::directory(&self.box_dir)?, "first-words", words.as_bytes(), 0o644, None)
    }

    /// Writes down whose box runs now: the id of the account. For root.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_box_account(&self, account: &str) -> io::Result<()> {
        atomic::replace(
            atomic::directory(&self.user)?,
            "account",
            format!("{account}\n").as_bytes(),
            0o644,
            None,
        )
    }

    /// Whether a box of this user has run since the host started.
    #[must_use]
    pub fn has_run_since_boot(&self) -> bool {
        self.user.join("account").exists()
    }

    /// Whether the box that runs was started for the account that has just logged in, as far
    /// as is known: a name may have been deleted and given to somebody else meanwhile.
    #[must_use]
    pub fn box_is_of_login_account(&self) -> bool {
        let box_of = fs::read(self.user.join("account"));
        let login_of = fs::read(&self.told);
        let (Ok(box_of), Ok(login_of)) = (box_of, login_of) else { return false };
        box_of == login_of && box_of.ends_with(b"\n")
    }

    /// Writes down which account logs in now. For `sshbox-keys`.
    ///
    /// # Errors
    /// What the file system says; then there is no note, unless that could not be removed either.
    pub fn write_login_account(&self, account: &str) -> Result<(), AccountNoteError> {
        let note = format!("{account}\n");
        if fs::read(&self.told).is_ok_and(|known| known == note.as_bytes()) {
            return Ok(());
        }
        let write = || {
            let (Some(dir), Some(name)) = (self.told.parent(), self.told.file_name()) else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            atomic::replace(atomic::directory(dir)?, &name.to_string_lossy(), note.as_bytes(), 0o644, None)
        };
        write().map_err(|error| {
            // The note of another account must not stand for this one.
            let removed = fs::remove_file(&self.told);
            let stale = removed.is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
            AccountNoteError { error, stale: stale && self.told.exists() }
        })
    }

    /// Writes down why the box is being stopped, or was, for its user to be told. For root.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_stop_record(&self, moment: Duration, reason: &str) -> io::Result<()> {
        self.replace_stop_record(&StopRecord { moment, reason: reason.to_owned(), over: false })
    }

    /// Writes down that the box runs again: what is told of its end is from now on the past.
    /// For root.
    ///
    /// # Errors
    /// What the file system says.
    pub fn mark_restarted(&self) -> io::Result<()> {
        match self.stop_record() {
            Some(end) if !end.over => self.replace_stop_record(&StopRecord { over: true, ..end }),
            _ => Ok(()),
        }
    }

    /// Why the box was stopped last, unless its user has been told.
    #[must_use]
    pub fn stop_record(&self) -> Option<StopRecord> {
        StopRecord::parse(&fs::read_to_string(self.ended()).ok()?)
    }

    /// The same, as it is shown.
    #[must_use]
    pub fn last_stop(&self, now: Duration) -> Option<LastStop> {
        let StopRecord { moment, reason, .. } = self.stop_record()?;
        Some(LastStop { seconds_ago: now.saturating_sub(moment).as_secs(), reason })
    }

    /// The same, for the last time.
    #[must_use]
    pub fn take_stop_record(&self) -> Option<StopRecord> {
        let end = self.stop_record()?;
        // It is the user's own file in root's directory: it can be emptied, not removed.
        OpenOptions::new().write(true).truncate(true).custom_flags(nofollow()).open(self.ended()).ok()?;
        Some(end)
    }

    fn replace_stop_record(&self, end: &StopRecord) -> io::Result<()> {
        let owner = Some((self.uid, GID));
        atomic::replace(atomic::directory(&self.user)?, ENDED, end.to_string().as_bytes(), 0o600, owner)
    }

    /// How many sessions are open: shared holders of `live.lock`, as the kernel lists them.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sessions(&self) -> io::Result<usize> {
        let lock = fs::metadata(self.live())?;
        let (dev, ino) = (lock.dev(), lock.ino());
        // proc_locks(5): "1: FLOCK ADVISORY READ pid major:minor:inode start end".
        let file = format!("{:02x}:{:02x}:{ino}", rustix::fs::major(dev), rustix::fs::minor(dev));
        let locks = fs::read_to_string("/proc/locks")?;
        let held = |line: &&str| {
            let mut words = line.split_ascii_whitespace().skip(1);
            // One that is only waited for has "->" in front.
            words.next() == Some("FLOCK") && words.nth(1) == Some("READ") && words.nth(1) == Some(&*file)
        };
        Ok(locks.lines().filter(held).count())
    }

    fn live(&self) -> PathBuf {
        self.user.join("live.lock")
    }

    fn ended(&self) -> PathBuf {
        self.user.join(ENDED)
    }

    fn wake(&self) -> PathBuf {
        self.user.join("wake.lock")
    }

    fn ask(&self) -> PathBuf {
        self.user.join("ask.lock")
    }

    fn state(&self) -> PathBuf {
        self.user.join("state.lock")
    }
}

/// Where the keys of visitors lie. It outlives a reboot: what a doctor that was killed has left can
/// be found by it.
pub const INVITATIONS: &str = "/var/lib/sshbox/doctor";

/// The file with the key of this visitor, if there is such a visitor: root alone can make it, and
/// `sshbox doctor` does for the time of one login.
#[must_use]
pub fn invitation(login: &Login) -> Option<PathBuf> {
    let path = Path::new(INVITATIONS).join(login.as_str());
    (login.as_str().starts_with(VISITOR) && path.exists()).then_some(path)
}

/// The only doctor; `None` when there is one already.
///
/// # Errors
/// What the kernel says.
pub fn doctor_lock(run: &Path) -> io::Result<Option<LockGuard>> {
    attempt(open(&run.join("doctor.lock"))?)
}

/// One at a time on the whole host: for what Docker would do twice.
///
/// # Errors
/// `TimedOut`, or what the kernel says.
pub fn host_lock(run: &Path, patience: Duration) -> io::Result<LockGuard> {
    let file = open(&run.join("host.lock"))?;
    wait(patience, || file.try_lock())?;
    Ok(LockGuard(file))
}

/// Whether a reaper is at work. Makes no file and keeps no lock.
///
/// # Errors
/// What the kernel says.
pub fn reaper_at_work(run: &Path) -> io::Result<bool> {
    match File::open(run.join("reap.lock")) {
        Ok(lock) => Ok(attempt(lock)?.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The only reaper; `None` when there is one already.
///
/// # Errors
/// What the kernel says.
pub fn reaper_lock(run: &Path) -> io::Result<Option<LockGuard>> {
    attempt(open(&run.join("reap.lock"))?)
}

impl LockGuard {
    /// Writes the moment into the lock that is held.
    ///
    /// # Errors
    /// What the file system says.
    pub fn record_presence(&self, moment: Duration) -> io::Result<()> {
        write_moment(&self.0, moment)
    }
}

/// Of one width, so that a later moment overwrites an earlier one in one step.
fn write_moment(file: &File, moment: Duration) -> io::Result<()> {
    file.write_all_at(format!("{:020}\n", moment.as_millis()).as_bytes(), 0)?;
    // Behind it nothing may be left of what was longer and no moment.
    file.set_len(21)
}

fn turn(lock: &Path, patience: Duration) -> io::Result<WakeTurn> {
    let file = handed_over(lock)?;
    let began = Instant::now();
    wait(patience, || file.try_lock())?;
    Ok(WakeTurn { waited: began.elapsed() >= RETRY, _held: LockGuard(file) })
}

fn attempt(file: File) -> io::Result<Option<LockGuard>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(LockGuard(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn wait(patience: Duration, mut attempt: impl FnMut() -> Result<(), TryLockError>) -> io::Result<()> {
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

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow())
        .open(path)
}

/// Opens a lock of a session. One that root has made and not handed over yet, or never since it was
/// killed, is as good as none: `NotFound`.
fn handed_over(lock: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(nofollow()).open(lock);
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::ErrorKind::NotFound.into(),
        _ => error,
    })
}

fn nofollow() -> i32 {
    nix::fcntl::OFlag::O_NOFOLLOW.bits()
}

fn directory(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.raw_os_error() != Some(Errno::EEXIST as i32) => return Err(error),
        _ => {}
    }
    // The umask may have taken bits away, now or in a program that was killed then.
    if fs::symlink_metadata(path)?.mode() & 0o7777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> UserRuntimeDir {
        fs::create_dir_all(dir.join("users")).unwrap();
        fs::create_dir_all(dir.join("boxes")).unwrap();
        let place = UserRuntimeDir::of(dir, &Login::parse(b"alice").unwrap());
        place.prepare().unwrap();
        place.prepare().unwrap();
        place
    }

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn sessions_share_and_the_reaper_stays_out() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let first = place.lock_live_shared(NOW).unwrap();
        let second = place.lock_live_shared(NOW).unwrap();
        assert!(place.try_lock_live().unwrap().is_none());
        drop(first);
        assert!(place.try_lock_live().unwrap().is_none());
        drop(second);
        let claimed = place.try_lock_live().unwrap().unwrap();
        assert_eq!(place.lock_live_shared(NOW).unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(claimed);
        place.lock_live_shared(NOW).unwrap();
    }

    #[test]
    fn one_transition_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let held = place.lock_state(NOW).unwrap();
        assert!(place.try_lock_state().unwrap().is_none());
        assert_eq!(place.lock_state(NOW).unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(held);
        assert!(place.try_lock_state().unwrap().is_some());
    }

    #[test]
    fn f26_a_torn_moment_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        assert_eq!(place.last_presence().unwrap(), None);
        place.record_presence(Duration::from_secs(90_000)).unwrap();
        place.lock_live_shared(NOW).unwrap().record_presence(Duration::from_secs(7)).unwrap();
        assert_eq!(place.last_presence().unwrap(), Some(Duration::from_secs(7)));
        for torn in ["0000", "", "x\n", "-1\n", "no moment, and longer than one\n"] {
            fs::write(place.live(), torn).unwrap();
            assert_eq!(place.last_presence().unwrap(), None, "{torn}");
            // The next moment replaces it, or its box would never be idle for long enough.
            place.record_presence(Duration::from_secs(7)).unwrap();
            assert_eq!(place.last_presence().unwrap(), Some(Duration::from_secs(7)), "{torn}");
        }
    }

    #[test]
    fn f32_a_directory_that_was_not_opened_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        fs::set_permissions(dir.path().join("users/alice"), Permissions::from_mode(0o700)).unwrap();
        place.prepare().unwrap();
        assert_eq!(fs::metadata(dir.path().join("users/alice")).unwrap().mode() & 0o7777, 0o711);
    }

    #[test]
    fn f32_a_torn_note_says_nothing_of_an_account() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        fs::create_dir(dir.path().join("accounts")).unwrap();
        place.write_box_account("42").unwrap();
        place.write_login_account("42").unwrap();
        assert!(place.box_is_of_login_account());
        for torn in ["", "4", "42"] {
            fs::write(dir.path().join("accounts/alice"), torn).unwrap();
            fs::write(dir.path().join("users/alice/account"), torn).unwrap();
            assert!(!place.box_is_of_login_account(), "{torn}");
            place.write_login_account("42").unwrap();
            place.write_box_account("42").unwrap();
            assert!(place.box_is_of_login_account(), "{torn}");
        }
        place.write_login_account("43").unwrap();
        assert!(!place.box_is_of_login_account());
    }

    #[test]
    fn a18_a_note_that_cannot_be_replaced_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        fs::create_dir(dir.path().join("accounts")).unwrap();
        place.write_box_account("42").unwrap();
        place.write_login_account("42").unwrap();
        // The new note cannot be made where a directory stands.
        fs::create_dir(dir.path().join("accounts/.alice.new")).unwrap();
        let untold = place.write_login_account("43").unwrap_err();
        assert!(!untold.stale && !place.box_is_of_login_account(), "{untold:?}");
    }

    #[test]
    fn f32_the_end_of_a_box_is_whole_or_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        place.write_stop_record(Duration::from_secs(7), "an admin stopped it").unwrap();
        place.mark_restarted().unwrap();
        let end = place.stop_record().unwrap();
        assert_eq!(
            (end.moment, &*end.reason, end.over),
            (Duration::from_secs(7), "an admin stopped it", true)
        );
        assert_eq!(fs::metadata(place.ended()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(place.take_stop_record(), Some(end));
        assert_eq!(place.stop_record(), None);
        for torn in ["", "7000 now an adm", "7000 now"] {
            fs::write(place.ended(), torn).unwrap();
            assert_eq!(place.stop_record(), None, "{torn}");
        }
    }

    #[test]
    fn who_never_had_a_box_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let place = UserRuntimeDir::of(dir.path(), &Login::parse(b"bob").unwrap());
        assert_eq!(place.lock_live_shared(NOW).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
