//! `sshbox reap`: has `sshbox-reap` judge all boxes now, and shows what it says of each.

use super::{because, show};
use clap::Args;
use serde::Serialize;
use session::exit::{ExitStatus, Failure};
use session::texts;
use session::waiting::Waiting;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The program.
const REAP: &str = "/usr/lib/sshbox/sshbox-reap";

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

/// What became of one box.
#[derive(Debug, PartialEq, Serialize)]
struct Judged {
    user: String,
    /// `kept`, `would stop`, `stopped` or `failed`.
    verdict: String,
    reason: String,
}

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let waiting = Waiting::begin(texts::ADMIN_REAPING, |_| ());
    let mut command = Command::new(REAP);
    command.arg("--config").arg(config).stdin(Stdio::null()).stderr(Stdio::inherit());
    if arguments.dry_run {
        command.arg("--dry-run");
    }
    let output = command
        .output()
        .map_err(|error| because(ExitStatus::Unavailable, &format!("{REAP} cannot be run"), &error))?;
    drop(waiting);
    let said = String::from_utf8_lossy(&output.stdout);
    let judged: Option<Vec<_>> = said.lines().map(judged).collect();
    let Some(judged) = judged else {
        // It says one other thing, and then nothing else.
        let advice = "try again in a moment";
        return Err(Failure { cause: said.trim().to_owned(), ..Failure::new(ExitStatus::TryAgain, advice) });
    };
    if arguments.json {
        show::json(&judged)?;
    } else if output.status.success() || !judged.is_empty() {
        let rows: Vec<_> =
            judged.into_iter().map(|Judged { user, verdict, reason }| vec![user, verdict, reason]).collect();
        show::say(&show::table(&TITLES, &rows, show::colours()))?;
    }
    let status = output.status.code().and_then(|code| u8::try_from(code).ok());
    Ok(status.unwrap_or(ExitStatus::Internal.code()).into())
}

/// Reads `user: verdict: reason`.
fn judged(line: &str) -> Option<Judged> {
    let (user, rest) = line.split_once(": ")?;
    let (verdict, reason) = rest.split_once(": ")?;
    Some(Judged { user: user.to_owned(), verdict: verdict.to_owned(), reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_reaper_is_read() {
        let line = judged("alice: would stop: idle for 2h: really").unwrap();
        assert_eq!(
            (&*line.user, &*line.verdict, &*line.reason),
            ("alice", "would stop", "idle for 2h: really")
        );
        assert_eq!(judged("another reaper is at work"), None);
    }
}
