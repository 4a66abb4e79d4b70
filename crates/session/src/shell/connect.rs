//! The way to a running container: connects to its init, requests a start if no init answers, and
//! starts the session. What the container sends is untrusted.

use super::audit;
use super::login_key::login_key;
use crate::clock;
use crate::deadlines::{BEGIN, STOPPING, TURN, WAKING};
use crate::escape::printable;
use crate::exit::{ExitStatus, Failure};
use crate::presence::{ConnectionRecord, LockGuard, UserRuntimeDir};
use crate::procfs::Stat;
use crate::texts;
use crate::waiting::Waiting;
use crate::wake_client;
use crate::wire::{self, Fields, Reply, Request, Socket, Verb};
use identity::Login;
use nix::unistd::getppid;
use std::fs::Permissions;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

/// How often a start is requested for a container that stops again.
const ATTEMPTS: usize = 3;

/// A session that has started.
pub(super) struct Connection {
    /// The shared `live.lock`.
    pub(super) presence: LockGuard,
    /// The connection to the init.
    pub(super) init: Socket,
    /// What the init has sent for the session.
    pub(super) fds: SessionFds,
}

/// The file descriptors of a session that has started.
pub(super) struct SessionFds {
    /// The master of the terminal in the container.
    pub(super) master: Option<OwnedFd>,
    /// The socket in the container that programs connect to for the agent.
    pub(super) agent: Option<OwnedFd>,
}

/// Starts the session, and the container first if it does not run. Fails if the user has `sessions_max`
/// sessions open.
///
/// The shared `live.lock` keeps the reaper away, so a container that answers once the lock is held
/// keeps running. Only the very first login has no lock to take before the start.
pub(super) fn connect(
    login: &Login,
    runtime_dir: &UserRuntimeDir,
    request: &Request,
    sessions_max: u32,
) -> Result<Connection, Failure> {
    // Never use a container that was started for an earlier account of this name.
    let try_session =
        || if runtime_dir.box_is_of_login_account() { start_session(runtime_dir, request) } else { Ok(None) };
    let mut waiting = None;
    for _ in 0..ATTEMPTS {
        let presence = match runtime_dir.lock_live_shared(Duration::ZERO) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                waiting = waiting.or_else(show_start);
                runtime_dir.lock_live_shared(STOPPING)
            }
            other => other,
        };
        let presence = match presence {
            Ok(presence) => presence,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                waiting = waiting.or_else(show_start);
                ask(login, Verb::Wake, waiting.as_ref())?;
                continue;
            }
            Err(error) => return Err(lock_failed(&error)),
        };
        take_slot(&presence, runtime_dir, sessions_max)?;
        let _ = presence.record_presence(clock::boottime());
        if let Some((init, fds)) = try_session()? {
            return Ok(Connection { presence, init, fds });
        }
        waiting = waiting.or_else(show_start);
        // One session of a user at a time requests a start; one that has waited for that tries first.
        let turn = runtime_dir.turn_to_wake(TURN).map_err(|error| lock_failed(&error))?;
        if turn.waited
            && let Some((init, fds)) = try_session()?
        {
            return Ok(Connection { presence, init, fds });
        }
        ask(login, Verb::Wake, waiting.as_ref())?;
        drop(turn);
        if let Some((init, fds)) = start_session(runtime_dir, request)? {
            return Ok(Connection { presence, init, fds });
        }
    }
    Err(Failure::new(ExitStatus::TryAgain, texts::STOPPED_AGAIN))
}

/// Takes the slot of this session, and records the connection, which `sshbox recheck` closes when its key is
/// removed.
fn take_slot(presence: &LockGuard, runtime_dir: &UserRuntimeDir, most: u32) -> Result<(), Failure> {
    let slot = presence.take_session_slot(most).map_err(|error| lock_failed(&error))?;
    let Some(slot) = slot else {
        return Err(Failure::new(ExitStatus::TryAgain, texts::too_many_sessions(most)));
    };
    let pid = getppid().as_raw();
    if let Some(began) = Stat::of(pid).and_then(|stat| stat.start()) {
        let fingerprint = login_key().map(|key| key.fingerprint().to_owned());
        // The directory may be one of an earlier release, without the file.
        let _ = runtime_dir.write_session_record(slot, &ConnectionRecord { pid, began, fingerprint });
    }
    Ok(())
}

/// Shows on a terminal that the box is being started.
pub(super) fn show_start() -> Option<Waiting> {
    Waiting::begin(texts::STARTING, audit::cancelled)
}

pub(super) fn lock_failed(error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::TimedOut => texts::IN_TRANSITION,
        _ => texts::NO_SESSION_FILES,
    };
    Failure::because(ExitStatus::TryAgain, advice, error)
}

/// Connects to the init of a running container; returns the connection and the name of the
/// container's user.
pub(super) fn greeted_init(runtime_dir: &UserRuntimeDir) -> Option<(Socket, Vec<u8>)> {
    let socket = Socket::connect(&runtime_dir.init_socket(), BEGIN).ok()?;
    let (fields, _) = socket.receive().ok()??;
    wire::is_hello(&fields).then(|| (socket, fields.get("user").unwrap_or_default().to_vec()))
}

/// Starts the session in a running container; `None` when no init answers.
fn start_session(
    runtime_dir: &UserRuntimeDir,
    request: &Request,
) -> Result<Option<(Socket, SessionFds)>, Failure> {
    let Some((init, _)) = greeted_init(runtime_dir) else {
        return Ok(None);
    };
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let with_terminal = stdin.is_terminal();
    if !with_terminal {
        open_to_every_uid(fds);
    }
    match init.send(&request.into(), if with_terminal { &[] } else { &fds }) {
        Ok(()) => {}
        Err(_) => return Ok(None),
    }
    let (fields, received) = match init.receive() {
        Ok(Some(reply)) => reply,
        // The init has greeted and is silent now: another attempt would time out as well.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(Failure::because(ExitStatus::TryAgain, texts::NO_ANSWER, &error));
        }
        Ok(None) | Err(_) => return Ok(None),
    };
    match Reply::parse(&fields) {
        Some(Reply::Started { agent }) => {
            match session_fds(received, with_terminal, agent && request.agent) {
                Some(fds) => Ok(Some((init, fds))),
                None => Err(invalid_reply()),
            }
        }
        Some(Reply::Failed(reason)) => {
            Err(Failure::new(ExitStatus::Unavailable, printable(reason.as_bytes())))
        }
        _ => Err(invalid_reply()),
    }
}

/// The file descriptors of a session by their purpose; `None` if the terminal is missing, or a session without one
/// gets more than the socket for the agent.
fn session_fds(received: Vec<OwnedFd>, terminal: bool, agent: bool) -> Option<SessionFds> {
    let mut received = received.into_iter();
    let master = if terminal { Some(received.next()?) } else { None };
    let agent = if agent { received.next() } else { None };
    (terminal || received.next().is_none()).then_some(SessionFds { master, agent })
}

pub(super) fn invalid_reply() -> Failure {
    Failure::new(ExitStatus::Unavailable, texts::INVALID_REPLY)
}

/// Lets programs in the container open sshd's pipes by name, as scripts do with `> /dev/stderr`. Their
/// uid is not the one that owns the pipes.
fn open_to_every_uid(fds: [BorrowedFd<'_>; 3]) {
    for fd in fds {
        // Fails for a file that is not ours, which then stays as it is.
        let _ = rustix::fs::fchmod(fd, rustix::fs::Mode::from_raw_mode(Permissions::from_mode(0o666).mode()));
    }
}

/// Sends a request to `sshbox-wake`. The text of a failure there is for the user; its causes are in the
/// journal already.
pub(super) fn ask(login: &Login, verb: Verb, waiting: Option<&Waiting>) -> Result<Fields, Failure> {
    let reply = wake_client::ask(login, verb, WAKING, waiting)
        .map_err(|error| Failure::because(ExitStatus::Unavailable, texts::NO_WAKE_SERVICE, &error))?;
    let Some(fields) = reply else {
        return Err(Failure::new(ExitStatus::TryAgain, texts::TOO_MANY_WAKES));
    };
    let Some(failed) = fields.get("failed") else {
        return Ok(fields);
    };
    Err(Failure::from_reply(failed, fields.parse("status"), fields.text("ref")))
}
