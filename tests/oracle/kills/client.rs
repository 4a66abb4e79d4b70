//! A client that is killed, or whose connection is cut.

use super::{Programs, start_session, wait_for_end_of_servers};
use crate::harness::{signal, until};
use crate::subject::{RemoteFolder, Session, begin, subject};
use nix::sys::signal::Signal;
use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

#[test]
fn f18_a_client_killed_at_a_terminal() {
    let programs = Programs::new();
    let mut session = start_session(&programs, "-tt");
    let servers = subject().servers(session.port);
    session.client.kill();
    programs.assert_only_detached_survive();
    wait_for_end_of_servers(&servers);
}

#[test]
fn f18_a_client_killed_without_a_terminal() {
    let programs = Programs::new();
    let mut session = start_session(&programs, "-T");
    let servers = subject().servers(session.port);
    session.client.kill();
    programs.assert_end_without_terminal();
    wait_for_end_of_servers(&servers);
}

#[test]
fn f18_a_client_ended_by_sigterm_or_sigint() {
    for (option, name) in [("-tt", Signal::SIGTERM), ("-T", Signal::SIGINT)] {
        let programs = Programs::new();
        let session = start_session(&programs, option);
        signal(session.client.pid(), name);
        let output = session.client.ends();
        assert_eq!(output.status.code(), Some(255), "{output:?}");
        if option == "-tt" {
            programs.assert_only_detached_survive();
        } else {
            programs.assert_end_without_terminal();
        }
    }
}

/// A TCP proxy between client and server that can cut the connection.
struct Proxy {
    port: u16,
    ends: Receiver<[TcpStream; 2]>,
}

impl Proxy {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (give, ends) = channel();
        thread::spawn(move || {
            let client = listener.accept().unwrap().0;
            let server = TcpStream::connect(("127.0.0.1", subject().port)).unwrap();
            let all = || [client.try_clone().unwrap(), server.try_clone().unwrap()];
            give.send(all()).unwrap();
            for [mut from, mut to] in [all(), {
                let [client, server] = all();
                [server, client]
            }] {
                thread::spawn(move || drop(copy(&mut from, &mut to)));
            }
        });
        Self { port, ends }
    }

    /// Starts a session through the proxy.
    fn session(&self, programs: &Programs, option: &str) -> Session {
        let ssh = subject().ssh().args(&[option, "-p", &self.port.to_string()]);
        let session = begin(ssh, &programs.command());
        programs.wait_for_start();
        session
    }

    fn cut(self) {
        for end in self.ends.recv().unwrap() {
            end.shutdown(Shutdown::Both).unwrap();
        }
    }
}

#[test]
fn f18_a_connection_cut_at_a_terminal() {
    let (programs, proxy) = (Programs::new(), Proxy::new());
    let session = proxy.session(&programs, "-tt");
    let servers = subject().servers(session.port);
    proxy.cut();
    assert_eq!(session.client.ends().status.code(), Some(255));
    programs.assert_only_detached_survive();
    wait_for_end_of_servers(&servers);
}

#[test]
fn f18_a_connection_cut_without_a_terminal() {
    let (programs, proxy) = (Programs::new(), Proxy::new());
    let session = proxy.session(&programs, "-T");
    let servers = subject().servers(session.port);
    proxy.cut();
    assert_eq!(session.client.ends().status.code(), Some(255));
    programs.assert_end_without_terminal();
    wait_for_end_of_servers(&servers);
}

#[test]
fn f18_a_program_that_reads_gets_end_of_file_when_its_client_is_killed() {
    let folder = RemoteFolder::new();
    let mut session = begin(
        subject().ssh(),
        &format!("trap '' HUP; echo ready; cat >/dev/null; echo end >{}/heard", folder.0),
    );
    assert_eq!(session.client.line(), "ready");
    session.client.kill();
    until("the program has reacted", || {
        subject().ssh().run(&format!("cat {}/heard", folder.0)).stdout == b"end\n"
    });
}

#[test]
fn f18_a_program_that_writes_gets_sigpipe_when_its_client_is_killed() {
    let folder = RemoteFolder::new();
    let mut session =
        begin(subject().ssh(), &format!("trap '' HUP; echo ready; yes; echo $? >{}/heard", folder.0));
    assert_eq!(session.client.line(), "ready");
    session.client.kill();
    until("the program has reacted", || {
        subject().ssh().run(&format!("cat {}/heard", folder.0)).stdout == b"141\n"
    });
}

#[test]
fn f18_a_program_at_a_terminal_can_handle_the_hangup() {
    let folder = RemoteFolder::new();
    let command =
        format!("trap 'echo hangup >{}/heard; exit' HUP; echo ready; while :; do sleep 0.1; done", folder.0);
    let mut terminal = subject().ssh().terminal(24, 80, &[&command]);
    terminal.shows("ready");
    terminal.kill();
    until("the trap has run", || {
        subject().ssh().run(&format!("cat {}/heard", folder.0)).stdout == b"hangup\n"
    });
}
