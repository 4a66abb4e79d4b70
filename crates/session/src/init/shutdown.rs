//! The shutdown of a container: reads the table of its processes and sends the signals that
//! `shutdown_order` decides on.

use super::shutdown_order::{Id, OnSigterm, Parents, Process, due_signals};
use crate::procfs::{self, ProcessStatus, Stat};
use crate::times::later;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Time between two scans of the processes.
const SCAN: Duration = Duration::from_millis(100);

/// Programs that run a trap only when the program that they wait for has ended.
const SHELLS: [&str; 8] = ["bash", "busybox", "dash", "ksh", "ksh93", "mksh", "sh", "zsh"];

/// A shutdown that has begun.
#[derive(Debug)]
pub struct Shutdown {
    /// Processes that ran when it began and have had no signal. A later process belongs to one that
    /// saves.
    unsignalled: BTreeSet<Id>,
    parents: Parents,
    /// From then on every process gets its signal.
    almost_over: Instant,
    next_scan: Instant,
}

impl Shutdown {
    /// Begins one with this grace period, after which the container engine sends SIGKILL.
    pub fn begin(grace: Duration) -> Self {
        let now = Instant::now();
        let unsignalled = processes().iter().map(|p| p.id).collect();
        let most = grace.saturating_mul(3).checked_div(4).unwrap_or(grace);
        Self { unsignalled, parents: Parents::new(), almost_over: later(now, most), next_scan: now }
    }

    /// When [`Self::signal_due`] has to be called next.
    pub fn due(&self) -> Instant {
        self.next_scan
    }

    /// Whether every process has had its signal by now.
    pub fn is_almost_over(&self) -> bool {
        Instant::now() >= self.almost_over
    }

    /// Sends the signals that are due.
    pub fn signal_due(&mut self) {
        let now = Instant::now();
        if now < self.next_scan {
            return;
        }
        self.next_scan = later(now, SCAN);
        let alive = processes();
        for p in &alive {
            self.parents.entry(p.id.0).or_insert(p.parent);
        }
        for (id, signal) in due_signals(&alive, &self.parents, &self.unsignalled, self.is_almost_over()) {
            self.unsignalled.remove(&id);
            // A stopped process needs SIGCONT to handle it. It may have ended in the meantime.
            let _ = kill(Pid::from_raw(id.0), signal);
            let _ = kill(Pid::from_raw(id.0), Signal::SIGCONT);
        }
    }
}

/// All other processes of the container that have not ended.
fn processes() -> Vec<Process> {
    let this = i32::try_from(std::process::id()).unwrap_or_default();
    let pids = procfs::pids().into_iter().flatten().filter(|pid| *pid != this);
    pids.filter_map(|pid| {
        let (stat, status) = (Stat::of(pid)?, ProcessStatus::of(pid)?);
        // By its file: the name of a script is its own.
        let program = procfs::program(pid).unwrap_or_default();
        let shell = program.file_name().is_some_and(|name| SHELLS.iter().any(|shell| name == *shell));
        Some(Process { shell, ..process(&stat, &status)? })
    })
    .collect()
}

/// A process as the rule needs it; `None` when it has ended.
fn process(stat: &Stat, status: &ProcessStatus) -> Option<Process> {
    if stat.has_ended() {
        return None;
    }
    let ignores = |signal| status.ignored.has(signal);
    let term = Signal::SIGTERM;
    let on_sigterm = match () {
        () if ignores(term) && ignores(Signal::SIGTSTP) => OnSigterm::Shell,
        () if ignores(term) => OnSigterm::Ignores,
        () if status.caught.has(term) || status.blocked.has(term) => OnSigterm::Catches,
        () => OnSigterm::Ends,
    };
    Some(Process {
        id: (stat.pid, stat.start_ticks),
        parent: stat.parent,
        session: stat.session,
        terminal: stat.terminal,
        sshd: stat.name.starts_with(b"sshd"),
        shell: false,
        on_sigterm,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use OnSigterm::{Catches, Ends, Ignores, Shell};

    #[test]
    fn the_reaction_to_sigterm_is_read_from_the_masks() {
        let stat = Stat::parse(b"42 (sshd) S 7 42 42 34816 42 4194304 0 0 0 0 0 0 0 0 20 0 1 0 999 0 0");
        let read =
            |masks: &str| process(stat.as_ref().unwrap(), &ProcessStatus::parse(masks.as_bytes())).unwrap();
        let found = read("SigCgt:\t0000000000004000\n");
        assert_eq!((found.id, found.parent, found.session), ((42, 999), 7, 42));
        assert_eq!((found.terminal, found.sshd, found.on_sigterm), (34816, true, Catches));
        assert_eq!(read("SigIgn:\t0000000000004000\n").on_sigterm, Ignores);
        // bash, zsh
        assert_eq!(read("SigIgn:\t0000000000384004\n").on_sigterm, Shell);
        assert_eq!(read("SigIgn:\t0000000000000004\n").on_sigterm, Ends);
        // signalfd
        assert_eq!(read("SigBlk:\t0000000000004000\n").on_sigterm, Catches);
    }

    #[test]
    fn a_process_that_has_ended_is_none() {
        let of = |line: &[u8]| process(&Stat::parse(line).unwrap(), &ProcessStatus::default());
        assert_eq!(of(b"42 (x) Z 7 42 42 0 42 0 0 0 0 0 0 0 0 0 20 0 1 0 999 0 0"), None);
        let goes_on = of(b"42 (x) Z 7 42 42 0 42 0 0 0 0 0 0 0 0 0 20 0 2 0 999 0 0").unwrap();
        assert_eq!(goes_on.id, (42, 999));
        let this = i32::try_from(std::process::id()).unwrap();
        assert!(processes().iter().all(|p| p.id.0 != this));
    }
}
