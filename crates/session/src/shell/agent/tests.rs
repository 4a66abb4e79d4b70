//! Tests of the relay to the agent, with sockets in place of programs, container and agent.

use super::*;
use crate::soon::soon;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

const PATIENCE: Duration = Duration::from_secs(20);

/// A session's socket in the container, and an agent that the test plays.
struct Session {
    dir: tempfile::TempDir,
    agent: UnixListener,
}

impl Session {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("box")).unwrap();
        let agent = UnixListener::bind(dir.path().join("agent")).unwrap();
        let of_client = AgentOfClient::open(&dir.path().join("agent")).unwrap();
        thread::spawn(move || relay(&listener.into(), &of_client));
        Self { dir, agent }
    }

    fn program(&self) -> UnixStream {
        let program = UnixStream::connect(self.dir.path().join("box")).unwrap();
        patient(program)
    }

    fn accepted(&self) -> UnixStream {
        patient(self.agent.accept().unwrap().0)
    }
}

fn patient(stream: UnixStream) -> UnixStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read(stream: &mut UnixStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn is_closed(stream: &mut UnixStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0))
}

#[test]
fn a6_only_a_socket_of_the_login_itself_is_taken_for_that_of_sshd() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, file, link) = (dir.path().join("socket"), dir.path().join("file"), dir.path().join("link"));
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&socket, &link).unwrap();
    assert!(AgentOfClient::open(&socket).is_ok());
    for other in [&file, &link, &dir.path().join("missing")] {
        assert!(AgentOfClient::open(other).is_err(), "{}", other.display());
    }
    // As root, because the test may run as root: a socket of another uid.
    if rustix::process::getuid().is_root() {
        std::os::unix::fs::chown(&socket, Some(65_534), None).unwrap();
        assert!(AgentOfClient::open(&socket).is_err());
    }
}

#[test]
fn requests_and_replies_of_any_length_pass() {
    let session = Session::new();
    let mut program = session.program();
    let mut agent = session.accepted();
    let long: Vec<u8> = (0..300_000_usize).map(|n| u8::try_from(n % 251).unwrap()).collect();
    for _ in 0..3 {
        let mut sender = program.try_clone().unwrap();
        let request = long.clone();
        let sending = thread::spawn(move || sender.write_all(&request).unwrap());
        assert_eq!(read(&mut agent, long.len()), long);
        sending.join().unwrap();
        let mut sender = agent.try_clone().unwrap();
        let reply = long.clone();
        let sending = thread::spawn(move || sender.write_all(&reply).unwrap());
        assert_eq!(read(&mut program, long.len()), long);
        sending.join().unwrap();
    }
}

#[test]
fn a_program_that_has_sent_its_last_request_gets_the_reply() {
    let session = Session::new();
    let mut program = session.program();
    program.write_all(b"last").unwrap();
    program.shutdown(Shutdown::Write).unwrap();
    let mut agent = session.accepted();
    let mut request = String::new();
    agent.read_to_string(&mut request).unwrap();
    assert_eq!(request, "last");
    agent.write_all(b"reply").unwrap();
    drop(agent);
    let mut reply = String::new();
    program.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "reply");
}

#[test]
fn a_program_that_is_killed_frees_its_connection_and_its_last_bytes_arrive() {
    let session = Session::new();
    let mut program = session.program();
    program.write_all(&vec![7; 50_000]).unwrap();
    drop(program);
    let mut agent = session.accepted();
    assert_eq!(read(&mut agent, 50_000), vec![7; 50_000]);
    assert!(is_closed(&mut agent));
    // Also one that waits for a reply, and one that does not want to send any more.
    let (waiting, half) = (session.program(), session.program());
    let (mut first, mut second) = (session.accepted(), session.accepted());
    half.shutdown(Shutdown::Write).unwrap();
    assert!(is_closed(&mut second));
    drop((waiting, half));
    assert!(is_closed(&mut first));
    soon(|| second.write_all(b"x").is_err());
}

#[test]
fn a_program_sees_that_the_agent_has_closed_or_is_gone() {
    let session = Session::new();
    let mut program = session.program();
    drop(session.accepted());
    assert!(is_closed(&mut program));
    let Session { dir, agent } = session;
    drop(agent);
    let mut program = patient(UnixStream::connect(dir.path().join("box")).unwrap());
    assert!(is_closed(&mut program));
}

#[test]
fn the_agent_is_reached_when_the_name_of_its_socket_is_gone() {
    let session = Session::new();
    fs::remove_file(session.dir.path().join("agent")).unwrap();
    let mut program = session.program();
    program.write_all(b"x").unwrap();
    assert_eq!(read(&mut session.accepted(), 1), b"x");
}

#[test]
fn a_slow_agent_or_program_keeps_no_other_waiting() {
    let session = Session::new();
    let mut slow = session.program();
    let stuck = session.accepted();
    slow.set_nonblocking(true).unwrap();
    // Nobody reads what this one sends.
    while slow.write(&[0; 4096]).is_ok() {}
    let mut program = session.program();
    program.write_all(b"x").unwrap();
    let mut agent = session.accepted();
    assert_eq!(read(&mut agent, 1), b"x");
    // Nor what this one gets.
    stuck.set_nonblocking(true).unwrap();
    while (&stuck).write(&[0; 4096]).is_ok() {}
    agent.write_all(b"y").unwrap();
    assert_eq!(read(&mut program, 1), b"y");
}

#[test]
fn a10_a_flood_of_connections_is_slowed_down_and_only_so_many_are_open() {
    let session = Session::new();
    let began = Instant::now();
    let mut programs: Vec<UnixStream> = (0..CHANNELS_MAX + 5).map(|_| session.program()).collect();
    let agents: Vec<UnixStream> = (0..CHANNELS_MAX).map(|_| session.accepted()).collect();
    assert!(began.elapsed() >= PAUSE * u32::try_from(CHANNELS_MAX - 1).unwrap());
    session.agent.set_nonblocking(true).unwrap();
    thread::sleep(PAUSE * 10);
    assert!(session.agent.accept().is_err(), "too many are open");
    // The others have their turn when one ends.
    programs.drain(..5);
    session.agent.set_nonblocking(false).unwrap();
    for _ in 0..5 {
        session.accepted();
    }
    drop(agents);
}

#[test]
fn a10_what_is_no_listening_socket_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("agent");
    let _agent = UnixListener::bind(&path).unwrap();
    let agent = AgentOfClient::open(&path).unwrap();
    let (one, _other) = UnixStream::pair().unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (reader, _writer) = io::pipe().unwrap();
    for fd in [
        OwnedFd::from(fs::File::open("/dev/null").unwrap()),
        OwnedFd::from(reader),
        one.into(),
        tcp.into(),
        crate::wire::Socket::listen(&dir.path().join("packets"))
            .unwrap()
            .as_fd()
            .try_clone_to_owned()
            .unwrap(),
    ] {
        relay(&fd, &agent).unwrap_err();
    }
}
