//! `sshbox doctor`.

use crate::exit::{Failure, Status};
use clap::Args;
use std::path::Path;
use std::process::ExitCode;

/// Not written yet
#[derive(Debug, Args)]
pub struct Arguments {}

/// The subcommand.
pub fn run(_arguments: &Arguments, _config: &Path) -> Result<ExitCode, Failure> {
    Err(Failure::new(Status::Internal, "not written yet"))
}
