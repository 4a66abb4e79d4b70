//! `sshbox kill`: ends one session, as if its client had disconnected.

use super::{log_admin_action, output};
use clap::Args;
use host::sys::ssh_sessions::{self, SessionId};
use session::exit::{ExitStatus, Failure};
use std::path::Path;
use std::process::ExitCode;

/// End one session; processes that have detached from it keep running
#[derive(Debug, Args)]
pub struct Arguments {
    /// Session id, from `sshbox sessions`
    session: SessionId,
}

/// Runs the command.
pub fn run(arguments: &Arguments, _config: &Path) -> Result<ExitCode, Failure> {
    let id = arguments.session;
    let session = ssh_sessions::end(id).map_err(|error| {
        let cause = format!("cannot end session {id}: {error}");
        Failure { cause, ..Failure::new(ExitStatus::TryAgain, "try again") }
    })?;
    let Some(session) = session else {
        let advice = "list open sessions with `sshbox sessions`";
        return Err(Failure {
            cause: format!("no session has the id {id}"),
            ..Failure::new(ExitStatus::Unavailable, advice)
        });
    };
    log_admin_action(&session.login, &format!("kill {id}"), None);
    output::print(&format!("session {id} of {} was ended\n", session.login))
}
