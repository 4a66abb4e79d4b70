//! The three standard streams: bytes arrive complete and in order, with nothing added, and each stream ends
//! independently of the others.

use crate::harness::{status_of, text, until};
use crate::protocol::{Channel, Message};
use crate::subject::{LocalFolder, RemoteFolder, Sleep, begin, leaders, subject};
use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

/// Shell command that prints this many pseudorandom bytes, the same each time.
fn noise(bytes: u64) -> String {
    format!(
        "openssl enc -aes-128-ctr -nosalt -K {0:032} -iv {0:032} -in /dev/zero 2>/dev/null | head -c {bytes}",
        7
    )
}

#[test]
fn output_keeps_its_order() {
    let expected: String = (1..=20000).map(|n| n.to_string() + "\n").collect();
    assert_eq!(subject().says("seq 20000"), expected);
}

#[test]
fn input_keeps_its_order() {
    let input: String = (1..=20000).map(|n| n.to_string() + "\n").collect();
    let output = subject().ssh().input(input.as_bytes()).run("cat");
    assert!(output.stdout == input.as_bytes(), "{} bytes", output.stdout.len());
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let output = subject().ssh().run("for n in 1 2 3; do echo out $n; echo err $n >&2; done; exit 3");
    assert_eq!(text(&output.stdout), "out 1\nout 2\nout 3\n");
    assert_eq!(text(&output.stderr), "err 1\nerr 2\nerr 3\n");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn output_arrives_when_it_is_written_and_not_only_at_the_end() {
    let mut session = subject().ssh().begin(&["printf 'no newline yet'; read x; echo; echo got $x"]);
    // An incomplete line arrives before the program goes on.
    session.write(b"word\n");
    assert_eq!(session.line(), "no newline yet");
    assert_eq!(session.output().1, "got word\n");
}

#[test]
fn requests_and_replies_alternate() {
    let mut session =
        subject().ssh().begin(&["while read -r line; do echo \"<$line>\"; done; echo end; exit 2"]);
    for n in 0..200 {
        session.write(format!("question {n}\n").as_bytes());
        assert_eq!(session.line(), format!("<question {n}>"));
    }
    let (status, out, err) = session.output();
    assert_eq!((status, &*out, &*err), (2, "end\n", ""));
}

#[test]
fn f20_every_byte_passes_through_all_three_streams() {
    let every: Vec<u8> = (0..=255).cycle().take(256 * 64).collect();
    let output = subject().ssh().input(&every).run("tee /dev/stderr");
    assert_eq!(output.stdout, every);
    assert_eq!(output.stderr, every);
}

#[test]
fn f20_a_stream_of_zeros_arrives_unchanged() {
    let zeros = vec![0; 100_000];
    assert_eq!(subject().ssh().input(&zeros).run("cat").stdout, zeros);
    assert_eq!(subject().ssh().input(&zeros).run("tr -d '\\0' | wc -c").stdout, b"0\n");
    assert_eq!(subject().ssh().input(&[0]).run("od -An -tx1").stdout, b" 00\n");
}

#[test]
fn empty_input_is_end_of_file() {
    let output = subject().ssh().run("wc -c; read x; echo $?");
    assert_eq!(text(&output.stdout), "0\n1\n");
}

#[test]
fn f20_one_gibibyte_both_ways_at_once() {
    let here = LocalFolder::new();
    let bytes = 1 << 30;
    let script = format!(
        "cd {}
         {noise} | md5sum >made &
         {noise} | remote -c aes128-gcm@openssh.com 'tee >(md5sum >&2)' 2>there | md5sum >back
         wait; cat made there back",
        here.0,
        noise = noise(bytes)
    );
    let output = subject().begin_local(&script).ends_within(Duration::from_secs(600));
    let sums: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert!(sums.len() == 3 && sums[0].len() > 32, "{output:?}");
    assert_eq!(sums.iter().collect::<BTreeSet<_>>().len(), 1, "{sums:?}");
}

#[test]
fn f20_a_flood_on_stdout_and_one_on_stderr_do_not_block_each_other() {
    let command = "head -c 30000000 /dev/zero & head -c 30000000 /dev/zero >&2 & wait; exit 5";
    let output = subject().ssh().run(command);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!((output.stdout.len(), output.stderr.len()), (30_000_000, 30_000_000));
}

#[test]
fn f20_a_flood_on_stderr_arrives_while_stdout_is_not_read() {
    let script =
        "remote 'head -c 3000000 /dev/zero & head -c 20000000 /dev/zero >&2; wait' 2>&1 >/dev/null | wc -c";
    assert_eq!(text(&subject().local(script).stdout), "20000000\n");
}

#[test]
fn f20_a_slow_reader_costs_no_memory() {
    for option in ["-T", "-tt"] {
        let flood = "exec head -c 2000000000 /dev/zero";
        let session = begin(subject().ssh().args(&[option]), flood);
        assert_memory_stays_small(session.port, option);
    }
}

#[test]
fn f20_a_slow_program_costs_no_memory() {
    let sleep = Sleep::new();
    let mut session = begin(subject().ssh(), &format!("exec {}", sleep.command()));
    let port = session.port;
    thread::scope(|scope| {
        let client = &mut session.client;
        let writer = scope.spawn(move || {
            // Far more than all buffers on the way hold. The writer ends when the program does.
            let block = vec![7; 1 << 20];
            (0..1000).take_while(|_| client.writes(&block)).count()
        });
        assert_memory_stays_small(port, "input");
        for pid in sleep.pids() {
            crate::harness::signal(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let blocks = writer.join().unwrap();
        assert!(blocks < 100, "{blocks} MiB went to a program that does not read");
    });
}

/// Checks that the server's processes of this connection stay small, some time after the stream has blocked.
fn assert_memory_stays_small(port: u16, what: &str) {
    thread::sleep(Duration::from_secs(2));
    let servers = subject().servers(port);
    let sessions = leaders(subject().server(port));
    assert!(servers.len() == 2 && !sessions.is_empty(), "{what}: {servers:?} {sessions:?}");
    for pid in servers.into_iter().chain(sessions) {
        let size = status_of(pid, "VmRSS").unwrap_or_default();
        let kibibytes: u64 = size.split(' ').next().unwrap().parse().unwrap_or(0);
        assert!(kibibytes < 32 * 1024, "{what}: {size}");
    }
}

#[test]
fn f20_the_window_closes_when_the_program_does_not_read() {
    let sleep = Sleep::new();
    let mut channel = Channel::open();
    channel.exec(&format!("exec {}", sleep.command()));
    let mut sent = 0;
    loop {
        channel.receive_windows(Duration::from_secs(2));
        if channel.window < sent + 32768 {
            break;
        }
        while sent + 32768 <= channel.window {
            channel.data(&vec![7; 32768]);
            sent += 32768;
        }
        assert!(sent < 16 << 20, "{sent} bytes taken");
    }
    assert!(sent >= 1 << 20, "{sent} bytes taken");
}

#[test]
fn f20_a_reader_that_exits_ends_the_writer() {
    let output = subject().local("remote yes | head -1");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("y\n".to_owned(), String::new()));
    assert_eq!(subject().says("yes | head -1"), "y\n");
}

#[test]
fn a_writer_whose_reader_exits_gets_sigpipe() {
    let output = subject().local("remote 'yes; exit $?' | head -1; echo ${PIPESTATUS[0]}");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("y\n141\n".to_owned(), String::new()));
}

#[test]
fn a_writer_goes_on_after_the_reader_of_its_stderr_exits() {
    let output =
        subject().local("remote 'echo one >&2; sleep 0.5; echo two >&2; echo out; exit 3' 2>&-; echo $?");
    assert_eq!(text(&output.stdout), "out\n3\n");
}

#[test]
fn a_client_without_stdout_still_gets_status_and_stderr() {
    let output = subject().local("remote 'echo err >&2; exit 4' >&-; echo $? >&2");
    assert_eq!((text(&output.stdout), text(&output.stderr)), (String::new(), "err\n4\n".to_owned()));
}

#[test]
fn f20_the_end_of_input_arrives() {
    let mut session = subject().ssh().begin(&["cat; echo ended; exit 7"]);
    session.write(b"line\n");
    assert_eq!(session.line(), "line");
    let (status, out, _) = session.output();
    assert_eq!((status, &*out), (7, "ended\n"));
}

#[test]
fn f20_after_the_end_of_input_output_goes_on() {
    let output =
        subject().ssh().input(b"abc").run("cat >/dev/null; sleep 0.5; seq 50000 | tail -1; echo err >&2");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("50000\n".to_owned(), "err\n".to_owned()));
}

#[test]
fn f20_a_program_that_closes_both_outputs_goes_on() {
    let mut channel = Channel::open();
    channel.exec("exec >&- 2>&-; read x; exit $x");
    if subject().reports_closed_outputs {
        // The program still runs and reads: EOF comes independently of its end.
        assert_eq!(channel.next_message(), Message::Eof);
    }
    channel.data(b"5\n");
    let rest = channel.messages_until_close();
    assert!(rest.contains(&Message::Status(5)), "{rest:?}");
    assert_eq!(rest.contains(&Message::Eof), !subject().reports_closed_outputs, "{rest:?}");
}

#[test]
fn f20_a_program_that_closes_one_output_keeps_the_other() {
    let output = subject().ssh().run("echo out; exec >&-; sleep 0.5; echo err >&2; exit 5");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n".to_owned(), "err\n".to_owned()));
    let output = subject().ssh().run("echo err >&2; exec 2>&-; sleep 0.5; echo out; exit 5");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n".to_owned(), "err\n".to_owned()));
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn f20_a_program_that_closes_its_input_stops_the_writer() {
    let mut channel = Channel::open();
    channel.exec("exec <&-; echo closed; sleep 3; echo still here; exit 6");
    assert_eq!(channel.next_message(), Message::Out(b"closed\n".to_vec()));
    // The first write may still find a reader: the program's parent closes its copy of the input a moment later.
    for _ in 0..10 {
        channel.data(b"nobody reads this\n");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let messages = channel.messages_until_close();
    assert_eq!(messages[0], Message::Other("eow@openssh.com".to_owned()), "{messages:?}");
    assert!(messages.contains(&Message::Out(b"still here\n".to_vec())), "{messages:?}");
    assert!(messages.contains(&Message::Status(6)), "{messages:?}");
}

#[test]
fn unread_input_does_not_delay_the_end() {
    let input = vec![b'x'; 10_000_000];
    let output = subject().ssh().input(&input).run("echo done; exit 9");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(9), "done\n".to_owned()));
}

#[test]
fn input_from_a_file_from_dev_null_from_a_closed_fd_and_from_a_pipe() {
    let here = LocalFolder::new();
    let script = |redirect: &str| {
        text(&subject().local(&format!("echo word >{}/file; remote cat {redirect}; echo $?", here.0)).stdout)
    };
    assert_eq!(script(&format!("<{}/file", here.0)), "word\n0\n");
    assert_eq!(script("</dev/null"), "0\n");
    assert_eq!(script("<&-"), "0\n");
    assert_eq!(script("< <(echo piped)"), "piped\n0\n");
    assert_eq!(script("< <(:)"), "0\n");
}

#[test]
fn the_option_n_leaves_input_to_other_programs() {
    let output = subject().local("printf 'one\\ntwo\\n' | while read x; do remote -n cat; echo $x; done");
    assert_eq!(text(&output.stdout), "one\ntwo\n");
    let output = subject().local("printf 'one\\ntwo\\n' | while read x; do remote cat; echo $x; done");
    assert_eq!(text(&output.stdout), "two\none\n");
}

#[test]
fn a_background_program_with_stdout_keeps_the_session_open() {
    assert_session_stays_open("2>/dev/null", "late\n", "");
}

#[test]
fn a_background_program_with_stderr_keeps_the_session_open() {
    assert_session_stays_open(">&2 2>/dev/null", "", "late\n");
}

/// Checks that the session stays open after its shell has ended, until the last process that can write to its
/// streams has ended, as with plain sshd.
fn assert_session_stays_open(redirect: &str, out: &str, err: &str) {
    let gate = RemoteFolder::new();
    let waits = format!("until [ -e {}/open ]; do sleep 0.1; done; echo late", gate.0);
    // The background program holds exactly one of the session's streams.
    let command = format!("(exec {redirect} </dev/null; {waits}) & echo early; exit 7");
    let mut session = subject().ssh().begin(&[&command]);
    assert_eq!(session.line(), "early");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(session.over(), None, "the session ended before its background program");
    subject().says(&format!("touch {}/open", gate.0));
    assert_eq!(session.output(), (7, out.to_owned(), err.to_owned()));
}

#[test]
fn a_background_program_with_only_stdin_does_not_keep_the_session_open() {
    let sleep = Sleep::new();
    let session = subject().ssh().begin(&[&format!("{} <&0 >/dev/null 2>&1 & exit 4", sleep.command())]);
    until("the background program runs", || sleep.runs());
    assert_eq!(session.wait(), 4);
    assert!(sleep.runs());
}

#[test]
fn streams_can_be_opened_by_name() {
    let command =
        "echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin; cat </dev/fd/0; tee /proc/self/fd/1";
    let output = subject().ssh().input(b"in\n").run(command);
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\nin\n".to_owned(), "err\n".to_owned()));
}

#[test]
fn streams_are_pipes_that_block() {
    let command = "/usr/bin/python3 -c '
import fcntl, os, stat
for fd in range(3):
    mode, flags = os.fstat(fd).st_mode, fcntl.fcntl(fd, fcntl.F_GETFL)
    print(stat.S_ISFIFO(mode), flags & os.O_ACCMODE, flags & (os.O_NONBLOCK | os.O_APPEND))'";
    assert_eq!(subject().says(command), "True 0 0\nTrue 1 0\nTrue 1 0\n");
}
