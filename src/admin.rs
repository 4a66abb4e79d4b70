//! `sshbox`, the admin's command: looks at boxes, sessions and the installation, and does to
//! them what an admin asks for. One file below `admin/` per subcommand.

mod adopt;
mod doctor;
mod logs;

use crate::config;
use crate::exit::{self, Failure};
use clap::{Parser, Subcommand};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

const PROGRAM: &str = "sshbox";

/// Looks after the boxes of this host and the installation that serves them.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
struct Arguments {
    /// Configuration file
    #[arg(long, global = true, default_value = config::PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Adopt(adopt::Arguments),
    Doctor(doctor::Arguments),
    Logs(logs::Arguments),
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Arguments = match exit::arguments() {
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    let done = match &arguments.command {
        Command::Adopt(command) => adopt::run(command, &arguments.config),
        Command::Doctor(command) => doctor::run(command, &arguments.config),
        Command::Logs(command) => logs::run(command),
    };
    done.unwrap_or_else(|failure| report(&failure))
}

fn report(failure: &Failure) -> ExitCode {
    let _ = writeln!(io::stderr(), "{PROGRAM}: {}", failure.cause);
    failure.status.code().into()
}
