//! The end of a session with a hostile init: invalid, missing, or by the client; and the honest init after it.

use super::{
    BOX_ENDED, Connection, ExpectedEnd, HostileInit, INVALID_REPLY, STEP_LIMIT, Streams, case, refuse,
    run_cases, wait_until_free,
};
use crate::harness::{User, run, world};
use crate::numbers::ContainerCleanup;
use session::wire::hello;
use std::thread;
use std::time::{Duration, Instant};

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
