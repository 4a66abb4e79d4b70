//! `sshbox-wake`: what a user may have done to their own box by root: started, stopped, looked
//! at. One process per request, started by the connection to `wake.sock`, as root and hardened.
//! It takes one verb, the login name and a reference from outside, and the kernel says whether
//! that name is the caller's. Root may have it done for any name: so does the admin's command.

mod handover;
mod look;
mod progress;
mod start;
mod stop;

use crate::engine::EngineError;
use clap::{CommandFactory as _, Parser};
use host::account::Account;
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
use std::time::Instant;

const PROGRAM: &str = "sshbox-wake";

/// Starts, stops or looks at the box of the user who is connected to stdin.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
struct Arguments {
    /// Configuration file
    #[arg(long, default_value = config::PATH)]
    config: PathBuf,
}

/// All that may be typed, for the test that compares the manual with it.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    exit::on_panic(PROGRAM);
    let arguments: Arguments = match exit::arguments() {
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    // Ends as a failure for a caller: the connection closes without an answer.
    if end_after(WAKE, || log(PROGRAM, Event::DeadlinePassed, &[])).is_err() {
        return ExitStatus::TryAgain.code().into();
    }
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned().map(Socket::from_fd) else {
        return ExitStatus::Internal.code().into();
    };
    let answer = serve(&socket, &arguments.config).unwrap_or_else(|failure| {
        let told = Fields::default()
            .with("failed", failure.advice.as_bytes())
            .with("status", failure.status.code().to_string().as_bytes())
            .with("ref", failure.reference.to_string().as_bytes());
        // An admin need not look for the rest in the journal.
        if by_root(&socket) { told.with("cause", failure.cause.as_bytes()) } else { told }
    });
    // A caller who left does not need it.
    let _ = socket.send(&answer, &[]);
    ExitCode::SUCCESS
}

fn by_root(socket: &Socket) -> bool {
    socket.peer_uid().is_ok_and(|uid| uid == 0)
}

/// What was done: what the caller is told, and what the journal is.
struct Done {
    answer: Fields,
    /// What happened and why; `None` when nothing did.
    event: Option<(Event, &'static str)>,
}

fn serve(socket: &Socket, config: &Path) -> Result<Fields, Failure> {
    let (verb, login, progress) =
        caller(socket).inspect_err(|failure| report(failure, Event::RequestRefused, ""))?;
    let begun = Instant::now();
    let done = config::load(config).map_err(unusable).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::because(ExitStatus::TryAgain, texts::SHORT_OF_RESOURCES, &error))?;
        runtime.block_on(async {
            match verb {
                Verb::Wake => start::start(&config, &login, &progress).await,
                Verb::Stop | Verb::Restart => stop::stop(&config, &login, why(verb, by_root(socket))).await,
                Verb::Status => look::status(&config, &login).await,
                Verb::StopReason => look::why(&config, &login).await,
                Verb::Keys => look::keys(&config, &login),
            }
        })
    });
    match done {
        Ok(Done { answer, event }) => {
            let took = begun.elapsed().as_millis().to_string();
            if let Some((event, reason)) = event {
                let fields: [FieldValue<'_>; 4] = [
                    (Field::User, &login.as_str()),
                    (Field::By, &(if by_root(socket) { "admin" } else { "user" })),
                    (Field::Reason, &reason),
                    (Field::Duration, &took),
                ];
                log(PROGRAM, event, &fields);
            }
            Ok(answer)
        }
        Err(failure) => {
            let event = match verb {
                Verb::Wake => Event::WakeFailed,
                Verb::Stop | Verb::Restart => Event::StopFailed,
                Verb::Status | Verb::StopReason | Verb::Keys => Event::LookFailed,
            };
            report(&failure, event, login.as_str());
            Err(failure)
        }
    }
}

fn report(failure: &Failure, event: Event, user: &str) {
    let status = failure.status.code().to_string();
    let fields: [FieldValue<'_>; 3] =
        [(Field::User, &user), (Field::Error, &failure.cause), (Field::Status, &status)];
    log(PROGRAM, event, &fields);
}

/// Tells that a box had ended by itself, or by somebody else.
fn report_end(login: &Login, reason: &str) {
    log(PROGRAM, Event::BoxEnded, &[(Field::User, &login.as_str()), (Field::Reason, &reason)]);
}

/// Why the box is stopped, as its user will hear it.
fn why(verb: Verb, by_root: bool) -> &'static str {
    match (verb, by_root) {
        (Verb::Restart, true) => texts::RESTARTED_BY_ADMIN,
        (Verb::Restart, false) => texts::BY_RESTART,
        (_, true) => texts::BY_ADMIN,
        (_, false) => texts::BY_ITS_USER,
    }
}

/// What is asked for, and for whom: the name that was sent, if the kernel attests that the
/// caller has its uid, or is root; and where progress goes.
fn caller(socket: &Socket) -> Result<(Verb, Login, Progress<'_>), Failure> {
    let refused = |cause: String| Failure { cause, ..Failure::new(ExitStatus::Refused, texts::NOT_YOURS) };
    let read = || {
        socket.set_patience(REQUEST)?;
        Ok::<_, io::Error>((socket.peer_uid()?, socket.receive()?))
    };
    let (uid, request) = read().map_err(|error| refused(format!("no request: {error}")))?;
    let fields = request.map(|(fields, _)| fields).unwrap_or_default();
    let (verb, name) =
        Verb::parse(&fields).ok_or_else(|| refused(format!("uid {uid} sent no request that is known")))?;
    let login =
        Login::parse(name).map_err(|error| refused(format!("uid {uid} sent a name that is {error}")))?;
    if uid != login.uid() && uid != 0 {
        return Err(refused(format!("uid {uid} asked for the box of {login}, whose uid is {}", login.uid())));
    }
    // From here on all that is told here is told of their session.
    if let Some(reference) = fields.text("ref").and_then(Reference::parse) {
        Reference::adopt(reference);
    }
    Ok((verb, login, Progress::to_caller(socket, &fields)))
}

/// Makes room for this user, and from then on nobody else starts or stops the box.
fn transition(runtime_dir: &UserRuntimeDir) -> Result<LockGuard, Failure> {
    runtime_dir.prepare().map_err(no_room)?;
    runtime_dir
        .lock_state(TRANSITION)
        .map_err(|error| Failure::because(ExitStatus::TryAgain, texts::BOX_BUSY, &error))
}

/// The account that `sshbox-keys` left in the cache a moment ago.
fn account(config: &Config, login: &Login) -> Result<Account, Failure> {
    let record = Cache::new(&config.accounts.cache).read(login);
    record.map(|record| record.account).ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::NO_ACCOUNT))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn unusable(error: config::ConfigError) -> Failure {
    if error.is_shortage() {
        return Failure::because(ExitStatus::TryAgain, texts::SHORT_OF_RESOURCES, &error);
    }
    Failure::because(ExitStatus::Config, texts::NOT_SET_UP, &error)
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn no_room(error: io::Error) -> Failure {
    Failure::because(ExitStatus::TryAgain, texts::NO_BOX_FILES, &error)
}

fn foreign(name: &str) -> Failure {
    let cause = format!("container {name} exists and is not ours: it has not our labels");
    Failure { cause, ..Failure::new(ExitStatus::Refused, texts::FOREIGN) }
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
