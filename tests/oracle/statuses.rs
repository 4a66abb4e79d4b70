//! How a program ends, and what the client hears of it.

use crate::harness::{text, until};
use crate::protocol::{Channel, Message};
use crate::subject::{Connection, Sleep, subject};
use std::thread;

#[test]
fn f22_every_exit_status_arrives() {
    let connection = Connection::open();
    thread::scope(|scope| {
        for first in 0..4 {
            let connection = &connection;
            scope.spawn(move || {
                for status in (first..256).step_by(4) {
                    assert_eq!(connection.ssh().status(&format!("exit {status}")), status);
                }
            });
        }
    });
}

#[test]
fn a_status_that_is_too_large_is_cut() {
    assert_eq!(subject().ssh().status("exit 256"), 0);
    assert_eq!(subject().ssh().status("exit 511"), 255);
    assert_eq!(subject().ssh().status("exit -1"), 255);
}

#[test]
fn an_unknown_command_is_127_and_the_shell_says_so() {
    let output = subject().ssh().run("no-such-command");
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(text(&output.stderr), "bash: line 1: no-such-command: command not found\n");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_file_that_is_no_program_is_126() {
    let output = subject().ssh().run("/etc/passwd");
    assert_eq!(output.status.code(), Some(126));
    assert_eq!(text(&output.stderr), "bash: line 1: /etc/passwd: Permission denied\n");
}

#[test]
fn a_syntax_error_is_the_shells_own() {
    let output = subject().ssh().run("if true; then echo");
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(
        error.starts_with("bash: -c: line ") && error.contains("syntax error: unexpected end"),
        "{error}"
    );
}

#[test]
fn a_pipeline_has_the_status_of_its_last_or_with_pipefail_its_first_failure() {
    assert_eq!(subject().ssh().status("(exit 3) | true"), 0);
    assert_eq!(subject().ssh().status("set -o pipefail; (exit 3) | true"), 3);
}

#[test]
fn the_shell_stops_at_a_failure_if_it_was_told_to() {
    let output = subject().ssh().run("set -e; echo before; (exit 4); echo after");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(4), "before\n".to_owned()));
}

#[test]
fn an_exit_trap_runs_and_has_the_last_word() {
    let output = subject().ssh().run("trap 'echo leaving; exit 8' EXIT; echo here; exit 3");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(8), "here\nleaving\n".to_owned()));
}

#[test]
fn a_program_in_place_of_the_shell_gives_its_own_status() {
    assert_eq!(subject().ssh().status("exec bash -c 'exit 77'"), 77);
    assert_eq!(subject().ssh().status("exec /usr/bin/python3 -c 'raise SystemExit(91)'"), 91);
}

#[test]
fn a_child_that_a_signal_ended_is_told_by_the_shell() {
    assert_eq!(subject().ssh().status("bash -c 'kill -TERM $$'; exit $?"), 143);
    assert_eq!(subject().ssh().status("bash -c 'kill -KILL $$'; exit $?"), 137);
}

/// A command that this signal ends: the protocol names it, and the client ends with 255 and in silence.
fn ends_by(signal: &str, name: &str) {
    // Not bash, which always ignores SIGQUIT itself.
    let command = format!("exec sh -c 'kill -{signal} $$; exit 1'");
    let mut channel = Channel::open();
    channel.exec(&command);
    let heard = channel.rest();
    let signals: Vec<&Message> =
        heard.iter().filter(|message| matches!(message, Message::Signal(..) | Message::Status(_))).collect();
    assert_eq!(signals, [&Message::Signal(name.to_owned(), false)], "{heard:?}");
    let output = subject().ssh().run(&command);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(255), String::new()), "{signal}");
}

macro_rules! f22_ends_by {
    ($($case:ident: $name:literal)*) => { $(
        #[test]
        fn $case() {
            ends_by($name, $name);
        }
    )* };
}

f22_ends_by! {
    f22_the_signal_hup_is_told: "HUP"
    f22_the_signal_int_is_told: "INT"
    f22_the_signal_quit_is_told: "QUIT"
    f22_the_signal_ill_is_told: "ILL"
    f22_the_signal_abrt_is_told: "ABRT"
    f22_the_signal_fpe_is_told: "FPE"
    f22_the_signal_kill_is_told: "KILL"
    f22_the_signal_usr1_is_told: "USR1"
    f22_the_signal_segv_is_told: "SEGV"
    f22_the_signal_usr2_is_told: "USR2"
    f22_the_signal_pipe_is_told: "PIPE"
    f22_the_signal_alrm_is_told: "ALRM"
    f22_the_signal_term_is_told: "TERM"
}

#[test]
fn f22_signals_without_a_name_in_the_protocol_are_told() {
    for signal in ["BUS", "SYS", "TRAP", "XCPU", "VTALRM", "16"] {
        ends_by(signal, "SIG@openssh.com");
    }
}

#[test]
fn f22_real_time_signals_are_told() {
    for signal in ["34", "50", "64"] {
        ends_by(signal, "SIG@openssh.com");
    }
}

#[test]
fn signals_that_end_nothing_end_nothing() {
    assert_eq!(subject().says("for s in CHLD CONT URG WINCH; do kill -$s $$; done; echo alive"), "alive\n");
}

#[test]
fn a_stopped_program_stays_and_goes_on_when_told() {
    let mut session = subject().ssh().begin(&["echo $$; kill -STOP $$; echo after; exit 5"]);
    let pid = session.line();
    until("it has stopped", || {
        subject().says(&format!("grep State: /proc/{pid}/status")).contains("T (stopped)")
    });
    assert_eq!(session.over(), None);
    subject().says(&format!("kill -CONT {pid}"));
    let (status, out, _) = session.output();
    assert_eq!((status, &*out), (5, "after\n"));
}

#[test]
fn a_program_that_another_session_kills_is_told_as_killed() {
    let sleep = Sleep::new();
    let session = subject().ssh().begin(&[&format!("exec {}", sleep.command())]);
    sleep.comes();
    subject().says(&format!("pkill -TERM -xf '{}'", sleep.command()));
    assert_eq!(session.wait(), 255);
}

#[test]
fn a_command_that_does_nothing_ends_well_and_says_nothing() {
    for command in ["true", ":", " ", "# only a comment"] {
        let output = subject().ssh().run(command);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert_eq!((output.stdout, output.stderr), (Vec::new(), Vec::new()), "{command}");
    }
}

#[test]
fn the_end_is_told_in_the_order_of_the_protocol() {
    let mut channel = Channel::open();
    channel.exec("echo out; exit 6");
    let mut heard = channel.rest();
    assert_eq!(heard[0], Message::Out(b"out\n".to_vec()));
    assert_eq!(heard.pop(), Some(Message::Close));
    // Status and end of output may pass each other, and a session that is over takes no more input.
    let mut rest: Vec<Message> =
        heard.drain(1..).filter(|message| *message != Message::Other("eow@openssh.com".to_owned())).collect();
    rest.sort_by_key(|message| *message != Message::Eof);
    assert_eq!(rest, [Message::Eof, Message::Status(6)]);
}
