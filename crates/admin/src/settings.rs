//! `sshbox config`: whether the configuration is right, and what it comes to.

use super::{because, load, show};
use clap::{Args, Subcommand};
use host::config::{self, Setting};
use serde_json::json;
use session::exit::{ExitStatus, Failure, chain};
use std::path::Path;
use std::process::ExitCode;

/// Check the configuration, or show what counts
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say whether it is valid; if not, where it is wrong
    Check(Shape),
    /// Show the value of every key and whether the file says so or it is the default
    Show(Shape),
}

#[derive(Debug, Args)]
struct Shape {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    match &arguments.what {
        What::Check(shape) => check(shape, config),
        What::Show(shape) => list(shape, config),
    }
}

fn check(shape: &Shape, path: &Path) -> Result<ExitCode, Failure> {
    if shape.json {
        let error = config::load(path).err().map(|error| chain(&error).trim_end().to_owned());
        show::json(&json!({ "file": path, "valid": error.is_none(), "error": error }))?;
        let status = error.map_or(0, |_| ExitStatus::Config.code());
        return Ok(status.into());
    }
    load(path)?;
    show::say(&format!("{} is valid\n", path.display()))
}

fn list(shape: &Shape, path: &Path) -> Result<ExitCode, Failure> {
    let settings = config::settings(path).map_err(|error| because(ExitStatus::Config, "", &error))?;
    if shape.json {
        let settings: Vec<_> = settings
            .iter()
            .map(|setting| json!({ "key": setting.key, "value": setting.value, "from": from(setting) }))
            .collect();
        return show::json(&settings);
    }
    let rows: Vec<_> = settings
        .iter()
        // Numbers as they are, texts without quotes: nobody has to tell them apart here.
        .map(|setting| {
            let value = setting.value.as_str().map_or_else(|| setting.value.to_string(), str::to_owned);
            vec![setting.key.clone(), from(setting).to_owned(), value]
        })
        .collect();
    show::say(&show::table(&["KEY", "FROM", "VALUE"], &rows, show::colours()))
}

fn from(setting: &Setting) -> &'static str {
    if setting.in_file { "file" } else { "default" }
}
