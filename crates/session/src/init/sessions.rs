//! The sessions of a box: one connection each, from the request to the exit status, and what
//! is left of them when a client vanishes.

use super::environment::Environment;
use super::first_words;
use super::inner_sshd;
use super::person::Person;
use crate::deadlines::{GREETING, HANG_UP};
use crate::process::spawn;
use crate::texts;
use crate::times::later;
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

/// How long no connection is taken after one could not be.
const REST: Duration = Duration::from_millis(100);

/// The signal that the kernel sends when there is no memory left.
const KILL: i32 = Signal::SIGKILL as i32;

/// Where the kernel counts the programs that it killed for want of memory: under version 2 of
/// cgroups, and under version 1.
const OOM_COUNTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// Where the kernel counts tasks: under version 2 of cgroups, and under version 1.
const TASK_COUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"];

/// Where distributions keep the file transfer server.
const SFTP_SERVERS: [&str; 4] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
];

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramEnd {
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
    FieldValue(Pid),
    /// The program has ended while the box is being stopped. The connection stays open until
    /// all programs have ended: `sshbox-shell` holds the session's terminal for as long.
    Left,
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
        self.open.iter().filter_map(|open| {
            let events = match open.phase {
                Phase::Greeting(_) | Phase::FieldValue(_) => PollFlags::POLLIN,
                Phase::Running(..) => PollFlags::empty(),
                Phase::Left | Phase::Over => return None,
            };
            Some(PollFd::new(open.socket.as_fd(), events))
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

    /// Takes all connections that wait.
    pub fn accept(&mut self, listener: &Socket) {
        while self.room() {
            let socket = match listener.accept() {
                Ok(socket) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Out of descriptors, say: the connection waits, and so do we.
                Err(_) => {
                    self.tired = Some(later(Instant::now(), REST));
                    return;
                }
            };
            let greeted = rustix::io::ioctl_fionbio(&socket, true).is_ok()
                && socket.send(&hello(self.person.name.as_bytes()), &[]).is_ok();
            if greeted {
                self.open.push(Open { socket, phase: Phase::Greeting(later(Instant::now(), GREETING)) });
            }
        }
    }

    /// A child of ours ended; if it was a session's program, its client is told.
    pub fn ended(&mut self, pid: Pid, end: ProgramEnd) {
        let Some(open) =
            self.open.iter_mut().find(|open| matches!(open.phase, Phase::Running(p, _) if p == pid))
        else {
            return;
        };
        let Phase::Running(_, starved) = open.phase else {
            return;
        };
        let reply = match end {
            ProgramEnd::Exited(status) => Reply::Exited(status),
            ProgramEnd::Killed(KILL) if starved_programs() > starved => Reply::Starved,
            ProgramEnd::Killed(signal) => Reply::Killed(signal),
        };
        // When the box is being stopped, a program's death says nothing of the program: the
        // end of the connection tells the client more.
        if self.left {
            open.phase = Phase::Left;
            return;
        }
        // A client that has gone does not hear it, and does not say goodbye either.
        let _ = open.socket.send(&(&reply).into(), &[]);
        open.phase = Phase::FieldValue(pid);
    }

    /// Hears what came in, and does what is due.
    pub fn attend(&mut self) {
        let left = self.left;
        // While the box is being stopped its programs have the grace, with a client or without.
        let abandon = |session, vanished: &mut Vec<(Pid, Instant)>| {
            if !left {
                hang_up(session, vanished);
            }
            Phase::Over
        };
        for open in &mut self.open {
            match open.phase {
                Phase::Greeting(by) => open.phase = greet(&open.socket, by, &self.person, self.left),
                Phase::Running(session, _) if gone(&open.socket) => {
                    open.phase = abandon(session, &mut self.vanished);
                }
                Phase::FieldValue(session) => match open.socket.receive() {
                    // Said goodbye: what still runs was put into the background and left there.
                    Ok(Some(_)) => open.phase = Phase::Over,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // Vanished, and the program's death was a part of that.
                    Ok(None) | Err(_) => {
                        open.phase = abandon(session, &mut self.vanished);
                    }
                },
                Phase::Running(..) | Phase::Left | Phase::Over => {}
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
            let news = if request.run == Run::Shell { first_words(&environment, person) } else { Vec::new() };
            on_terminal(&mut command, size, modes, &news)
        }
        None => on_pipes(&mut command, fds),
    };
    let (pid, master) = started.map_err(|error| why(&error, command.get_program()))?;
    let fds: Vec<BorrowedFd<'_>> = master.iter().map(OwnedFd::as_fd).collect();
    // If this cannot be sent the client is gone, and the next turn hears that.
    let _ = socket.send(&(&Reply::Started).into(), &fds);
    Ok(pid)
}

/// What is shown before a shell. A dumb terminal belongs to a program that waits for a prompt.
fn first_words(environment: &Environment, person: &Person) -> Vec<u8> {
    if environment.variables.get(OsStr::new("TERM")).is_some_and(|kind| kind == "dumb") {
        return Vec::new();
    }
    let mut words = first_words::news(Path::new(first_words::WORDS), &person.home).unwrap_or_default();
    words.extend(environment.news().map(|news| format!("{news}\n")).unwrap_or_default().into_bytes());
    words
}

fn on_terminal(
    command: &mut Command,
    size: &str,
    modes: &str,
    words: &[u8],
) -> io::Result<(Pid, Option<OwnedFd>)> {
    let (master, slave) = tty::open(size, modes)?;
    if !words.is_empty() {
        // Less than a new terminal takes without a reader, so this does not wait.
        let _ = rustix::io::write(&slave, words);
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
        io::ErrorKind::WouldBlock => texts::too_many_tasks(tasks()),
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
    vanished.push((session, later(Instant::now(), HANG_UP)));
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

/// Tasks of this box, and how many it may have, if the kernel tells.
fn tasks() -> Option<(u64, u64)> {
    let number = |name: &str| {
        let path = TASK_COUNTS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
        fs::read_to_string(path?).ok()?.trim().parse().ok()
    };
    Some((number("pids.current")?, number("pids.max")?))
}

/// How many programs of this box the kernel has killed for want of memory, if it tells.
fn starved_programs() -> Option<u64> {
    let text = OOM_COUNTS.iter().find_map(|path| fs::read_to_string(path).ok())?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Fields, goodbye, is_hello};
    use nix::sys::wait::{WaitStatus, waitpid};
    use std::fs::File;

    const SOON: Duration = Duration::from_secs(20);

    /// The sessions of a box whose init is this test; its programs are children of ours.
    struct Init {
        sessions: Sessions,
        listener: Socket,
        dir: tempfile::TempDir,
    }

    impl Init {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let listener = Socket::listen(&dir.path().join("init.sock")).unwrap();
            rustix::io::ioctl_fionbio(&listener, true).unwrap();
            let person = Person { name: "user".into(), home: dir.path().to_owned(), shell: "/bin/sh".into() };
            Self { sessions: Sessions::new(person), listener, dir }
        }

        fn connect(&self) -> Socket {
            Socket::connect(&self.dir.path().join("init.sock"), SOON).unwrap()
        }

        /// A client that was accepted and greeted.
        fn client(&mut self) -> Socket {
            let client = self.connect();
            self.sessions.accept(&self.listener);
            assert!(is_hello(&client.receive().unwrap().unwrap().0));
            client
        }

        /// A client whose session runs this command, and the number of its program.
        fn session(&mut self, command: &str) -> (Socket, Pid) {
            let client = self.client();
            let null = File::options().read(true).write(true).open("/dev/null").unwrap();
            client.send(&(&request(command)).into(), &[null.as_fd(), null.as_fd(), null.as_fd()]).unwrap();
            self.sessions.attend();
            assert_eq!(reply(&client), Some(Reply::Started));
            let phase = self.sessions.open.iter().rev().find_map(|open| match open.phase {
                Phase::Running(pid, _) => Some(pid),
                _ => None,
            });
            (client, phase.unwrap())
        }
    }

    fn request(command: &str) -> Request {
        Request { run: Run::Command(command.into()), environment: vec![], terminal: None }
    }

    fn reply(client: &Socket) -> Option<Reply> {
        Reply::parse(&client.receive().unwrap()?.0)
    }

    /// Waits until the program has done this in its home.
    fn until_there(init: &Init, file: &str) {
        let end = Instant::now() + SOON;
        while !init.dir.path().join(file).exists() {
            assert!(Instant::now() < end, "{file} does not appear");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn lives(pid: Pid) -> bool {
        kill(pid, None).is_ok()
    }

    fn end(pid: Pid) {
        kill(pid, Signal::SIGKILL).unwrap();
        waitpid(pid, None).unwrap();
    }

    #[test]
    fn a_connection_must_say_in_time_what_it_wants() {
        let mut init = Init::new();
        let client = init.client();
        init.sessions.attend();
        assert_eq!(init.sessions.open.len(), 1);
        let due = init.sessions.due().unwrap();
        assert!(due > Instant::now() && due <= Instant::now() + GREETING);
        init.sessions.open[0].phase = Phase::Greeting(Instant::now());
        init.sessions.attend();
        assert!(init.sessions.open.is_empty() && init.sessions.due().is_none());
        assert!(client.receive().unwrap().is_none());
    }

    #[test]
    fn nonsense_and_missing_descriptors_begin_nothing() {
        let mut init = Init::new();
        let client = init.client();
        client.send(&Fields::default().with("ask", b"nothing"), &[]).unwrap();
        init.sessions.attend();
        assert!(client.receive().unwrap().is_none());
        let client = init.client();
        client.send(&(&request("true")).into(), &[]).unwrap();
        init.sessions.attend();
        assert!(matches!(reply(&client), Some(Reply::Failed(_))));
        assert!(init.sessions.open.is_empty());
    }

    #[test]
    fn who_goes_before_the_program_begins_starts_nothing() {
        let mut init = Init::new();
        let client = init.client();
        let null = File::open("/dev/null").unwrap();
        client.send(&(&request("touch ran")).into(), &[null.as_fd(); 3]).unwrap();
        drop(client);
        init.sessions.attend();
        assert!(init.sessions.open.is_empty());
        assert!(!init.dir.path().join("ran").exists());
    }

    #[test]
    fn the_end_of_a_program_is_told_and_goodbye_ends_the_session() {
        let mut init = Init::new();
        let (client, pid) = init.session("exit 7");
        assert_eq!(waitpid(pid, None).unwrap(), WaitStatus::Exited(pid, 7));
        init.sessions.ended(pid, ProgramEnd::Exited(7));
        assert_eq!(reply(&client), Some(Reply::Exited(7)));
        init.sessions.attend();
        assert_eq!(init.sessions.open.len(), 1, "the client has not said goodbye");
        client.send(&goodbye(), &[]).unwrap();
        init.sessions.attend();
        assert!(init.sessions.open.is_empty() && init.sessions.vanished.is_empty());
    }

    #[test]
    fn the_program_of_a_client_that_vanished_is_hung_up() {
        let mut init = Init::new();
        let (client, pid) = init.session("touch began; exec sleep 600");
        until_there(&init, "began");
        init.sessions.attend();
        assert!(init.sessions.due().is_none());
        drop(client);
        init.sessions.attend();
        assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Signaled(_, Signal::SIGHUP, _)));
        assert!(init.sessions.due().unwrap() <= Instant::now() + HANG_UP);
    }

    #[test]
    fn who_does_not_go_when_hung_up_is_killed_but_not_who_ignores_it() {
        let mut init = Init::new();
        let stay = |file| format!("touch {file}; while :; do sleep 0.05; done");
        let (deaf, deaf_pid) = init.session(&format!("trap : HUP; {}", stay("deaf")));
        let (nohup, nohup_pid) = init.session(&format!("trap '' HUP; {}", stay("nohup")));
        until_there(&init, "deaf");
        until_there(&init, "nohup");
        drop((deaf, nohup));
        init.sessions.attend();
        init.sessions.attend();
        assert!(lives(deaf_pid) && lives(nohup_pid), "the grace is not over");
        for (_, at) in &mut init.sessions.vanished {
            *at = Instant::now();
        }
        init.sessions.attend();
        assert!(matches!(waitpid(deaf_pid, None).unwrap(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
        assert!(init.sessions.vanished.is_empty());
        assert!(lives(nohup_pid));
        end(nohup_pid);
    }

    #[test]
    fn one_connection_too_many_waits() {
        let mut init = Init::new();
        init.sessions.most = 1;
        let first = init.client();
        let second = init.connect();
        assert!(!init.sessions.room());
        init.sessions.accept(&init.listener);
        assert_eq!(init.sessions.open.len(), 1);
        drop(first);
        init.sessions.attend();
        assert!(init.sessions.room());
        init.sessions.accept(&init.listener);
        assert!(is_hello(&second.receive().unwrap().unwrap().0));
    }

    #[test]
    fn after_a_connection_that_cannot_be_taken_there_is_a_rest() {
        let mut init = Init::new();
        let no_listener = init.connect();
        init.sessions.accept(&no_listener);
        assert!(!init.sessions.room());
        let due = init.sessions.due().unwrap();
        assert!(due <= Instant::now() + REST);
        init.sessions.tired = Some(Instant::now());
        assert!(init.sessions.room() && init.sessions.due().is_none());
    }

    #[test]
    fn while_a_box_is_stopped_nothing_begins_nobody_is_hung_up_and_connections_stay() {
        let mut init = Init::new();
        let (ended, ended_pid) = init.session("exit 0");
        let (gone, gone_pid) = init.session("exec sleep 600");
        let late = init.client();
        init.sessions.leave();
        let null = File::open("/dev/null").unwrap();
        late.send(&(&request("touch ran")).into(), &[null.as_fd(); 3]).unwrap();
        waitpid(ended_pid, None).unwrap();
        init.sessions.ended(ended_pid, ProgramEnd::Exited(0));
        drop(gone);
        init.sessions.attend();
        assert!(late.receive().unwrap().is_none(), "a session has begun");
        assert!(lives(gone_pid) && init.sessions.vanished.is_empty());
        // sshbox-shell hears nothing, and holds the terminal, until the init ends.
        ended.set_patience(Duration::from_millis(20)).unwrap();
        assert_eq!(ended.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(init.sessions.watched().count(), 0, "nothing to wake up for");
        drop(init);
        assert!(ended.receive().unwrap().is_none());
        end(gone_pid);
    }
}
