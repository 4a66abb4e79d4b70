//! The socket for the agent of a hostile init: no socket, another one, or one that misbehaves. The session goes on and
//! ends as its init says.

use super::{Behaviour, Connection, HostileInit, MEMORY_LIMIT, STEP_LIMIT, largest_shell, wait_until_free};
use crate::harness::{STATE, User, world};
use crate::numbers::ContainerCleanup;
use session::wire::Socket;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

/// Starts a session with this file descriptor in place of the socket, and ends it after a moment.
fn start_with_agent(session: &Connection, listener: Option<OwnedFd>) {
    session.handshake();
    let fds: Vec<_> = listener.iter().map(AsFd::as_fd).collect();
    session.send_packet(b"started=\0agent=\0", &fds);
    drop(listener);
    thread::sleep(Duration::from_millis(300));
    session.send_packet(b"exited=3\0", &[]);
    session.wait_for_close();
}

fn listening() -> (tempfile::TempDir, UnixListener) {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    (dir, listener)
}

/// Connects for a second as fast as the kernel allows, and sets the socket to blocking mode all the time.
fn flood(session: &Connection) {
    let (dir, listener) = listening();
    let path = dir.path().join("s");
    session.handshake();
    session.send_packet(b"started=\0agent=\0", &[listener.as_fd()]);
    let (end, mut open) = (Instant::now() + Duration::from_secs(1), Vec::new());
    listener.set_nonblocking(true).unwrap();
    while Instant::now() < end && !session.is_closed() {
        let client = UnixStream::connect(&path).unwrap();
        client.set_nonblocking(true).unwrap();
        let _ = rustix::io::write(&client, &[b'x'; 4096]);
        open.push(client);
        if open.len() > 64 {
            open.clear();
        }
        // It takes connections away, so that accept(2) of sshbox-shell finds none.
        let _ = listener.accept();
        listener.set_nonblocking(false).unwrap();
        listener.set_nonblocking(true).unwrap();
    }
    session.send_packet(b"exited=3\0", &[]);
    session.wait_for_close();
}

const BEHAVIOURS: [(&str, Behaviour); 8] = [
    ("no socket", |session| start_with_agent(session, None)),
    ("/dev/null", |session| start_with_agent(session, Some(File::open("/dev/null").unwrap().into()))),
    ("a pipe", |session| start_with_agent(session, Some(std::io::pipe().unwrap().0.into()))),
    ("a connected socket", |session| start_with_agent(session, Some(UnixStream::pair().unwrap().0.into()))),
    ("TCP", |session| start_with_agent(session, Some(TcpListener::bind("127.0.0.1:0").unwrap().into()))),
    ("packets", |session| {
        let dir = tempfile::tempdir().unwrap();
        let listener = Socket::listen(&dir.path().join("s")).unwrap();
        start_with_agent(session, Some(listener.as_fd().try_clone_to_owned().unwrap()));
    }),
    ("a socket that is set to blocking mode", |session| {
        let (dir, listener) = listening();
        let shared = listener.try_clone().unwrap();
        let path = dir.path().join("s");
        thread::spawn(move || {
            for _ in 0..200 {
                shared.set_nonblocking(false).unwrap();
                drop(UnixStream::connect(&path));
                thread::sleep(Duration::from_millis(1));
            }
            drop(dir);
        });
        start_with_agent(session, Some(listener.into()));
    }),
    ("a flood", flood),
];

#[test]
fn a10_a_hostile_socket_for_the_agent_does_not_touch_the_session() {
    let _world = world();
    let names: Vec<String> = (0..BEHAVIOURS.len()).map(|n| format!("socketry{n}")).collect();
    let users = User::many(&names);
    let _boxes = ContainerCleanup(users.iter().map(|(user, _)| user.clone()).collect());
    let socket = format!("{STATE}/hostile-agent");
    let agent = UnixListener::bind(&socket).unwrap();
    // It closes each connection.
    thread::spawn(move || agent.incoming().for_each(drop));
    for ((name, behaviour), (user, id)) in BEHAVIOURS.into_iter().zip(&users) {
        let _hostile = HostileInit::new(user.clone(), id, behaviour);
        let mut client = user.ssh().args(&["-A"]).env("SSH_AUTH_SOCK", &socket).begin(&["true"]);
        let (mut largest, until) = (0, Instant::now() + STEP_LIMIT);
        while client.over().is_none() && Instant::now() < until {
            largest = largest.max(largest_shell());
            thread::sleep(Duration::from_millis(20));
        }
        let (status, out, err, _) = client.output_within(STEP_LIMIT);
        assert_eq!((status, out.as_str(), err.as_str()), (Some(3), "", ""), "{name}");
        assert!((1..MEMORY_LIMIT).contains(&largest), "{name}: an sshbox-shell grew to {largest} KiB");
        wait_until_free(user).unwrap();
    }
}
