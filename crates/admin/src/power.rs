//! `sshbox start`, `stop` and `restart`: asks `sshbox-wake` to start or stop any user's box, under
//! the locks that a login takes, so that a login at the same time waits for its turn.

use super::{boxes, load_config, log_admin_action, output, parse_login, require_known, with_engine};
use clap::Args;
use identity::Login;
use session::deadlines::WAKING;
use session::escape::printable;
use session::exit::{ExitStatus, Failure};
use session::texts;
use session::waiting::Waiting;
use session::wake_client;
use session::wire::{Fields, Verb};
use std::path::Path;
use std::process::ExitCode;

/// The help text of each command stands at its variant in `Command`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login name
    #[arg(value_parser = parse_login)]
    user: Login,
}

/// Runs the command that belongs to `verb`: `Wake`, `Stop` or `Restart`.
pub fn run(arguments: &Arguments, config: &Path, verb: Verb) -> Result<ExitCode, Failure> {
    let (config, user) = (load_config(config)?, &arguments.user);
    require_known(&config, user, with_engine(boxes::exists(&config, user))?)?;
    let action = match verb {
        Verb::Wake => "start",
        Verb::Restart => "restart",
        _ => "stop",
    };
    let result = perform(user, verb);
    log_admin_action(user, action, result.as_ref().err().map(|failure| &*failure.cause));
    output::print(&format!("{}\n", result?))
}

/// Performs the action and returns the message for the admin.
fn perform(user: &Login, verb: Verb) -> Result<String, Failure> {
    if verb == Verb::Wake {
        let waiting = Waiting::begin(texts::ADMIN_STARTING, |_| ());
        request(user, Verb::Wake, waiting.as_ref())?;
        return Ok(format!("the box of {user} is running"));
    }
    let waiting = Waiting::begin(texts::ADMIN_STOPPING, |_| ());
    let was_running = request(user, verb, waiting.as_ref())?.get("stopped") == Some(b"1");
    drop(waiting);
    if verb == Verb::Restart {
        let waiting = Waiting::begin(texts::ADMIN_STARTING, |_| ());
        request(user, Verb::Wake, waiting.as_ref())?;
        return Ok(format!("the box of {user} was {}", if was_running { "restarted" } else { "started" }));
    }
    Ok(format!("the box of {user} {}", if was_running { "was stopped" } else { "is not running" }))
}

/// Sends a request to `sshbox-wake` and returns its reply.
pub fn request(user: &Login, verb: Verb, waiting: Option<&Waiting>) -> Result<Fields, Failure> {
    let advice = "check `systemctl status sshbox-wake.socket` and `journalctl -t sshbox-wake`";
    let fields = wake_client::ask(user, verb, WAKING, waiting)
        .map_err(|error| Failure::because(ExitStatus::Unavailable, advice, &error))?
        .ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::TOO_MANY_WAKES))?;
    let Some(failed) = fields.get("failed") else { return Ok(fields) };
    let failure = Failure::from_reply(failed, fields.parse("status"), fields.text("ref"));
    let Some(cause) = fields.get("cause") else { return Err(failure) };
    let advice = format!("the user sees: {} (ref {})", failure.advice, failure.reference);
    Err(Failure { cause: printable(cause), advice, ..failure })
}
