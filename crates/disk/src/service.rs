//! `sshbox-disk`: mounts one home, or sets its quota. For each connection to `disk.sock` systemd starts one such
//! process, as root, without a mount namespace of its own: the engine must see what it mounts. A request
//! contains a verb, a login name and a reference; only root can connect. Limits come from cache and
//! configuration.

use crate::error::DiskError;
use crate::prepare;
use crate::prepared::Prepared;
use clap::{CommandFactory as _, Parser};
use host::cache::Cache;
use host::config::{self, Config};
use host::quota::{Backend, DiskLimit};
use identity::Login;
use session::deadlines::{DISK, REQUEST};
use session::exit::{self, ExitStatus, Failure};
use session::journal::{Event, Field, FieldValue, Reference, log};
use session::presence::TEMPORARY_USER_PREFIX;
use session::process::end_after;
use session::texts;
use session::wire::{DiskVerb, Fields, Socket};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PROGRAM: &str = "sshbox-disk";

/// Prepare the disk of the home that is named on standard input, a socket
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
    if end_after(DISK, || log(PROGRAM, Event::DeadlinePassed, &[])).is_err() {
        return ExitStatus::TryAgain.code().into();
    }
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned().map(Socket::from_fd) else {
        return ExitStatus::Internal.code().into();
    };
    let reply = serve(&socket, &config).unwrap_or_else(|failure| {
        Fields::default()
            .with("failed", failure.advice.as_bytes())
            .with("status", failure.status.code().to_string().as_bytes())
            .with("ref", failure.reference.to_string().as_bytes())
            .with("cause", failure.cause.as_bytes())
    });
    // An error means that the caller has disconnected, so there is no one to tell.
    let _ = socket.send(&reply, &[]);
    ExitCode::SUCCESS
}

fn serve(socket: &Socket, config: &Path) -> Result<Fields, Failure> {
    let (verb, login) = read_request(socket).inspect_err(|failure| {
        let fields: [FieldValue<'_>; 1] = [(Field::Error, &failure.cause)];
        log(PROGRAM, Event::RequestRefused, &fields);
    })?;
    // The caller logs a failure.
    let config = config::load(config)
        .map_err(|error| Failure::because(ExitStatus::Config, texts::NOT_SET_UP, &error))?;
    let done = match verb {
        DiskVerb::Prepare if login.as_str().starts_with(TEMPORARY_USER_PREFIX) => {
            // The doctor's user, whose home is removed in a minute, stays without a limit.
            Ok(Prepared { backend: Backend::None, note: None })
        }
        DiskVerb::Prepare => prepare::prepare(&config, &login, limit(&config, &login)?),
        DiskVerb::Resize => prepare::resize(&config, &login, limit(&config, &login)?),
    };
    done.map(|done| reply(&login, done)).map_err(|error: DiskError| error.failure())
}

fn reply(login: &Login, Prepared { backend, note }: Prepared) -> Fields {
    let reply = Fields::default().with("disk", backend.to_string().as_bytes());
    let Some(note) = note else { return reply };
    let fields: [FieldValue<'_>; 2] = [(Field::User, &login.as_str()), (Field::Reason, &note)];
    log(PROGRAM, Event::DiskNotAdjusted, &fields);
    reply.with("note", note.as_bytes())
}

fn read_request(socket: &Socket) -> Result<(DiskVerb, Login), Failure> {
    let refused = |cause: String| Failure { cause, ..Failure::new(ExitStatus::Refused, texts::NOT_YOURS) };
    let read = || {
        socket.set_patience(REQUEST)?;
        Ok::<_, io::Error>((socket.peer_uid()?, socket.receive()?))
    };
    let (uid, request) = read().map_err(|error| refused(format!("no request: {error}")))?;
    if uid != 0 {
        return Err(refused(format!("uid {uid} is not root")));
    }
    let fields = request.map(|(fields, _)| fields).unwrap_or_default();
    let (verb, name) = DiskVerb::parse(&fields).ok_or_else(|| refused("an unknown request".to_owned()))?;
    let login = Login::parse(name).map_err(|error| refused(format!("a name that is {error}")))?;
    if let Some(reference) = fields.text("ref").and_then(Reference::parse) {
        Reference::adopt(reference);
    }
    Ok((verb, login))
}

/// The limit of the account in the cache.
fn limit(config: &Config, login: &Login) -> Result<DiskLimit, Failure> {
    let record = Cache::new(&config.accounts.cache).read(login);
    let record = record.ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::NO_ACCOUNT))?;
    Ok(DiskLimit::of(&config.container, &record.account))
}
