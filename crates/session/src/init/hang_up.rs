//! Ends what a vanished client has left: SIGHUP to every process of its session, later SIGKILL.
//!
//! Without a terminal, a process whose three standard streams are none of the session's was detached on purpose, as
//! `server </dev/null >log 2>&1 &` is. Editors start their servers so, and find them again after a cut connection.

use crate::procfs::{self, ProcessStatus, Stat};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::OwnedFd;

/// What ends with a session.
#[derive(Clone, Debug)]
pub struct SessionProcesses {
    /// The program of the session, which leads it.
    leader: Pid,
    /// Device and inode of each standard stream. Empty on a terminal, which the kernel hangs up for all processes.
    streams: Vec<(u64, u64)>,
}

/// The standard streams that the client has sent, as the kernel tells files apart: device and inode.
pub fn streams(fds: &[OwnedFd]) -> Vec<(u64, u64)> {
    let identity = |fd: &OwnedFd| rustix::fs::fstat(fd).ok().map(|status| (status.st_dev, status.st_ino));
    fds.iter().filter_map(identity).collect()
}

impl SessionProcesses {
    /// Those of the session that this program leads.
    pub fn new(leader: Pid, streams: &[(u64, u64)]) -> Self {
        Self { leader, streams: streams.to_vec() }
    }

    /// The program of the session.
    #[cfg(test)]
    pub fn leader(&self) -> Pid {
        self.leader
    }

    /// Tells them that their client is gone.
    pub fn hang_up(&self) {
        self.signal(Signal::SIGHUP, |_| true);
        self.signal(Signal::SIGCONT, |_| true);
    }

    /// Kills those that do not ignore SIGHUP: `nohup` protects a program.
    pub fn kill(&self) {
        let ignores_hangup =
            |pid| ProcessStatus::of(pid).is_some_and(|status| status.ignored.has(Signal::SIGHUP));
        self.signal(Signal::SIGKILL, |pid| !ignores_hangup(pid));
    }

    /// A process that has called setsid(2) is in another session and gets no signal.
    fn signal(&self, signal: Signal, applies: impl Fn(i32) -> bool) {
        for pid in procfs::pids().into_iter().flatten().filter(|pid| *pid != 1) {
            let is_in = Stat::of(pid).is_some_and(|stat| stat.session == self.leader.as_raw());
            if is_in && self.holds_a_stream(pid) && applies(pid) {
                // It may have ended in the meantime.
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
    }

    /// Whether a standard stream of this process is one of the session's. The program of the session counts always,
    /// and so does a process that hides its files.
    fn holds_a_stream(&self, pid: i32) -> bool {
        if self.streams.is_empty() || pid == self.leader.as_raw() {
            return true;
        }
        (0..3).any(|fd| match procfs::open_file(pid, fd) {
            Ok(Some(file)) => self.streams.contains(&file),
            Ok(None) => false,
            Err(_) => true,
        })
    }
}
