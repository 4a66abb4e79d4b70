//! `sshbox-shell`, the login shell and `ForceCommand`: takes a session that sshd has let in to
//! the user's box. Runs under the user's own uid, which may connect to two sockets and nothing
//! else: what the box answers is untrusted, and what starts a box is another program.

mod relay;

use crate::clock;
use crate::escape::printable;
use crate::exit::{Failure, Status};
use crate::journal::{Level, Reference, log};
use crate::presence::{Held, Place, RUN, WAKE_SOCKET};
use crate::process::die_by;
use crate::tty;
use crate::wire::{self, Fields, Reply, Request, Run, Socket};
use identity::Login;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
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

const PROGRAM: &str = "sshbox-shell";

/// How long the init of a running box may take to begin a session.
const BEGIN: Duration = Duration::from_secs(5);

/// How long a box may take to stop before it can be started again.
const STOPPING: Duration = Duration::from_secs(60);

/// How long `sshbox-wake` may take; longer than all its own deadlines together.
const WAKING: Duration = Duration::from_secs(150);

/// How often a box that went away between two steps is started again.
const ATTEMPTS: usize = 3;

/// Exit status when a box ends under a session: that of a killed program (128 + SIGKILL).
const BOX_ENDED: u8 = 137;

/// How a session ended.
#[derive(Debug)]
enum End {
    Exited(u8),
    Killed(i32),
    /// The client went away; nobody is left to tell.
    Vanished,
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    match session() {
        Ok(End::Exited(status)) => status.into(),
        Ok(End::Killed(signal)) => die_by(signal),
        Ok(End::Vanished) => BOX_ENDED.into(),
        Err(failure) => {
            let fields = [
                ("user", &*env::var("LOGNAME").unwrap_or_default()),
                ("error", &failure.cause),
                ("status", &failure.status.code().to_string()),
                ("ref", &failure.reference.to_string()),
            ];
            log(PROGRAM, Level::Warning, "session failed", &fields);
            let _ = writeln!(io::stderr(), "{failure}");
            failure.status.code().into()
        }
    }
}

fn session() -> Result<End, Failure> {
    follow_parent();
    let login = who()?;
    let request = what(env::var_os("SSH_ORIGINAL_COMMAND"))?;
    let (presence, socket, master) = enter(&login, &request)?;
    let end = match &master {
        Some(master) => relay::run(&socket, master)?,
        None => wait_for_end(&socket)?,
    };
    if !client_vanished() {
        // If the box does not hear it, it is gone.
        let _ = socket.send(&wire::goodbye(), &[]);
    }
    // The lock says so too while it is held; this is for the time after.
    let _ = presence.saw(clock::boottime());
    Ok(end)
}

/// Whether nobody is left at the client's end: sshd has closed its side of stderr, be that a
/// pipe or a terminal.
fn client_vanished() -> bool {
    let stderr = io::stderr();
    let mut fd = [PollFd::new(stderr.as_fd(), PollFlags::empty())];
    matches!(poll(&mut fd, PollTimeout::ZERO), Ok(count) if count > 0)
}

/// When the sshd of this connection dies in whatever way, this session is over.
fn follow_parent() {
    // Without it a client that vanishes is noticed a little later, by its closed pipes.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
}

/// The login that sshd has let in. sshd sets LOGNAME after all that a client may set, and
/// the uid must agree.
fn who() -> Result<Login, Failure> {
    let name = env::var_os("LOGNAME").unwrap_or_default();
    let login = Login::parse(name.as_bytes()).map_err(|error| {
        Failure::because(Status::Usage, "this is started by sshbox's sshd, not by hand", &error)
    })?;
    if nix::unistd::getuid().as_raw() != login.uid() {
        return Err(Failure::new(Status::Usage, "this is started by sshbox's sshd, not by hand"));
    }
    Ok(login)
}

/// What the client wants, from what sshd says that it typed.
fn what(original: Option<OsString>) -> Result<Request, Failure> {
    let run = match original.map(OsString::into_vec) {
        None => Run::Shell,
        Some(command) if command == b"internal-sftp" => Run::Sftp,
        Some(command) if command.starts_with(b"@") => {
            let word = command.split(|byte| *byte == b' ').next().unwrap_or_default();
            let advice =
                format!("unknown word {}; commands that begin with @ are for sshbox itself", printable(word));
            return Err(Failure::new(Status::Usage, advice));
        }
        Some(command) => Run::Command(command),
    };
    let environment = env::vars_os()
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .filter(|(name, _)| travels(name))
        .collect();
    let stdin = io::stdin();
    let terminal = stdin.is_terminal().then(|| {
        // A terminal that cannot say its size or modes gets the kernel's.
        let size = tty::size(stdin.as_fd()).unwrap_or_default();
        (size, tty::modes(stdin.as_fd()).unwrap_or_default())
    });
    Ok(Request { run, environment, terminal })
}

/// Variables that reach the box: those that a client sends to plain sshd, and those with
/// which sshd tells about the connection.
fn travels(name: &[u8]) -> bool {
    matches!(name, b"TERM" | b"LANG" | b"SSH_CLIENT" | b"SSH_CONNECTION") || name.starts_with(b"LC_")
}

/// Begins the session in the box, which is started first if it does not run.
///
/// Whoever holds the presence lock keeps the reaper away, so a box that answers after the
/// lock was taken stays. Only the very first login finds no lock to take before the start.
fn enter(login: &Login, request: &Request) -> Result<(Held, Socket, Option<OwnedFd>), Failure> {
    let place = Place::of(Path::new(RUN), login);
    // A box that was started for an earlier account of this name is not entered.
    let enter = || if place.is_of_this_account() { begin(&place, request) } else { Ok(None) };
    for _ in 0..ATTEMPTS {
        let presence = match place.enter(STOPPING) {
            Ok(presence) => presence,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                wake(login)?;
                continue;
            }
            Err(error) => return Err(no_entry(&error)),
        };
        let _ = presence.saw(clock::boottime());
        if let Some((socket, master)) = enter()? {
            return Ok((presence, socket, master));
        }
        // One session of a user at a time has the box started; who waited for that looks first.
        let turn = place.turn_to_wake(WAKING).map_err(|error| no_entry(&error))?;
        if turn.waited
            && let Some((socket, master)) = enter()?
        {
            return Ok((presence, socket, master));
        }
        wake(login)?;
        drop(turn);
        if let Some((socket, master)) = begin(&place, request)? {
            return Ok((presence, socket, master));
        }
    }
    Err(Failure::new(
        Status::TryAgain,
        "your box started and went away again; try again, then tell your admin",
    ))
}

fn no_entry(error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::TimedOut => {
            "your box is being started or stopped and does not end; try again in a minute"
        }
        _ => "the host cannot make room for your session; tell your admin",
    };
    Failure::because(Status::TryAgain, advice, error)
}

/// Begins the session in a running box; `None` when none answers.
fn begin(place: &Place, request: &Request) -> Result<Option<(Socket, Option<OwnedFd>)>, Failure> {
    let Ok(socket) = Socket::connect(&place.init_socket(), BEGIN) else {
        return Ok(None);
    };
    if !matches!(socket.receive(), Ok(Some((fields, _))) if wire::is_hello(&fields)) {
        return Ok(None);
    }
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let with_terminal = stdin.is_terminal();
    if !with_terminal {
        open_to_the_box(fds);
    }
    match socket.send(&request.into(), if with_terminal { &[] } else { &fds }) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(Failure::because(Status::Usage, "the command is too long", &error));
        }
        Err(_) => return Ok(None),
    }
    let Ok(Some((fields, received))) = socket.receive() else {
        return Ok(None);
    };
    let master = received.into_iter().next();
    match Reply::parse(&fields) {
        Some(Reply::Started) if with_terminal == master.is_some() => Ok(Some((socket, master))),
        Some(Reply::Failed(reason)) => Err(Failure::new(Status::Unavailable, printable(reason.as_bytes()))),
        _ => Err(not_understood()),
    }
}

fn not_understood() -> Failure {
    Failure::new(
        Status::Unavailable,
        "your box gave an answer that makes no sense; its init may be broken, tell your admin",
    )
}

/// A program in the box has another uid than the one that made sshd's pipes. It can use what
/// it holds, but to open `/dev/stdout` it needs leave, as scripts do with `> /dev/stderr`.
fn open_to_the_box(fds: [BorrowedFd<'_>; 3]) {
    for fd in fds {
        // What is not ours to open up stays as it is.
        let _ = rustix::fs::fchmod(fd, rustix::fs::Mode::from_raw_mode(Permissions::from_mode(0o666).mode()));
    }
}

/// Has the box started. What went wrong there was written for the user and is in the journal.
fn wake(login: &Login) -> Result<(), Failure> {
    let ask = || {
        let socket = Socket::connect(Path::new(WAKE_SOCKET), WAKING)?;
        socket.send(&Fields::default().with("wake", login.as_str().as_bytes()), &[])?;
        socket.receive()
    };
    let answer = ask().map_err(|error| {
        let advice = "your box cannot be started now; tell your admin that the wake service does not answer";
        Failure::because(Status::Unavailable, advice, &error)
    })?;
    let Some((fields, _)) = answer else {
        return Err(Failure::new(
            Status::TryAgain,
            "too many boxes are being started; try again in a moment",
        ));
    };
    if fields.get("running").is_some() {
        return Ok(());
    }
    let status = fields.parse("status").and_then(Status::from_code).unwrap_or(Status::Internal);
    let advice = printable(fields.get("failed").unwrap_or(b"your box cannot be started; tell your admin"));
    let reference = fields.text("ref").and_then(Reference::parse).unwrap_or_else(Reference::random);
    Err(Failure { status, cause: advice.clone(), advice, reference })
}

/// Waits for the end of a session without a terminal. Its program holds sshd's own pipes;
/// of ours only stderr stays open, to feel that nobody reads it any more: the client is gone.
/// stdin and stdout must go, or the client would not hear that the program closed its own.
fn wait_for_end(socket: &Socket) -> Result<End, Failure> {
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
                return Err(Failure::because(Status::Internal, "the session cannot be watched", &error));
            }
            Ok(_) => {}
        }
        if fds.first().is_some_and(|fd| fd.any() == Some(true)) {
            return end_of(socket);
        }
        return Ok(End::Vanished);
    }
}

/// Reads how the session ended.
fn end_of(socket: &Socket) -> Result<End, Failure> {
    let Ok(Some((fields, _))) = socket.receive() else {
        let reference = Reference::random();
        let user = env::var("LOGNAME").unwrap_or_default();
        let fields = [("user", &*user), ("ref", &reference.to_string())];
        log(PROGRAM, Level::Info, "box ended under a session", &fields);
        let _ = writeln!(
            io::stderr(),
            "sshbox: your box was stopped; log in again to start it (ref {reference})"
        );
        return Ok(End::Exited(BOX_ENDED));
    };
    match Reply::parse(&fields) {
        Some(Reply::Exited(status)) => Ok(End::Exited(status)),
        // Signals of Linux are 1 to 64; 0 would ask and not kill.
        Some(Reply::Killed(signal @ 1..=64)) => Ok(End::Killed(signal)),
        _ => Err(not_understood()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a6_only_harmless_variables_travel() {
        for name in ["TERM", "LANG", "LC_ALL", "LC_CTYPE", "SSH_CONNECTION", "SSH_CLIENT"] {
            assert!(travels(name.as_bytes()), "{name}");
        }
        for name in
            ["LD_PRELOAD", "PATH", "SSH_USER_AUTH", "SSH_ORIGINAL_COMMAND", "HOME", "USER", "LC", "LANGUAGE"]
        {
            assert!(!travels(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a14_an_unknown_word_is_shown_harmless() {
        let failure = what(Some("@st\x1b[31matus now".into())).unwrap_err();
        assert_eq!(failure.status, Status::Usage);
        assert_eq!(
            failure.advice,
            r"unknown word @st\x1b[31matus; commands that begin with @ are for sshbox itself"
        );
    }

    #[test]
    fn sshd_says_what_to_run() {
        for (original, run) in [
            (None, Run::Shell),
            (Some("internal-sftp"), Run::Sftp),
            (Some("internal-sftp "), Run::Command(b"internal-sftp ".to_vec())),
            (Some("ls | wc"), Run::Command(b"ls | wc".to_vec())),
        ] {
            assert_eq!(what(original.map(OsString::from)).unwrap().run, run);
        }
    }
}
