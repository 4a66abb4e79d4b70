//! `sshbox adopt`: moves the container of an earlier gateway out of the way, so that the user's next
//! login creates a box on the same home, which gets the uid of the box if it has another one. An existing container cannot be given labels, so it is
//! stopped and renamed, and its restart policy is set to `no`. Nothing is removed; sshbox-adopt(8)
//! describes the way back. Programs that ran in the container are lost.

mod candidate;

use super::{PROGRAM, load_config, log_admin_action, output, with_engine};
use candidate::{AdoptionDecision, Candidate};
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream;
use host::box_user;
use host::config::{Config, Template};
use host::home;
use host::home::change_owner::{self, OwnerChange};
use identity::Login;
use lifecycle::adoption;
use lifecycle::container::ContainerState;
use lifecycle::engine::{Engine, EngineError, advice};
use session::deadlines::TRANSITION;
use session::escape::printable;
use session::exit::{ExitStatus, Failure, chain};
use session::presence::{RUN, UserRuntimeDir};
use session::times::rfc3339;
use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

/// How many containers are stopped at the same time; each may take its whole grace period.
const CONCURRENT_STOPS: usize = 8;

/// Set containers of an earlier gateway aside, so that their users get boxes on the same homes
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login names
    #[arg(value_name = "USER", required_unless_present = "all")]
    users: Vec<String>,
    /// Adopt every container whose name matches box.name
    #[arg(long, conflicts_with = "users")]
    all: bool,
    /// Show what would be done and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    if !arguments.yes && !arguments.dry_run && !io::stdin().is_terminal() {
        let text = "standard input is not a terminal, so there is no way to confirm; \
                    run with --dry-run first, then with --yes";
        return Err(Failure::new(ExitStatus::Usage, text));
    }
    let settings = load_config(config)?;
    with_engine(adopt(arguments, config, &settings))
}

async fn adopt(arguments: &Arguments, config_file: &Path, config: &Config) -> Result<ExitCode, Failure> {
    let engine = Engine::connect(&config.engine).await.map_err(engine_failure)?;
    let names = old_names(config)?;
    let mut candidates = Vec::new();
    for login in logins(arguments, &names, &engine).await? {
        let candidate = Candidate::inspect(&engine, config_file, config, (login, &names))
            .await
            .map_err(engine_failure)?;
        // With --all, boxes of sshbox itself would only be noise.
        if !(arguments.all && candidate.decision() == AdoptionDecision::AlreadyOurs) {
            output::print(&candidate.to_string())?;
            candidates.push(candidate);
        }
    }
    let any_refused = candidates.iter().any(|candidate| candidate.decision() == AdoptionDecision::Refuse);
    let ready: Vec<_> =
        candidates.into_iter().filter(|candidate| candidate.decision() == AdoptionDecision::Adopt).collect();
    if ready.is_empty() {
        output::print("nothing was changed\n")?;
    } else if arguments.dry_run {
        output::print(&format!("{} would be set aside; nothing was changed\n", containers(ready.len())))?;
    } else if arguments.yes || output::confirm(&question(&ready)) {
        let results = stream::iter(&ready).map(|candidate| adopt_one(&engine, config, candidate));
        let failures =
            results.buffer_unordered(CONCURRENT_STOPS).filter(|succeeded| std::future::ready(!succeeded));
        if failures.count().await > 0 {
            return Ok(ExitStatus::TryAgain.code().into());
        }
    } else {
        output::print("nothing was changed\n")?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(if any_refused { ExitStatus::Refused.code().into() } else { ExitCode::SUCCESS })
}

/// The names of the containers of the earlier gateway: those that `box.name` gives.
fn old_names(config: &Config) -> Result<Template, Failure> {
    config.container.name.with_user().ok_or_else(|| {
        let text = "box.name contains {digest}, so no container of an earlier gateway has the name of a box; \
                    set box.name to the names of the gateway, such as \"old-{user}\", until all are adopted";
        Failure::new(ExitStatus::Config, text)
    })
}

/// The users whose containers are to be adopted.
async fn logins(arguments: &Arguments, template: &Template, engine: &Engine) -> Result<Vec<Login>, Failure> {
    if arguments.all {
        let names = engine.names().await.map_err(engine_failure)?;
        let names = names.iter().filter(|name| !adoption::is_aside(name));
        return Ok(names.filter_map(|name| template.login_of(name)).collect());
    }
    let parse = |name: &String| {
        Login::parse(name.as_bytes()).map_err(|error| {
            let text = format!("{} is not a login name: {error}", printable(name.as_bytes()));
            Failure::new(ExitStatus::Usage, text)
        })
    };
    arguments.users.iter().map(parse).collect()
}

/// Sets one container aside and reports the result. Returns whether it succeeded.
async fn adopt_one(engine: &Engine, config: &Config, candidate: &Candidate) -> bool {
    let new_name = adoption::name_aside(&candidate.name, &rfc3339(SystemTime::now()).unwrap_or_default());
    let name = &candidate.name;
    let restart = candidate.container.as_ref().map_or("no", |container| &container.restart);
    let action = format!("adopt {name} as {new_name}, restart policy {restart}");
    match set_aside(engine, config, candidate, &new_name).await {
        Ok(()) => {
            log_admin_action(&candidate.login, &action, None);
            // The container is renamed even if nobody reads the output any more.
            let _ = output::print(&format!("{name}: set aside as {new_name}\n"));
            true
        }
        Err(error) => {
            let error = printable(chain(&*error).as_bytes());
            log_admin_action(&candidate.login, &action, Some(&error));
            let _ = writeln!(io::stderr(), "{PROGRAM}: {name}: {error}");
            false
        }
    }
}

async fn set_aside(
    engine: &Engine,
    config: &Config,
    candidate: &Candidate,
    new_name: &str,
) -> Result<(), Box<dyn Error>> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), &candidate.login);
    runtime_dir.prepare()?;
    // A login that arrives now waits until this lock is released, and then creates its box.
    let _transition = runtime_dir.lock_state(TRANSITION)?;
    let container = engine.find_foreign(&candidate.name).await?;
    let Some(container) = container.filter(|container| candidate.container.as_ref() == Some(container))
    else {
        return Err("the container has changed since it was inspected; it was left alone, try again".into());
    };
    let (template, login) = (&config.container.home, &candidate.login);
    let account = candidate.account.as_ref().ok_or("the web app gave no account")?;
    let user = box_user::claim(&config.container, login, account, Path::new(box_user::DIRECTORY))?;
    // Before the stop: a restart of the engine must not start the container again.
    engine.never_restart(&container.id).await?;
    if container.state == ContainerState::Paused {
        // A paused container would not receive the stop signal.
        engine.unpause(&container.id).await?;
    }
    if matches!(container.state, ContainerState::Running | ContainerState::Paused) {
        engine.stop(&container.id, config.reap.grace.0).await?;
    }
    // No process uses the home any more.
    let owner = home::inspect(template, login)?.owner;
    if owner.0 != user.uid {
        let change = OwnerChange { from_uid: owner.0, from_gid: owner.1, to: user };
        change_owner::change(template, login, change, &mut |_| ())?;
    }
    home::ensure(template, login, account.id.as_deref(), user)?;
    engine.rename(&container.id, new_name).await?;
    Ok(())
}

fn question(ready: &[Candidate]) -> String {
    let processes: Option<usize> =
        ready.iter().map(|candidate| candidate.processes.as_ref().map(Vec::len)).sum();
    let processes = match processes {
        Some(0) => "No process is running in them".to_owned(),
        Some(1) => "1 process will end".to_owned(),
        Some(count) => format!("{count} processes will end"),
        None => "All processes in them will end".to_owned(),
    };
    format!("Stop and set aside {}? {processes}.", containers(ready.len()))
}

fn containers(count: usize) -> String {
    if count == 1 { "1 container".to_owned() } else { format!("{count} containers") }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err passes the error by value")]
fn engine_failure(error: EngineError) -> Failure {
    let status = match error {
        EngineError::Timeout(..) => ExitStatus::TryAgain,
        _ => ExitStatus::Unavailable,
    };
    Failure::because(status, advice::CHECK, &error)
}
