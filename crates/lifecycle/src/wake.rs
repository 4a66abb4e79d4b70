//! `sshbox-wake`: starts, stops or observes the box of its caller. For each connection to `wake.sock`
//! systemd starts one such process, as root, in a hardened unit. A request contains a verb, a login name
//! and a reference. The kernel reports the caller's uid, which must be that of the login name. Root, with
//! the command `sshbox`, may send any name.

mod disk;
mod network_note;
mod progress;
mod queries;
mod start;
mod start_failures;
mod start_step;
mod stop;
mod update;

use crate::engine::EngineError;
use crate::observe::ObserveError;
use crate::runtime;
use clap::{CommandFactory as _, Parser};
use host::account::Account;
use host::box_names::BoxNames;
use host::cache::Cache;
use host::config::{self, Config};
use identity::Login;
use progress::Progress;
use session::deadlines::{REQUEST, TRANSITION, WAKE};
use session::exit::{self, ExitStatus, Failure, chain};
use session::journal::{Event, Field, FieldValue, Reference, log};
use session::presence::{LockGuard, UserRuntimeDir};
use session::process::end_after;
use session::texts;
use session::wire::{Fields, Socket, Verb};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const PROGRAM: &str = "sshbox-wake";

/// Start, stop or observe the box of the user who is connected to standard input
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
struct Arguments {
    /// Configuration file
    #[arg(long, default_value = config::PATH)]
    config: PathBuf,
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    exit::program(PROGRAM, answer_caller)
}

/// The command line, for the test that compares it with the manual page.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

fn answer_caller(Arguments { config }: Arguments) -> ExitCode {
    // If the process ends at the deadline, the connection closes without a reply: the caller sees a failure.
    if end_after(WAKE, || log(PROGRAM, Event::DeadlinePassed, &[])).is_err() {
        return ExitStatus::TryAgain.code().into();
    }
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned().map(Socket::from_fd) else {
        return ExitStatus::Internal.code().into();
    };
    let reply = serve(&socket, &config).unwrap_or_else(|failure| {
        let fields = Fields::default()
            .with("failed", failure.advice.as_bytes())
            .with("status", failure.status.code().to_string().as_bytes())
            .with("ref", failure.reference.to_string().as_bytes());
        // Root gets the cause, so that an admin need not search the journal.
        if is_by_root(&socket) { fields.with("cause", failure.cause.as_bytes()) } else { fields }
    });
    // An error means that the caller has disconnected, so there is no one to tell.
    let _ = socket.send(&reply, &[]);
    ExitCode::SUCCESS
}

fn is_by_root(socket: &Socket) -> bool {
    socket.peer_uid().is_ok_and(|uid| uid == 0)
}

/// Outcome of a request.
struct RequestOutcome {
    /// The reply to the caller.
    reply: Fields,
    /// The log entry: what was changed, and why. `None` if nothing was changed.
    event: Option<(Event, &'static str)>,
}

fn serve(socket: &Socket, config: &Path) -> Result<Fields, Failure> {
    let WakeRequest { verb, login, for_login, progress } =
        read_request(socket).inspect_err(|failure| log_failure(failure, Event::RequestRefused, ""))?;
    let began = Instant::now();
    let done = config::load(config).map_err(unusable).and_then(|config| {
        let runtime = runtime::on_this_thread()
            .map_err(|error| Failure::because(ExitStatus::TryAgain, texts::SHORT_OF_RESOURCES, &error))?;
        runtime.block_on(async {
            match verb {
                Verb::Wake => {
                    // The caller gives up after that time, and the next one of this user asks then.
                    let patience = if for_login { config.forward.wait.0 } else { TRANSITION };
                    Box::pin(start::start(&config, &login, patience, &progress)).await
                }
                Verb::Stop | Verb::Restart => {
                    stop::stop(&config, &login, stop_reason(verb, is_by_root(socket))).await
                }
                Verb::Status => queries::status(&config, &login).await,
                Verb::StopReason => queries::stop_reason(&config, &login).await,
                Verb::Keys => queries::keys(&config, &login),
                Verb::Update => update::update(&config, &login).await,
            }
        })
    });
    match done {
        Ok(RequestOutcome { reply, event }) => {
            let took = began.elapsed().as_millis().to_string();
            if let Some((event, reason)) = event {
                let fields: [FieldValue<'_>; 4] = [
                    (Field::User, &login.as_str()),
                    (Field::By, &(if is_by_root(socket) && !for_login { "admin" } else { "user" })),
                    (Field::Reason, &reason),
                    (Field::Duration, &took),
                ];
                log(PROGRAM, event, &fields);
            }
            Ok(reply)
        }
        Err(failure) => {
            let event = match verb {
                Verb::Wake => Event::WakeFailed,
                Verb::Stop | Verb::Restart => Event::StopFailed,
                Verb::Update => Event::UpdateFailed,
                Verb::Status | Verb::StopReason | Verb::Keys => Event::LookFailed,
            };
            log_failure(&failure, event, login.as_str());
            Err(failure)
        }
    }
}

fn log_failure(failure: &Failure, event: Event, user: &str) {
    let status = failure.status.code().to_string();
    let fields: [FieldValue<'_>; 3] =
        [(Field::User, &user), (Field::Error, &failure.cause), (Field::Status, &status)];
    log(PROGRAM, event, &fields);
}

/// Logs that a box has stopped, but no program of sshbox stopped it.
fn log_end(login: &Login, reason: &str) {
    log(PROGRAM, Event::BoxEnded, &[(Field::User, &login.as_str()), (Field::Reason, &reason)]);
}

/// Why the box is stopped, in the words that its user reads.
fn stop_reason(verb: Verb, by_root: bool) -> &'static str {
    match (verb, by_root) {
        (Verb::Restart, true) => texts::RESTARTED_BY_ADMIN,
        (Verb::Restart, false) => texts::BY_RESTART,
        (_, true) => texts::BY_ADMIN,
        (_, false) => texts::BY_ITS_USER,
    }
}

/// What a caller requests.
struct WakeRequest<'a> {
    verb: Verb,
    login: Login,
    /// Root requests it because the user logs in.
    for_login: bool,
    /// Where progress is reported.
    progress: Progress<'a>,
}

/// Reads the request. Refuses it unless the kernel reports the uid of its login name, or root, as the caller.
fn read_request(socket: &Socket) -> Result<WakeRequest<'_>, Failure> {
    let refused = |cause: String| Failure { cause, ..Failure::new(ExitStatus::Refused, texts::NOT_YOURS) };
    let read = || {
        socket.set_patience(REQUEST)?;
        Ok::<_, io::Error>((socket.peer_uid()?, socket.receive()?))
    };
    let (uid, request) = read().map_err(|error| refused(format!("no request: {error}")))?;
    let fields = request.map(|(fields, _)| fields).unwrap_or_default();
    let (verb, name) =
        Verb::parse(&fields).ok_or_else(|| refused(format!("uid {uid} sent an unknown request")))?;
    let login =
        Login::parse(name).map_err(|error| refused(format!("uid {uid} sent a name that is {error}")))?;
    if uid != login.uid() && uid != 0 {
        return Err(refused(format!("uid {uid} asked for the box of {login}, whose uid is {}", login.uid())));
    }
    // From now on, log entries have the reference of the caller's session.
    if let Some(reference) = fields.text("ref").and_then(Reference::parse) {
        Reference::adopt(reference);
    }
    let progress = Progress::to_caller(socket, &fields);
    Ok(WakeRequest { verb, login, for_login: fields.is_for_login(), progress })
}

/// Creates the user's runtime directory if necessary, and takes `state.lock`: until it is dropped, no other
/// process starts or stops the box.
fn lock_state(runtime_dir: &UserRuntimeDir, patience: Duration) -> Result<LockGuard, Failure> {
    runtime_dir.prepare().map_err(no_runtime_dir)?;
    runtime_dir
        .lock_state(patience)
        .map_err(|error| Failure::because(ExitStatus::TryAgain, texts::BOX_BUSY, &error))
}

/// The account that `sshbox-keys` wrote into the cache at this login.
fn account(config: &Config, login: &Login) -> Result<Account, Failure> {
    let record = Cache::new(&config.accounts.cache).read(login);
    record.map(|record| record.account).ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::NO_ACCOUNT))
}

/// The names of all boxes.
fn box_names(config: &Config) -> Result<BoxNames, Failure> {
    BoxNames::load(&config.container.name)
        .map_err(|error| Failure::because(ExitStatus::Unavailable, texts::NO_BOX_NAME, &error))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn unusable(error: config::ConfigError) -> Failure {
    if error.is_shortage() {
        return Failure::because(ExitStatus::TryAgain, texts::SHORT_OF_RESOURCES, &error);
    }
    Failure::because(ExitStatus::Config, texts::NOT_SET_UP, &error)
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn no_runtime_dir(error: io::Error) -> Failure {
    Failure::because(ExitStatus::TryAgain, texts::NO_BOX_FILES, &error)
}

fn foreign(name: &str) -> Failure {
    let cause = format!("container {name} exists and lacks the labels of sshbox for this user");
    Failure { cause, ..Failure::new(ExitStatus::Refused, texts::FOREIGN) }
}

fn observe_failed(error: ObserveError) -> Failure {
    match error {
        ObserveError::Engine(error) => engine_failed(error),
        ObserveError::Name(error) => Failure::because(ExitStatus::Unavailable, texts::NO_BOX_NAME, &error),
        ObserveError::Foreign { name, .. } => foreign(&name),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn engine_failed(error: EngineError) -> Failure {
    let (status, advice) = match error {
        EngineError::Unreachable(..) => (ExitStatus::Unavailable, texts::NO_ENGINE),
        EngineError::Timeout(..) => (ExitStatus::TryAgain, texts::SLOW_ENGINE),
        _ => (ExitStatus::Unavailable, texts::ENGINE_FAILED),
    };
    Failure { cause: chain(&error), ..Failure::new(status, advice) }
}
