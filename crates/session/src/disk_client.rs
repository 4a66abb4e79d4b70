//! Sends one request to `sshbox-disk` and waits for the reply. `sshbox-wake` uses it, as root.

use crate::deadlines::DISK_REPLY;
use crate::exit::{ExitStatus, Failure};
use crate::journal::Reference;
use crate::presence::DISK_SOCKET;
use crate::texts;
use crate::wake_client;
use crate::wire::{DiskVerb, Fields};
use identity::Login;
use std::path::Path;

/// Sends the request of this process for the home of `login`.
///
/// # Errors
/// Nobody listens, no reply came in time, or `sshbox-disk` has reported a failure.
pub fn ask(login: &Login, verb: DiskVerb) -> Result<Fields, Failure> {
    let request = verb.request(login.as_str(), &Reference::ours().to_string());
    let reply = wake_client::exchange(Path::new(DISK_SOCKET), &request, DISK_REPLY, |_| ())
        .map_err(|error| Failure::because(ExitStatus::Unavailable, texts::NO_DISK_SERVICE, &error))?
        .ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::DISK_TOO_SLOW))?;
    let Some(failed) = reply.get("failed") else { return Ok(reply) };
    let failure = Failure::from_reply(failed, reply.parse("status"), reply.text("ref"));
    let cause = reply.text("cause").map_or(failure.advice.clone(), str::to_owned);
    Err(Failure { cause, ..failure })
}
