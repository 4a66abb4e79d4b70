//! The SSH sessions of this host: one `sshbox-shell` process each, under the uid of its user. Only
//! root can read and end them. Parts of a process's environment come from the client.

use identity::{Login, UID_BASE, UID_MASK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use session::deadlines::SESSION_EXIT;
use session::procfs::{self, ProcessStatus, Stat};
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// The program that sshd starts for every session.
const SHELL: &str = "/usr/lib/sshbox/sshbox-shell";

/// How much of a process's environment is read, in bytes.
const ENVIRONMENT_MAX: u64 = 1 << 20;

/// Identifies a session by its pid and start time, since the kernel reuses pids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    pid: i32,
    began: Duration,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.pid, self.began.as_millis())
    }
}

impl FromStr for SessionId {
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
    /// Identifies the session.
    pub id: SessionId,
    /// The user.
    pub login: Login,
    /// Address of the client, from sshd.
    pub from: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// The command line from the client, unescaped; `None` for a login shell.
    pub command: Option<Vec<u8>>,
}

impl Session {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.id.pid
    }

    /// Start time, since boot.
    #[must_use]
    pub fn began(&self) -> Duration {
        self.id.began
    }
}

/// All sessions, the oldest first.
///
/// # Errors
/// Reading `/proc` failed. A session that ends meanwhile is left out.
pub fn list() -> io::Result<Vec<Session>> {
    let mut sessions: Vec<_> = procfs::pids()?.filter_map(session_of).collect();
    sessions.sort_by_key(|session| (session.id.began, session.id.pid));
    Ok(sessions)
}

/// End a session with SIGHUP, as when the client disconnects. Return it, or `None` if no session has
/// this id.
///
/// # Errors
/// `TimedOut` if the process survives SIGKILL. Else as the kernel reports.
pub fn end(id: SessionId) -> io::Result<Option<Session>> {
    let Some(pid) = Pid::from_raw(id.pid) else { return Ok(None) };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        other => other?,
    };
    // Check the start time only now, with the pidfd open: if the pid still belongs to the session, it
    // did so when the pidfd was opened.
    let Some(session) = session_of(id.pid).filter(|session| session.id == id) else {
        return Ok(None);
    };
    for signal in [Signal::HUP, Signal::KILL] {
        match pidfd_send_signal(&process, signal) {
            Err(rustix::io::Errno::SRCH) => return Ok(Some(session)),
            other => other?,
        }
        if wait_for_exit(&process)? {
            return Ok(Some(session));
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Waits until the process exits. Returns `false` if it does not exit in time.
fn wait_for_exit(process: &OwnedFd) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(SESSION_EXIT).map_err(io::Error::other)?;
    Ok(poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout)? > 0)
}

/// The session of this process. `None` if it is no session.
fn session_of(pid: i32) -> Option<Session> {
    // A process in another pid namespace belongs to an sshbox installed in a container.
    if procfs::program(pid).ok()? != Path::new(SHELL) || !procfs::in_our_pid_namespace(pid)? {
        return None;
    }
    let began = Stat::of(pid)?.start()?;
    let uid = ProcessStatus::of(pid)?.real_uid?;
    let environment = procfs::environment(pid, ENVIRONMENT_MAX).ok()?;
    from_environment(SessionId { pid, began }, uid, &environment)
}

/// The session that sshd describes in the environment. `None` if the login name does not have this uid.
fn from_environment(id: SessionId, uid: u32, environment: &[u8]) -> Option<Session> {
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
    // "client-address client-port server-address server-port"; see ssh(1).
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

    const ID: SessionId = SessionId { pid: 4711, began: Duration::from_millis(0xabc0) };

    fn alice() -> Login {
        Login::parse(b"alice").unwrap()
    }

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        assert_eq!(ID.to_string(), "4711-abc0");
        assert_eq!("4711-abc0".parse(), Ok(ID));
        for bad in ["", "4711", "4711-", "-abc0", "0-abc0", "-1-abc0", "4711-xyz", "4711-abc0-1"] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_session_is_read_from_the_environment_that_sshd_sets() {
        let environment = b"LC_X=SSH_TTY=/dev/null\0LOGNAME=alice\0SSH_CONNECTION=192.0.2.9 50000 192.0.2.1 2200\0SSH_TTY=/dev/pts/3\0SSH_ORIGINAL_COMMAND=a\xff\x1b\0";
        let found = from_environment(ID, alice().uid(), environment).unwrap();
        assert_eq!((found.login.as_str(), &*found.from, found.terminal), ("alice", "192.0.2.9", true));
        assert_eq!(found.command.as_deref(), Some(&b"a\xff\x1b"[..]));
        let shell = from_environment(ID, alice().uid(), b"LOGNAME=alice\0LC_ALL=SSH_TTY=\0").unwrap();
        assert_eq!((shell.terminal, shell.command, &*shell.from), (false, None, ""));
    }

    #[test]
    fn a_process_whose_name_does_not_match_its_uid_is_no_session() {
        assert_eq!(from_environment(ID, alice().uid() + 1, b"LOGNAME=alice\0"), None);
        assert_eq!(from_environment(ID, 1000, b"LOGNAME=alice\0"), None);
        assert_eq!(from_environment(ID, alice().uid(), b"USER=alice\0"), None);
    }

    #[test]
    fn who_is_no_session_is_not_ended() {
        let ourselves = i32::try_from(std::process::id()).unwrap();
        let began = Stat::of(ourselves).unwrap().start().unwrap();
        assert_eq!(end(SessionId { pid: ourselves, began }).unwrap(), None);
        assert_eq!(end(SessionId { pid: i32::MAX, began }).unwrap(), None);
    }
}
