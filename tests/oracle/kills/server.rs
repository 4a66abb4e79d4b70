//! A server process, or the leader of a session, that is killed.

use super::{Programs, start_session, wait_for_end_of_servers};
use crate::harness::{signal, text, until};
use crate::subject::{Sleep, begin, leaders, subject};
use nix::sys::signal::Signal;

/// Kills the sshd process that relays the data.
fn kill_server(option: &str) -> Programs {
    let programs = Programs::new();
    let session = start_session(&programs, option);
    let servers = subject().servers(session.port);
    signal(subject().server(session.port), Signal::SIGKILL);
    assert_eq!(session.client.ends().status.code(), Some(255));
    wait_for_end_of_servers(&servers);
    programs
}

#[test]
fn f19_the_sshd_of_a_session_with_a_terminal_killed() {
    kill_server("-tt").assert_only_detached_survive();
}

#[test]
fn f19_the_sshd_of_a_session_without_a_terminal_killed() {
    kill_server("-T").assert_end_without_terminal();
}

#[test]
fn f19_a_session_survives_the_death_of_the_privileged_sshd() {
    for option in ["-T", "-tt"] {
        let mut session = begin(
            subject().ssh().args(&[option]),
            "if tty -s; then stty -echo; fi; echo ready; while read x; do echo got $x; done",
        );
        assert_eq!(session.client.line().trim(), "ready");
        let servers = subject().servers(session.port);
        signal(servers[0], Signal::SIGKILL);
        until("the privileged sshd has ended", || subject().servers(session.port).len() == 1);
        for word in ["one", "two"] {
            session.client.write(format!("{word}\n").as_bytes());
            assert_eq!(session.client.line().trim(), format!("got {word}"));
        }
        session.client.kill();
        wait_for_end_of_servers(&servers);
    }
}

#[test]
fn f19_the_leader_of_a_session_with_a_terminal_killed() {
    let programs = Programs::new();
    let session = start_session(&programs, "-tt");
    kill_leader(session.port);
    assert_eq!(session.client.ends().status.code(), Some(255));
    programs.assert_only_detached_survive();
}

#[test]
fn f19_the_leader_of_a_session_without_a_terminal_killed() {
    let programs = Programs::new();
    let mut session = start_session(&programs, "-T");
    kill_leader(session.port);
    if subject().leaves_orphans {
        // Plain sshd is worse here: its client waits for programs that have got no signal.
        programs.assert_end_without_terminal();
        assert_eq!(session.client.over(), None);
        drop(programs);
    } else {
        programs.assert_end_without_terminal();
    }
    assert_eq!(session.client.ends().status.code(), Some(255));
}

#[test]
fn f19_the_leader_of_a_session_of_one_program_killed() {
    let sleep = Sleep::new();
    let session = begin(subject().ssh(), &format!("exec {}", sleep.command()));
    sleep.wait_for_start();
    kill_leader(session.port);
    let output = session.client.ends();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(255), String::new()));
    sleep.wait_for_end();
}

/// Kills the process that sshd itself has started for this client.
fn kill_leader(port: u16) {
    let leaders = leaders(subject().server(port));
    assert_eq!(leaders.len(), 1, "{leaders:?}");
    signal(leaders[0], Signal::SIGKILL);
}
