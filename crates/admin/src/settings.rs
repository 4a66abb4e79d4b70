//! `sshbox config`: checks the configuration file and lists every setting with its value.

use super::load_config;
use super::output::{self, Format};
use clap::{Args, Subcommand};
use host::config::{self, Setting};
use serde_json::json;
use session::exit::{ExitStatus, Failure, chain};
use std::path::Path;
use std::process::ExitCode;

/// Check the configuration file, or list all settings
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check the file, and print the line and column of an error
    Check(Format),
    /// List every setting, its value, and whether the file sets it or it is the default
    Show(Format),
}

/// Runs the command.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    match arguments.action {
        Action::Check(format) => check(format, config),
        Action::Show(format) => list(format, config),
    }
}

fn check(format: Format, path: &Path) -> Result<ExitCode, Failure> {
    if format.json {
        let error = config::load(path).err().map(|error| chain(&error).trim_end().to_owned());
        output::print_json(&json!({ "file": path, "valid": error.is_none(), "error": error }))?;
        let status = error.map_or(0, |_| ExitStatus::Config.code());
        return Ok(status.into());
    }
    load_config(path)?;
    output::print(&format!("{} is valid\n", path.display()))
}

fn list(format: Format, path: &Path) -> Result<ExitCode, Failure> {
    let settings =
        config::settings(path).map_err(|error| Failure::because(ExitStatus::Config, "", &error))?;
    if format.json {
        let settings: Vec<_> = settings
            .iter()
            .map(|setting| json!({ "key": setting.key, "value": setting.value, "from": origin(setting) }))
            .collect();
        return output::print_json(&settings);
    }
    let rows: Vec<_> = settings
        .iter()
        .map(|setting| {
            // Strings without the quotes that JSON needs.
            let value = setting.value.as_str().map_or_else(|| setting.value.to_string(), str::to_owned);
            vec![setting.key.clone(), origin(setting).to_owned(), value]
        })
        .collect();
    output::print_table(&["KEY", "FROM", "VALUE"], &rows)
}

fn origin(setting: &Setting) -> &'static str {
    if setting.in_file { "file" } else { "default" }
}
