//! `sshbox kill`: ends one session, as if its client had vanished.

use super::{because, journal, show};
use clap::Args;
use host::sys::ssh_sessions::{self, SessionId};
use session::exit::{ExitStatus, Failure};
use std::path::Path;
use std::process::ExitCode;

/// End a session: its program is hung up, what it has detached lives on
#[derive(Debug, Args)]
pub struct Arguments {
    /// Id, as `sshbox sessions` shows it
    session: SessionId,
}

/// The subcommand.
pub fn run(arguments: &Arguments, _config: &Path) -> Result<ExitCode, Failure> {
    let id = arguments.session;
    let ended = ssh_sessions::end(id).map_err(|error| {
        because(ExitStatus::TryAgain, &format!("session {id} cannot be ended; try again"), &error)
    })?;
    let Some(session) = ended else {
        let advice = "see `sshbox sessions` for those that are open";
        return Err(Failure {
            cause: format!("there is no session {id}"),
            ..Failure::new(ExitStatus::Unavailable, advice)
        });
    };
    journal(&session.login, &format!("kill {id}"), None);
    show::say(&format!("session {id} of {} was ended\n", session.login))
}
