//! `sshbox reap`: decides on all running boxes now, as the timer does, and shows each decision.

use super::{load_config, output};
use clap::Args;
use lifecycle::engine::advice;
use lifecycle::reap::{self, ReapError, ReapMode, ReapOutcome, ReapedBox};
use serde::Serialize;
use session::escape::printable;
use session::exit::{ExitStatus, Failure};
use session::held_signals::HeldSignals;
use session::process::die_by;
use session::texts;
use session::waiting::Waiting;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Stop all boxes that are idle for too long, now, as the timer does
#[derive(Debug, Args)]
pub struct Arguments {
    /// Say what would be done and why, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const TITLES: [&str; 3] = ["USER", "VERDICT", "REASON"];

/// What was done with one box, as text.
#[derive(Debug, PartialEq, Serialize)]
struct ReapRow {
    user: String,
    /// `kept`, `would stop`, `stopped` or `failed`.
    verdict: &'static str,
    reason: String,
}

impl From<ReapedBox> for ReapRow {
    fn from(ReapedBox { user, outcome }: ReapedBox) -> Self {
        Self {
            user: printable(user.as_bytes()),
            verdict: outcome.name(),
            reason: printable(outcome.reason().as_bytes()),
        }
    }
}

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let config = load_config(config)?;
    let signals = (!arguments.dry_run)
        .then(HeldSignals::hold)
        .transpose()
        .map_err(|error| Failure::because(ExitStatus::TryAgain, "try again in a moment", &error))?;
    let waiting = match &signals {
        Some(_) => Waiting::begin_uncancellable(texts::ADMIN_REAPING),
        None => Waiting::begin(texts::ADMIN_REAPING, |_| ()),
    };
    let show_end = || {
        if let Some(waiting) = &waiting {
            waiting.show_step(texts::FINISHING_STOPS);
        }
    };
    let mode = signals.as_ref().map_or(ReapMode::DryRun, |signals| ReapMode::Stop(signals, &show_end));
    let (mut verdicts, mut all_succeeded) = (Vec::new(), true);
    let reaped = reap::reap(&config, mode, |one| {
        all_succeeded &= !matches!(one.outcome, ReapOutcome::Failed(_));
        verdicts.push(ReapRow::from(one));
    });
    drop(waiting);
    reaped.map_err(|error| {
        let advice = match error {
            ReapError::AtWork | ReapError::Start(_) => "try again in a moment",
            ReapError::Engine(_) => advice::CHECK,
        };
        Failure::because(error.status(), advice, &error)
    })?;
    if arguments.json {
        output::print_json(&verdicts)?;
    } else {
        let rows: Vec<_> = verdicts
            .into_iter()
            .map(|ReapRow { user, verdict, reason }| vec![user, verdict.to_owned(), reason])
            .collect();
        output::print_table(&TITLES, &rows)?;
    }
    if let Some(signal) = signals.and_then(|signals| signals.first()) {
        let _ = writeln!(io::stderr(), "{}", texts::CANCELLED);
        return Ok(die_by(signal));
    }
    Ok(if all_succeeded { ExitCode::SUCCESS } else { ExitStatus::TryAgain.code().into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::reap::Idle;
    use std::time::Duration;

    #[test]
    fn a_verdict_is_text_that_a_terminal_can_show() {
        let idle = Idle { time: Duration::from_secs(7200), timeout: Duration::from_secs(1800) };
        let one = ReapedBox { user: "alice\x1b".to_owned(), outcome: ReapOutcome::WouldStop(idle) };
        let verdict = ReapRow::from(one);
        assert_eq!(
            (&*verdict.user, verdict.verdict, &*verdict.reason),
            (r"alice\x1b", "would stop", "idle for 2h, allowed are 30m")
        );
    }
}
