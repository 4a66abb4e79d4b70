//! A10: a hostile init. The tests listen on `init.sock` in place of a box and send `sshbox-shell` what no honest
//! init sends. The session always ends in time with one clear line, or lasts until its user ends it. No
//! unescaped byte reaches the terminal, and the end of the client frees everything on the host.

mod agent;
mod end;
mod flood;
mod network;
mod start;
mod terminal;

use crate::harness::{User, until, world};
use crate::numbers::{ContainerCleanup, is_named, report};
use identity::Login;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use session::presence::{RUN, UserRuntimeDir};
use session::wire::{Fields, Socket, hello};
use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Limit on the memory of `sshbox-shell` in KiB, whatever a box sends.
const MEMORY_LIMIT: u64 = 16 * 1024;

/// Limit for a session that never starts: 5 s each for a hello and a reply, before and after a wake, three times,
/// and more for a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Limit for everything else: one step of 5 s, and more for a busy machine.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// Limit for any wait of a hostile init, so that a failed test ends.
const INIT_LIMIT: Duration = Duration::from_secs(120);

/// Behaviour of a hostile init on one connection of `sshbox-shell`.
type Behaviour = fn(&Connection);

/// The hostile init's side of one connection.
struct Connection {
    socket: Socket,
    /// Set when the test ends; an endless behaviour must check it.
    stop: Arc<AtomicBool>,
}

impl Connection {
    /// Sends hello and receives the request. Closes its file descriptors, as an init does whose program has ended.
    fn handshake(&self) {
        self.send(&hello(b"user"));
        self.receive();
    }

    fn send(&self, fields: &Fields) {
        // The peer may have gone.
        let _ = self.socket.send(fields, &[]);
    }

    fn receive(&self) {
        let _ = self.socket.receive();
    }

    /// Sends any bytes as one packet, with file descriptors.
    fn send_packet(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).is_ok()
    }

    fn reply_started(&self, fds: &[BorrowedFd<'_>]) {
        self.handshake();
        self.send_packet(b"started=\0", fds);
    }

    /// Starts a session without a terminal correctly and ends it with these bytes.
    fn start_and_end(&self, bytes: &[u8]) {
        self.reply_started(&[]);
        self.send_packet(bytes, &[]);
        self.wait_for_close();
    }

    /// Sends nothing more until the peer has closed the connection.
    fn wait_for_close(&self) {
        let deadline = Instant::now() + INIT_LIMIT;
        while !self.is_closed() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_closed(&self) -> bool {
        let mut fd = [nix::poll::PollFd::new(self.socket.as_fd(), nix::poll::PollFlags::empty())];
        let ready = nix::poll::poll(&mut fd, nix::poll::PollTimeout::ZERO);
        self.stop.load(Ordering::Relaxed) || !matches!(ready, Ok(0))
    }

    /// Starts a session with this file descriptor in place of a pty master.
    fn start_with_master(&self, master: impl AsFd) {
        self.reply_started(&[master.as_fd()]);
        self.wait_for_close();
    }
}

/// Master and slave of a new pty.
fn pty() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    (master, slave)
}

/// A user whose init is this test's hostile one. Listens until it is dropped.
struct HostileInit {
    user: User,
    stop: Arc<AtomicBool>,
    /// Number of connections of `sshbox-shell` so far.
    connections: Arc<AtomicUsize>,
    listening: Option<thread::JoinHandle<()>>,
}

impl HostileInit {
    fn new(user: User, id: &str, behaviour: Behaviour) -> Self {
        let login = Login::parse(user.name.as_bytes()).unwrap();
        let runtime_dir = UserRuntimeDir::of(Path::new(RUN), &login);
        runtime_dir.prepare().unwrap();
        runtime_dir.write_box_account(id).unwrap();
        // Otherwise the connection would have the box started, whose init would listen in place of this one.
        runtime_dir.write_box_network(&network::of_a_box()).unwrap();
        let path = runtime_dir.init_socket();
        let _ = fs::remove_file(&path);
        let listener = Socket::listen(&path).unwrap();
        runtime_dir.set_init_socket_owner().unwrap();
        listener.set_patience(Duration::from_millis(100)).unwrap();
        let (stop, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let listening = {
            let (stop, connections, uid) = (stop.clone(), connections.clone(), user.uid());
            thread::spawn(move || serve(&listener, &stop, &connections, uid, behaviour))
        };
        Self { user, stop, connections, listening: Some(listening) }
    }
}

fn serve(
    listener: &Socket,
    stop: &Arc<AtomicBool>,
    connections: &Arc<AtomicUsize>,
    uid: u32,
    behaviour: Behaviour,
) {
    let mut threads = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(socket) = listener.accept() else {
            continue;
        };
        socket.set_patience(Duration::from_secs(20)).unwrap();
        // `sshbox-wake` asks too; it gets an honest reply.
        if socket.peer_uid().unwrap() != uid {
            let _ = socket.send(&hello(b"user"), &[]);
            continue;
        }
        connections.fetch_add(1, Ordering::Relaxed);
        let session = Connection { socket, stop: stop.clone() };
        threads.push(thread::spawn(move || behaviour(&session)));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

impl HostileInit {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits until the init has had more connections than `before`, and then long enough to see whether the session
    /// lasts.
    fn wait_for_session(&self, before: usize) {
        until("sshbox-shell connects to the init", || self.connections() > before);
        thread::sleep(Duration::from_millis(500));
    }
}

impl Drop for HostileInit {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.listening.take().unwrap().join();
        let login = Login::parse(self.user.name.as_bytes()).unwrap();
        let _ = UserRuntimeDir::of(Path::new(RUN), &login).remove_box_network();
        // Nothing listens on the socket now: the next login starts the box.
    }
}

/// Expected end of a session with a hostile init.
#[derive(Clone, Copy, Debug)]
enum ExpectedEnd {
    /// With this exit status and a line of sshbox that contains this text.
    Message(i32, &'static str),
    /// With this exit status and no output.
    Silent(i32),
    /// With one of these exit statuses, and a line of sshbox only for a status that sshbox sets itself.
    OneOf(&'static [i32]),
    /// Only when its user ends it.
    Never,
}

const INVALID_REPLY: ExpectedEnd = ExpectedEnd::Message(69, "your box gave an answer that makes no sense");
const NO_TERMINAL: ExpectedEnd = ExpectedEnd::Message(70, "the terminal cannot be used");
const WENT_AWAY: ExpectedEnd = ExpectedEnd::Message(75, "your box stopped again right after its start");
const NO_ANSWER: ExpectedEnd = ExpectedEnd::Message(75, "your box runs but does not answer");
const BOX_ENDED: ExpectedEnd = ExpectedEnd::Message(137, "sshbox: your box");

/// Kinds of session that a case tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streams {
    Pipes,
    Terminal,
    Both,
}

struct Case {
    name: &'static str,
    streams: Streams,
    behaviour: Behaviour,
    expected: ExpectedEnd,
}

fn case(name: &'static str, streams: Streams, expected: ExpectedEnd, behaviour: Behaviour) -> Case {
    Case { name, streams, behaviour, expected }
}

/// Runs each case with a user of its own, several at a time, and reports all failures.
fn run_cases(theme: &str, limit: Duration, start_boxes: bool, cases: &[Case]) {
    let _world = world();
    let names: Vec<String> = (0..cases.len()).map(|n| format!("{theme}{n}")).collect();
    let users = User::many(&names);
    let _boxes = ContainerCleanup(users.iter().map(|(user, _)| user.clone()).collect());
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (peak, longest) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures: Vec<String> = thread::scope(|scope| {
        let memory_watch = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(largest_shell(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut failures = Vec::new();
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let at = cases.iter().position(|other| std::ptr::eq(other, case)).unwrap();
                        let (user, id) = &users[at];
                        if start_boxes {
                            user.says("true");
                        }
                        let hostile = HostileInit::new(user.clone(), id, case.behaviour);
                        let result = run_sessions(&hostile, case, limit, &longest);
                        failures.extend(result.err().map(|error| format!("{}: {error}", case.name)));
                    }
                    failures
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        memory_watch.join().unwrap();
        results.into_iter().flat_map(Result::unwrap).collect()
    });
    let peak = peak.into_inner();
    report(&format!(
        "hostile init, {theme}: {} behaviours, longest session {} ms, largest sshbox-shell {peak} KiB",
        cases.len(),
        longest.into_inner()
    ));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(peak > 0 && peak < MEMORY_LIMIT, "an sshbox-shell grew to {peak} KiB");
}

/// Peak memory of all running `sshbox-shell` processes, in KiB.
fn largest_shell() -> u64 {
    let peak_of = |pid| crate::harness::status_of(pid, "VmHWM")?.strip_suffix(" kB")?.parse().ok();
    let shells = crate::harness::processes().into_iter().filter(|pid| is_named(*pid, "sshbox-shell"));
    shells.filter_map(peak_of).max().unwrap_or(0)
}

fn run_sessions(
    hostile: &HostileInit,
    case: &Case,
    limit: Duration,
    longest: &AtomicU64,
) -> Result<(), String> {
    let user = &hostile.user;
    if case.streams != Streams::Terminal {
        let began = Instant::now();
        let connections = hostile.connections();
        let mut client = user.ssh().begin(&["true"]);
        match case.expected {
            ExpectedEnd::Never => {
                hostile.wait_for_session(connections);
                if let Some(status) = client.over() {
                    return Err(format!("without a terminal: ended with {status}"));
                }
                client.kill();
            }
            expected => {
                let (status, out, err, _) = client.output_within(limit);
                let status = status.ok_or("without a terminal: does not end")?;
                check_end(expected, status, &err).map_err(|why| format!("without a terminal: {why}"))?;
                if !out.is_empty() {
                    return Err(format!("without a terminal: unexpected output: {out:?}"));
                }
                longest.fetch_max(milliseconds(began), Ordering::Relaxed);
            }
        }
        wait_until_free(user).map_err(|why| format!("without a terminal: {why}"))?;
    }
    if case.streams != Streams::Pipes {
        let began = Instant::now();
        let connections = hostile.connections();
        let mut terminal = user.ssh().terminal(24, 80, &["true"]);
        let before = terminal.modes();
        let ended = if matches!(case.expected, ExpectedEnd::Never) {
            hostile.wait_for_session(connections);
            // The escape sequence by which a user disconnects; the client then exits with 255.
            terminal.types("\r~.");
            match terminal.ends_within(limit) {
                Some(255) if !terminal.seen().contains("sshbox:") => Ok(()),
                ended => Err(format!("ended with {ended:?} and {:?}", terminal.seen())),
            }
        } else {
            let status = terminal.ends_within(limit).ok_or("with a terminal: does not end")?;
            longest.fetch_max(milliseconds(began), Ordering::Relaxed);
            check_end(case.expected, status, terminal.seen())
        };
        ended.map_err(|why| format!("with a terminal: {why}"))?;
        if terminal.modes() != before {
            return Err("the local terminal is not restored".to_owned());
        }
        drop(terminal);
        wait_until_free(user).map_err(|why| format!("with a terminal: {why}"))?;
    }
    Ok(())
}

fn milliseconds(since: Instant) -> u64 {
    since.elapsed().as_millis().try_into().unwrap()
}

fn check_end<'a>(end: ExpectedEnd, status: i32, output: &'a str) -> Result<(), String> {
    // A terminal shows only what follows the last carriage return of a line.
    let shown = |line: &'a str| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let lines: Vec<&str> = output.lines().map(shown).filter(|line| !line.is_empty()).collect();
    let one_line = lines.len() == 1
        && lines[0].starts_with("sshbox: ")
        && lines[0].contains(" (ref ")
        && lines[0].len() < 1500;
    let as_expected = match end {
        ExpectedEnd::Message(expected, words) => status == expected && one_line && lines[0].contains(words),
        ExpectedEnd::Silent(expected) => status == expected && lines.is_empty(),
        ExpectedEnd::OneOf(statuses) => {
            statuses.contains(&status) && (one_line || lines.is_empty() && ![69, 70, 75].contains(&status))
        }
        ExpectedEnd::Never => false,
    };
    let printable = output.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\n' || byte == b'\r');
    if as_expected && printable {
        Ok(())
    } else {
        Err(format!("expected {end:?}, got {status} and {output:?}"))
    }
}

/// Waits until the user has no process on the host, and checks that no session holds `live.lock`.
fn wait_until_free(user: &User) -> Result<(), String> {
    let deadline = Instant::now() + STEP_LIMIT;
    while !user.host_processes().is_empty() {
        if Instant::now() > deadline {
            return Err(format!("still on the host: {:?}", user.host_processes()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    let login = Login::parse(user.name.as_bytes()).unwrap();
    match UserRuntimeDir::of(Path::new(RUN), &login).try_lock_live() {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("live.lock is still held: {other:?}")),
    }
}

/// Refuses the session with this text.
fn refuse(session: &Connection, text: &[u8]) {
    session.handshake();
    session.send_packet(&[b"failed=", text, b"\0"].concat(), &[]);
    session.wait_for_close();
}
