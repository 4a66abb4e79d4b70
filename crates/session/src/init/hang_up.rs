//! Ends what a vanished client has left: SIGHUP to every process of its session, later SIGKILL.

use crate::procfs::{self, ProcessStatus, Stat};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Tells the processes of a session that its client is gone.
pub fn hang_up(session: Pid) {
    signal_session(session, Signal::SIGHUP, |_| true);
    signal_session(session, Signal::SIGCONT, |_| true);
}

/// Kills the processes of a session that do not ignore SIGHUP: `nohup` protects a program.
pub fn kill_session(session: Pid) {
    let ignores_hangup =
        |pid| ProcessStatus::of(pid).is_some_and(|status| status.ignored.has(Signal::SIGHUP));
    signal_session(session, Signal::SIGKILL, |pid| !ignores_hangup(pid));
}

/// A process that has called setsid(2) is in another session and gets no signal.
fn signal_session(session: Pid, signal: Signal, applies: impl Fn(i32) -> bool) {
    for pid in procfs::pids().into_iter().flatten().filter(|pid| *pid != 1) {
        let is_in = Stat::of(pid).is_some_and(|stat| stat.session == session.as_raw());
        if is_in && applies(pid) {
            // It may have ended in the meantime.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}
