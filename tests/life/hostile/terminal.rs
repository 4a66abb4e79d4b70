//! Terminals of a hostile init: no pty master, or one that misbehaves.

use super::{
    ExpectedEnd, HostileInit, NO_TERMINAL, STEP_LIMIT, Streams, case, pty, run_cases, wait_until_free,
};
use crate::harness::{User, world};
use crate::numbers::ContainerCleanup;
use session::wire::Socket;
use std::fs::File;
use std::os::fd::AsFd;

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
