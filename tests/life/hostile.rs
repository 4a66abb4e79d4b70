//! A10: a hostile init. The tests listen on `init.sock` in place of a box and send `sshbox-shell` what no honest
//! init sends. The session always ends in time with one clear line, or lasts until its user ends it. No
//! unescaped byte reaches the terminal, and the end of the client frees everything on the host.

use crate::harness::{User, run, until, world};
use crate::numbers::{ContainerCleanup, is_named, report};
use identity::Login;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use session::presence::{RUN, UserRuntimeDir};
use session::wire::{Fields, Socket, hello};
use std::fs::{self, File};
use std::io::{IoSlice, Read as _};
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

#[test]
fn a10_an_init_that_never_starts_a_session() {
    run_cases(
        "never",
        START_LIMIT,
        true,
        &[
            case("silence", Streams::Both, WENT_AWAY, Connection::wait_for_close),
            case("the connection is closed at once", Streams::Both, WENT_AWAY, |_| {}),
            case("garbage for a hello", Streams::Both, WENT_AWAY, |session| {
                session.send_packet(&[0xff; 500], &[]);
                session.wait_for_close();
            }),
            case("a hello that is too long", Streams::Pipes, WENT_AWAY, |session| {
                session.send_packet(&[b"hello=".as_slice(), &vec![b'x'; 204_000]].concat(), &[]);
                session.wait_for_close();
            }),
            case("a hello byte by byte", Streams::Pipes, WENT_AWAY, |session| {
                for byte in b"hello=1\0" {
                    session.send_packet(&[*byte], &[]);
                }
                session.wait_for_close();
            }),
            case("hello and nothing", Streams::Both, NO_ANSWER, |session| {
                session.handshake();
                session.wait_for_close();
            }),
            case("hello without listening", Streams::Pipes, NO_ANSWER, |session| {
                session.send(&hello(b"user"));
                session.wait_for_close();
            }),
            case("hello, then the connection is closed", Streams::Both, WENT_AWAY, Connection::handshake),
            case("a reply that is too long", Streams::Both, WENT_AWAY, |session| {
                session.handshake();
                session.send_packet(&[b"failed=".as_slice(), &vec![b'x'; 204_000]].concat(), &[]);
                session.wait_for_close();
            }),
        ],
    );
}

#[test]
fn a10_an_init_that_sends_invalid_replies() {
    run_cases(
        "nonsense",
        STEP_LIMIT,
        false,
        &[
            case("an unknown reply", Streams::Both, INVALID_REPLY, |session| {
                session.handshake();
                session.send_packet(b"welcome=\0", &[]);
                session.wait_for_close();
            }),
            case("random bytes", Streams::Both, INVALID_REPLY, |session| {
                session.handshake();
                session.send_packet(&[0x1b; 3000], &[]);
                session.wait_for_close();
            }),
            case("a reply byte by byte", Streams::Both, INVALID_REPLY, |session| {
                session.handshake();
                for byte in b"started=\0" {
                    session.send_packet(&[*byte], &[]);
                }
                session.wait_for_close();
            }),
            case("an exit before the start", Streams::Both, INVALID_REPLY, |session| {
                session.handshake();
                session.send_packet(b"exited=0\0", &[]);
                session.wait_for_close();
            }),
            case("hello without end", Streams::Both, INVALID_REPLY, |session| {
                while !session.is_closed() && session.send_packet(b"hello=1\0", &[]) {}
            }),
            case("a flood of the longest packets", Streams::Both, INVALID_REPLY, |session| {
                session.send(&hello(b"user"));
                while !session.is_closed() && session.send_packet(&vec![b'x'; 199_000], &[]) {}
            }),
            case("no terminal though one was requested", Streams::Terminal, INVALID_REPLY, |session| {
                session.reply_started(&[]);
            }),
            case("a terminal that was not requested", Streams::Pipes, INVALID_REPLY, |session| {
                session.start_with_master(pty().0);
            }),
            case(
                "three file descriptors that were not requested",
                Streams::Pipes,
                INVALID_REPLY,
                |session| {
                    let null = File::open("/dev/null").unwrap();
                    session.reply_started(&[null.as_fd(); 3]);
                    session.wait_for_close();
                },
            ),
            case("sixteen file descriptors with a hello", Streams::Both, INVALID_REPLY, |session| {
                let null = File::open("/dev/null").unwrap();
                session.send_packet(b"hello=1\0", &[null.as_fd(); 16]);
                session.receive();
                session.send_packet(b"what=\0", &[null.as_fd(); 16]);
                session.wait_for_close();
            }),
        ],
    );
}

/// Refuses the session with this text.
fn refuse(session: &Connection, text: &[u8]) {
    session.handshake();
    session.send_packet(&[b"failed=", text, b"\0"].concat(), &[]);
    session.wait_for_close();
}

#[test]
fn a10_a14_a_refusal_reaches_the_terminal_as_plain_text() {
    run_cases(
        "refusal",
        STEP_LIMIT,
        false,
        &[
            case(
                "escapes",
                Streams::Both,
                ExpectedEnd::Message(69, r"\x1b]0;owned\x07\x1b[31mred\xc2\x9b2J"),
                |session| {
                    // A C1 control character in UTF-8, since the text must be valid UTF-8.
                    refuse(session, "\x1b]0;owned\x07\x1b[31mred\u{9b}2J".as_bytes());
                },
            ),
            case(
                "lines of its own",
                Streams::Both,
                ExpectedEnd::Message(69, r"one\x0d\x0asshbox: two"),
                |session| {
                    refuse(session, b"one\r\nsshbox: two");
                },
            ),
            case(
                "a NUL in the middle",
                Streams::Both,
                ExpectedEnd::Message(69, "sshbox: before (ref "),
                |session| {
                    refuse(session, b"before\0behind");
                },
            ),
            case(
                "a right-to-left override",
                Streams::Both,
                ExpectedEnd::Message(69, r"\xe2\x80\xae"),
                |session| {
                    refuse(session, "\u{202e}evil".as_bytes());
                },
            ),
            case("no text at all", Streams::Both, INVALID_REPLY, |session| {
                refuse(session, b"\xff\xfe\x1b[2J");
            }),
            case("190 KB", Streams::Both, ExpectedEnd::Message(69, "\\x1b\\x1b..."), |session| {
                refuse(session, &vec![0x1b; 190_000]);
            }),
            case("an empty text", Streams::Both, ExpectedEnd::Message(69, "sshbox: "), |session| {
                refuse(session, b"");
            }),
        ],
    );
}

#[test]
fn a10_a_file_descriptor_that_is_not_a_pty_master() {
    run_cases(
        "master",
        STEP_LIMIT,
        false,
        &[
            case("/dev/null", Streams::Terminal, NO_TERMINAL, |session| {
                session.start_with_master(File::options().read(true).write(true).open("/dev/null").unwrap());
            }),
            case("/dev/zero", Streams::Terminal, NO_TERMINAL, |session| {
                session.start_with_master(File::options().read(true).write(true).open("/dev/zero").unwrap());
            }),
            case("a file", Streams::Terminal, NO_TERMINAL, |session| {
                session.start_with_master(tempfile::tempfile().unwrap());
            }),
            case("a directory", Streams::Terminal, NO_TERMINAL, |session| {
                session.start_with_master(File::open("/tmp").unwrap());
            }),
            case("a listening socket", Streams::Terminal, NO_TERMINAL, |session| {
                let dir = tempfile::tempdir().unwrap();
                session.start_with_master(Socket::listen(&dir.path().join("s")).unwrap());
            }),
            case("the connection itself", Streams::Terminal, NO_TERMINAL, |session| {
                session.start_with_master(session.socket.as_fd());
            }),
            case("a pipe that nobody reads", Streams::Terminal, NO_TERMINAL, |session| {
                let (_reader, writer) = std::io::pipe().unwrap();
                session.start_with_master(writer);
            }),
        ],
    );
}

#[test]
fn a10_a_pty_that_misbehaves() {
    run_cases(
        "tricks",
        STEP_LIMIT,
        false,
        &[
            case("the slave is closed", Streams::Terminal, ExpectedEnd::Never, |session| {
                let (master, slave) = pty();
                drop(slave);
                session.start_with_master(master);
            }),
            case("the slave in place of the master", Streams::Terminal, ExpectedEnd::Never, |session| {
                let (_master, slave) = pty();
                session.start_with_master(slave);
            }),
            case("nothing reads or writes the slave", Streams::Terminal, ExpectedEnd::Never, |session| {
                let (master, _slave) = pty();
                session.start_with_master(master);
            }),
            case("the master is set to blocking mode", Streams::Terminal, ExpectedEnd::Never, |session| {
                let (master, _slave) = pty();
                session.reply_started(&[master.as_fd()]);
                // O_NONBLOCK belongs to the open file description, which both processes share.
                while !session.is_closed() {
                    rustix::io::ioctl_fionbio(&master, false).unwrap();
                }
            }),
            case(
                "three file descriptors, of which the first is used",
                Streams::Terminal,
                ExpectedEnd::Silent(3),
                |session| {
                    let (master, slave) = pty();
                    session.reply_started(&[master.as_fd(), slave.as_fd(), slave.as_fd()]);
                    drop((master, slave));
                    session.send_packet(b"exited=3\0", &[]);
                    session.wait_for_close();
                },
            ),
            case(
                "the slave stays open after the end",
                Streams::Terminal,
                ExpectedEnd::Silent(3),
                |session| {
                    let (master, slave) = pty();
                    session.reply_started(&[master.as_fd()]);
                    session.send_packet(b"exited=3\0", &[]);
                    session.wait_for_close();
                    drop(slave);
                },
            ),
        ],
    );
}

#[test]
fn a10_session_ends_that_are_not_valid() {
    let killed = |what, ends, behaviour| case(what, Streams::Pipes, ends, behaviour);
    run_cases(
        "ends",
        STEP_LIMIT,
        false,
        &[
            case("exited=300", Streams::Pipes, INVALID_REPLY, |session| {
                session.start_and_end(b"exited=300\0");
            }),
            case("exited=-1", Streams::Pipes, INVALID_REPLY, |session| session.start_and_end(b"exited=-1\0")),
            case("exited=", Streams::Pipes, INVALID_REPLY, |session| session.start_and_end(b"exited=\0")),
            case("failed= after the start", Streams::Pipes, INVALID_REPLY, |session| {
                session.start_and_end(b"failed=x\0");
            }),
            case("started twice", Streams::Pipes, INVALID_REPLY, |session| {
                session.start_and_end(b"started=\0");
            }),
            case("random bytes", Streams::Pipes, INVALID_REPLY, |session| {
                session.start_and_end(&[0x9b; 5000]);
            }),
            killed("killed=0", INVALID_REPLY, |session| session.start_and_end(b"killed=0\0")),
            killed("killed=-9", INVALID_REPLY, |session| session.start_and_end(b"killed=-9\0")),
            killed("killed=65", INVALID_REPLY, |session| session.start_and_end(b"killed=65\0")),
            // Signals that would stop or continue sshbox-shell, not end it.
            killed("killed=18", INVALID_REPLY, |session| session.start_and_end(b"killed=18\0")),
            killed("killed=19", INVALID_REPLY, |session| session.start_and_end(b"killed=19\0")),
            killed("killed=20", INVALID_REPLY, |session| session.start_and_end(b"killed=20\0")),
            killed("killed=21", INVALID_REPLY, |session| session.start_and_end(b"killed=21\0")),
            killed("killed=22", INVALID_REPLY, |session| session.start_and_end(b"killed=22\0")),
            // Signals that are ignored by default.
            killed("killed=17", ExpectedEnd::OneOf(&[69, 145]), |session| {
                session.start_and_end(b"killed=17\0");
            }),
            killed("killed=23", ExpectedEnd::OneOf(&[69, 151]), |session| {
                session.start_and_end(b"killed=23\0");
            }),
            killed("killed=28", ExpectedEnd::OneOf(&[69, 156]), |session| {
                session.start_and_end(b"killed=28\0");
            }),
            // The client exits with 255 when a signal ended the session. Signal 64 has no name, so sshd cannot pass it on.
            killed("killed=9", ExpectedEnd::Silent(255), |session| session.start_and_end(b"killed=9\0")),
            killed("killed=11", ExpectedEnd::Silent(255), |session| session.start_and_end(b"killed=11\0")),
            killed("killed=64", ExpectedEnd::OneOf(&[69, 192, 255]), |session| {
                session.start_and_end(b"killed=64\0");
            }),
            case("an exit that is too long", Streams::Pipes, ExpectedEnd::OneOf(&[69, 137]), |session| {
                session.start_and_end(&[b"exited=".as_slice(), &vec![b'1'; 204_000]].concat());
            }),
            case("the connection is closed without an exit", Streams::Pipes, BOX_ENDED, |session| {
                session.reply_started(&[]);
            }),
            case("an exit and then a flood", Streams::Pipes, ExpectedEnd::Silent(3), |session| {
                session.reply_started(&[]);
                session.send_packet(b"exited=3\0", &[]);
                while !session.is_closed() && session.send_packet(&vec![b'x'; 199_000], &[]) {}
            }),
            case("no exit at all", Streams::Pipes, ExpectedEnd::Never, |session| {
                session.reply_started(&[]);
                session.wait_for_close();
            }),
            case("sshd's pipes are kept and filled", Streams::Pipes, ExpectedEnd::Never, |session| {
                session.send(&hello(b"user"));
                let Ok(Some((_, fds))) = session.socket.receive() else {
                    return;
                };
                session.send_packet(b"started=\0", &[]);
                rustix::io::ioctl_fionbio(&fds[1], true).unwrap();
                while !session.is_closed() {
                    let _ = rustix::io::write(&fds[1], &[b'x'; 4096]);
                }
            }),
            case("sshd's pipes stay open after the exit", Streams::Pipes, ExpectedEnd::Never, |session| {
                session.send(&hello(b"user"));
                let request = session.socket.receive();
                session.send_packet(b"started=\0", &[]);
                session.send_packet(b"exited=0\0", &[]);
                session.wait_for_close();
                // sshbox-shell has ended; the client waits for the pipes, as with plain sshd.
                thread::sleep(Duration::from_secs(3));
                drop(request);
            }),
        ],
    );
}

#[test]
fn a10_f18_a_client_that_leaves_while_the_init_is_silent_leaves_nothing() {
    let _world = world();
    let (user, id) = User::many(&["impatient".to_owned()]).remove(0);
    let _box = ContainerCleanup(vec![user.clone()]);
    let hostile = HostileInit::new(user.clone(), &id, Connection::wait_for_close);
    for options in [&[][..], &["-tt"]] {
        let connections = hostile.connections();
        let mut client = user.ssh().args(options).begin(&["true"]);
        hostile.wait_for_session(connections);
        client.kill();
        let killed = Instant::now();
        wait_until_free(&user).unwrap();
        // At once, not after a timeout.
        assert!(killed.elapsed() < Duration::from_secs(4), "{:?}", killed.elapsed());
    }
}

#[test]
fn a10_a_terminal_with_endless_output_ends_with_its_program() {
    let _world = world();
    let (user, id) = User::many(&["babbled".to_owned()]).remove(0);
    let _box = ContainerCleanup(vec![user.clone()]);
    let _hostile = HostileInit::new(user.clone(), &id, |session| {
        let (master, slave) = pty();
        session.reply_started(&[master.as_fd()]);
        session.send_packet(b"exited=3\0", &[]);
        rustix::io::ioctl_fionbio(&slave, true).unwrap();
        while !session.is_closed() {
            let _ = rustix::io::write(&slave, &[b'x'; 4096]);
        }
    });
    let (status, out, err, _) = user.ssh().args(&["-tt"]).begin(&[]).output_within(STEP_LIMIT);
    assert_eq!((status, err.as_str()), (Some(3), ""));
    // The session ends with the program and does not wait for the end of output.
    assert!(out.len() < 1 << 20, "{} bytes", out.len());
    wait_until_free(&user).unwrap();
}

/// Number of bytes after which the client of a flooding box is killed.
const FLOOD: usize = 128 << 20;

#[test]
fn a10_f20_endless_output_takes_no_memory_and_ends_with_its_client() {
    let _world = world();
    let (user, id) = User::many(&["flooded".to_owned()]).remove(0);
    let _box = ContainerCleanup(vec![user.clone()]);
    let hostile = HostileInit::new(user.clone(), &id, |session| {
        let (master, slave) = pty();
        session.reply_started(&[master.as_fd()]);
        rustix::io::ioctl_fionbio(&slave, true).unwrap();
        while !session.is_closed() {
            if rustix::io::write(&slave, &[b'x'; 4096]).is_err() {
                thread::yield_now();
            }
        }
    });
    let mut client = user.ssh().args(&["-tt"]).begin(&[]);
    let mut bytes = vec![0; 1 << 16];
    let (mut received, mut peak) = (0, 0);
    let began = Instant::now();
    while received < FLOOD {
        let count = client.stdout().read(&mut bytes).unwrap();
        assert!(count > 0, "ended after {received} bytes");
        // Measure once per MiB.
        if received >> 20 != (received + count) >> 20 {
            peak = peak.max(largest_shell());
        }
        received += count;
    }
    report(&format!(
        "hostile init, flood: {} MiB in {} s, largest sshbox-shell {peak} KiB",
        received >> 20,
        began.elapsed().as_secs()
    ));
    assert!(peak > 0 && peak < MEMORY_LIMIT, "grew to {peak} KiB");
    client.kill();
    wait_until_free(&user).unwrap();
    drop(hostile);
}

#[test]
fn a10_unread_input_is_not_buffered_without_bound() {
    let _world = world();
    let (user, id) = User::many(&["stuffed".to_owned()]).remove(0);
    let _box = ContainerCleanup(vec![user.clone()]);
    let hostile = HostileInit::new(user.clone(), &id, |session| {
        let (master, slave) = pty();
        // Raw mode: otherwise the kernel drops input that exceeds the maximal line length.
        let mut modes = rustix::termios::tcgetattr(&slave).unwrap();
        modes.make_raw();
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &modes).unwrap();
        session.start_with_master(master);
    });
    let mut client = user.ssh().args(&["-tt"]).begin(&[]);
    hostile.wait_for_session(0);
    let taken = client.stuff(64 << 20, Duration::from_secs(5));
    let peak = largest_shell();
    report(&format!("hostile init, input: {} KiB buffered, sshbox-shell {peak} KiB", taken >> 10));
    assert!(peak > 0 && peak < MEMORY_LIMIT, "grew to {peak} KiB");
    assert!(taken < 64 << 20, "all input was accepted");
    client.kill();
    wait_until_free(&user).unwrap();
    drop(hostile);
}

#[test]
fn a10_after_a_hostile_init_the_next_start_gets_an_honest_one() {
    let _world = world();
    let (user, id) = User::many(&["healed".to_owned()]).remove(0);
    let _box = ContainerCleanup(vec![user.clone()]);
    user.says("echo kept > file");
    let hostile = HostileInit::new(user.clone(), &id, |session| refuse(session, b"no"));
    assert_eq!(user.ssh().status("true"), 69);
    // The hostile init goes away and the box still runs: sshbox-wake hands the socket to the box's own init again.
    drop(hostile);
    assert_eq!(user.says("cat file"), "kept\n");
    // The hostile init stays and the box is stopped: the next start creates a new socket.
    let hostile = HostileInit::new(user.clone(), &id, |_| {});
    run("docker", &["stop", "-t", "1", &user.container()]);
    assert_eq!(user.says("cat file"), "kept\n");
    drop(hostile);
}
