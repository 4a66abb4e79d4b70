//! `sshbox doctor`: checks each step of a login in order, and prints what to do if one fails. It removes
//! what it creates for that, also if a signal ends it. What a killed doctor did not remove, the next one
//! removes.
//!
//! A check collects facts and passes them to a function that judges them and does nothing else.
#![expect(clippy::unnecessary_wraps, reason = "all checks have one signature, those that cannot fail too")]

mod disk;
mod docker;
mod files;
mod isolation;
mod logins;
mod names;
mod network;
mod proxies;
mod report;
mod site;
mod ssh;
mod temporary_users;
mod uids;
mod units;
mod updates;

use crate::tool::{self, Ended, Interrupt, ToolError};
use clap::Args;
use host::config::{self, Config, ConfigError};
use identity::Login;
use lifecycle::engine::{About, Engine, EngineError, advice};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown};
use report::{CheckResult, CheckState, DoctorReport, Remedy, fail, skip};
use session::deadlines::HOST_PROGRAM;
use session::exit::{ExitStatus, Failure, chain};
use session::presence::TEMPORARY_USER_PREFIX;
use session::process::die_by;
use std::cell::OnceCell;
use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use temporary_users::TemporaryUsers;

/// Proves each step of a login and says what to do about those that fail
#[derive(Debug, Args)]
pub struct Arguments {
    /// Correct what is safe to correct: owners and modes of sshbox's own files, its users,
    /// directories, timer and socket, and the rules for packets
    #[arg(long)]
    fix: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Run these checks only
    #[arg(value_name = "CHECK", value_parser = CHECKS.iter().map(|(id, _)| *id).collect::<Vec<_>>())]
    checks: Vec<String>,
}

/// The result of a check. `Err` is also a result, so that `?` can end a check early: most often it says
/// that something which the check needs has failed.
type Checked = Result<CheckResult, CheckResult>;

/// A check.
type Check = fn(&Doctor) -> Checked;

/// All checks, in the order of a login.
const CHECKS: &[(&str, Check)] = &[
    ("config", files::config),
    ("users", files::users),
    ("directories", files::directories),
    ("programs", files::programs),
    ("updates", updates::updates),
    ("host-keys", ssh::host_keys),
    ("sshd-config", ssh::config),
    ("sshd-settings", ssh::settings),
    ("proxies", proxies::proxies),
    ("sshd-service", units::sshd),
    ("nss", ssh::nss),
    ("pam", ssh::pam),
    ("token", files::token),
    // Before the checks that create a key file for the temporary user: for a user with a key file, the
    // account source is not asked.
    ("site", site::site),
    ("site-token", site::token),
    ("tls", site::tls),
    ("wake-socket", units::wake),
    ("docker", docker::docker),
    ("live-restore", docker::live_restore),
    ("cgroups", docker::cgroups),
    ("image", docker::image),
    ("network", network::network),
    ("network-rules", network::rules),
    ("uids", uids::uids),
    ("names", names::names),
    ("homes", files::homes),
    ("homes-mount", files::homes_mount),
    ("disk", disk::disk),
    ("port", logins::port),
    ("login", logins::login),
    ("sftp", logins::sftp),
    ("box", isolation::confined),
    ("isolation", isolation::isolation),
    ("reap-timer", units::reap),
    ("recheck-timer", units::recheck),
    ("leftovers", temporary_users::leftovers),
];

/// What the checks share. The first check that needs a value computes it.
struct Doctor {
    config_path: PathBuf,
    interrupt: Interrupt,
    runtime: tokio::runtime::Runtime,
    /// A random name, which no user has. The checks from `port` on create the user.
    temporary_user: Login,
    config: OnceCell<Result<Config, ConfigError>>,
    settings: OnceCell<Result<String, String>>,
    answer: OnceCell<site::Answer>,
    engine: OnceCell<Result<Engine, EngineError>>,
    about: OnceCell<Result<About, EngineError>>,
    temporary_users: OnceCell<Result<TemporaryUsers, CheckResult>>,
}

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    if !Uid::effective().is_root() {
        return Err(Failure::new(
            ExitStatus::Refused,
            "only root can check all of it; try sudo sshbox doctor",
        ));
    }
    let doctor = Doctor::new(config)
        .map_err(|error| Failure::because(ExitStatus::TryAgain, "the doctor cannot start", &error))?;
    let report = doctor.examine(arguments);
    // Before any output, which can block.
    let left = temporary_users::remove_users(&doctor);
    if let Some(signal) = doctor.interrupt.came() {
        for problem in left {
            let _ = writeln!(io::stderr(), "sshbox: not removed: {problem}");
        }
        return Ok(die_by(signal));
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        let _ = writeln!(io::stdout(), "{text}");
    } else {
        let _ = io::stdout().write_all(report.summary().as_bytes());
    }
    Ok(if report.state == CheckState::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Doctor {
    fn new(config: &Path) -> io::Result<Self> {
        let name = format!("{TEMPORARY_USER_PREFIX}{}", session::journal::Reference::random());
        Ok(Self {
            config_path: config.to_owned(),
            // Before there are other threads: they must not receive the signals.
            interrupt: Interrupt::watch()?,
            runtime: lifecycle::runtime::on_this_thread()?,
            temporary_user: Login::parse(name.as_bytes()).map_err(io::Error::other)?,
            config: OnceCell::new(),
            settings: OnceCell::new(),
            answer: OnceCell::new(),
            engine: OnceCell::new(),
            about: OnceCell::new(),
            temporary_users: OnceCell::new(),
        })
    }

    /// Runs the checks. Unless JSON is wanted, prints each result as soon as its check has ended.
    fn examine(&self, arguments: &Arguments) -> DoctorReport {
        let people = !arguments.json;
        let colour = people && crate::output::use_colours();
        let progress = people && io::stdout().is_terminal() && io::stderr().is_terminal();
        let wanted =
            |id: &str| arguments.checks.is_empty() || arguments.checks.iter().any(|check| check == id);
        let mut results = Vec::new();
        for (id, check) in CHECKS.iter().filter(|(id, _)| wanted(id)) {
            if self.interrupt.came().is_some() {
                break;
            }
            if progress {
                let _ = write!(io::stderr(), "      {id} ...");
            }
            let result = self.check(id, *check, arguments.fix);
            if progress {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
            if people {
                let _ = io::stdout().write_all(result.text(colour).as_bytes());
            }
            results.push(result);
        }
        DoctorReport::new(results)
    }

    fn check(&self, id: &'static str, check: Check, fix: bool) -> CheckResult {
        let result = || check(self).unwrap_or_else(|needed| needed);
        let first = result();
        if !fix || first.remedies.is_empty() {
            return first.of(id, None);
        }
        let applied = first.remedies.iter().map(|remedy| match self.apply(remedy) {
            Ok(()) => remedy.to_string(),
            Err(error) => format!("{remedy}: failed: {error}"),
        });
        let applied = applied.collect::<Vec<_>>().join("; ");
        result().of(id, Some(applied))
    }

    fn apply(&self, remedy: &Remedy) -> Result<(), String> {
        // Follow no symbolic link, so that the file that was checked is changed, and no other.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = |path: &Path| open(path, flags, Mode::empty());
        let changed = match remedy {
            Remedy::Owner(path, uid, gid) => {
                let owner = (Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
                file(path).and_then(|file| fchown(file, owner.0, owner.1))
            }
            Remedy::Mode(path, mode) => {
                file(path).and_then(|file| fchmod(file, Mode::from_bits_truncate(*mode)))
            }
            Remedy::Run(words) => {
                let (program, rest) = words.split_first().ok_or("nothing to run")?;
                let ended = self.tool(Command::new(program).args(rest), "", HOST_PROGRAM * 3);
                let ended = ended.map_err(|error| error.to_string())?;
                return if ended.succeeded() { Ok(()) } else { Err(ended.last_words()) };
            }
        };
        changed.map_err(|errno| errno.to_string())
    }

    /// Runs a program of the host.
    fn tool(&self, command: &mut Command, input: &str, deadline: Duration) -> Result<Ended, ToolError> {
        tool::run(command, input, deadline, Some(&self.interrupt))
    }

    /// Runs a program that the check needs; the error is the result of the check.
    fn must(&self, command: &mut Command, deadline: Duration) -> Result<Ended, CheckResult> {
        self.tool(command, "", deadline).map_err(|error| missing(&error))
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The configuration, for checks that need it.
    fn config(&self) -> Result<&Config, CheckResult> {
        let config = self.config.get_or_init(|| config::load(&self.config_path)).as_ref();
        config.map_err(|_| skip("the configuration cannot be used, see check config"))
    }

    /// The settings of sshbox's sshd as `sshd -T` prints them.
    fn settings(&self) -> Result<&str, CheckResult> {
        let settings = self.settings.get_or_init(|| {
            match self.tool(&mut crate::names::print_settings(), "", HOST_PROGRAM) {
                Ok(ended) if ended.succeeded() => Ok(ended.out),
                Ok(ended) => Err(ended.last_words()),
                Err(error) => Err(error.to_string()),
            }
        });
        settings.as_deref().map_err(|_| skip("sshd rejects its configuration, see check sshd-config"))
    }

    /// The connection to the container engine, or why there is none. The outer error is the result of a
    /// check if there is no valid configuration.
    fn connection(&self) -> Result<Result<&Engine, &EngineError>, CheckResult> {
        let config = self.config()?;
        Ok(self.engine.get_or_init(|| self.wait(Engine::connect(&config.engine))).as_ref())
    }

    /// The container engine, for checks that need it.
    fn engine(&self) -> Result<&Engine, CheckResult> {
        self.connection()?.map_err(|_| skip("the container engine does not answer, see check docker"))
    }

    /// What the engine reports about itself.
    fn about(&self) -> Result<&About, CheckResult> {
        let engine = self.engine()?;
        let about = self.about.get_or_init(|| self.wait(engine.about())).as_ref();
        about.map_err(|error| fail(chain(error), advice::SEE_LOG))
    }
}

/// The result of a check whose program does not exist or does not end.
fn missing(error: &ToolError) -> CheckResult {
    match error {
        ToolError::Start(program, _) => skip(format!("{program} is not installed")),
        _ => fail(error.to_string(), "try it by hand; the machine may be overloaded"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_in_the_manual() {
        let page = include_str!("../../../docs/src/man/sshbox-doctor.8.md");
        for (id, _) in CHECKS {
            let entry = format!("\n`{id}`\n: ");
            assert_eq!(page.matches(&entry).count(), 1, "{id}");
        }
    }

    #[test]
    fn no_check_has_the_name_of_another() {
        let names: std::collections::BTreeSet<_> = CHECKS.iter().map(|(id, _)| id).collect();
        assert_eq!(names.len(), CHECKS.len());
        assert!(CHECKS.iter().all(|(id, _)| id.len() <= 15), "they stand in a column");
    }
}
