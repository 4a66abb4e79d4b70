//! A10: an init that lies. The tests take the place of a box at `init.sock` and answer
//! `sshbox-shell` with what no honest init says. Whatever it is, the session ends with one
//! clear line and in time, or waits as long as its own user wants it to; nothing of it reaches
//! the terminal raw, and the end of the client frees everything on the host.

use crate::harness::{User, run, until, world};
use crate::numbers::{Boxes, is_named, tell};
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

/// Most memory that `sshbox-shell` may take, in KiB, whatever a box says.
const MEMORY: u64 = 16 * 1024;

/// Bound on a session that never begins: a hello and an answer of 5 s each, before and after
/// a wake, thrice, and room for a busy machine.
const NEVER_BEGINS: Duration = Duration::from_secs(90);

/// Bound on everything else: one step of 5 s and a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Longest that a hostile init waits for anything, so that a failed test ends.
const WAITS: Duration = Duration::from_secs(120);

/// What a hostile init does with a connection of `sshbox-shell`.
type Act = fn(&Session);

/// One connection, as the hostile init has it.
struct Session {
    socket: Socket,
    /// Whether the init acts at all, to be asked by those that act without end.
    over: Arc<AtomicBool>,
}

impl Session {
    /// Says hello and hears the request; its descriptors are dropped, as an init does that
    /// has given them to a program which ended.
    fn greet(&self) {
        self.say(&hello(b"user"));
        self.hear();
    }

    fn say(&self, fields: &Fields) {
        // Who went away need not hear it.
        let _ = self.socket.send(fields, &[]);
    }

    fn hear(&self) {
        let _ = self.socket.receive();
    }

    /// Any bytes as one packet, with descriptors.
    fn packet(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).is_ok()
    }

    fn started(&self, fds: &[BorrowedFd<'_>]) {
        self.greet();
        self.packet(b"started=\0", fds);
    }

    /// A session without a terminal that begins well and then ends so.
    fn ends(&self, bytes: &[u8]) {
        self.started(&[]);
        self.packet(bytes, &[]);
        self.stay();
    }

    /// Says nothing more until the other side has gone.
    fn stay(&self) {
        let end = Instant::now() + WAITS;
        while !self.gone() && Instant::now() < end {
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn gone(&self) -> bool {
        let mut fd = [nix::poll::PollFd::new(self.socket.as_fd(), nix::poll::PollFlags::empty())];
        let heard = nix::poll::poll(&mut fd, nix::poll::PollTimeout::ZERO);
        self.over.load(Ordering::Relaxed) || !matches!(heard, Ok(0))
    }

    /// Begins a session with this in place of a terminal's master.
    fn with_master(&self, master: impl AsFd) {
        self.started(&[master.as_fd()]);
        self.stay();
    }
}

/// A pty, both its sides.
fn pty() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
    (master, slave)
}

/// A user whose init is ours. Listens until it is dropped.
struct Hostile {
    user: User,
    over: Arc<AtomicBool>,
    /// Connections of `sshbox-shell` so far.
    calls: Arc<AtomicUsize>,
    listening: Option<thread::JoinHandle<()>>,
}

impl Hostile {
    fn new(user: User, id: &str, act: Act) -> Self {
        let login = Login::parse(user.name.as_bytes()).unwrap();
        let runtime_dir = UserRuntimeDir::of(Path::new(RUN), &login);
        runtime_dir.prepare().unwrap();
        runtime_dir.write_box_account(id).unwrap();
        let path = runtime_dir.init_socket();
        let _ = fs::remove_file(&path);
        let listener = Socket::listen(&path).unwrap();
        runtime_dir.give_init_socket().unwrap();
        listener.set_patience(Duration::from_millis(100)).unwrap();
        let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let listening = {
            let (over, calls, uid) = (over.clone(), calls.clone(), user.uid());
            thread::spawn(move || serve(&listener, &over, &calls, uid, act))
        };
        Self { user, over, calls, listening: Some(listening) }
    }
}

fn serve(listener: &Socket, over: &Arc<AtomicBool>, calls: &Arc<AtomicUsize>, uid: u32, act: Act) {
    let mut acting = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let Ok(socket) = listener.accept() else {
            continue;
        };
        socket.set_patience(Duration::from_secs(20)).unwrap();
        // To the host's own question it is the best of all inits.
        if socket.peer_uid().unwrap() != uid {
            let _ = socket.send(&hello(b"user"), &[]);
            continue;
        }
        calls.fetch_add(1, Ordering::Relaxed);
        let session = Session { socket, over: over.clone() };
        acting.push(thread::spawn(move || act(&session)));
    }
    for session in acting {
        session.join().unwrap();
    }
}

impl Hostile {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Waits until a session more than these is in the hands of the init, for long enough to
    /// see whether it stays.
    fn has_a_session(&self, before: usize) {
        until("the init is called", || self.calls() > before);
        thread::sleep(Duration::from_millis(500));
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.listening.take().unwrap().join();
        // The socket is nobody's now: the next login has the box started.
    }
}

/// How a session ends that a hostile init has.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// With this status and a line of ours that says this.
    Told(i32, &'static str),
    /// With this status and nothing on the terminal.
    Silent(i32),
    /// With one of these, and a line of ours only if it is one of our statuses.
    OneOf(&'static [i32]),
    /// When its user ends it.
    Never,
}

const NONSENSE: Ends = Ends::Told(69, "your box gave an answer that makes no sense");
const NO_TERMINAL: Ends = Ends::Told(70, "the terminal cannot be used");
const WENT_AWAY: Ends = Ends::Told(75, "your box stopped again right after its start");
const NO_ANSWER: Ends = Ends::Told(75, "your box runs but does not answer");
const BOX_ENDED: Ends = Ends::Told(137, "sshbox: your box");

/// Which sessions meet a behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Pipes,
    Terminal,
    Both,
}

struct Case {
    what: &'static str,
    with: With,
    act: Act,
    ends: Ends,
}

fn case(what: &'static str, with: With, ends: Ends, act: Act) -> Case {
    Case { what, with, act, ends }
}

/// Meets each case with a user of its own, several at a time, and tells of all that went wrong.
fn meet(theme: &str, bound: Duration, boxes: bool, cases: &[Case]) {
    let _world = world();
    let names: Vec<String> = (0..cases.len()).map(|n| format!("{theme}{n}")).collect();
    let users = User::many(&names);
    let _boxes = Boxes(users.iter().map(|(user, _)| user.clone()).collect());
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (most, longest) = (AtomicU64::new(0), AtomicU64::new(0));
    let failures: Vec<String> = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(largest_shell(), Ordering::Relaxed);
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
                        if boxes {
                            user.says("true");
                        }
                        let hostile = Hostile::new(user.clone(), id, case.act);
                        let went = sessions(&hostile, case, bound, &longest);
                        failures.extend(went.err().map(|error| format!("{}: {error}", case.what)));
                    }
                    failures
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        over.store(true, Ordering::Relaxed);
        watch.join().unwrap();
        results.into_iter().flat_map(Result::unwrap).collect()
    });
    let most = most.into_inner();
    tell(&format!(
        "hostile init, {theme}: {} behaviours, longest session {} ms, largest sshbox-shell {most} KiB",
        cases.len(),
        longest.into_inner()
    ));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(most > 0 && most < MEMORY, "an sshbox-shell grew to {most} KiB");
}

/// The most memory that any `sshbox-shell` ever had, in KiB.
fn largest_shell() -> u64 {
    let peak = |pid| crate::harness::status_of(pid, "VmHWM")?.strip_suffix(" kB")?.parse().ok();
    let shells = crate::harness::processes().into_iter().filter(|pid| is_named(*pid, "sshbox-shell"));
    shells.filter_map(peak).max().unwrap_or(0)
}

fn sessions(hostile: &Hostile, case: &Case, bound: Duration, longest: &AtomicU64) -> Result<(), String> {
    let user = &hostile.user;
    if case.with != With::Terminal {
        let began = Instant::now();
        let calls = hostile.calls();
        let mut client = user.ssh().begin(&["true"]);
        match case.ends {
            Ends::Never => {
                hostile.has_a_session(calls);
                if let Some(status) = client.over() {
                    return Err(format!("without a terminal: ended with {status}"));
                }
                client.kill();
            }
            ends => {
                let (status, out, err, _) = client.output_within(bound);
                let status = status.ok_or("without a terminal: does not end")?;
                judge(ends, status, &err).map_err(|why| format!("without a terminal: {why}"))?;
                if !out.is_empty() {
                    return Err(format!("without a terminal: something came out: {out:?}"));
                }
                longest.fetch_max(milliseconds(began), Ordering::Relaxed);
            }
        }
        is_free(user).map_err(|why| format!("without a terminal: {why}"))?;
    }
    if case.with != With::Pipes {
        let began = Instant::now();
        let calls = hostile.calls();
        let mut terminal = user.ssh().terminal(24, 80, &["true"]);
        let before = terminal.modes();
        let ended = if matches!(case.ends, Ends::Never) {
            hostile.has_a_session(calls);
            // What a person types who has had enough; then the client ends with 255.
            terminal.types("\r~.");
            match terminal.ends_within(bound) {
                Some(255) if !terminal.seen().contains("sshbox:") => Ok(()),
                ended => Err(format!("ended with {ended:?} and {:?}", terminal.seen())),
            }
        } else {
            let status = terminal.ends_within(bound).ok_or("with a terminal: does not end")?;
            longest.fetch_max(milliseconds(began), Ordering::Relaxed);
            judge(case.ends, status, terminal.seen())
        };
        ended.map_err(|why| format!("with a terminal: {why}"))?;
        if terminal.modes() != before {
            return Err("the local terminal is not restored".to_owned());
        }
        drop(terminal);
        is_free(user).map_err(|why| format!("with a terminal: {why}"))?;
    }
    Ok(())
}

fn milliseconds(since: Instant) -> u64 {
    since.elapsed().as_millis().try_into().unwrap()
}

fn judge<'a>(ends: Ends, status: i32, said: &'a str) -> Result<(), String> {
    // A terminal shows of each line what stands behind the last return to its begin.
    let shown = |line: &'a str| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let lines: Vec<&str> = said.lines().map(shown).filter(|line| !line.is_empty()).collect();
    let one_line = lines.len() == 1
        && lines[0].starts_with("sshbox: ")
        && lines[0].contains(" (ref ")
        && lines[0].len() < 1500;
    let right = match ends {
        Ends::Told(expected, words) => status == expected && one_line && lines[0].contains(words),
        Ends::Silent(expected) => status == expected && lines.is_empty(),
        Ends::OneOf(statuses) => {
            statuses.contains(&status) && (one_line || lines.is_empty() && ![69, 70, 75].contains(&status))
        }
        Ends::Never => false,
    };
    let harmless = said.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\n' || byte == b'\r');
    if right && harmless { Ok(()) } else { Err(format!("expected {ends:?}, got {status} and {said:?}")) }
}

/// Nothing of the session is left on the host, and its presence is not felt any more.
fn is_free(user: &User) -> Result<(), String> {
    let end = Instant::now() + SOON;
    while !user.host_processes().is_empty() {
        if Instant::now() > end {
            return Err(format!("still on the host: {:?}", user.host_processes()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    let login = Login::parse(user.name.as_bytes()).unwrap();
    match UserRuntimeDir::of(Path::new(RUN), &login).try_lock_live() {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("presence is still held: {other:?}")),
    }
}

#[test]
fn a10_a_box_that_never_begins_a_session() {
    let hi = "never";
    meet(
        hi,
        NEVER_BEGINS,
        true,
        &[
            case("silence", With::Both, WENT_AWAY, Session::stay),
            case("an end at once", With::Both, WENT_AWAY, |_| {}),
            case("garbage for a hello", With::Both, WENT_AWAY, |session| {
                session.packet(&[0xff; 500], &[]);
                session.stay();
            }),
            case("a hello that is too long", With::Pipes, WENT_AWAY, |session| {
                session.packet(&[b"hello=".as_slice(), &vec![b'x'; 204_000]].concat(), &[]);
                session.stay();
            }),
            case("a hello byte by byte", With::Pipes, WENT_AWAY, |session| {
                for byte in b"hello=1\0" {
                    session.packet(&[*byte], &[]);
                }
                session.stay();
            }),
            case("hello and nothing", With::Both, NO_ANSWER, |session| {
                session.greet();
                session.stay();
            }),
            case("hello without listening", With::Pipes, NO_ANSWER, |session| {
                session.say(&hello(b"user"));
                session.stay();
            }),
            case("hello and the end", With::Both, WENT_AWAY, Session::greet),
            case("an answer that is too long", With::Both, WENT_AWAY, |session| {
                session.greet();
                session.packet(&[b"failed=".as_slice(), &vec![b'x'; 204_000]].concat(), &[]);
                session.stay();
            }),
        ],
    );
}

#[test]
fn a10_a_box_that_answers_nonsense() {
    meet(
        "nonsense",
        SOON,
        false,
        &[
            case("a word that nobody knows", With::Both, NONSENSE, |session| {
                session.greet();
                session.packet(b"welcome=\0", &[]);
                session.stay();
            }),
            case("bytes without sense", With::Both, NONSENSE, |session| {
                session.greet();
                session.packet(&[0x1b; 3000], &[]);
                session.stay();
            }),
            case("an answer byte by byte", With::Both, NONSENSE, |session| {
                session.greet();
                for byte in b"started=\0" {
                    session.packet(&[*byte], &[]);
                }
                session.stay();
            }),
            case("an end that comes first", With::Both, NONSENSE, |session| {
                session.greet();
                session.packet(b"exited=0\0", &[]);
                session.stay();
            }),
            case("hello without end", With::Both, NONSENSE, |session| {
                while !session.gone() && session.packet(b"hello=1\0", &[]) {}
            }),
            case("a flood of the longest packets", With::Both, NONSENSE, |session| {
                session.say(&hello(b"user"));
                while !session.gone() && session.packet(&vec![b'x'; 199_000], &[]) {}
            }),
            case("a session without the terminal", With::Terminal, NONSENSE, |session| session.started(&[])),
            case("a terminal that nobody asked for", With::Pipes, NONSENSE, |session| {
                session.with_master(pty().0);
            }),
            case("three descriptors that nobody asked for", With::Pipes, NONSENSE, |session| {
                let null = File::open("/dev/null").unwrap();
                session.started(&[null.as_fd(); 3]);
                session.stay();
            }),
            case("sixteen descriptors with a hello", With::Both, NONSENSE, |session| {
                let null = File::open("/dev/null").unwrap();
                session.packet(b"hello=1\0", &[null.as_fd(); 16]);
                session.hear();
                session.packet(b"what=\0", &[null.as_fd(); 16]);
                session.stay();
            }),
        ],
    );
}

/// Refuses with this text.
fn fails(session: &Session, text: &[u8]) {
    session.greet();
    session.packet(&[b"failed=", text, b"\0"].concat(), &[]);
    session.stay();
}

#[test]
fn a10_a14_a_refusal_reaches_the_terminal_as_plain_text() {
    meet(
        "refusal",
        SOON,
        false,
        &[
            case(
                "escapes",
                With::Both,
                Ends::Told(69, r"\x1b]0;owned\x07\x1b[31mred\xc2\x9b2J"),
                |session| {
                    // C1 as UTF-8, so that it is text at all.
                    fails(session, "\x1b]0;owned\x07\x1b[31mred\u{9b}2J".as_bytes());
                },
            ),
            case("lines of its own", With::Both, Ends::Told(69, r"one\x0d\x0asshbox: two"), |session| {
                fails(session, b"one\r\nsshbox: two");
            }),
            case("an end in the middle", With::Both, Ends::Told(69, "sshbox: before (ref "), |session| {
                fails(session, b"before\0behind");
            }),
            case("other letters", With::Both, Ends::Told(69, r"\xe2\x80\xae"), |session| {
                fails(session, "\u{202e}evil".as_bytes());
            }),
            case("no text at all", With::Both, NONSENSE, |session| fails(session, b"\xff\xfe\x1b[2J")),
            case("190 KB", With::Both, Ends::Told(69, "\\x1b\\x1b..."), |session| {
                fails(session, &vec![0x1b; 190_000]);
            }),
            case("nothing", With::Both, Ends::Told(69, "sshbox: "), |session| fails(session, b"")),
        ],
    );
}

#[test]
fn a10_a_master_that_is_no_terminal() {
    meet(
        "master",
        SOON,
        false,
        &[
            case("/dev/null", With::Terminal, NO_TERMINAL, |session| {
                session.with_master(File::options().read(true).write(true).open("/dev/null").unwrap());
            }),
            case("/dev/zero", With::Terminal, NO_TERMINAL, |session| {
                session.with_master(File::options().read(true).write(true).open("/dev/zero").unwrap());
            }),
            case("a file", With::Terminal, NO_TERMINAL, |session| {
                session.with_master(tempfile::tempfile().unwrap());
            }),
            case("a directory", With::Terminal, NO_TERMINAL, |session| {
                session.with_master(File::open("/tmp").unwrap());
            }),
            case("a listening socket", With::Terminal, NO_TERMINAL, |session| {
                let dir = tempfile::tempdir().unwrap();
                session.with_master(Socket::listen(&dir.path().join("s")).unwrap());
            }),
            case("the connection itself", With::Terminal, NO_TERMINAL, |session| {
                session.with_master(session.socket.as_fd());
            }),
            case("a pipe that nobody reads", With::Terminal, NO_TERMINAL, |session| {
                let (_reader, writer) = std::io::pipe().unwrap();
                session.with_master(writer);
            }),
        ],
    );
}

#[test]
fn a10_a_terminal_that_plays_tricks() {
    meet(
        "tricks",
        SOON,
        false,
        &[
            case("its other side is closed", With::Terminal, Ends::Never, |session| {
                let (master, slave) = pty();
                drop(slave);
                session.with_master(master);
            }),
            case("the wrong side", With::Terminal, Ends::Never, |session| {
                let (_master, slave) = pty();
                session.with_master(slave);
            }),
            case("nobody reads or writes", With::Terminal, Ends::Never, |session| {
                let (master, _slave) = pty();
                session.with_master(master);
            }),
            case("it is made to wait", With::Terminal, Ends::Never, |session| {
                let (master, _slave) = pty();
                session.started(&[master.as_fd()]);
                // The mode belongs to both who hold it.
                while !session.gone() {
                    rustix::io::ioctl_fionbio(&master, false).unwrap();
                }
            }),
            case("three of them, the first counts", With::Terminal, Ends::Silent(3), |session| {
                let (master, slave) = pty();
                session.started(&[master.as_fd(), slave.as_fd(), slave.as_fd()]);
                drop((master, slave));
                session.packet(b"exited=3\0", &[]);
                session.stay();
            }),
            case("it is held beyond the end", With::Terminal, Ends::Silent(3), |session| {
                let (master, slave) = pty();
                session.started(&[master.as_fd()]);
                session.packet(b"exited=3\0", &[]);
                session.stay();
                drop(slave);
            }),
        ],
    );
}

#[test]
fn a10_ends_that_cannot_be() {
    let killed = |what, ends, act| case(what, With::Pipes, ends, act);
    meet(
        "ends",
        SOON,
        false,
        &[
            case("exited=300", With::Pipes, NONSENSE, |session| session.ends(b"exited=300\0")),
            case("exited=-1", With::Pipes, NONSENSE, |session| session.ends(b"exited=-1\0")),
            case("exited=", With::Pipes, NONSENSE, |session| session.ends(b"exited=\0")),
            case("failed= after the begin", With::Pipes, NONSENSE, |session| session.ends(b"failed=x\0")),
            case("started twice", With::Pipes, NONSENSE, |session| session.ends(b"started=\0")),
            case("bytes without sense", With::Pipes, NONSENSE, |session| session.ends(&[0x9b; 5000])),
            killed("killed=0", NONSENSE, |session| session.ends(b"killed=0\0")),
            killed("killed=-9", NONSENSE, |session| session.ends(b"killed=-9\0")),
            killed("killed=65", NONSENSE, |session| session.ends(b"killed=65\0")),
            // What would stop sshbox-shell in place of ending it.
            killed("killed=18", NONSENSE, |session| session.ends(b"killed=18\0")),
            killed("killed=19", NONSENSE, |session| session.ends(b"killed=19\0")),
            killed("killed=20", NONSENSE, |session| session.ends(b"killed=20\0")),
            killed("killed=21", NONSENSE, |session| session.ends(b"killed=21\0")),
            killed("killed=22", NONSENSE, |session| session.ends(b"killed=22\0")),
            // What by itself kills nobody.
            killed("killed=17", Ends::OneOf(&[69, 145]), |session| session.ends(b"killed=17\0")),
            killed("killed=23", Ends::OneOf(&[69, 151]), |session| session.ends(b"killed=23\0")),
            killed("killed=28", Ends::OneOf(&[69, 156]), |session| session.ends(b"killed=28\0")),
            // To ssh, 255 is an end by signal. The last has no name, so nobody can pass it on.
            killed("killed=9", Ends::Silent(255), |session| session.ends(b"killed=9\0")),
            killed("killed=11", Ends::Silent(255), |session| session.ends(b"killed=11\0")),
            killed("killed=64", Ends::OneOf(&[69, 192, 255]), |session| session.ends(b"killed=64\0")),
            case("an end that is too long", With::Pipes, Ends::OneOf(&[69, 137]), |session| {
                session.ends(&[b"exited=".as_slice(), &vec![b'1'; 204_000]].concat());
            }),
            case("no end but the box's", With::Pipes, BOX_ENDED, |session| session.started(&[])),
            case("an end and then a flood", With::Pipes, Ends::Silent(3), |session| {
                session.started(&[]);
                session.packet(b"exited=3\0", &[]);
                while !session.gone() && session.packet(&vec![b'x'; 199_000], &[]) {}
            }),
            case("no end at all", With::Pipes, Ends::Never, |session| {
                session.started(&[]);
                session.stay();
            }),
            case("sshd's pipes are kept and filled", With::Pipes, Ends::Never, |session| {
                session.say(&hello(b"user"));
                let Ok(Some((_, fds))) = session.socket.receive() else {
                    return;
                };
                session.packet(b"started=\0", &[]);
                rustix::io::ioctl_fionbio(&fds[1], true).unwrap();
                while !session.gone() {
                    let _ = rustix::io::write(&fds[1], &[b'x'; 4096]);
                }
            }),
            case("sshd's pipes outlive the end", With::Pipes, Ends::Never, |session| {
                session.say(&hello(b"user"));
                let heard = session.socket.receive();
                session.packet(b"started=\0", &[]);
                session.packet(b"exited=0\0", &[]);
                session.stay();
                // The shell has gone; its client waits for the pipes, as with any sshd.
                thread::sleep(Duration::from_secs(3));
                drop(heard);
            }),
        ],
    );
}

#[test]
fn a10_f18_who_leaves_while_the_box_is_silent_leaves_nothing() {
    let _world = world();
    let (user, id) = User::many(&["impatient".to_owned()]).remove(0);
    let _box = Boxes(vec![user.clone()]);
    let hostile = Hostile::new(user.clone(), &id, Session::stay);
    for options in [&[][..], &["-tt"]] {
        let calls = hostile.calls();
        let mut client = user.ssh().args(options).begin(&["true"]);
        hostile.has_a_session(calls);
        client.kill();
        let left = Instant::now();
        is_free(&user).unwrap();
        // Not at the end of some deadline.
        assert!(left.elapsed() < Duration::from_secs(4), "{:?}", left.elapsed());
    }
}

#[test]
fn a10_a_terminal_that_is_never_empty_ends_with_its_program() {
    let _world = world();
    let (user, id) = User::many(&["babbled".to_owned()]).remove(0);
    let _box = Boxes(vec![user.clone()]);
    let _hostile = Hostile::new(user.clone(), &id, |session| {
        let (master, slave) = pty();
        session.started(&[master.as_fd()]);
        session.packet(b"exited=3\0", &[]);
        rustix::io::ioctl_fionbio(&slave, true).unwrap();
        while !session.gone() {
            let _ = rustix::io::write(&slave, &[b'x'; 4096]);
        }
    });
    let (status, out, err, _) = user.ssh().args(&["-tt"]).begin(&[]).output_within(SOON);
    assert_eq!((status, err.as_str()), (Some(3), ""));
    // More than a terminal holds, and not without end.
    assert!(out.len() < 1 << 20, "{} bytes", out.len());
    is_free(&user).unwrap();
}

/// Bytes that reach the client of a box that floods it.
const FLOOD: usize = 128 << 20;

#[test]
fn a10_f20_endless_output_takes_no_memory_and_ends_with_its_client() {
    let _world = world();
    let (user, id) = User::many(&["flooded".to_owned()]).remove(0);
    let _box = Boxes(vec![user.clone()]);
    let hostile = Hostile::new(user.clone(), &id, |session| {
        let (master, slave) = pty();
        session.started(&[master.as_fd()]);
        rustix::io::ioctl_fionbio(&slave, true).unwrap();
        while !session.gone() {
            if rustix::io::write(&slave, &[b'x'; 4096]).is_err() {
                thread::yield_now();
            }
        }
    });
    let mut client = user.ssh().args(&["-tt"]).begin(&[]);
    let mut bytes = vec![0; 1 << 16];
    let (mut seen, mut most) = (0, 0);
    let began = Instant::now();
    while seen < FLOOD {
        let count = client.stdout().read(&mut bytes).unwrap();
        assert!(count > 0, "ended after {seen} bytes");
        // A look for each MiB.
        if seen >> 20 != (seen + count) >> 20 {
            most = most.max(largest_shell());
        }
        seen += count;
    }
    tell(&format!(
        "hostile init, flood: {} MiB in {} s, largest sshbox-shell {most} KiB",
        seen >> 20,
        began.elapsed().as_secs()
    ));
    assert!(most > 0 && most < MEMORY, "grew to {most} KiB");
    client.kill();
    is_free(&user).unwrap();
    drop(hostile);
}

#[test]
fn a10_input_that_nobody_takes_is_not_kept() {
    let _world = world();
    let (user, id) = User::many(&["stuffed".to_owned()]).remove(0);
    let _box = Boxes(vec![user.clone()]);
    let hostile = Hostile::new(user.clone(), &id, |session| {
        let (master, slave) = pty();
        // Raw, or the kernel would throw away what is too long for a line.
        let mut modes = rustix::termios::tcgetattr(&slave).unwrap();
        modes.make_raw();
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &modes).unwrap();
        session.with_master(master);
    });
    let mut client = user.ssh().args(&["-tt"]).begin(&[]);
    hostile.has_a_session(0);
    let taken = client.stuff(64 << 20, Duration::from_secs(5));
    let most = largest_shell();
    tell(&format!("hostile init, input: {} KiB on their way, sshbox-shell {most} KiB", taken >> 10));
    assert!(most > 0 && most < MEMORY, "grew to {most} KiB");
    assert!(taken < 64 << 20, "somebody took it all");
    client.kill();
    is_free(&user).unwrap();
    drop(hostile);
}

#[test]
fn a10_who_had_a_hostile_init_gets_an_honest_one_at_the_next_start() {
    let _world = world();
    let (user, id) = User::many(&["healed".to_owned()]).remove(0);
    let _box = Boxes(vec![user.clone()]);
    user.says("echo kept > file");
    let hostile = Hostile::new(user.clone(), &id, |session| fails(session, b"no"));
    assert_eq!(user.ssh().status("true"), 69);
    // It goes away, and the box still runs: its own init is asked to take sessions again.
    drop(hostile);
    assert_eq!(user.says("cat file"), "kept\n");
    // It stays, and the box is stopped: only a new socket leads into a new start.
    let hostile = Hostile::new(user.clone(), &id, |_| {});
    run("docker", &["stop", "-t", "1", &user.container()]);
    assert_eq!(user.says("cat file"), "kept\n");
    drop(hostile);
}
