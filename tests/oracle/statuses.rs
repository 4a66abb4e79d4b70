//! How a program ends, and what the server reports to the client.

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
fn an_exit_status_above_255_is_truncated() {
    assert_eq!(subject().ssh().status("exit 256"), 0);
    assert_eq!(subject().ssh().status("exit 511"), 255);
    assert_eq!(subject().ssh().status("exit -1"), 255);
}

#[test]
fn an_unknown_command_exits_127_with_the_error_of_the_shell() {
    let output = subject().ssh().run("no-such-command");
    assert_eq!(output.status.code(), Some(127));
    assert_eq!(text(&output.stderr), "bash: line 1: no-such-command: command not found\n");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_file_that_is_not_executable_exits_126() {
    let output = subject().ssh().run("/etc/passwd");
    assert_eq!(output.status.code(), Some(126));
    assert_eq!(text(&output.stderr), "bash: line 1: /etc/passwd: Permission denied\n");
}

#[test]
fn a_syntax_error_is_reported_by_the_shell() {
    let output = subject().ssh().run("if true; then echo");
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(
        error.starts_with("bash: -c: line ") && error.contains("syntax error: unexpected end"),
        "{error}"
    );
}

#[test]
fn a_pipeline_returns_the_status_of_its_last_command_or_with_pipefail_of_its_failure() {
    assert_eq!(subject().ssh().status("(exit 3) | true"), 0);
    assert_eq!(subject().ssh().status("set -o pipefail; (exit 3) | true"), 3);
}

#[test]
fn with_set_e_the_shell_stops_at_a_failure() {
    let output = subject().ssh().run("set -e; echo before; (exit 4); echo after");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(4), "before\n".to_owned()));
}

#[test]
fn an_exit_trap_runs_and_sets_the_exit_status() {
    let output = subject().ssh().run("trap 'echo leaving; exit 8' EXIT; echo here; exit 3");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(8), "here\nleaving\n".to_owned()));
}

#[test]
fn a_program_that_replaces_the_shell_sets_the_exit_status() {
    assert_eq!(subject().ssh().status("exec bash -c 'exit 77'"), 77);
    assert_eq!(subject().ssh().status("exec /usr/bin/python3 -c 'raise SystemExit(91)'"), 91);
}

#[test]
fn the_shell_reports_a_child_killed_by_a_signal() {
    assert_eq!(subject().ssh().status("bash -c 'kill -TERM $$'; exit $?"), 143);
    assert_eq!(subject().ssh().status("bash -c 'kill -KILL $$'; exit $?"), 137);
}

/// Checks a command that this signal ends: the server reports the signal's name, and the client exits with 255 and
/// prints nothing.
fn assert_signal_reported(signal: &str, name: &str) {
    // Not bash: bash always ignores SIGQUIT.
    let command = format!("exec sh -c 'kill -{signal} $$; exit 1'");
    let mut channel = Channel::open();
    channel.exec(&command);
    let messages = channel.messages_until_close();
    let signals: Vec<&Message> = messages
        .iter()
        .filter(|message| matches!(message, Message::Signal(..) | Message::Status(_)))
        .collect();
    assert_eq!(signals, [&Message::Signal(name.to_owned(), false)], "{messages:?}");
    let output = subject().ssh().run(&command);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(255), String::new()), "{signal}");
}

macro_rules! f22_signals {
    ($($case:ident: $name:literal)*) => { $(
        #[test]
        fn $case() {
            assert_signal_reported($name, $name);
        }
    )* };
}

f22_signals! {
    f22_sighup_is_reported: "HUP"
    f22_sigint_is_reported: "INT"
    f22_sigquit_is_reported: "QUIT"
    f22_sigill_is_reported: "ILL"
    f22_sigabrt_is_reported: "ABRT"
    f22_sigfpe_is_reported: "FPE"
    f22_sigkill_is_reported: "KILL"
    f22_sigusr1_is_reported: "USR1"
    f22_sigsegv_is_reported: "SEGV"
    f22_sigusr2_is_reported: "USR2"
    f22_sigpipe_is_reported: "PIPE"
    f22_sigalrm_is_reported: "ALRM"
    f22_sigterm_is_reported: "TERM"
}

#[test]
fn f22_signals_without_a_name_in_the_protocol_are_reported() {
    for signal in ["BUS", "SYS", "TRAP", "XCPU", "VTALRM", "16"] {
        assert_signal_reported(signal, "SIG@openssh.com");
    }
}

#[test]
fn f22_real_time_signals_are_reported() {
    for signal in ["34", "50", "64"] {
        assert_signal_reported(signal, "SIG@openssh.com");
    }
}

#[test]
fn signals_ignored_by_default_do_not_end_a_program() {
    assert_eq!(subject().says("for s in CHLD CONT URG WINCH; do kill -$s $$; done; echo alive"), "alive\n");
}

#[test]
fn a_stopped_program_keeps_its_session_and_can_be_continued() {
    let mut session = subject().ssh().begin(&["echo $$; kill -STOP $$; echo after; exit 5"]);
    let pid = session.line();
    until("the program has stopped", || {
        subject().says(&format!("grep State: /proc/{pid}/status")).contains("T (stopped)")
    });
    assert_eq!(session.over(), None);
    subject().says(&format!("kill -CONT {pid}"));
    let (status, out, _) = session.output();
    assert_eq!((status, &*out), (5, "after\n"));
}

#[test]
fn a_program_killed_by_another_session_is_reported_as_killed() {
    let sleep = Sleep::new();
    let session = subject().ssh().begin(&[&format!("exec {}", sleep.command())]);
    sleep.wait_for_start();
    subject().says(&format!("pkill -TERM -xf '{}'", sleep.command()));
    assert_eq!(session.wait(), 255);
}

#[test]
fn a_command_that_does_nothing_succeeds_silently() {
    for command in ["true", ":", " ", "# only a comment"] {
        let output = subject().ssh().run(command);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert_eq!((output.stdout, output.stderr), (Vec::new(), Vec::new()), "{command}");
    }
}

#[test]
fn the_server_ends_a_session_in_the_order_of_the_protocol() {
    let mut channel = Channel::open();
    channel.exec("echo out; exit 6");
    let mut messages = channel.messages_until_close();
    assert_eq!(messages[0], Message::Out(b"out\n".to_vec()));
    assert_eq!(messages.pop(), Some(Message::Close));
    // Exit status and EOF may come in either order. A server may also send EOW, since the session reads no more
    // input.
    let mut rest: Vec<Message> = messages
        .drain(1..)
        .filter(|message| *message != Message::Other("eow@openssh.com".to_owned()))
        .collect();
    rest.sort_by_key(|message| *message != Message::Eof);
    assert_eq!(rest, [Message::Eof, Message::Status(6)]);
}
