//! The sessions of a box: one connection each, from the request to the exit status, and what
//! is left of them when a client vanishes.

use super::environment::Environment;
use super::inner_sshd;
use super::person::Person;
use crate::process::spawn;
use crate::texts;
use crate::tty;
use crate::wire::{Reply, Request, Run, Socket, hello};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Descriptors that are not connections: our own, and those of a session that begins.
const SPARE: u64 = 16;

/// How long a connection may take to say what it wants.
const GREETING: Duration = Duration::from_secs(5);

/// How long no connection is taken after one could not be.
const REST: Duration = Duration::from_millis(100);

/// Time between SIGHUP and SIGKILL for what a vanished client left.
const GRACE: Duration = Duration::from_secs(2);

/// The signal that the kernel sends when there is no memory left.
const KILL: i32 = Signal::SIGKILL as i32;

/// Where the kernel counts the programs that it killed for want of memory: under version 2 of
/// cgroups, and under version 1.
const OOM_COUNTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// Where distributions keep the file transfer server.
const SFTP_SERVERS: [&str; 4] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
];

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this status.
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

/// All sessions, and the remains of those that vanished.
#[derive(Debug)]
pub struct Sessions {
    person: Person,
    open: Vec<Open>,
    /// Sessions that got SIGHUP, and when SIGKILL follows.
    vanished: Vec<(Pid, Instant)>,
    /// No connection is taken before then.
    tired: Option<Instant>,
    /// Connections at once: one too many, and accepting would fail over and over.
    most: usize,
    left: bool,
}

#[derive(Debug)]
struct Open {
    socket: Socket,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Has not said yet what it wants; must do so by then.
    Greeting(Instant),
    /// Runs the program with this pid, which is also the id of its session. When it began, the
    /// kernel had killed so many programs of this box for want of memory.
    Running(Pid, Option<u64>),
    /// The program of this session has ended and the client was told; whether the client is
    /// still there decides what becomes of the rest of the session.
    Told(Pid),
    /// Is over.
    Over,
}

impl Sessions {
    pub fn new(person: Person) -> Self {
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Self {
            person,
            open: Vec::new(),
            vanished: Vec::new(),
            tired: None,
            most: usize::try_from(files.saturating_sub(SPARE).max(1)).unwrap_or(usize::MAX),
            left: false,
        }
    }

    /// The connections, for `poll`. Of a client that has said what it wants only the end is
    /// of interest, and that is always reported.
    pub fn watched(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.open.iter().map(|open| match open.phase {
            Phase::Greeting(_) | Phase::Told(_) => PollFd::new(open.socket.as_fd(), PollFlags::POLLIN),
            Phase::Running(..) | Phase::Over => PollFd::new(open.socket.as_fd(), PollFlags::empty()),
        })
    }

    /// Whether one more connection can be taken.
    pub fn room(&self) -> bool {
        self.open.len() < self.most && self.tired.is_none_or(|until| until <= Instant::now())
    }

    /// When something is to be done even if nothing happens.
    pub fn due(&self) -> Option<Instant> {
        let greetings = self.open.iter().filter_map(|open| match open.phase {
            Phase::Greeting(by) => Some(by),
            _ => None,
        });
        let rest = self.tired.filter(|until| *until > Instant::now());
        greetings.chain(self.vanished.iter().map(|(_, at)| *at)).chain(rest).min()
    }

    /// No session begins any more; the box is being stopped.
    pub fn leave(&mut self) {
        self.left = true;
    }

    /// Whether the box is being stopped.
    pub fn left(&self) -> bool {
        self.left
    }

    /// Takes all connections that wait.
    pub fn accept(&mut self, listener: &Socket) {
        while self.room() {
            let socket = match listener.accept() {
                Ok(socket) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Out of descriptors, say: the connection waits, and so do we.
                Err(_) => {
                    self.tired = Some(Instant::now() + REST);
                    return;
                }
            };
            let greeted = rustix::io::ioctl_fionbio(&socket, true).is_ok()
                && socket.send(&hello(self.person.name.as_bytes()), &[]).is_ok();
            if greeted {
                self.open.push(Open { socket, phase: Phase::Greeting(Instant::now() + GREETING) });
            }
        }
    }

    /// A child of ours ended; if it was a session's program, its client is told.
    pub fn ended(&mut self, pid: Pid, end: End) {
        let Some(open) =
            self.open.iter_mut().find(|open| matches!(open.phase, Phase::Running(p, _) if p == pid))
        else {
            return;
        };
        let Phase::Running(_, starved) = open.phase else {
            return;
        };
        let reply = match end {
            End::Exited(status) => Reply::Exited(status),
            End::Killed(KILL) if starved_programs() > starved => Reply::Starved,
            End::Killed(signal) => Reply::Killed(signal),
        };
        // When the box is being stopped, a program's death says nothing of the program: the
        // end of the connection tells the client more.
        if self.left {
            open.phase = Phase::Over;
            return;
        }
        // A client that has gone does not hear it, and does not say goodbye either.
        let _ = open.socket.send(&(&reply).into(), &[]);
        open.phase = Phase::Told(pid);
    }

    /// Hears what came in, and does what is due.
    pub fn attend(&mut self) {
        for open in &mut self.open {
            match open.phase {
                Phase::Greeting(by) => open.phase = greet(&open.socket, by, &self.person, self.left),
                Phase::Running(session, _) if gone(&open.socket) => {
                    hang_up(session, &mut self.vanished);
                    open.phase = Phase::Over;
                }
                Phase::Told(session) => match open.socket.receive() {
                    // Said goodbye: what still runs was put into the background and left there.
                    Ok(Some(_)) => open.phase = Phase::Over,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // Vanished, and the program's death was a part of that.
                    Ok(None) | Err(_) => {
                        hang_up(session, &mut self.vanished);
                        open.phase = Phase::Over;
                    }
                },
                Phase::Running(..) | Phase::Over => {}
            }
        }
        self.open.retain(|open| !matches!(open.phase, Phase::Over));
        let now = Instant::now();
        for (session, _) in self.vanished.extract_if(.., |(_, at)| *at <= now) {
            signal_session(session, Signal::SIGKILL);
        }
    }
}

/// Reads the request of a new connection and begins what it asks for.
fn greet(socket: &Socket, by: Instant, person: &Person, left: bool) -> Phase {
    let (request, fds) = match socket.receive() {
        Ok(Some((fields, fds))) => (Request::parse(&fields), fds),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < by => {
            return Phase::Greeting(by);
        }
        _ => return Phase::Over,
    };
    // Who went away meanwhile must not start anything.
    let Some(request) = request.filter(|_| !left && !gone(socket)) else {
        return Phase::Over;
    };
    let starved = starved_programs();
    match begin(socket, &request, fds, person) {
        Ok(pid) => Phase::Running(pid, starved),
        Err(reason) => {
            let _ = socket.send(&(&Reply::Failed(reason)).into(), &[]);
            Phase::Over
        }
    }
}

/// Starts the program and tells the client so.
fn begin(socket: &Socket, request: &Request, fds: Vec<OwnedFd>, person: &Person) -> Result<Pid, String> {
    let environment = Environment::new(std::env::vars_os(), &request.environment, person);
    let mut command = program(&request.run, &environment, person)?;
    command.env_clear().envs(&environment.variables);
    let home = rustix::fs::access(&person.home, rustix::fs::Access::EXEC_OK).is_ok();
    command.current_dir(if home { &person.home } else { Path::new("/") });
    let started = match &request.terminal {
        Some((size, modes)) => {
            let news = if request.run == Run::Shell { environment.news() } else { None };
            on_terminal(&mut command, size, modes, news)
        }
        None => on_pipes(&mut command, fds),
    };
    let (pid, master) = started.map_err(|error| why(&error, command.get_program()))?;
    let fds: Vec<BorrowedFd<'_>> = master.iter().map(OwnedFd::as_fd).collect();
    // If this cannot be sent the client is gone, and the next turn hears that.
    let _ = socket.send(&(&Reply::Started).into(), &fds);
    Ok(pid)
}

fn on_terminal(
    command: &mut Command,
    size: &str,
    modes: &str,
    news: Option<String>,
) -> io::Result<(Pid, Option<OwnedFd>)> {
    let (master, slave) = tty::open(size, modes)?;
    if let Some(news) = news {
        // A new terminal has room for a line, so this does not wait.
        let _ = rustix::io::write(&slave, format!("{news}\n").as_bytes());
    }
    command.env("SSH_TTY", OsStr::from_bytes(&tty::name(&slave)?));
    command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
    let pid = spawn(command, true)?;
    // Our copies of the slave must go, or the terminal never ends.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok((pid, Some(master)))
}

fn on_pipes(command: &mut Command, fds: Vec<OwnedFd>) -> io::Result<(Pid, Option<OwnedFd>)> {
    let Ok([stdin, stdout, stderr]) = <[OwnedFd; 3]>::try_from(fds) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let pid = spawn(command, false)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok((pid, None))
}

/// The program, called as sshd would call it.
pub fn program(run: &Run, environment: &Environment, person: &Person) -> Result<Command, String> {
    match run {
        Run::Shell => {
            let name = person.shell.file_name().unwrap_or_default();
            let mut login_shell = OsString::from("-");
            login_shell.push(name);
            let mut command = Command::new(&person.shell);
            command.arg0(login_shell);
            Ok(command)
        }
        Run::Command(text) => {
            let mut command = Command::new(&person.shell);
            command.arg0(person.shell.file_name().unwrap_or_default());
            command.arg("-c").arg(OsStr::from_bytes(text));
            Ok(command)
        }
        Run::Sftp => SFTP_SERVERS
            .iter()
            .find(|path| Path::new(path).exists())
            .map(Command::new)
            .ok_or_else(|| texts::NO_SFTP_SERVER.to_owned()),
        Run::Sshd(key) => inner_sshd::command(key, environment, person),
    }
}

/// Why a program could not be started, for the user.
pub fn why(error: &io::Error, program: &OsStr) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => texts::NO_PROCESSES.to_owned(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            texts::no_program(&program.to_string_lossy())
        }
        _ => texts::cannot_start(error),
    }
}

/// Tells a session that nobody is there any more; who does not listen is killed later.
fn hang_up(session: Pid, vanished: &mut Vec<(Pid, Instant)>) {
    signal_session(session, Signal::SIGHUP);
    signal_session(session, Signal::SIGCONT);
    vanished.push((session, Instant::now() + GRACE));
}

/// Whether the other end of a connection has been closed: POLLHUP, which needs no asking.
fn gone(socket: &Socket) -> bool {
    let mut fd = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    matches!(poll(&mut fd, PollTimeout::ZERO), Ok(count) if count > 0)
}

/// Signals every process of a session. Who left it by `setsid` is not in it any more; who
/// ignores SIGHUP, as `nohup` makes a program do, is not killed either.
fn signal_session(session: Pid, signal: Signal) {
    let Ok(entries) = fs::read_dir("/proc") else {
        return;
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids.filter(|pid| *pid != 1 && session_of(*pid) == Some(session.as_raw())) {
        if signal != Signal::SIGKILL || !ignores_hangup(pid) {
            // It may have ended in the meantime.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Field 6 of `proc_pid_stat(5)`; the name in field 2 may hold spaces and parentheses.
fn session_of(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// Bit of SIGHUP in `SigIgn` of `proc_pid_status(5)`.
fn ignores_hangup(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// How many programs of this box the kernel has killed for want of memory, if it tells.
fn starved_programs() -> Option<u64> {
    let text = OOM_COUNTS.iter().find_map(|path| fs::read_to_string(path).ok())?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}
