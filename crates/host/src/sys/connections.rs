//! The SSH connections of one user: for each an sshd under the uid of the login, with the `sshbox-shell` of
//! each session below it. Only root can end them. Unlike `ssh_sessions` this needs no right to look into
//! processes of other users, only what everybody may read of them.

use identity::Login;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use session::deadlines::{CLIENT_LEAVES, SESSION_EXIT};
use session::presence::ConnectionRecord;
use session::procfs::{self, ProcessStatus, Stat};
use session::shell::REVOKED;
use session::times::later;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// The first bytes of the name of sshd's programs: `sshd`, and since OpenSSH 9.8 `sshd-session`.
const SSHD: &str = "sshd";

/// The name of a session's program.
const SHELL: &[u8] = b"sshbox-shell";

/// How much of the title of an sshd is read, in bytes.
const TITLE_MAX: u64 = 256;

/// A process that cannot be confused with a later one of the same pid.
#[derive(Debug)]
struct Process {
    stat: Stat,
    fd: OwnedFd,
}

impl Process {
    /// The process with this pid, if its real uid is this and it is not in a pid namespace of its own: that
    /// would belong to an sshbox installed in a container.
    fn of(pid: i32, uid: u32) -> Option<Self> {
        // Before the checks: the descriptor is that of the process which passes them.
        let fd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let status = ProcessStatus::of(pid)?;
        let stat = Stat::of(pid)?;
        let is_ours = status.real_uid == Some(uid) && status.pid_namespaces == 1 && !stat.has_ended();
        (is_ours && !ends_within(&fd, Instant::now())).then_some(Self { stat, fd })
    }

    fn signal(&self, signal: Signal) {
        // Fails only if the process has ended.
        let _ = pidfd_send_signal(&self.fd, signal);
    }
}

/// A connection of a user.
#[derive(Debug)]
pub struct Connection {
    sshd: Process,
    sessions: Vec<Process>,
}

impl Connection {
    /// Pid of the sshd that serves it under the login's uid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.sshd.stat.pid
    }

    /// Whether this record is of this connection: of its sshd, or of the sshd of root that is its parent.
    #[must_use]
    pub fn is_of(&self, record: &ConnectionRecord) -> bool {
        let sshd = &self.sshd.stat;
        if record.pid == sshd.pid {
            return sshd.start() == Some(record.began);
        }
        record.pid == sshd.parent && may_be_open(record)
    }
}

/// Whether the connection of this record may still be open. Reads one file.
#[must_use]
pub fn may_be_open(record: &ConnectionRecord) -> bool {
    Stat::of(record.pid).is_some_and(|stat| !stat.has_ended() && stat.start() == Some(record.began))
}

/// The open connections of this user.
///
/// # Errors
/// Reading `/proc` failed. A connection that ends meanwhile is left out.
pub fn of_login(login: &Login) -> io::Result<Vec<Connection>> {
    let (mut shells, mut connections) = (Vec::new(), Vec::new());
    for process in procfs::pids()?.filter_map(|pid| Process::of(pid, login.uid())) {
        if process.stat.name == SHELL {
            shells.push(process);
        // Two names can have the same uid.
        } else if process.stat.name.starts_with(SSHD.as_bytes())
            && procfs::command_line(process.stat.pid, TITLE_MAX).is_ok_and(|title| is_of(login, &title))
        {
            connections.push(Connection { sshd: process, sessions: Vec::new() });
        }
    }
    for shell in shells {
        if let Some(connection) = connections.iter_mut().find(|one| one.pid() == shell.stat.parent) {
            connection.sessions.push(shell);
        }
    }
    Ok(connections)
}

/// Whether this is the title of an sshd that serves this user: `sshd: alice`, `sshd: alice@pts/0,notty`.
fn is_of(login: &Login, title: &[u8]) -> bool {
    let title = String::from_utf8_lossy(title);
    let Some((program, rest)) = title.split_once(": ") else { return false };
    let Some(rest) = rest.strip_prefix(login.as_str()) else { return false };
    program.starts_with(SSHD) && rest.chars().next().is_none_or(|next| !name_goes_on(next))
}

/// Whether a login name can have this character.
fn name_goes_on(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_.-".contains(letter)
}

/// Close connections of one user. Each session tells the user why and ends; then the connection ends.
///
/// # Errors
/// `TimedOut` if a process survives SIGKILL.
pub fn close(connections: &[Connection]) -> io::Result<()> {
    let sessions: Vec<_> = connections.iter().flat_map(|connection| &connection.sessions).collect();
    let sshds: Vec<_> = connections.iter().map(|connection| &connection.sshd).collect();
    let revoked = Signal::from_named_raw(REVOKED as i32).unwrap_or(Signal::HUP);
    end(&sessions, revoked, SESSION_EXIT)?;
    wait(&sshds, CLIENT_LEAVES);
    end(&sshds, Signal::TERM, SESSION_EXIT)
}

/// Sends a signal to all processes, and SIGKILL to those that have not ended within this time.
fn end(processes: &[&Process], signal: Signal, patience: Duration) -> io::Result<()> {
    for signal in [signal, Signal::KILL] {
        for process in processes {
            process.signal(signal);
        }
        if wait(processes, patience) {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Waits until all have ended, `patience` in all. Returns whether they have.
fn wait(processes: &[&Process], patience: Duration) -> bool {
    let end = later(Instant::now(), patience);
    processes.iter().all(|process| ends_within(&process.fd, end))
}

/// Whether the process of this pidfd ends before `end`.
fn ends_within(process: &OwnedFd, end: Instant) -> bool {
    let left = end.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
    poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout).is_ok_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn alice() -> Login {
        Login::parse(b"alice").unwrap()
    }

    #[test]
    fn the_title_of_an_sshd_names_its_user() {
        for title in
            ["sshd: alice", "sshd: alice@pts/0", "sshd: alice@pts/0,notty\0", "sshd-session: alice@notty"]
        {
            assert!(is_of(&alice(), title.as_bytes()), "{title}");
        }
        for title in [
            "",
            "sshd",
            "sshd: alicea@notty",
            "sshd: alice.b@notty",
            "sshd: alice-b",
            "sshd: bob@notty",
            "x: alice",
            "sshd: ",
        ] {
            assert!(!is_of(&alice(), title.as_bytes()), "{title}");
        }
    }

    #[test]
    fn processes_that_are_no_connection_of_the_user_are_left_alone() {
        // A sleep under this test's uid: no process has the uid of the login.
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let connections = of_login(&alice()).unwrap();
        assert!(connections.is_empty(), "{connections:?}");
        close(&connections).unwrap();
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_process_that_ignores_its_signal_is_killed() {
        let mut stubborn = Command::new("sh").args(["-c", "trap '' TERM; sleep 600 & wait"]).spawn().unwrap();
        let pid = i32::try_from(stubborn.id()).unwrap();
        let process = Process::of(pid, nix::unistd::getuid().as_raw()).unwrap();
        assert!(Process::of(pid, alice().uid()).is_none());
        end(&[&process], Signal::TERM, Duration::from_millis(200)).unwrap();
        assert!(!stubborn.wait().unwrap().success());
        let began = process.stat.start().unwrap();
        let record = |pid, began| ConnectionRecord { pid, began, fingerprint: None };
        assert!(!may_be_open(&record(pid, began)));
        let ourselves = i32::try_from(std::process::id()).unwrap();
        let began = Stat::of(ourselves).unwrap().start().unwrap();
        assert!(may_be_open(&record(ourselves, began)));
        assert!(!may_be_open(&record(ourselves, began + Duration::from_secs(1))));
    }
}
