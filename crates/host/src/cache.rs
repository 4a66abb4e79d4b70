//! The account cache: the last answer for each user, under `/var/cache/sshbox/`.
//!
//! What cannot be written there is written to `/run/sshbox/accounts/`, where `NAME.json` is called
//! `.NAME.json`: a directory that is missing, read-only or full costs nothing before the next boot.
//! `.void` there is a table of fixed size: which records of the directory no longer hold, though they
//! could not be removed.
//!
//! `NAME.json` holds the account and when it was asked for. `.recent` is one table of fixed
//! size that remembers, for seconds, who was refused or could not be asked: a flood of names
//! leaves no files behind. `.lock` gives each user one flight at a time by a lock on one byte.
//! A file that cannot be understood counts as absent and is replaced by the next answer.

use crate::account::Account;
use crate::config::Span;
use identity::Login;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use serde::{Deserialize, Serialize};
use session::atomic;
use session::clock::Now;
use session::times::later;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Slots of the `recent` table; two users in one slot cost one more question.
const SLOTS: u64 = 4096;

/// Bytes of a slot: a hash of who, when, and what.
const SLOT: usize = 24;

/// Bytes of a slot of the `void` table: a hash of the boot, and when.
const VOID: usize = 16;

/// Longest record that is read, in bytes: twice the longest answer.
const LONGEST: u64 = 512 * 1024;

/// How often a lock that another login holds is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// An account as it was answered, and when it was asked for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Record {
    boot_id: String,
    boottime: Duration,
    wall: Duration,
    /// The account, as the web app would write it.
    pub account: Account,
}

impl Record {
    /// A record of an answer to a question asked at `asked`.
    #[must_use]
    pub fn new(account: Account, asked: &Now) -> Self {
        Self { boot_id: asked.boot_id.clone(), boottime: asked.boottime, wall: asked.wall, account }
    }

    /// When it was asked for, since this boot; `None` if that was before.
    #[must_use]
    pub fn asked(&self, now: &Now) -> Option<Duration> {
        (self.boot_id == now.boot_id && self.boottime <= now.boottime).then_some(self.boottime)
    }

    /// How old it is. Within one boot the clock that nobody can set decides; across a reboot
    /// wall time must, and a record from the future is not believed.
    #[must_use]
    pub fn age(&self, now: &Now) -> Option<Duration> {
        match self.asked(now) {
            Some(asked) => now.boottime.checked_sub(asked),
            None if self.boot_id == now.boot_id => None,
            None => now.wall.checked_sub(self.wall),
        }
    }

    /// Whether it may serve while the web app does not answer.
    #[must_use]
    pub fn serves(&self, now: &Now, stale: Span) -> bool {
        self.age(now).is_some_and(|age| age < stale.0)
    }
}

/// What the last question about somebody without an account came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupOutcome {
    /// The web app said no.
    Refused,
    /// The web app did not answer.
    Failed,
}

/// Serves for what cannot be written to the directory, until the next boot.
const SPARE: &str = "/run/sshbox/accounts";

/// The directory.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    spare: PathBuf,
}

/// One user's place in the queue; given back when dropped, or when the program ends.
#[derive(Debug)]
pub struct Flight {
    _lock: File,
}

impl Cache {
    /// The cache in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), spare: SPARE.into() }
    }

    /// Whether the directory takes an answer: writes a file there and removes it.
    ///
    /// # Errors
    /// What the file system says. Logins go on without it.
    pub fn check(&self) -> io::Result<()> {
        atomic::replace(atomic::directory(&self.dir)?, ".check", &[b'x'; 4096], 0o600, None)?;
        fs::remove_file(self.dir.join(".check"))
    }

    /// Whether this is the first call since the directory last took an answer: so that the journal
    /// says once that it does not. Without `/run/sshbox` each call is the first.
    #[must_use]
    pub fn fails_anew(&self) -> bool {
        let mark = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.mark());
        mark.is_ok() || !self.mark().exists()
    }

    /// Waits until no other login of this user is asking, at most for `patience`.
    ///
    /// # Errors
    /// `TimedOut` when another one asked all the time; else what the file system says.
    pub fn queue(&self, login: &Login, patience: Duration) -> io::Result<Flight> {
        let file = open(&self.dir, ".lock").or_else(|error| open(&self.spare, ".lock").map_err(|_| error))?;
        #[expect(clippy::cast_possible_truncation, reason = "the C library's own constants for these fields")]
        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: libc::off_t::from(login.uid()),
            l_len: 1,
            l_pid: 0,
        };
        let end = later(Instant::now(), patience);
        loop {
            match fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)) {
                Ok(_) => return Ok(Flight { _lock: file }),
                Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) if Instant::now() < end => {
                    thread::sleep(RETRY);
                }
                Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The record of this user. Torn, foreign or empty files count as none.
    #[must_use]
    pub fn read(&self, login: &Login) -> Option<Record> {
        // What is in the spare place could not be written here, so it is newer.
        record(&self.spare_path(login), login)
            .or_else(|| record(&self.path(login), login).filter(|record| !self.is_void(login, record)))
    }

    /// Replaces the record of this user; on failure the old file stays as it was if it says the same,
    /// and the record serves until the next boot.
    ///
    /// # Errors
    /// What the file system says, `ENOSPC` above all.
    pub fn write(&self, login: &Login, new: &Record) -> io::Result<()> {
        let text = serde_json::to_vec(new)?;
        let written = put(&self.dir, &format!("{login}.json"), &text);
        if written.is_ok() {
            let _ = fs::remove_file(self.spare_path(login));
            let _ = fs::remove_file(self.mark());
            return written;
        }
        // A key that is no longer in the account must not return from the old file: not after a boot,
        // which clears the spare place, nor if that is full as well.
        if record(&self.path(login), login).is_some_and(|old| old.account != new.account) {
            let _ = fs::remove_file(self.path(login));
        }
        if put(&self.spare, &format!(".{login}.json"), &text).is_err() {
            let _ = fs::remove_file(self.spare_path(login));
        }
        written
    }

    /// Removes the record of this user, whom the web app refused when it was asked at `asked`.
    ///
    /// # Errors
    /// What the file system says; that there was none is fine. A record in the directory no longer
    /// holds then, nor do older ones of users in the same slot.
    pub fn forget(&self, login: &Login, asked: &Now) -> io::Result<()> {
        let removed = self.remove(login);
        if absent(&self.path(login)) && self.dir.is_dir() {
            return if absent(&self.spare_path(login)) { Ok(()) } else { removed };
        }
        // It is there, or nobody can tell: a directory that is gone may be moved back or mounted again.
        // No file of the user's own, so a flood of names leaves none behind.
        let when = u64::try_from(asked.boottime.as_millis()).unwrap_or(u64::MAX);
        let slot = [boot(&asked.boot_id), when].map(u64::to_le_bytes).concat();
        let _ = open(&self.spare, ".void").and_then(|table| table.write_all_at(&slot, slot_of(login) * 16));
        removed?;
        Err(io::ErrorKind::NotFound.into())
    }

    /// Removes the record of this user, for a name that is never used again. Root may call it.
    ///
    /// # Errors
    /// What the file system says; that there was none is fine.
    pub fn remove(&self, login: &Login) -> io::Result<()> {
        let gone = |path| match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let kept = gone(self.spare_path(login));
        gone(self.path(login)).and(kept)
    }

    /// Whether the web app has refused this user, or one in the same slot, after the record was made.
    fn is_void(&self, login: &Login, record: &Record) -> bool {
        let mut slot = [0; VOID];
        let table = look(&self.spare.join(".void"));
        if table.and_then(|table| table.read_exact_at(&mut slot, slot_of(login) * 16)).is_err() {
            return false;
        }
        let (which, when) = slot.split_at(8);
        let later = which == boot(&record.boot_id).to_le_bytes()
            && when
                .first_chunk()
                .is_some_and(|when| record.boottime.as_millis() > u128::from(u64::from_le_bytes(*when)));
        slot != [0; VOID] && !later
    }

    /// What the last question about this user came to, and when it was asked, since boot.
    #[must_use]
    pub fn recent(&self, login: &Login, now: &Now) -> Option<(LookupOutcome, Duration)> {
        let read = |dir: &Path| {
            let mut slot = [0; SLOT];
            look(&dir.join(".recent")).ok()?.read_exact_at(&mut slot, offset(login)).ok()?;
            outcome(&slot, login, now)
        };
        // The later one counts, for the directory may have failed and recovered.
        [&self.dir, &self.spare].into_iter().filter_map(|dir| read(dir)).max_by_key(|(_, asked)| *asked)
    }

    /// Remembers what a question asked at `asked` came to.
    ///
    /// # Errors
    /// What the file system says; the price is one more question.
    pub fn note(&self, login: &Login, outcome: LookupOutcome, asked: &Now) -> io::Result<()> {
        let when = u64::try_from(asked.boottime.as_millis()).unwrap_or(u64::MAX);
        let what: u64 = match outcome {
            LookupOutcome::Refused => 1,
            LookupOutcome::Failed => 2,
        };
        let slot = [fingerprint(login, asked), when, what].map(u64::to_le_bytes).concat();
        let write = |dir: &Path| open(dir, ".recent")?.write_all_at(&slot, offset(login));
        write(&self.dir).or_else(|error| write(&self.spare).map_err(|_| error))
    }

    fn path(&self, login: &Login) -> PathBuf {
        self.dir.join(format!("{login}.json"))
    }

    fn spare_path(&self, login: &Login) -> PathBuf {
        self.spare.join(format!(".{login}.json"))
    }

    /// There while the directory takes no answer, once that was told.
    fn mark(&self) -> PathBuf {
        self.spare.join(".told")
    }
}

/// One flight per user, so nobody else writes this record.
fn put(dir: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    atomic::replace(atomic::directory(dir)?, name, text, 0o600, None)
}

/// The record in this file, if it holds one of this user.
fn record(path: &Path, login: &Login) -> Option<Record> {
    let file = look(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    let mut record: Record = serde_json::from_slice(&text).ok()?;
    // An earlier version kept it as it was answered.
    let _ = record.account.bound();
    (record.account.user == login.as_str()).then_some(record)
}

/// Whether there is certainly no such file.
fn absent(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Root reads here what another user wrote: no link, no FIFO, no end of the world.
fn look(path: &Path) -> io::Result<File> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn open(dir: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(dir.join(name))
}

/// Reads a slot; `None` if it is of another user or of another boot.
fn outcome(slot: &[u8; SLOT], login: &Login, now: &Now) -> Option<(LookupOutcome, Duration)> {
    let (who, rest) = slot.split_first_chunk::<8>()?;
    let (when, rest) = rest.split_first_chunk::<8>()?;
    let (what, _) = rest.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*who) != fingerprint(login, now) {
        return None;
    }
    let outcome = match u64::from_le_bytes(*what) {
        1 => LookupOutcome::Refused,
        2 => LookupOutcome::Failed,
        _ => return None,
    };
    Some((outcome, Duration::from_millis(u64::from_le_bytes(*when))))
}

fn offset(login: &Login) -> u64 {
    slot_of(login) * 24
}

fn slot_of(login: &Login) -> u64 {
    u64::from(login.uid()) % SLOTS
}

/// A hash of a boot.
fn boot(id: &str) -> u64 {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(id).first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Who and in which boot: times of an earlier boot must not match.
fn fingerprint(login: &Login, now: &Now) -> u64 {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::new().chain_update(&now.boot_id).chain_update(login.as_str()).finalize();
    digest.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::RequestedLimits;

    fn login(name: &str) -> Login {
        Login::parse(name.as_bytes()).unwrap()
    }

    /// A cache whose spare place is missing, unless the test makes it.
    fn cache(dir: &Path) -> Cache {
        Cache { spare: dir.join("spare"), ..Cache::new(dir) }
    }

    fn account(name: &str) -> Account {
        Account {
            user: name.to_owned(),
            id: None,
            active: true,
            keys: vec!["k".to_owned()],
            limits: RequestedLimits::default(),
            idle_timeout: None,
            image: None,
        }
    }

    fn at(boot: &str, boottime: u64, wall: u64) -> Now {
        Now {
            boot_id: boot.to_owned(),
            boottime: Duration::from_secs(boottime),
            wall: Duration::from_secs(wall),
        }
    }

    const DAY: Span = Span(Duration::from_secs(86_400));
    const YEAR: u64 = 365 * 86_400;

    #[test]
    fn f16_a_clock_that_jumps_neither_kills_nor_revives_a_record() {
        let record = Record::new(account("alice"), &at("a", 1000, YEAR * 50));
        for wall in [YEAR * 49, YEAR * 50 - 3600, YEAR * 50 + 3600, YEAR * 51] {
            assert!(record.serves(&at("a", 1000 + 3600, wall), DAY));
            assert!(!record.serves(&at("a", 1000 + 86_400, wall), DAY));
        }
    }

    #[test]
    fn p3_after_a_reboot_wall_time_decides_and_the_future_is_not_believed() {
        let record = Record::new(account("alice"), &at("a", 90_000, YEAR));
        assert!(record.serves(&at("b", 10, YEAR + 3600), DAY));
        assert!(!record.serves(&at("b", 10, YEAR + 86_400), DAY));
        assert!(!record.serves(&at("b", 10, YEAR - 1), DAY));
    }

    #[test]
    fn p3_stale_zero_never_serves() {
        let now = at("a", 1000, YEAR);
        assert!(!Record::new(account("alice"), &now).serves(&now, Span(Duration::ZERO)));
    }

    #[test]
    fn a_record_is_written_read_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let (alice, record) = (login("alice"), Record::new(account("alice"), &at("a", 1, 1)));
        assert_eq!(cache.read(&alice), None);
        cache.write(&alice, &record).unwrap();
        assert_eq!(cache.read(&alice), Some(record));
        cache.forget(&alice, &at("a", 2, 2)).unwrap();
        cache.forget(&alice, &at("a", 2, 2)).unwrap();
        assert_eq!(cache.read(&alice), None);
    }

    #[test]
    fn f26_torn_empty_and_foreign_records_count_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let record = serde_json::to_string(&Record::new(account("bob"), &at("a", 1, 1))).unwrap();
        for text in ["", "{", "null", &record[..record.len() / 2], &record] {
            fs::write(dir.path().join("alice.json"), text).unwrap();
            assert_eq!(cache.read(&login("alice")), None, "{text}");
        }
    }

    #[test]
    fn a_fifo_or_a_link_in_place_of_a_record_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let path = dir.path().join("alice.json");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(cache.read(&login("alice")), None);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert_eq!(cache.read(&login("alice")), None);
    }

    #[test]
    fn f13_when_nothing_can_be_written_the_old_record_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let alice = login("alice");
        let record = Record::new(account("alice"), &at("a", 1, 1));
        cache.write(&alice, &record).unwrap();
        // The new file cannot be made where a directory stands.
        fs::create_dir(dir.path().join(".alice.json.new")).unwrap();
        assert!(cache.write(&alice, &Record::new(account("alice"), &at("a", 2, 2))).is_err());
        assert_eq!(cache.read(&alice), Some(record));
    }

    #[test]
    fn f33_a_directory_that_cannot_be_used_is_replaced_by_memory_and_told_once() {
        let (dir, spare) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let missing = dir.path().join("missing");
        let cache = Cache { dir: missing.clone(), spare: spare.path().to_owned() };
        let (alice, now) = (login("alice"), at("a", 2, 2));
        let record = Record::new(account("alice"), &now);
        cache.check().unwrap_err();
        let flight = cache.queue(&alice, Duration::ZERO).unwrap();
        assert_eq!(cache.queue(&alice, Duration::ZERO).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(cache.write(&alice, &record).is_err() && cache.fails_anew() && !cache.fails_anew());
        assert_eq!(cache.read(&alice), Some(record.clone()));
        cache.note(&alice, LookupOutcome::Failed, &now).unwrap();
        assert_eq!(cache.recent(&alice, &now), Some((LookupOutcome::Failed, now.boottime)));
        drop(flight);
        // It is there again.
        fs::create_dir(&missing).unwrap();
        cache.check().unwrap();
        let later = at("a", 3, 3);
        let record = Record::new(account("alice"), &later);
        cache.write(&alice, &record).unwrap();
        assert_eq!(cache.read(&alice), Some(record));
        assert!(!spare.path().join(".alice.json").exists() && cache.fails_anew());
        cache.note(&alice, LookupOutcome::Refused, &later).unwrap();
        assert_eq!(cache.recent(&alice, &later), Some((LookupOutcome::Refused, later.boottime)));
    }

    #[test]
    fn p3_f33_a_no_is_an_answer_when_the_old_record_cannot_be_removed() {
        let (dir, spare) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cache = Cache { dir: dir.path().join("cache"), spare: spare.path().to_owned() };
        let (alice, aside) = (login("alice"), dir.path().join("aside"));
        let record = |seconds| Record::new(account("alice"), &at("a", seconds, seconds));
        fs::create_dir(&cache.dir).unwrap();
        for old in [record(1), Record::new(account("alice"), &at("an earlier boot", 9, 1))] {
            cache.write(&alice, &old).unwrap();
            // Moved away and back, as an admin makes room.
            fs::rename(&cache.dir, &aside).unwrap();
            cache.forget(&alice, &at("a", 2, 2)).unwrap_err();
            fs::rename(&aside, &cache.dir).unwrap();
            assert_eq!(cache.read(&alice), None, "{old:?}");
        }
        cache.write(&alice, &record(3)).unwrap();
        assert_eq!(cache.read(&alice), Some(record(3)));
    }

    #[test]
    fn p3_f33_no_old_record_returns_from_either_place() {
        let (dir, spare) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cache = Cache { dir: dir.path().to_owned(), spare: spare.path().join("full") };
        let alice = login("alice");
        let old = Record::new(account("alice"), &at("a", 1, 1));
        let without_key = Account { keys: Vec::new(), ..account("alice") };
        cache.write(&alice, &old).unwrap();
        // No room in either place: a record that says something else is worse than none.
        fs::create_dir(dir.path().join(".alice.json.new")).unwrap();
        cache.write(&alice, &Record::new(without_key.clone(), &at("a", 2, 2))).unwrap_err();
        assert_eq!(cache.read(&alice), None);
        fs::create_dir(&cache.spare).unwrap();
        cache.write(&alice, &old).unwrap_err();
        assert_eq!(cache.read(&alice), Some(old));
        fs::create_dir(cache.spare.join("..alice.json.new")).unwrap();
        cache.write(&alice, &Record::new(without_key, &at("a", 3, 3))).unwrap_err();
        assert_eq!(cache.read(&alice), None);
    }

    #[test]
    fn f33_strangers_leave_no_file_each_while_the_directory_cannot_be_used() {
        let (dir, spare) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cache = Cache { dir: dir.path().join("missing"), spare: spare.path().to_owned() };
        for n in 0..10_000 {
            cache.forget(&login(&format!("u{n}")), &at("a", 1, 1)).unwrap_err();
        }
        assert_eq!(fs::read_dir(&spare).unwrap().count(), 1);
    }

    #[test]
    fn f33_without_any_place_to_write_each_call_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(&dir.path().join("missing"));
        assert_eq!(cache.queue(&login("alice"), Duration::ZERO).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(cache.write(&login("alice"), &Record::new(account("alice"), &at("a", 1, 1))).is_err());
        assert!(cache.fails_anew() && cache.fails_anew());
        assert_eq!(cache.read(&login("alice")), None);
    }

    #[test]
    fn a_hundred_thousand_strangers_leave_one_small_file() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let now = at("a", 7, 7);
        for n in 0..100_000 {
            cache.note(&login(&format!("u{n}")), LookupOutcome::Refused, &now).unwrap();
        }
        assert_eq!(cache.recent(&login("u99999"), &now), Some((LookupOutcome::Refused, now.boottime)));
        assert_eq!(cache.recent(&login("u99999"), &at("b", 7, 7)), None);
        let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(files.len(), 1);
        assert!(files[0].metadata().unwrap().len() <= SLOTS * SLOT as u64);
    }

    #[test]
    fn one_flight_per_user_and_none_waits_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        let flight = cache.queue(&login("alice"), Duration::ZERO).unwrap();
        let second = cache.queue(&login("alice"), Duration::from_millis(30));
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::TimedOut);
        cache.queue(&login("bob"), Duration::ZERO).unwrap();
        drop(flight);
        cache.queue(&login("alice"), Duration::ZERO).unwrap();
    }
}
