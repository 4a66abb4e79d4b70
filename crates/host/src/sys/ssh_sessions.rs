//! The sessions of this host as the kernel shows them: one `sshbox-shell` each, under the uid
//! of its user. For root. What a process's environment holds came from a client in part.

use identity::{Login, UID_BASE, UID_MASK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use session::clock;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// The program of a session.
const SHELL: &str = "/usr/lib/sshbox/sshbox-shell";

/// What the kernel adds to the path of a program that an upgrade has replaced.
const DELETED: &[u8] = b" (deleted)";

/// Longest environment that is read, in bytes; a longer one is cut.
const ENVIRONMENT: u64 = 1 << 20;

/// How long a session may take to end after SIGHUP, and then after SIGKILL, in milliseconds.
const GRACE: u16 = 2000;

/// Which session: the process, and when it began, so that a later process with the same
/// number is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    pid: i32,
    began: Duration,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.pid, self.began.as_millis())
    }
}

impl FromStr for Id {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (pid, began) = text.split_once('-')?;
            let began = u64::from_str_radix(began, 16).ok()?;
            Some(Self { pid: pid.parse().ok()?, began: Duration::from_millis(began) })
        };
        parse().filter(|id| id.pid > 0).ok_or("expected an id as `sshbox sessions` shows it")
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which one.
    pub id: Id,
    /// Whose.
    pub login: Login,
    /// Address of the client, as sshd says.
    pub from: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// What the client wants to run, as it came; `None` for a login shell.
    pub command: Option<Vec<u8>>,
}

impl Session {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.id.pid
    }

    /// When it began, since boot.
    #[must_use]
    pub fn began(&self) -> Duration {
        self.id.began
    }
}

/// All sessions, the oldest first.
///
/// # Errors
/// What the file system says of `/proc`; a session that ends meanwhile is none.
pub fn all() -> io::Result<Vec<Session>> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut sessions: Vec<_> = pids.filter_map(look).collect();
    sessions.sort_by_key(|session| (session.id.began, session.id.pid));
    Ok(sessions)
}

/// Ends a session: its program is hung up, as when the client vanishes. Returns it; `None`
/// when there is none of this id.
///
/// # Errors
/// What the kernel says; `TimedOut` when the process does not even die by SIGKILL.
pub fn end(id: Id) -> io::Result<Option<Session>> {
    let Some(pid) = Pid::from_raw(id.pid) else { return Ok(None) };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        other => other?,
    };
    // The descriptor holds whatever process has the number now. If that is the one of the id,
    // which began earlier, then so was the one that was opened: numbers do not go back.
    let Some(session) = look(id.pid).filter(|session| session.id == id) else {
        return Ok(None);
    };
    for signal in [Signal::HUP, Signal::KILL] {
        match pidfd_send_signal(&process, signal) {
            Err(rustix::io::Errno::SRCH) => return Ok(Some(session)),
            other => other?,
        }
        if ends(&process)? {
            return Ok(Some(session));
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn ends(process: &OwnedFd) -> io::Result<bool> {
    Ok(poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::from(GRACE))? > 0)
}

/// The session that this process is, if it is one.
fn look(pid: i32) -> Option<Session> {
    let at = |name: &str| format!("/proc/{pid}/{name}");
    let program = fs::read_link(at("exe")).ok()?;
    // One in another place for processes belongs to an sshbox in there, not to this host's.
    let here = fs::read_link("/proc/self/ns/pid").ok()?;
    if !is_shell(&program) || fs::read_link(at("ns/pid")).ok()? != here {
        return None;
    }
    let began = clock::start_of(pid)?;
    let uid = real_uid(&fs::read_to_string(at("status")).ok()?)?;
    let mut environment = Vec::new();
    File::open(at("environ")).ok()?.take(ENVIRONMENT).read_to_end(&mut environment).ok()?;
    session(Id { pid, began }, uid, &environment)
}

fn is_shell(program: &Path) -> bool {
    let program = program.as_os_str().as_bytes();
    program.strip_suffix(DELETED).unwrap_or(program) == SHELL.as_bytes()
}

/// Reads `Uid:` of `proc_pid_status(5)`.
fn real_uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().next()?.parse().ok()
}

/// Puts together what sshd has told the process. What does not fit the uid is no session.
fn session(id: Id, uid: u32, environment: &[u8]) -> Option<Session> {
    let variable = |name: &str| {
        environment.split(|byte| *byte == 0).find_map(|entry| {
            let value = entry.strip_prefix(name.as_bytes())?;
            value.strip_prefix(b"=")
        })
    };
    let login = Login::parse(variable("LOGNAME")?).ok()?;
    if login.uid() != uid || !(UID_BASE..=UID_BASE + UID_MASK).contains(&uid) {
        return None;
    }
    // "client port server port", see ssh(1).
    let from = String::from_utf8_lossy(variable("SSH_CONNECTION").unwrap_or_default());
    Some(Session {
        id,
        login,
        from: from.split(' ').next().unwrap_or_default().to_owned(),
        terminal: variable("SSH_TTY").is_some(),
        command: variable("SSH_ORIGINAL_COMMAND").map(<[u8]>::to_vec),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Id = Id { pid: 4711, began: Duration::from_millis(0xabc0) };

    fn alice() -> Login {
        Login::parse(b"alice").unwrap()
    }

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        assert_eq!(ID.to_string(), "4711-abc0");
        assert_eq!("4711-abc0".parse(), Ok(ID));
        for bad in ["", "4711", "4711-", "-abc0", "0-abc0", "-1-abc0", "4711-xyz", "4711-abc0-1"] {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_session_is_what_sshd_says() {
        let environment = b"LC_X=SSH_TTY=/dev/null\0LOGNAME=alice\0SSH_CONNECTION=192.0.2.9 50000 192.0.2.1 2200\0SSH_TTY=/dev/pts/3\0SSH_ORIGINAL_COMMAND=a\xff\x1b\0";
        let found = session(ID, alice().uid(), environment).unwrap();
        assert_eq!((found.login.as_str(), &*found.from, found.terminal), ("alice", "192.0.2.9", true));
        assert_eq!(found.command.as_deref(), Some(&b"a\xff\x1b"[..]));
        let shell = session(ID, alice().uid(), b"LOGNAME=alice\0LC_ALL=SSH_TTY=\0").unwrap();
        assert_eq!((shell.terminal, shell.command, &*shell.from), (false, None, ""));
    }

    #[test]
    fn a_name_that_is_not_the_uids_is_no_session() {
        assert_eq!(session(ID, alice().uid() + 1, b"LOGNAME=alice\0"), None);
        assert_eq!(session(ID, 1000, b"LOGNAME=alice\0"), None);
        assert_eq!(session(ID, alice().uid(), b"USER=alice\0"), None);
    }

    #[test]
    fn the_program_is_ours_after_an_upgrade_too() {
        for (path, ours) in [
            ("/usr/lib/sshbox/sshbox-shell", true),
            ("/usr/lib/sshbox/sshbox-shell (deleted)", true),
            ("/tmp/usr/lib/sshbox/sshbox-shell", false),
            ("/usr/lib/sshbox/sshbox-shell2", false),
        ] {
            assert_eq!(is_shell(Path::new(path)), ours, "{path}");
        }
    }

    #[test]
    fn who_is_no_session_is_not_ended() {
        let ourselves = i32::try_from(std::process::id()).unwrap();
        let began = clock::start_of(ourselves).unwrap();
        assert_eq!(end(Id { pid: ourselves, began }).unwrap(), None);
        assert_eq!(end(Id { pid: i32::MAX, began }).unwrap(), None);
    }
}
