//! `sshbox-shell`, the login shell and `ForceCommand` of every login: connects an authenticated session
//! to the user's container. It runs under the user's own uid, which can connect to two sockets and to
//! nothing else; another program starts the container.

mod admission;
mod agent;
mod audit;
mod client_request;
mod connect;
mod login_key;
mod pipes;
mod relay;
mod session_end;
mod sftp_refusal;
mod special_commands;

use crate::clock;
use crate::exit::{ExitStatus, Failure};
use crate::journal::{Event, Field, log};
use crate::presence::{RUN, UserRuntimeDir};
use crate::process::die_by;
use crate::texts;
use crate::wire::{self, Request, Run};
use audit::Audit;
use client_request::ClientRequest;
use connect::Connection;
use identity::Login;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use relay::RelayEnd;
use session_end::{BOX_ENDED, OOM_SIGNAL, SessionEnd};
use std::env;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const PROGRAM: &str = "sshbox-shell";

/// The signal by which root tells a session that its user or key was removed and its connection is closed.
pub const REVOKED: Signal = Signal::SIGUSR1;

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    crate::exit::on_panic(PROGRAM);
    let login = match authenticated_login() {
        Ok(login) => login,
        Err(failure) => {
            let name = env::var_os("LOGNAME").unwrap_or_default();
            let fields = [(Field::User, &name.as_bytes() as _), (Field::Error, &failure.cause as _)];
            log(PROGRAM, Event::SessionFailed, &fields);
            return refuse(&failure);
        }
    };
    let audit = Audit::begin(&login);
    match serve(&login, audit) {
        Ok(end) => {
            audit.end(&end.outcome());
            match end {
                SessionEnd::Exited(status) => status.into(),
                SessionEnd::Killed(signal) => die_by(signal),
                SessionEnd::OutOfMemory => die_by(OOM_SIGNAL),
                SessionEnd::BoxEnded(_) | SessionEnd::Vanished => BOX_ENDED.into(),
            }
        }
        Err(failure) => {
            audit.fail(&failure);
            refuse(&failure)
        }
    }
}

/// Writes one line for the user and returns the exit status.
fn refuse(failure: &Failure) -> ExitCode {
    let _ = writeln!(io::stderr(), "{failure}");
    if env::var_os("SSH_ORIGINAL_COMMAND").is_some_and(|command| command == wire::SFTP) {
        // Returns when the client has read the refusal and closed the connection.
        let _ = sftp_refusal::serve(io::stdin().lock(), io::stdout().lock(), &failure.to_string());
    }
    failure.status.code().into()
}

fn serve(login: &Login, audit: &Audit) -> Result<SessionEnd, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    // Read before the answer, which `sshbox-keys` writes first: whoever has the settings of a new account of
    // this name is compared with the keys of that account.
    let site = runtime_dir.site_settings();
    let sessions_max = admission::admit(&runtime_dir)?;
    match client_request::read(env::var_os("SSH_ORIGINAL_COMMAND"), site)? {
        ClientRequest::Special(command) => special_commands::run(command, login).map(SessionEnd::Exited),
        ClientRequest::Session(request) => session(&request, login, &runtime_dir, sessions_max, audit),
    }
}

fn session(
    request: &Request,
    login: &Login,
    runtime_dir: &UserRuntimeDir,
    sessions_max: u32,
    audit: &Audit,
) -> Result<SessionEnd, Failure> {
    if let Some(advice) = client_request::too_long(request) {
        return Err(Failure::new(ExitStatus::Usage, advice));
    }
    admission::wait_for_turn(runtime_dir)?;
    let Connection { presence, init, fds } = connect::connect(login, runtime_dir, request, sessions_max)?;
    let began = clock::boottime();
    let to_a_person = fds.master.is_some() && request.run == Run::Shell;
    if to_a_person {
        tell_last_stop(runtime_dir, began);
    }
    if request.agent {
        let served = fds.agent.is_some_and(|listener| agent::serve(listener).is_ok());
        if to_a_person && !served {
            let _ = writeln!(io::stderr(), "{}", texts::NO_AGENT);
        }
    }
    let relay_end = match &fds.master {
        Some(master) => relay::run(&init, master, audit)?,
        None => pipes::wait(&init)?,
    };
    let end = match relay_end {
        RelayEnd::InitReplied => session_end::read(&init, login, runtime_dir, began)?,
        RelayEnd::Vanished => SessionEnd::Vanished,
    };
    if !client_vanished() {
        // Fails only if the container is gone.
        let _ = init.send(&wire::goodbye(), &[]);
    }
    // While the lock is held the session counts as open; this is for the time after.
    let _ = presence.record_presence(clock::boottime());
    session_end::explain(&request.run, &end);
    Ok(end)
}

/// Tells the user, once, why the box was stopped last.
fn tell_last_stop(runtime_dir: &UserRuntimeDir, now: Duration) {
    if let Some(stop) = runtime_dir.take_stop_record() {
        let _ = writeln!(io::stderr(), "{}", texts::last_stop(now.saturating_sub(stop.moment), &stop.reason));
    }
}

/// Whether the client is gone: sshd has closed its end of stderr, which is a pipe or a terminal.
fn client_vanished() -> bool {
    let stderr = io::stderr();
    let mut fd = [PollFd::new(stderr.as_fd(), PollFlags::empty())];
    matches!(poll(&mut fd, PollTimeout::ZERO), Ok(count) if count > 0)
}

/// The login that sshd has authenticated. sshd sets LOGNAME after all variables of the client, and the
/// uid must match it.
fn authenticated_login() -> Result<Login, Failure> {
    let name = env::var_os("LOGNAME").unwrap_or_default();
    let login = Login::parse(name.as_bytes())
        .map_err(|error| Failure::because(ExitStatus::Usage, texts::NOT_STARTED_BY_SSHD, &error))?;
    if nix::unistd::getuid().as_raw() != login.uid() {
        return Err(Failure::new(ExitStatus::Usage, texts::NOT_STARTED_BY_SSHD));
    }
    Ok(login)
}
