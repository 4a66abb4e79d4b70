//! `sshbox-shell`, the login shell and `ForceCommand`: takes a session that sshd has let in to
//! the user's box. Runs under the user's own uid, which may connect to two sockets and nothing
//! else: what the box answers is untrusted, and what starts a box is another program.

mod audit;
mod relay;
mod sftp_refusal;
mod words;

use crate::clock;
use crate::deadlines::{BEGIN, STOPPING, TURN, WAKING, WHY, WHY_TURN};
use crate::escape::printable;
use crate::exit::{ExitStatus, Failure};
use crate::journal::{Event, Field, Reference, log};
use crate::presence::{LockGuard, RUN, UserRuntimeDir, WAKE_SOCKET};
use crate::process::die_by;
use crate::texts;
use crate::tty;
use crate::variables::travels;
use crate::waiting::Waiting;
use crate::wire::{self, Fields, PACKET_MAX, Reply, Request, Run, Socket, Verb};
use audit::{Audit, AuditOutcome, VANISHED};
use identity::Login;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::env;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use words::{Meaning, SpecialCommand};

const PROGRAM: &str = "sshbox-shell";

/// How often a box that went away between two steps is started again.
const ATTEMPTS: usize = 3;

/// With which sshd tells about the connection.
const CONNECTION: [&[u8]; 2] = [b"SSH_CLIENT", b"SSH_CONNECTION"];

/// Exit status of a shell that does not know a command.
const NOT_FOUND: u8 = 127;

/// Exit status when a box ends under a session: that of a killed program (128 + SIGKILL).
const BOX_ENDED: u8 = 137;

/// What a program dies of when the box has no memory left.
const STARVED: i32 = Signal::SIGKILL as i32;

/// How a session ended.
#[derive(Debug)]
enum SessionEnd {
    Exited(u8),
    Killed(i32),
    /// The kernel killed its program because the box had no memory left.
    Starved,
    /// The box ended under it, for this reason as far as is known.
    BoxEnded(Option<String>),
    /// The client went away; nobody is left to tell.
    Vanished,
}

impl SessionEnd {
    /// The same for the journal.
    fn outcome(&self) -> AuditOutcome<'_> {
        let none = AuditOutcome::default();
        match self {
            Self::Exited(status) => AuditOutcome { status: Some(*status), ..none },
            Self::Killed(signal) => AuditOutcome { signal: Some(*signal), ..none },
            Self::Starved => {
                AuditOutcome { signal: Some(STARVED), reason: "the box ran out of memory", ..none }
            }
            Self::BoxEnded(reason) => {
                let reason = reason.as_deref().unwrap_or("the box ended it");
                AuditOutcome { status: Some(BOX_ENDED), reason, ..none }
            }
            Self::Vanished => AuditOutcome { reason: VANISHED, ..none },
        }
    }
}

/// What a session waits for.
#[derive(Debug)]
enum RelayEnd {
    /// The box has something to say of the end, or is gone.
    Told,
    /// The client went away.
    Vanished,
}

/// What the client wants.
#[derive(Debug)]
enum Wish {
    Session(Request),
    Word(SpecialCommand),
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    crate::exit::on_panic(PROGRAM);
    let login = match who() {
        Ok(login) => login,
        Err(failure) => {
            let name = env::var_os("LOGNAME").unwrap_or_default();
            let fields = [(Field::User, &name.as_bytes() as _), (Field::Error, &failure.cause as _)];
            log(PROGRAM, Event::SessionFailed, &fields);
            return refuse(&failure);
        }
    };
    let audit = Audit::begin(&login);
    match session(&login, audit) {
        Ok(end) => {
            audit.end(&end.outcome());
            match end {
                SessionEnd::Exited(status) => status.into(),
                SessionEnd::Killed(signal) => die_by(signal),
                SessionEnd::Starved => die_by(STARVED),
                SessionEnd::BoxEnded(_) | SessionEnd::Vanished => BOX_ENDED.into(),
            }
        }
        Err(failure) => {
            audit.fail(&failure);
            refuse(&failure)
        }
    }
}

/// One line for the user, and the exit status.
fn refuse(failure: &Failure) -> ExitCode {
    let _ = writeln!(io::stderr(), "{failure}");
    if env::var_os("SSH_ORIGINAL_COMMAND").is_some_and(|command| command == wire::SFTP) {
        // Until its client goes, which it does when it has read that.
        let _ = sftp_refusal::serve(io::stdin().lock(), io::stdout().lock(), &failure.to_string());
    }
    failure.status.code().into()
}

fn session(login: &Login, audit: &Audit) -> Result<SessionEnd, Failure> {
    let request = match what(env::var_os("SSH_ORIGINAL_COMMAND"))? {
        Wish::Word(word) => return words::answer(word, login),
        Wish::Session(request) => request,
    };
    if let Some(advice) = too_long(&request) {
        return Err(Failure::new(ExitStatus::Usage, advice));
    }
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let (presence, socket, master) = enter(login, &runtime_dir, &request)?;
    let began = clock::boottime();
    if master.is_some() && request.run == Run::Shell {
        tell_last_stop(&runtime_dir, began);
    }
    let ending = match &master {
        Some(master) => relay::run(&socket, master, audit)?,
        None => wait_for_end(&socket)?,
    };
    let end = match ending {
        RelayEnd::Told => end_of(&socket, login, &runtime_dir, began)?,
        RelayEnd::Vanished => SessionEnd::Vanished,
    };
    if !client_vanished() {
        // If the box does not hear it, it is gone.
        let _ = socket.send(&wire::goodbye(), &[]);
    }
    // The lock says so too while it is held; this is for the time after.
    let _ = presence.record_presence(clock::boottime());
    explain(&request.run, &end);
    Ok(end)
}

/// What a program cannot say of itself: that it is not there, or did what has no effect here. The
/// status stays the program's own: clients know it.
fn explain(run: &Run, end: &SessionEnd) {
    let Run::Command(command) = run else { return };
    let note = match end {
        SessionEnd::Exited(NOT_FOUND) => texts::missing_program(command)
            .map(|advice| Failure::new(ExitStatus::Unavailable, advice).to_string()),
        SessionEnd::Exited(0) => texts::key_without_effect(command).map(str::to_owned),
        _ => None,
    };
    if let Some(note) = note {
        let _ = writeln!(io::stderr(), "{note}");
    }
}

/// Says why the box was stopped last, once.
fn tell_last_stop(runtime_dir: &UserRuntimeDir, now: Duration) {
    if let Some(end) = runtime_dir.take_stop_record() {
        let _ = writeln!(io::stderr(), "{}", texts::last_stop(now.saturating_sub(end.moment), &end.reason));
    }
}

/// Whether nobody is left at the client's end: sshd has closed its side of stderr, be that a
/// pipe or a terminal.
fn client_vanished() -> bool {
    let stderr = io::stderr();
    let mut fd = [PollFd::new(stderr.as_fd(), PollFlags::empty())];
    matches!(poll(&mut fd, PollTimeout::ZERO), Ok(count) if count > 0)
}

/// The login that sshd has let in. sshd sets LOGNAME after all that a client may set, and
/// the uid must agree.
fn who() -> Result<Login, Failure> {
    let name = env::var_os("LOGNAME").unwrap_or_default();
    let login = Login::parse(name.as_bytes())
        .map_err(|error| Failure::because(ExitStatus::Usage, texts::NOT_BY_HAND, &error))?;
    if nix::unistd::getuid().as_raw() != login.uid() {
        return Err(Failure::new(ExitStatus::Usage, texts::NOT_BY_HAND));
    }
    Ok(login)
}

/// What the client wants, from what sshd says that it typed.
fn what(original: Option<OsString>) -> Result<Wish, Failure> {
    let run = match Run::of(original.map(OsString::into_vec)) {
        Run::Command(command) if command.starts_with(b"@") => match words::parse(&command)? {
            Meaning::Word(word) => return Ok(Wish::Word(word)),
            Meaning::Run(run) => run,
        },
        run => run,
    };
    let environment = env::vars_os()
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .filter(|(name, value)| CONNECTION.contains(&name.as_slice()) || travels(name, value))
        .collect();
    let stdin = io::stdin();
    let terminal = stdin.is_terminal().then(|| {
        // A terminal that cannot say its size or modes gets the kernel's.
        let size = tty::size(stdin.as_fd()).unwrap_or_default();
        (size, tty::modes(stdin.as_fd()).unwrap_or_default())
    });
    Ok(Wish::Session(Request { run, environment, terminal }))
}

/// What is too long for the way into the box; `None` if all fits. A command alone always does: sshd
/// cannot hand a longer one over (`MAX_ARG_STRLEN`, execve(2)), and says so.
fn too_long(request: &Request) -> Option<String> {
    if Fields::from(request).length() <= PACKET_MAX {
        return None;
    }
    let length = request.environment.iter().map(|(name, value)| name.len() + 1 + value.len()).sum();
    Some(texts::environment_too_long(length, PACKET_MAX))
}

/// Begins the session in the box, which is started first if it does not run.
///
/// Whoever holds the presence lock keeps the reaper away, so a box that answers after the
/// lock was taken stays. Only the very first login finds no lock to take before the start.
fn enter(
    login: &Login,
    runtime_dir: &UserRuntimeDir,
    request: &Request,
) -> Result<(LockGuard, Socket, Option<OwnedFd>), Failure> {
    // A box that was started for an earlier account of this name is not entered.
    let enter = || if runtime_dir.box_is_of_login_account() { begin(runtime_dir, request) } else { Ok(None) };
    let mut waiting = None;
    for _ in 0..ATTEMPTS {
        let presence = match runtime_dir.lock_live_shared(Duration::ZERO) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                waiting = waiting.or_else(|| Waiting::begin(texts::STARTING, audit::cancelled));
                runtime_dir.lock_live_shared(STOPPING)
            }
            other => other,
        };
        let presence = match presence {
            Ok(presence) => presence,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                waiting = waiting.or_else(|| Waiting::begin(texts::STARTING, audit::cancelled));
                ask(login, Verb::Wake)?;
                continue;
            }
            Err(error) => return Err(no_entry(&error)),
        };
        let _ = presence.record_presence(clock::boottime());
        if let Some((socket, master)) = enter()? {
            return Ok((presence, socket, master));
        }
        waiting = waiting.or_else(|| Waiting::begin(texts::STARTING, audit::cancelled));
        // One session of a user at a time has the box started; who waited for that looks first.
        let turn = runtime_dir.turn_to_wake(TURN).map_err(|error| no_entry(&error))?;
        if turn.waited
            && let Some((socket, master)) = enter()?
        {
            return Ok((presence, socket, master));
        }
        ask(login, Verb::Wake)?;
        drop(turn);
        if let Some((socket, master)) = begin(runtime_dir, request)? {
            return Ok((presence, socket, master));
        }
    }
    Err(Failure::new(ExitStatus::TryAgain, texts::WENT_AWAY))
}

fn no_entry(error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::TimedOut => texts::IN_TRANSITION,
        _ => texts::NO_ROOM_FOR_SESSION,
    };
    Failure::because(ExitStatus::TryAgain, advice, error)
}

/// The init of a running box, and the name of the user there, when it says hello.
fn hello_of(runtime_dir: &UserRuntimeDir) -> Option<(Socket, Vec<u8>)> {
    let socket = Socket::connect(&runtime_dir.init_socket(), BEGIN).ok()?;
    let (fields, _) = socket.receive().ok()??;
    wire::is_hello(&fields).then(|| (socket, fields.get("user").unwrap_or_default().to_vec()))
}

/// Begins the session in a running box; `None` when none answers.
fn begin(
    runtime_dir: &UserRuntimeDir,
    request: &Request,
) -> Result<Option<(Socket, Option<OwnedFd>)>, Failure> {
    let Some((socket, _)) = hello_of(runtime_dir) else {
        return Ok(None);
    };
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let with_terminal = stdin.is_terminal();
    if !with_terminal {
        open_to_the_box(fds);
    }
    match socket.send(&request.into(), if with_terminal { &[] } else { &fds }) {
        Ok(()) => {}
        Err(_) => return Ok(None),
    }
    let (fields, received) = match socket.receive() {
        Ok(Some(answer)) => answer,
        // It said hello and does no more: another attempt would wait as long.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(Failure::because(ExitStatus::TryAgain, texts::NO_ANSWER, &error));
        }
        Ok(None) | Err(_) => return Ok(None),
    };
    let master = received.into_iter().next();
    match Reply::parse(&fields) {
        Some(Reply::Started) if with_terminal == master.is_some() => Ok(Some((socket, master))),
        Some(Reply::Failed(reason)) => {
            Err(Failure::new(ExitStatus::Unavailable, printable(reason.as_bytes())))
        }
        _ => Err(not_understood()),
    }
}

fn not_understood() -> Failure {
    Failure::new(ExitStatus::Unavailable, texts::NO_SENSE)
}

/// A program in the box has another uid than the one that made sshd's pipes. It can use what
/// it holds, but to open `/dev/stdout` it needs leave, as scripts do with `> /dev/stderr`.
fn open_to_the_box(fds: [BorrowedFd<'_>; 3]) {
    for fd in fds {
        // What is not ours to open up stays as it is.
        let _ = rustix::fs::fchmod(fd, rustix::fs::Mode::from_raw_mode(Permissions::from_mode(0o666).mode()));
    }
}

/// Asks `sshbox-wake`. What went wrong there was written for the user and is in the journal.
fn ask(login: &Login, verb: Verb) -> Result<Fields, Failure> {
    let answer = ask_within(login, verb, WAKING)
        .map_err(|error| Failure::because(ExitStatus::Unavailable, texts::NO_WAKE_SERVICE, &error))?;
    let Some(fields) = answer else {
        return Err(Failure::new(ExitStatus::TryAgain, texts::TOO_MANY_WAKES));
    };
    let Some(failed) = fields.get("failed") else {
        return Ok(fields);
    };
    Err(Failure::told(failed, fields.parse("status"), fields.text("ref")))
}

fn ask_within(login: &Login, verb: Verb, patience: Duration) -> io::Result<Option<Fields>> {
    verb.ask(login.as_str(), &Reference::ours().to_string(), Path::new(WAKE_SOCKET), patience)
}

/// Waits for the end of a session without a terminal. Its program holds sshd's own pipes;
/// of ours only stderr stays open, to feel that nobody reads it any more: the client is gone.
/// stdin and stdout must go, or the client would not hear that the program closed its own.
fn wait_for_end(socket: &Socket) -> Result<RelayEnd, Failure> {
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdin(&null);
        let _ = nix::unistd::dup2_stdout(&null);
    }
    loop {
        let stderr = io::stderr();
        let mut fds =
            [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(stderr.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => {
                return Err(Failure::because(ExitStatus::Internal, texts::NOT_WATCHED, &error));
            }
            Ok(_) => {}
        }
        if fds.first().is_some_and(|fd| fd.any() == Some(true)) {
            return Ok(RelayEnd::Told);
        }
        return Ok(RelayEnd::Vanished);
    }
}

/// Reads how the session ended.
fn end_of(
    socket: &Socket,
    login: &Login,
    runtime_dir: &UserRuntimeDir,
    began: Duration,
) -> Result<SessionEnd, Failure> {
    let Ok(Some((fields, _))) = socket.receive() else {
        let reason = why_stopped(login, runtime_dir, began);
        if io::stdin().is_terminal() && env::var("TERM").is_ok_and(|kind| kind != "dumb") {
            let _ = write!(io::stderr(), "{}", texts::CALM);
        }
        let _ = writeln!(io::stderr(), "{}", texts::ended(reason.as_deref(), &Reference::ours().to_string()));
        return Ok(SessionEnd::BoxEnded(reason));
    };
    match Reply::parse(&fields) {
        Some(Reply::Exited(status)) => Ok(SessionEnd::Exited(status)),
        Some(Reply::Killed(signal)) if kills(signal) => Ok(SessionEnd::Killed(signal)),
        Some(Reply::Starved) => {
            let _ = writeln!(io::stderr(), "{}", texts::STARVED);
            Ok(SessionEnd::Starved)
        }
        _ => Err(not_understood()),
    }
}

/// Whether a program can die by this signal (signal(7)); others would stop us, or do nothing.
fn kills(signal: i32) -> bool {
    use Signal::{SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH};
    let harmless = [SIGCHLD, SIGCONT, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGWINCH];
    (1..=64).contains(&signal) && !harmless.map(|harmless| harmless as i32).contains(&signal)
}

/// Why the box was stopped: what its stopper wrote down, else what Docker says. One session
/// of a user at a time asks, since all of them end at once.
fn why_stopped(login: &Login, runtime_dir: &UserRuntimeDir, began: Duration) -> Option<String> {
    let said = || runtime_dir.stop_record().filter(|end| end.moment >= began).map(|end| end.reason);
    said().or_else(|| {
        let _turn = runtime_dir.turn_to_wake(WHY_TURN);
        said().or_else(|| {
            let answer = ask_within(login, Verb::StopReason, WHY).ok()??;
            answer.get("why").map(printable)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_that_is_too_long_is_named_and_no_command_is() {
        let of = |command: usize, variables: &[usize]| {
            let environment =
                variables.iter().map(|length| (b"LC_X".to_vec(), vec![b'x'; *length])).collect();
            too_long(&Request { run: Run::Command(vec![b'x'; command]), environment, terminal: None })
        };
        assert_eq!(of(131_071, &[]), None);
        assert_eq!(of(1, &[131_000, 60_000]), None);
        for (command, variables) in [(1, [100_000, 100_000]), (131_000, [40_000, 40_000])] {
            let said = of(command, &variables).unwrap();
            assert!(said.starts_with("the variables that your client sends are "), "{said}");
        }
    }

    #[test]
    fn a10_a_signal_that_cannot_kill_is_not_passed_on() {
        for signal in [1, 2, 6, 9, 11, 13, 15, 31, 34, 64] {
            assert!(kills(signal), "{signal}");
        }
        for signal in [i32::MIN, -9, 0, 17, 18, 19, 20, 21, 22, 23, 28, 65, 265] {
            assert!(!kills(signal), "{signal}");
        }
    }

    #[test]
    fn sshd_says_what_to_run() {
        for (original, run) in [
            (None, Run::Shell),
            (Some("internal-sftp"), Run::Sftp),
            (Some("internal-sftp "), Run::Command(b"internal-sftp ".to_vec())),
            (Some("ls | wc"), Run::Command(b"ls | wc".to_vec())),
        ] {
            let Ok(Wish::Session(request)) = what(original.map(OsString::from)) else { panic!("no session") };
            assert_eq!(request.run, run);
        }
    }
}
