//! The end of a session: what the container reports, and what is then shown to the user and logged.

use super::audit::{AuditOutcome, VANISHED};
use super::connect::invalid_reply;
use crate::deadlines::{WHY, WHY_TURN};
use crate::escape::printable;
use crate::exit::{ExitStatus, Failure};
use crate::journal::Reference;
use crate::presence::UserRuntimeDir;
use crate::texts;
use crate::wake_client;
use crate::wire::{Reply, Run, Socket, Verb};
use identity::Login;
use nix::sys::signal::Signal;
use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

/// Exit status of a shell that does not find a command.
const NOT_FOUND: u8 = 127;

/// Exit status when a container stops under a session: that of a killed program (128 + SIGKILL).
pub(super) const BOX_ENDED: u8 = 137;

/// The signal of the kernel when memory runs out.
pub(super) const OOM_SIGNAL: i32 = Signal::SIGKILL as i32;

/// How a session ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    Exited(u8),
    Killed(i32),
    /// The kernel killed the program because the container was out of memory.
    OutOfMemory,
    /// The container stopped, for this reason if it is known.
    BoxEnded(Option<String>),
    /// The client vanished; nobody reads the exit status.
    Vanished,
}

impl SessionEnd {
    /// The same for the journal.
    pub(super) fn outcome(&self) -> AuditOutcome<'_> {
        let none = AuditOutcome::default();
        match self {
            Self::Exited(status) => AuditOutcome { status: Some(*status), ..none },
            Self::Killed(signal) => AuditOutcome { signal: Some(*signal), ..none },
            Self::OutOfMemory => {
                AuditOutcome { signal: Some(OOM_SIGNAL), reason: "the box ran out of memory", ..none }
            }
            Self::BoxEnded(reason) => {
                let reason = reason.as_deref().unwrap_or("the box ended it");
                AuditOutcome { status: Some(BOX_ENDED), reason, ..none }
            }
            Self::Vanished => AuditOutcome { reason: VANISHED, ..none },
        }
    }
}

/// Reads the last reply of the init. If the container stopped instead, tells the user why.
pub(super) fn read(
    init: &Socket,
    login: &Login,
    runtime_dir: &UserRuntimeDir,
    began: Duration,
) -> Result<SessionEnd, Failure> {
    let Ok(Some((fields, _))) = init.receive() else {
        let reason = stop_reason(login, runtime_dir, began);
        if io::stdin().is_terminal() && env::var("TERM").is_ok_and(|kind| kind != "dumb") {
            let _ = write!(io::stderr(), "{}", texts::RESET_TERMINAL);
        }
        let _ = writeln!(io::stderr(), "{}", texts::ended(reason.as_deref(), &Reference::ours().to_string()));
        return Ok(SessionEnd::BoxEnded(reason));
    };
    match Reply::parse(&fields) {
        Some(Reply::Exited(status)) => Ok(SessionEnd::Exited(status)),
        Some(Reply::Killed(signal)) if can_kill(signal) => Ok(SessionEnd::Killed(signal)),
        Some(Reply::OutOfMemory) => {
            let _ = writeln!(io::stderr(), "{}", texts::KILLED_OUT_OF_MEMORY);
            Ok(SessionEnd::OutOfMemory)
        }
        _ => Err(invalid_reply()),
    }
}

/// Whether this signal can kill a program (signal(7)); `sshbox-shell` would stop, or go on, by the others.
fn can_kill(signal: i32) -> bool {
    use Signal::{SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
    let harmless = [SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH];
    (1..=64).contains(&signal) && !harmless.map(|harmless| harmless as i32).contains(&signal)
}

/// Why the container stopped: what its stopper recorded, else what `sshbox-wake` finds out. All sessions
/// of a user end at the same moment, so one at a time asks.
fn stop_reason(login: &Login, runtime_dir: &UserRuntimeDir, began: Duration) -> Option<String> {
    let recorded = || runtime_dir.stop_record().filter(|stop| stop.moment >= began).map(|stop| stop.reason);
    recorded().or_else(|| {
        let _turn = runtime_dir.turn_to_wake(WHY_TURN);
        recorded().or_else(|| {
            let reply = wake_client::ask(login, Verb::StopReason, WHY, None).ok()??;
            reply.get("why").map(printable)
        })
    })
}

/// Tells the user what the program cannot: that it is not installed, or that it had no effect here. The
/// exit status stays the program's own, because clients know it.
pub(super) fn explain(run: &Run, end: &SessionEnd) {
    let Run::Command(command) = run else { return };
    let note = match end {
        SessionEnd::Exited(NOT_FOUND) => texts::missing_program(command)
            .map(|advice| Failure::new(ExitStatus::Unavailable, advice).to_string()),
        SessionEnd::Exited(0) => texts::key_without_effect(command).map(str::to_owned),
        _ => None,
    };
    if let Some(note) = note {
        let _ = writeln!(io::stderr(), "{note}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_a_signal_that_cannot_kill_is_not_passed_on() {
        for signal in [1, 2, 6, 9, 11, 13, 15, 31, 34, 64] {
            assert!(can_kill(signal), "{signal}");
        }
        for signal in [i32::MIN, -9, 0, 17, 18, 19, 20, 21, 22, 23, 28, 65, 265] {
            assert!(!can_kill(signal), "{signal}");
        }
    }
}
