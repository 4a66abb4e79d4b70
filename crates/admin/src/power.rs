//! `sshbox start`, `stop` and `restart`: what `sshbox-wake` does for a user, for any of them.
//! The locks are the same, so a login that comes meanwhile waits as it always does.

use super::{because, boxes, journal, known, load, login, show, with_engine};
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

/// See the variants of the command.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login name
    #[arg(value_parser = login)]
    user: Login,
}

/// The subcommands: `Wake`, `Stop` and `Restart`.
pub fn run(arguments: &Arguments, config: &Path, verb: Verb) -> Result<ExitCode, Failure> {
    let (config, user) = (load(config)?, &arguments.user);
    known(&config, user, with_engine(boxes::exists(&config, user))?)?;
    let asked = match verb {
        Verb::Wake => "start",
        Verb::Restart => "restart",
        _ => "stop",
    };
    let done = do_it(user, verb);
    journal(user, asked, done.as_ref().err().map(|failure| &*failure.cause));
    show::say(&format!("{}\n", done?))
}

/// Has it done; what to say of it.
fn do_it(user: &Login, verb: Verb) -> Result<String, Failure> {
    if verb == Verb::Wake {
        let waiting = Waiting::begin(texts::ADMIN_STARTING, |_| ());
        ask(user, Verb::Wake, waiting.as_ref())?;
        return Ok(format!("the box of {user} runs"));
    }
    let waiting = Waiting::begin(texts::ADMIN_STOPPING, |_| ());
    let ran = ask(user, verb, waiting.as_ref())?.get("stopped") == Some(b"1");
    drop(waiting);
    if verb == Verb::Restart {
        let waiting = Waiting::begin(texts::ADMIN_STARTING, |_| ());
        ask(user, Verb::Wake, waiting.as_ref())?;
        return Ok(format!("the box of {user} was {}", if ran { "restarted" } else { "started" }));
    }
    Ok(format!("the box of {user} {}", if ran { "was stopped" } else { "does not run" }))
}

fn ask(user: &Login, verb: Verb, waiting: Option<&Waiting>) -> Result<Fields, Failure> {
    let advice = "see `systemctl status sshbox-wake.socket` and the journal of sshbox-wake";
    let fields = wake_client::ask(user, verb, WAKING, waiting)
        .map_err(|error| because(ExitStatus::Unavailable, advice, &error))?
        .ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::TOO_MANY_WAKES))?;
    let Some(failed) = fields.get("failed") else { return Ok(fields) };
    let failure = Failure::from_reply(failed, fields.parse("status"), fields.text("ref"));
    let Some(cause) = fields.get("cause") else { return Err(failure) };
    let advice = format!("the user is told: {} (ref {})", failure.advice, failure.reference);
    Err(Failure { cause: printable(cause), advice, ..failure })
}
