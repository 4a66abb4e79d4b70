//! The slots of a user's open sessions and connections: each holds one byte of `live.lock` locked, far behind
//! its content. The kernel releases the lock of a process that dies, so no crash can make the number wrong, and
//! it tells who holds a byte of one file without a look at the locks of others, which every box can add to.
//! The files `sessions` and `connections` have a record of fixed length for each slot: the connection that is in
//! it, or whose session is, or was last. A session writes the first, root the second.
//!
//! The lock is an open-file-description lock (`fcntl_locking(2)`) on the descriptor that has the shared
//! flock(2) lock. Locks of these two kinds do not affect each other.

use super::UserRuntimeDir;
use super::locks::{LockGuard, nofollow};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most sessions that a user can have open, whatever the configuration says.
pub const SESSIONS_MAX: u32 = 1000;

/// How many sessions a user may have open if nothing says otherwise.
pub const SESSIONS_DEFAULT: u32 = 50;

/// The most connections that a user can have open, whatever the configuration says.
pub const CONNECTIONS_MAX: u32 = 1000;

/// How many connections a user may have open if nothing says otherwise.
pub const CONNECTIONS_DEFAULT: u32 = 20;

/// The slots of one kind.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Position of the byte of the first slot.
    first_byte: u32,
    /// How many slots there are.
    count: u32,
}

const SESSIONS: Kind = Kind { first_byte: 4096, count: SESSIONS_MAX };
const CONNECTIONS: Kind = Kind { first_byte: 8192, count: CONNECTIONS_MAX };

/// Length of a record, its newline included.
const RECORD: usize = 128;

/// The slot of a session or connection. It is taken as long as the [`LockGuard`] that took it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

/// What is recorded about a connection. Whoever reads it checks it: the file of sessions belongs to the login's
/// uid, and the connection may have ended long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRecord {
    /// Pid of the sshd that serves the connection under the login's uid, or of its parent, the sshd that
    /// runs as root.
    pub pid: i32,
    /// Start of that process, since boot.
    pub began: Duration,
    /// Fingerprint of the key that logged in, if sshd exposes it.
    pub fingerprint: Option<String>,
}

impl ConnectionRecord {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let mut words = line.split_ascii_whitespace();
        let pid = words.next()?.parse().ok().filter(|pid| *pid > 0)?;
        let began = Duration::from_millis(words.next()?.parse().ok()?);
        Some(Self { pid, began, fingerprint: words.next().filter(|key| *key != "-").map(str::to_owned) })
    }
}

impl fmt::Display for ConnectionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.fingerprint.as_deref().unwrap_or("-");
        write!(f, "{} {} {fingerprint}", self.pid, self.began.as_millis())
    }
}

impl LockGuard {
    /// Takes the first free slot of a session among the first `most`; `None` if there is none.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn take_session_slot(&self, most: u32) -> io::Result<Option<Slot>> {
        self.take(SESSIONS, most)
    }

    /// The same for a connection.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn take_connection_slot(&self, most: u32) -> io::Result<Option<Slot>> {
        self.take(CONNECTIONS, most)
    }

    fn take(&self, kind: Kind, most: u32) -> io::Result<Option<Slot>> {
        for slot in 0..most.min(kind.count) {
            let lock = bytes(kind, libc::F_WRLCK, &(slot..slot.saturating_add(1)));
            match fcntl(&self.0, FcntlArg::F_OFD_SETLK(&lock)) {
                Ok(_) => return Ok(Some(Slot(slot))),
                Err(Errno::EAGAIN | Errno::EACCES) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

impl UserRuntimeDir {
    /// The number of open sessions.
    ///
    /// # Errors
    /// The I/O error. `NotFound` means that the user has had no container since boot.
    pub fn open_sessions(&self) -> io::Result<usize> {
        Ok(held(read_only(&self.live_lock())?, SESSIONS)?.len())
    }

    /// The number of open connections.
    ///
    /// # Errors
    /// As [`Self::open_sessions`].
    pub fn open_connections(&self) -> io::Result<usize> {
        Ok(held(read_only(&self.live_lock())?, CONNECTIONS)?.len())
    }

    /// Records the connection of the session in this slot. For the session itself.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_session_record(&self, slot: Slot, record: &ConnectionRecord) -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(nofollow()).open(self.sessions_file())?;
        write(&file, slot, record)
    }

    /// Records the connection of this slot. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_connection_record(&self, slot: Slot, record: &ConnectionRecord) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).mode(0o644).custom_flags(nofollow());
        write(&options.open(self.connections_file())?, slot, record)
    }

    /// The connections that were recorded since boot, each once for its sessions and once for itself. Most have
    /// ended; an open one is among them until others have used its slots. An invalid record is left out.
    ///
    /// # Errors
    /// The I/O error. `NotFound` means that the user has had no container since boot.
    pub fn connection_records(&self) -> io::Result<Vec<ConnectionRecord>> {
        let mut text = Vec::new();
        read_only(&self.sessions_file())?.take(offset(SESSIONS_MAX)).read_to_end(&mut text)?;
        // Whole records only, so that those of the other file are found behind them.
        text.truncate(text.len() / RECORD * RECORD);
        match read_only(&self.connections_file()) {
            Ok(file) => drop(file.take(offset(CONNECTIONS_MAX)).read_to_end(&mut text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut records = Vec::new();
        for record in text.chunks(RECORD).filter_map(ConnectionRecord::parse) {
            if !records.contains(&record) {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// One record for each slot of a session.
    pub(super) fn sessions_file(&self) -> PathBuf {
        self.host_dir.join("sessions")
    }

    /// One record for each slot of a connection.
    fn connections_file(&self) -> PathBuf {
        self.host_dir.join("connections")
    }
}

fn write(file: &File, slot: Slot, record: &ConnectionRecord) -> io::Result<()> {
    let line = format!("{:<width$}\n", record.to_string(), width = RECORD - 1);
    file.write_all_at(line.as_bytes(), offset(slot.0))
}

fn offset(slot: u32) -> u64 {
    u64::from(slot) * RECORD as u64
}

fn read_only(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nofollow() | OFlag::O_NONBLOCK.bits()).open(path)
}

/// The slots of one kind that others hold. Asks the kernel for one lock of a range, and then for those before and behind
/// it: twice as many questions as there are locks.
fn held(file: impl AsFd, kind: Kind) -> io::Result<Vec<u32>> {
    let (mut held, mut ranges) = (Vec::new(), Vec::from([Range { start: 0, end: kind.count }]));
    while let Some(range) = ranges.pop() {
        if range.is_empty() {
            continue;
        }
        let mut lock = bytes(kind, libc::F_WRLCK, &range);
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))?;
        if i32::from(lock.l_type) == libc::F_UNLCK {
            continue;
        }
        // The lock may reach beyond the range; a length of 0 reaches to the end of the file.
        let slot = |byte: i64| {
            let slot = byte.saturating_sub(i64::from(kind.first_byte));
            u32::try_from(slot.clamp(range.start.into(), range.end.into())).unwrap_or(range.end)
        };
        let end = if lock.l_len == 0 { i64::MAX } else { lock.l_start.saturating_add(lock.l_len) };
        let found = slot(lock.l_start)..slot(end);
        if found.is_empty() {
            break;
        }
        ranges.push(range.start..found.start);
        ranges.push(found.end..range.end);
        held.extend(found);
    }
    held.sort_unstable();
    Ok(held)
}

/// A lock of this kind on the bytes of these slots.
#[expect(clippy::cast_possible_truncation, reason = "the C library's own constants for these fields")]
fn bytes(kind: Kind, lock: libc::c_int, slots: &Range<u32>) -> libc::flock {
    libc::flock {
        l_type: lock as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: i64::from(kind.first_byte).saturating_add(slots.start.into()),
        l_len: i64::from(slots.end).saturating_sub(slots.start.into()),
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::tests::prepared;
    use crate::soon::soon;
    use std::fs;
    use std::thread;

    fn session(runtime_dir: &UserRuntimeDir, most: u32) -> (LockGuard, Option<Slot>) {
        let guard = runtime_dir.lock_live_shared(Duration::from_secs(5)).unwrap();
        let slot = guard.take_session_slot(most).unwrap();
        (guard, slot)
    }

    fn record(pid: i32) -> ConnectionRecord {
        ConnectionRecord {
            pid,
            began: Duration::from_millis(123_456_780),
            fingerprint: Some("SHA256:/wqoxesgZdYhWspI+0Zta65yzER0nk0AyJ32fjuf1gs".to_owned()),
        }
    }

    #[test]
    fn each_slot_is_one_session_and_a_lock_without_a_slot_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        assert_eq!(runtime_dir.open_sessions().unwrap(), 0);
        let sessions = [(); 3].map(|()| session(&runtime_dir, 50));
        assert_eq!(sessions.iter().map(|(_, slot)| slot.unwrap().0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(runtime_dir.open_sessions().unwrap(), 3);
        let _without = runtime_dir.lock_live_shared(Duration::ZERO).unwrap();
        assert_eq!(runtime_dir.open_sessions().unwrap(), 3);
        let [first, second, third] = sessions;
        drop(second);
        soon(|| runtime_dir.open_sessions().unwrap() == 2);
        assert_eq!(session(&runtime_dir, 50).1.unwrap().0, 1, "the free slot is used again");
        drop((first, third));
        soon(|| runtime_dir.open_sessions().unwrap() == 0);
    }

    #[test]
    fn a17_no_more_sessions_than_allowed_however_many_try_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        let sessions: Vec<_> = thread::scope(|scope| {
            let tries: Vec<_> = (0..40).map(|_| scope.spawn(|| session(&runtime_dir, 10))).collect();
            tries.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let mut slots: Vec<u32> = sessions.iter().filter_map(|(_, slot)| Some((*slot)?.0)).collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..10).collect::<Vec<_>>());
        assert_eq!(runtime_dir.open_sessions().unwrap(), 10);
    }

    #[test]
    fn a_lock_of_any_range_is_counted_within_the_slots() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        let guard = runtime_dir.lock_live_shared(Duration::ZERO).unwrap();
        let mut lock = bytes(SESSIONS, libc::F_WRLCK, &(0..0));
        // From the first byte of the file to its end.
        lock.l_start = 0;
        fcntl(&guard.0, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
        assert_eq!(runtime_dir.open_sessions().unwrap(), SESSIONS_MAX as usize);
        assert_eq!(session(&runtime_dir, 50).1, None);
    }

    #[test]
    fn connections_and_sessions_are_counted_apart() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        let connections = [(); 3].map(|()| {
            let guard = runtime_dir.lock_live_shared(Duration::from_secs(5)).unwrap();
            let slot = guard.take_connection_slot(2).unwrap();
            (guard, slot)
        });
        assert_eq!(connections.each_ref().map(|(_, slot)| slot.map(|slot| slot.0)), [Some(0), Some(1), None]);
        let session = session(&runtime_dir, 1);
        assert!(session.1.is_some());
        assert_eq!((runtime_dir.open_sessions().unwrap(), runtime_dir.open_connections().unwrap()), (1, 2));
        runtime_dir.write_connection_record(connections[1].1.unwrap(), &record(8)).unwrap();
        runtime_dir.write_session_record(session.1.unwrap(), &record(7)).unwrap();
        assert_eq!(runtime_dir.connection_records().unwrap(), [record(7), record(8)]);
        drop((connections, session));
        soon(|| runtime_dir.open_connections().unwrap() == 0);
    }

    #[test]
    fn f26_records_are_those_of_connections_and_a_torn_one_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        let sessions = [(); 3].map(|()| session(&runtime_dir, 50));
        for ((_, slot), pid) in sessions.iter().zip([100, 101, 100]) {
            runtime_dir.write_session_record(slot.unwrap(), &record(pid)).unwrap();
        }
        assert_eq!(runtime_dir.connection_records().unwrap(), [record(100), record(101)]);
        let file = runtime_dir.sessions_file();
        assert_eq!(fs::metadata(&file).unwrap().len(), 3 * RECORD as u64);
        let nameless = ConnectionRecord { fingerprint: None, ..record(7) };
        runtime_dir.write_session_record(sessions[0].1.unwrap(), &nameless).unwrap();
        drop(sessions);
        // The connections may be open without a session.
        assert_eq!(runtime_dir.connection_records().unwrap(), [nameless, record(101), record(100)]);
        for torn in [&b""[..], b"1 2", &[0; 3 * RECORD], &[b'9'; 3 * RECORD], &[0xff; 3 * RECORD]] {
            fs::write(&file, torn).unwrap();
            assert_eq!(runtime_dir.connection_records().unwrap(), []);
        }
    }
}
