//! `sshbox doctor`: follows the way of one login and proves each step on the spot, in order,
//! with the remedy beside each failure. What it makes for that, a visitor with a key and a box of
//! their own, is gone when it ends, by a signal too; what a killed one left goes with the next.
//!
//! A check gathers facts and hands them to a function that knows nothing else and judges them.
#![expect(clippy::unnecessary_wraps, reason = "all checks have one form, those that need nothing too")]

mod advisories;
mod disk;
mod docker;
mod files;
mod lxcfs;
mod site;
mod ssh;
pub(super) mod tool;
mod units;
mod verdict;
mod visit;

use ::site::source;
use clap::Args;
use host::config::{self, AccountsConfig, Config};
use identity::Login;
use lifecycle::engine::{About, Engine, EngineError};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown};
use session::exit::{ExitStatus, Failure, chain};
use session::presence::{RUN, VISITOR_PREFIX};
use session::process::die_by;
use site::Heads;
use std::cell::OnceCell;
use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use tool::{Ended, Interrupt, ToolError};
use verdict::{Finding, Remedy, Report, State, Verdict, fail, skip};
use visit::Visit;

/// How long a program of the host may take that has little to do.
const SMALL: Duration = Duration::from_secs(10);

/// Proves each step of a login and says what to do about those that fail
#[derive(Debug, Args)]
pub struct Arguments {
    /// Do what is safe about failures: owners and modes of sshbox's own files, its users,
    /// directories, timer, socket and network
    #[arg(long)]
    fix: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ask the account source for this name, print how the answer began, and do nothing else
    #[arg(long, value_name = "NAME", hide = true, conflicts_with_all = ["fix", "json", "checks"])]
    ask: Option<String>,
    /// Do these checks only
    #[arg(value_name = "CHECK", value_parser = CHECKS.iter().map(|(id, _)| *id).collect::<Vec<_>>())]
    checks: Vec<String>,
}

/// What a check comes to; an error is a verdict as well, on something that it needs.
type Judged = Result<Verdict, Verdict>;

/// A check.
type Check = fn(&Doctor) -> Judged;

/// All checks, in the order of a login.
const CHECKS: &[(&str, Check)] = &[
    ("config", files::config),
    ("users", files::users),
    ("directories", files::directories),
    ("programs", files::programs),
    ("host-keys", ssh::host_keys),
    ("sshd-config", ssh::config),
    ("sshd-settings", ssh::settings),
    ("sshd-service", units::sshd),
    ("nss", ssh::nss),
    ("token", files::token),
    ("site", site::site),
    ("site-token", site::token),
    ("clock", site::clock),
    ("tls", site::tls),
    ("wake-socket", units::wake),
    ("docker", docker::docker),
    ("advisories", advisories::advisories),
    ("live-restore", docker::live_restore),
    ("cgroups", docker::cgroups),
    ("confinement", docker::confinement),
    ("image", docker::image),
    ("network", docker::network),
    ("homes", files::homes),
    ("disk", disk::space),
    ("quota", disk::quota),
    ("port", visit::port),
    ("login", visit::login),
    ("sftp", visit::sftp),
    ("box", visit::confined),
    ("lxcfs", lxcfs::lxcfs),
    ("log-driver", visit::log_driver),
    ("isolation", visit::isolation),
    ("reap-timer", units::reap),
    ("exposure", units::exposure),
    ("leftovers", visit::leftovers),
];

/// What the checks share: each thing is found out once, by the first who needs it.
struct Doctor {
    config_path: PathBuf,
    interrupt: Interrupt,
    runtime: tokio::runtime::Runtime,
    /// A name that nobody has.
    visitor: Login,
    config: OnceCell<Result<Config, config::ConfigError>>,
    settings: OnceCell<Result<String, String>>,
    heads: OnceCell<Heads>,
    engine: OnceCell<Result<Engine, EngineError>>,
    about: OnceCell<Result<About, EngineError>>,
    visit: OnceCell<Result<Visit, Verdict>>,
}

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    if let Some(name) = &arguments.ask {
        return ask(config, name);
    }
    if !Uid::effective().is_root() {
        return Err(Failure::new(
            ExitStatus::Refused,
            "only root can look at all of it; try sudo sshbox doctor",
        ));
    }
    let doctor = Doctor::new(config)
        .map_err(|error| Failure::because(ExitStatus::TryAgain, "the doctor cannot start", &error))?;
    let report = doctor.examine(arguments);
    // Whatever happened until here, and before anything else can happen.
    let left = visit::leave(&doctor);
    if let Some(signal) = doctor.interrupt.came() {
        for problem in left {
            let _ = writeln!(io::stderr(), "sshbox: left behind: {problem}");
        }
        return Ok(die_by(signal));
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        let _ = writeln!(io::stdout(), "{text}");
    } else {
        let _ = io::stdout().write_all(report.summary().as_bytes());
    }
    Ok(if report.state == State::Fail { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What `sshbox-keys` would hear, with the token and without, for the doctor, who runs this as that user.
fn ask(config: &Path, name: &str) -> Result<ExitCode, Failure> {
    let config = config::load(config)
        .map_err(|error| Failure::because(ExitStatus::Config, "the configuration cannot be used", &error))?;
    let login = Login::parse(name.as_bytes())
        .map_err(|error| Failure::because(ExitStatus::Usage, "not a login name", &error))?;
    let timeout = config.accounts.timeout.0;
    let ask =
        |accounts: &AccountsConfig| source::head(accounts, &login, timeout).map_err(|error| chain(&error));
    // Asked with a token and without: an answer to both alike says nothing of the token.
    let with = ask(&config.accounts);
    let heads = Heads { with, without: ask(&config.accounts.without_token()) };
    let _ = writeln!(io::stdout(), "{}", serde_json::to_string(&heads).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

impl Doctor {
    fn new(config: &Path) -> io::Result<Self> {
        let name = format!("{VISITOR_PREFIX}{}", session::journal::Reference::random());
        Ok(Self {
            config_path: config.to_owned(),
            // Before there are other threads: they must not take the signals.
            interrupt: Interrupt::watch()?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            visitor: Login::parse(name.as_bytes()).map_err(io::Error::other)?,
            config: OnceCell::new(),
            settings: OnceCell::new(),
            heads: OnceCell::new(),
            engine: OnceCell::new(),
            about: OnceCell::new(),
            visit: OnceCell::new(),
        })
    }

    /// Does the checks, and shows each to people as soon as it is done.
    fn examine(&self, arguments: &Arguments) -> Report {
        let people = !arguments.json;
        let colour = people && super::show::colours();
        let progress = people && io::stdout().is_terminal() && io::stderr().is_terminal();
        let wanted =
            |id: &str| arguments.checks.is_empty() || arguments.checks.iter().any(|check| check == id);
        let mut findings = Vec::new();
        for (id, check) in CHECKS.iter().filter(|(id, _)| wanted(id)) {
            if self.interrupt.came().is_some() {
                break;
            }
            if progress {
                let _ = write!(io::stderr(), "      {id} ...");
            }
            let finding = self.check(id, *check, arguments.fix);
            if progress {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
            if people {
                let _ = io::stdout().write_all(finding.text(colour).as_bytes());
            }
            findings.push(finding);
        }
        Report::new(findings)
    }

    fn check(&self, id: &'static str, check: Check, fix: bool) -> Finding {
        let judge = || check(self).unwrap_or_else(|verdict| verdict);
        let verdict = judge();
        if !fix || verdict.remedies.is_empty() {
            return Finding::new(id, verdict, None);
        }
        let mut done = Vec::new();
        for remedy in &verdict.remedies {
            done.push(match self.apply(remedy) {
                Ok(()) => remedy.to_string(),
                Err(error) => format!("{remedy}: failed: {error}"),
            });
        }
        Finding::new(id, judge(), Some(done.join("; ")))
    }

    fn apply(&self, remedy: &Remedy) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| chain(error);
        match remedy {
            Remedy::Owner(path, uid, gid) => {
                let file = no_link(path).map_err(|error| text(&error))?;
                fchown(file, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
                    .map_err(|error| text(&error))
            }
            Remedy::Mode(path, mode) => {
                let file = no_link(path).map_err(|error| text(&error))?;
                fchmod(file, Mode::from_bits_truncate(*mode)).map_err(|error| text(&error))
            }
            Remedy::Run(words) => {
                let (program, rest) = words.split_first().ok_or("nothing to run")?;
                match self.tool(Command::new(program).args(rest), "", SMALL * 3) {
                    Ok(ended) if ended.status.success() => Ok(()),
                    Ok(ended) => Err(ended.last_words()),
                    Err(error) => Err(error.to_string()),
                }
            }
            Remedy::Network(name) => {
                let engine = self.engine().map_err(|verdict| verdict.seen)?;
                // As sshbox-wake does: one at a time, for Docker would make two of one name.
                let _turn =
                    session::presence::host_lock(Path::new(RUN), SMALL).map_err(|error| text(&error))?;
                self.wait(engine.make_network(name)).map_err(|error| text(&error))
            }
        }
    }

    /// Runs a program of the host.
    fn tool(&self, command: &mut Command, input: &str, deadline: Duration) -> Result<Ended, ToolError> {
        tool::run(command, input, deadline, Some(&self.interrupt))
    }

    /// The same, for a check that has nothing to say without it.
    fn must(&self, command: &mut Command, deadline: Duration) -> Result<Ended, Verdict> {
        self.tool(command, "", deadline).map_err(|error| missing(&error))
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn loaded(&self) -> Result<&Config, &config::ConfigError> {
        self.config.get_or_init(|| config::load(&self.config_path)).as_ref()
    }

    /// The configuration, for checks that need it.
    fn config(&self) -> Result<&Config, Verdict> {
        self.loaded().map_err(|_| skip("the configuration cannot be used, see config"))
    }

    /// The settings of our sshd as `sshd -T` tells them.
    fn settings(&self) -> Result<&str, Verdict> {
        let settings = self.settings.get_or_init(|| {
            let mut command = Command::new(ssh::SSHD);
            match self.tool(command.args(["-T", "-f", ssh::CONFIG]), "", SMALL) {
                Ok(ended) if ended.status.success() => Ok(ended.out),
                Ok(ended) => Err(ended.last_words()),
                Err(error) => Err(error.to_string()),
            }
        });
        settings.as_deref().map_err(|_| skip("sshd does not take its configuration, see sshd-config"))
    }

    fn connected(&self) -> Result<Result<&Engine, &EngineError>, Verdict> {
        let config = self.config()?;
        Ok(self.engine.get_or_init(|| self.wait(Engine::connect(&config.engine))).as_ref())
    }

    /// Docker.
    fn engine(&self) -> Result<&Engine, Verdict> {
        self.connected()?.map_err(|_| skip("Docker does not answer, see docker"))
    }

    /// What Docker says of itself.
    fn about(&self) -> Result<&About, Verdict> {
        let engine = self.engine()?;
        let about = self.about.get_or_init(|| self.wait(engine.about())).as_ref();
        about.map_err(|error| fail(chain(error), "look at what dockerd says: journalctl -u docker"))
    }
}

/// A program that is not there, or does not end.
fn missing(error: &ToolError) -> Verdict {
    match error {
        ToolError::Start(program, _) => skip(format!("{program} is not there to ask")),
        _ => fail(error.to_string(), "try it by hand; the machine may be overloaded"),
    }
}

/// Opens a file of ours to change its owner or mode, unless it is a link.
fn no_link(path: &Path) -> nix::Result<std::os::fd::OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_in_the_manual() {
        let page = include_str!("../../../packaging/man/sshbox-doctor.8");
        for (id, _) in CHECKS {
            let entry = format!(".TP\n.B {}\n", id.replace('-', "\\-"));
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
