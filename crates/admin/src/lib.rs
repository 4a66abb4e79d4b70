//! `sshbox`, the command for admins: inspects and controls boxes and sessions, and checks the
//! installation. One file per subcommand; `boxes` collects the data that several of them show, and
//! `output` prints it.

mod account;
mod adopt;
mod boxes;
mod chown;
mod doctor;
mod explain;
mod keys;
mod kill;
mod list;
mod logs;
mod names;
mod network;
mod output;
mod power;
mod proxies;
mod quota;
mod reap;
mod recheck;
mod sessions;
mod settings;
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
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PROGRAM: &str = "sshbox";

/// Manage the boxes on this host and check the sshbox installation.
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
    Chown(chown::Arguments),
    Config(settings::Arguments),
    Doctor(doctor::Arguments),
    Keys(keys::Arguments),
    Kill(kill::Arguments),
    List(list::Arguments),
    Logs(logs::Arguments),
    Network(network::Arguments),
    Proxies(proxies::Arguments),
    Quota(quota::Arguments),
    Reap(reap::Arguments),
    Recheck(recheck::Arguments),
    /// Restart a user's box, or start it if it is stopped
    Restart(power::Arguments),
    Sessions(sessions::Arguments),
    /// Start a user's box, as a login does
    Start(power::Arguments),
    Status(status::Arguments),
    /// Stop a user's box until the next login
    Stop(power::Arguments),
    Top(top::Arguments),
}

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    exit::program(PROGRAM, |arguments| run_command(&arguments))
}

fn run_command(arguments: &Arguments) -> ExitCode {
    // The permissions of the configuration file and the journal decide who may read them. The doctor
    // checks for root itself, since its usage errors come first.
    let needs_no_root =
        matches!(arguments.command, Command::Config(_) | Command::Doctor(_) | Command::Logs(_));
    if !needs_no_root && !nix::unistd::geteuid().is_root() {
        return report(&Failure::new(ExitStatus::Refused, "this command needs root; run it with sudo"));
    }
    let result = match &arguments.command {
        Command::Adopt(command) => adopt::run(command, &arguments.config),
        Command::Chown(command) => chown::run(command, &arguments.config),
        Command::Config(command) => settings::run(command, &arguments.config),
        Command::Doctor(command) => doctor::run(command, &arguments.config),
        Command::Keys(command) => keys::run(command, &arguments.config),
        Command::Kill(command) => kill::run(command, &arguments.config),
        Command::List(command) => list::run(command, &arguments.config),
        Command::Logs(command) => logs::run(command),
        Command::Network(command) => network::run(command, &arguments.config),
        Command::Proxies(command) => proxies::run(command, &arguments.config),
        Command::Quota(command) => quota::run(command, &arguments.config),
        Command::Reap(command) => reap::run(command, &arguments.config),
        Command::Recheck(command) => recheck::run(command, &arguments.config),
        Command::Restart(command) => power::run(command, &arguments.config, Verb::Restart),
        Command::Sessions(command) => sessions::run(command, &arguments.config),
        Command::Start(command) => power::run(command, &arguments.config, Verb::Wake),
        Command::Status(command) => status::run(command, &arguments.config),
        Command::Stop(command) => power::run(command, &arguments.config, Verb::Stop),
        Command::Top(command) => top::run(command, &arguments.config),
    };
    result.unwrap_or_else(|failure| report(&failure))
}

/// The command line interface, for shell completions and for the test of the manual pages.
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

fn load_config(path: &Path) -> Result<Config, Failure> {
    config::load(path).map_err(|error| Failure::because(ExitStatus::Config, "", &error))
}

/// Parses a login name from the command line.
fn parse_login(name: &str) -> Result<Login, String> {
    Login::parse(name.as_bytes()).map_err(|error| error.to_string())
}

/// Fails for a user with neither a box nor a cached account on this host.
fn require_known(config: &Config, login: &Login, has_box: bool) -> Result<(), Failure> {
    if has_box || Cache::new(&config.accounts.cache).read(login).is_some() {
        return Ok(());
    }
    let cause = format!("{login} has no box and has not logged in yet");
    let advice = format!("check the name, and see `sshbox keys {login}`");
    Err(Failure { cause, ..Failure::new(ExitStatus::Unavailable, advice) })
}

/// Runs a future that talks to the container engine.
fn with_engine<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime =
        runtime::on_this_thread().map_err(|error| Failure::because(ExitStatus::TryAgain, "", &error))?;
    runtime.block_on(work)
}

/// Logs an admin's action on a user's box or session, with its error if it failed. The admin is the
/// user who called sudo, or else the uid.
fn log_admin_action(user: &Login, action: &str, error: Option<&str>) {
    let user = user.as_str();
    let by = std::env::var("SUDO_USER").unwrap_or_else(|_| format!("uid {}", nix::unistd::getuid()));
    let mut fields: Vec<FieldValue<'_>> =
        vec![(Field::User, &user), (Field::By, &by), (Field::Action, &action)];
    fields.extend(error.as_ref().map(|error| (Field::Error, error as _)));
    log(PROGRAM, Event::AdminAction, &fields);
}
