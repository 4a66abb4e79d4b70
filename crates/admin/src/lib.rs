//! `sshbox`, the admin's command: looks at boxes, sessions and the installation, and does to
//! them what an admin asks for. One file below `admin/` per subcommand; `boxes` gathers what
//! several of them show, `show` is how all of them show it.

mod adopt;
mod boxes;
mod doctor;
mod explain;
mod keys;
mod kill;
mod list;
mod logs;
mod names;
mod power;
mod reap;
mod sessions;
mod settings;
mod show;
mod status;
mod tool;
mod top;

use clap::{CommandFactory as _, Parser, Subcommand};
use host::cache::Cache;
use host::config::{self, Config};
use identity::Login;
use lifecycle::runtime;
use session::exit::{self, ExitStatus, Failure};
use session::journal::{Event, Field, FieldValue, log};
use session::wire::Verb;
use std::error::Error;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PROGRAM: &str = "sshbox";

/// Looks after the boxes of this host and the installation that serves them.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
struct Arguments {
    /// Configuration file
    #[arg(long, global = true, default_value = config::PATH, value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Adopt(adopt::Arguments),
    Config(settings::Arguments),
    Doctor(doctor::Arguments),
    Keys(keys::Arguments),
    Kill(kill::Arguments),
    List(list::Arguments),
    Logs(logs::Arguments),
    Reap(reap::Arguments),
    /// Stop a box and start it
    Restart(power::Arguments),
    Sessions(sessions::Arguments),
    /// Start a box, as its user's next login would
    Start(power::Arguments),
    Status(status::Arguments),
    /// Stop a box; its user's next login starts it
    Stop(power::Arguments),
    Top(top::Arguments),
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    exit::on_panic(PROGRAM);
    let arguments: Arguments = match exit::arguments() {
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    // Whoever may read the configuration or the journal may use these commands; the doctor checks for
    // root itself, since its usage errors come first.
    let open = matches!(arguments.command, Command::Config(_) | Command::Doctor(_) | Command::Logs(_));
    if !open && !nix::unistd::geteuid().is_root() {
        return report(&Failure::new(ExitStatus::Refused, "only root may look at boxes: run it with sudo"));
    }
    let done = match &arguments.command {
        Command::Adopt(command) => adopt::run(command, &arguments.config),
        Command::Config(command) => settings::run(command, &arguments.config),
        Command::Doctor(command) => doctor::run(command, &arguments.config),
        Command::Keys(command) => keys::run(command, &arguments.config),
        Command::Kill(command) => kill::run(command, &arguments.config),
        Command::List(command) => list::run(command, &arguments.config),
        Command::Logs(command) => logs::run(command),
        Command::Reap(command) => reap::run(command, &arguments.config),
        Command::Restart(command) => power::run(command, &arguments.config, Verb::Restart),
        Command::Sessions(command) => sessions::run(command, &arguments.config),
        Command::Start(command) => power::run(command, &arguments.config, Verb::Wake),
        Command::Status(command) => status::run(command, &arguments.config),
        Command::Stop(command) => power::run(command, &arguments.config, Verb::Stop),
        Command::Top(command) => top::run(command, &arguments.config),
    };
    done.unwrap_or_else(|failure| report(&failure))
}

/// All that may be typed, for completions and for the test that compares the manual with it.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

fn report(failure: &Failure) -> ExitCode {
    let Failure { cause, advice, .. } = failure;
    let advice = if advice.is_empty() || advice == cause { String::new() } else { format!("; {advice}") };
    let _ = writeln!(io::stderr(), "{PROGRAM}: {}{advice}", cause.trim_end());
    failure.status.code().into()
}

/// A failure that an error explains; `advice` is what to do.
fn because(status: ExitStatus, advice: &str, error: &dyn Error) -> Failure {
    Failure::because(status, advice, error)
}

fn load(path: &Path) -> Result<Config, Failure> {
    config::load(path).map_err(|error| because(ExitStatus::Config, "", &error))
}

/// A login name as it was typed.
fn login(name: &str) -> Result<Login, String> {
    Login::parse(name.as_bytes()).map_err(|error| error.to_string())
}

/// Refuses a name of which nothing is known here: neither a box nor an account.
fn known(config: &Config, login: &Login, has_box: bool) -> Result<(), Failure> {
    if has_box || Cache::new(&config.accounts.cache).read(login).is_some() {
        return Ok(());
    }
    let cause = format!("{login} has no box and has not logged in yet");
    let advice = format!("see whether the name is right, and what `sshbox keys {login}` says");
    Err(Failure { cause, ..Failure::new(ExitStatus::Unavailable, advice) })
}

/// Runs what needs the engine.
fn with_engine<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime::on_this_thread().map_err(|error| because(ExitStatus::TryAgain, "", &error))?;
    runtime.block_on(work)
}

/// Tells the system log what an admin did to whom; with `error`, that it did not work. Who
/// it was is the name that sudo was called under, else the uid.
fn journal(user: &Login, action: &str, error: Option<&str>) {
    let user = user.as_str();
    let by = std::env::var("SUDO_USER").unwrap_or_else(|_| format!("uid {}", nix::unistd::getuid()));
    let mut fields: Vec<FieldValue<'_>> =
        vec![(Field::User, &user), (Field::By, &by), (Field::Action, &action)];
    fields.extend(error.as_ref().map(|error| (Field::Error, error as _)));
    log(PROGRAM, Event::AdminAction, &fields);
}
