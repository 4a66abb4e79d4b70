//! `sshbox reap`: does now what the timer of `sshbox-reap` does. It stops all running boxes that are idle
//! for too long, and shows for each box what was done and why.

use super::{load_config, output};
use clap::Args;
use lifecycle::reap::{self, JudgedBox, ReapError, ReapOutcome};
use serde::Serialize;
use session::escape::printable;
use session::exit::{ExitStatus, Failure};
use session::texts;
use session::waiting::Waiting;
use std::path::Path;
use std::process::ExitCode;

/// Stop now all boxes that are idle for too long, as the timer does
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

/// What was done with one box, or would be done without `--dry-run`. A row of the table and an object of
/// the JSON list; its text is printable.
#[derive(Debug, PartialEq, Serialize)]
struct ReapRow {
    user: String,
    /// `kept`, `would stop`, `stopped` or `failed`.
    verdict: &'static str,
    reason: String,
}

impl From<JudgedBox> for ReapRow {
    fn from(JudgedBox { user, outcome }: JudgedBox) -> Self {
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
    let waiting = Waiting::begin(texts::ADMIN_REAPING, |_| ());
    let (mut rows, mut all_succeeded) = (Vec::new(), true);
    let reaped = reap::reap(&config, arguments.dry_run, |judged| {
        all_succeeded &= !matches!(judged.outcome, ReapOutcome::Failed(_));
        rows.push(ReapRow::from(judged));
    });
    drop(waiting);
    reaped.map_err(|error| {
        let advice = match error {
            ReapError::AnotherRuns => "try again in a moment",
            ReapError::Setup(_) => "try again in a moment; if that does not help, run sshbox doctor",
            ReapError::Engine(_) => "check whether the container engine runs: systemctl status docker",
        };
        Failure::because(error.status(), advice, &error)
    })?;
    if arguments.json {
        output::print_json(&rows)?;
    } else {
        let cells: Vec<_> = rows
            .into_iter()
            .map(|ReapRow { user, verdict, reason }| vec![user, verdict.to_owned(), reason])
            .collect();
        output::print_table(&TITLES, &cells)?;
    }
    Ok(if all_succeeded { ExitCode::SUCCESS } else { ExitStatus::TryAgain.code().into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::reap::Idle;
    use std::time::Duration;

    #[test]
    fn a_row_is_text_that_a_terminal_can_show() {
        let idle = Idle { time: Duration::from_secs(7200), timeout: Duration::from_secs(1800) };
        let judged = JudgedBox { user: "alice\x1b".to_owned(), outcome: ReapOutcome::WouldStop(idle) };
        let row = ReapRow::from(judged);
        assert_eq!(
            (&*row.user, row.verdict, &*row.reason),
            (r"alice\x1b", "would stop", "idle for 2h, allowed are 30m")
        );
    }
}
