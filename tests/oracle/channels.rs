//! Many sessions over one connection are independent of each other.

use crate::harness::{text, until};
use crate::protocol::{Channel, Message};
use crate::subject::{Connection, Sleep, leaders, subject, with_client_port};
use std::fs;
use std::thread;
use std::time::Duration;

// sshbox allows 32 (MaxSessions), sshd by itself 10.
#[test]
fn thirty_two_sessions_at_once_over_one_connection() {
    let connection = Connection::open();
    let mut sessions: Vec<_> = (0..32)
        .map(|n| {
            connection.ssh().begin(&[&format!("echo began; read x; echo $x {n}; echo err {n} >&2; exit {n}")])
        })
        .collect();
    // All sessions have started before the first one may end.
    for session in &mut sessions {
        assert_eq!(session.line(), "began");
    }
    for (n, session) in sessions.iter_mut().enumerate() {
        session.write(format!("word{n}\n").as_bytes());
    }
    for (n, session) in sessions.into_iter().enumerate() {
        let status = i32::try_from(n).unwrap();
        assert_eq!(session.output(), (status, format!("word{n} {n}\n"), format!("err {n}\n")));
    }
}

#[test]
fn sessions_of_one_connection_have_the_same_client_port() {
    let connection = Connection::open();
    assert_eq!(connection.port(), connection.port());
    assert_eq!(subject().servers(connection.port()).len(), 2);
}

#[test]
fn sessions_with_and_without_terminal_share_a_connection() {
    let connection = Connection::open();
    let mut small = connection.ssh().terminal(10, 40, &["tty; stty size; read x; stty size; exit 1"]);
    let mut large = connection.ssh().terminal(60, 200, &["tty; stty size; read x; stty size; exit 2"]);
    assert_eq!(connection.says("tty"), "not a tty\n");
    let mut names = Vec::new();
    for (terminal, size) in [(&mut small, "10 40"), (&mut large, "60 200")] {
        names.push(terminal.shows("\r\n"));
        terminal.shows(&format!("{size}\r\n"));
    }
    assert_ne!(names[0], names[1]);
    small.resizes(11, 41);
    large.resizes(61, 201);
    // The client sends the size before the keys, so the program has been notified by then.
    for (terminal, size, status) in [(&mut small, "11 41", 1), (&mut large, "61 201", 2)] {
        thread::sleep(Duration::from_millis(500));
        terminal.types("x\n");
        terminal.shows(&format!("{size}\r\n"));
        assert_eq!(terminal.ends(), status);
    }
}

#[test]
fn sessions_do_not_share_variables() {
    let connection = Connection::open();
    let begin = |variables: &[(&str, &str)]| {
        let send = connection.ssh().args(&["-o", "SendEnv=LC_*"]);
        variables
            .iter()
            .fold(send, |ssh, (name, value)| ssh.env(name, value))
            .begin(&["echo $LC_ORACLE$LC_ONE; cat"])
    };
    let mut one = begin(&[("LC_ORACLE", "one"), ("LC_ONE", "1")]);
    let mut two = begin(&[("LC_ORACLE", "two")]);
    assert_eq!((one.line(), two.line()), ("one1".to_owned(), "two".to_owned()));
    assert_eq!(connection.says("echo =$LC_ORACLE$LC_ONE="), "==\n");
}

#[test]
fn f20_a_session_whose_output_is_not_read_does_not_block_the_others() {
    let connection = Connection::open();
    let mut stuck = connection.ssh().begin(&["echo began; exec head -c 2000000000 /dev/zero"]);
    let mut stuck_terminal = connection.ssh().args(&["-tt"]).begin(&["echo began; exec yes"]);
    assert_eq!((stuck.line(), stuck_terminal.line()), ("began".to_owned(), "began".to_owned()));
    thread::sleep(Duration::from_secs(1));
    for n in 0..10 {
        assert_eq!(connection.says(&format!("echo {n}")), format!("{n}\n"));
    }
    let input = vec![b'x'; 1_000_000];
    assert_eq!(connection.ssh().input(&input).run("cat").stdout.len(), 1_000_000);
    assert_eq!((stuck.over(), stuck_terminal.over()), (None, None));
}

#[test]
fn two_hundred_sessions_one_after_the_other_leave_nothing_open() {
    let connection = Connection::open();
    let server = subject().server(connection.port());
    let open = || fs::read_dir(format!("/proc/{server}/fd")).unwrap().count();
    let before = open();
    for n in 0..200 {
        assert_eq!(connection.ssh().status(&format!("exit {n}")), n);
    }
    until("the server has closed what it opened", || open() <= before);
    assert!(leaders(server).is_empty());
}

#[test]
fn a_connection_without_a_session_starts_no_program() {
    let connection = Connection::open();
    let port = connection.port();
    let server = subject().server(port);
    until("the connection has no process left", || leaders(server).is_empty());
    thread::sleep(Duration::from_secs(1));
    assert!(leaders(server).is_empty());
    assert_eq!(connection.says("echo still there"), "still there\n");
}

#[test]
fn a_connection_that_accepts_no_more_sessions_keeps_its_sessions() {
    let mut connection = Connection::open();
    let mut session = connection.ssh().begin(&["echo began; read x; echo got $x; exit 4"]);
    assert_eq!(session.line(), "began");
    connection.control("stop");
    assert!(!fs::exists(&connection.path).unwrap());
    session.write(b"word\n");
    assert_eq!(session.output(), (4, "got word\n".to_owned(), String::new()));
    until("the connection has ended", || connection.master.over().is_some());
}

#[test]
fn the_server_closes_a_session_that_the_client_closes() {
    let sleep = Sleep::new();
    let mut channel = Channel::open();
    channel.exec(&with_client_port(&format!("exec {}", sleep.command())));
    assert!(matches!(channel.next_message(), Message::Out(_)));
    sleep.wait_for_start();
    channel.close();
    // Plain sshd closes its side only when the program has ended, and does not end the program itself.
    thread::sleep(Duration::from_secs(1));
    drop(sleep);
    let messages = channel.messages_until_close();
    assert!(
        !messages.iter().any(|message| matches!(message, Message::Out(_) | Message::Err(_))),
        "{messages:?}"
    );
}

#[test]
fn an_unknown_request_is_refused_and_the_session_goes_on() {
    let mut channel = Channel::open();
    for name in ["nonsense@example.org", "subsystems", "Exec"] {
        channel.request(name, &[]);
        assert_eq!(channel.next_message(), Message::Failure, "{name}");
    }
    channel.exec("echo out");
    assert_eq!(channel.output(), b"out\n".to_vec());
}

#[test]
fn a_session_runs_only_one_command() {
    let mut channel = Channel::open();
    channel.exec("read x; echo first");
    channel.request("exec", &crate::protocol::string(b"echo second"));
    assert_eq!(channel.next_message(), Message::Failure);
    channel.data(b"\n");
    assert_eq!(channel.output(), b"first\n".to_vec());
}

#[test]
fn many_small_messages_stay_in_order() {
    let mut channel = Channel::open();
    channel.exec("cat");
    let mut expected = Vec::new();
    for n in 0..2000_u32 {
        let line = format!("{n}\n").into_bytes();
        channel.data(&line);
        expected.extend(line);
    }
    channel.eof();
    assert_eq!(channel.output(), expected);
}

#[test]
fn ten_concurrent_first_logins_work() {
    thread::scope(|scope| {
        let logins: Vec<_> = (0..10)
            .map(|n| scope.spawn(move || subject().ssh().run(&format!("echo {n}; exit {n}"))))
            .collect();
        for (n, login) in logins.into_iter().enumerate() {
            let output = login.join().unwrap();
            assert_eq!(text(&output.stdout), format!("{n}\n"), "{output:?}");
            assert_eq!(output.status.code(), i32::try_from(n).ok());
        }
    });
}
