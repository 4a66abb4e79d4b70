//! The terminal on the server's side: when a session gets one, its owner, its size and its modes.

use crate::harness::{PRINTS_SIZES, Terminal, run, text};
use crate::protocol::{Channel, Message, string, uint32};
use crate::subject::{LocalFolder, Sleep, subject};
use std::thread;
use std::time::Duration;

#[test]
fn a_command_has_no_terminal_unless_one_is_asked_for() {
    let tty = |options: &[&str], words: &[&str]| {
        let mut terminal = subject().ssh().args(options).at_terminal(24, 80, words, |_| ());
        (terminal.ends(), terminal.seen().to_owned())
    };
    assert_eq!(tty(&[], &["tty"]), (1, "not a tty\r\n".to_owned()));
    assert_eq!(tty(&["-T"], &["tty"]), (1, "not a tty\r\n".to_owned()));
    assert_eq!(tty(&["-t", "-T"], &["tty"]), (1, "not a tty\r\n".to_owned()));
    for option in ["-t", "-tt"] {
        let (status, seen) = tty(&[option], &["tty"]);
        assert!(status == 0 && seen.starts_with("/dev/pts/"), "{option}: {status} {seen}");
    }
}

#[test]
fn a_shell_has_a_terminal_unless_the_client_disables_it() {
    let mut terminal = subject().ssh().at_terminal(24, 80, &[], |_| ());
    terminal.types("tty; exit 3\n");
    terminal.shows("/dev/pts/");
    assert_eq!(terminal.ends(), 3);
    let mut terminal = subject().ssh().args(&["-T"]).at_terminal(24, 80, &[], |_| ());
    terminal.types("tty; exit 3\n");
    terminal.shows("not a tty");
    assert_eq!(terminal.ends(), 3);
}

#[test]
fn without_a_local_terminal_only_tt_gets_a_terminal() {
    let output = subject().local("remote -t tty </dev/null; echo $?");
    assert_eq!(text(&output.stdout), "not a tty\n1\n");
    let output = subject().local("remote -tt tty </dev/null; echo $?");
    assert!(text(&output.stdout).starts_with("/dev/pts/"), "{output:?}");
    assert!(text(&output.stdout).ends_with("\r\n0\n"), "{output:?}");
}

#[test]
fn the_terminal_is_the_controlling_terminal_of_the_program() {
    let command = "t=$(tty); echo $t $SSH_TTY; stat -c '%U %G %a' $t; set -- $(ps -o pid=,pgid=,sid=,tpgid= -p $$); [ $1$2$3$4 = $1$1$1$1 ] && echo leads; : </dev/tty && echo reachable; ls -l /proc/$$/fd/[012] | grep -c $t; ls $t";
    let mut terminal = subject().ssh().terminal(24, 80, &[command]);
    let first = terminal.shows("\r\n");
    let names: Vec<&str> = first.split_whitespace().collect();
    assert!(names.len() == 2 && names[0] == names[1], "{first}");
    terminal.shows(&format!(
        "{} tty 620\r\nleads\r\nreachable\r\n3\r\n{}\r\n",
        subject().program_user,
        names[0]
    ));
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn two_sessions_have_two_terminals() {
    let mut one = subject().ssh().terminal(24, 80, &["tty; read x"]);
    let mut two = subject().ssh().terminal(24, 80, &["tty; read x"]);
    assert_ne!(one.shows("\r\n"), two.shows("\r\n"));
}

#[test]
fn the_terminal_type_is_passed_on() {
    let known = ["xterm-256color", "dumb", "vt100"].map(|kind| (kind, kind));
    for (kind, seen) in known.into_iter().chain([("no-such-terminal", subject().unknown_terminal)]) {
        let option = format!("SetEnv=TERM={kind}");
        let mut terminal = subject().ssh().args(&["-o", &option]).terminal(24, 80, &["echo =$TERM="]);
        terminal.shows(&format!("={seen}=\r\n"));
    }
}

#[test]
fn an_empty_terminal_type_sets_no_variable() {
    let output = subject().local("TERM= remote -tt 'env | grep -c ^TERM' </dev/null");
    assert_eq!(text(&output.stdout), "0\r\n");
}

#[test]
fn a_program_at_a_terminal_gets_language_variables() {
    let mut terminal = subject().ssh().args(&["-o", "SetEnv=LC_ORACLE=x_y FOO=no"]).terminal(
        24,
        80,
        &["echo =$LC_ORACLE=$FOO="],
    );
    terminal.shows("=x_y==\r\n");
}

#[test]
fn at_a_terminal_stdout_and_stderr_are_one_stream_with_terminal_line_ends() {
    let output = subject()
        .local("remote -tt 'echo out; echo err >&2; printf \"a\\nb\\r\\nc\"; exit 5' </dev/null; echo =$?");
    assert_eq!(text(&output.stdout), "out\r\nerr\r\na\r\nb\r\r\nc=5\n");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn f21_the_initial_size_is_always_right() {
    for n in 0..8_u16 {
        let (rows, columns) = (20 + n, 70 + 3 * n);
        let mut terminal = subject().ssh().terminal(rows, columns, &["stty size"]);
        terminal.shows(&format!("{rows} {columns}\r\n"));
    }
}

#[test]
fn f21_initial_sizes_of_zero_and_of_the_maximum_arrive() {
    for (rows, columns) in [(0, 0), (u16::MAX, u16::MAX), (1, 1), (0, 80)] {
        let mut terminal = subject().ssh().terminal(rows, columns, &["stty size"]);
        terminal.shows(&format!("{rows} {columns}\r\n"));
        assert_eq!(terminal.ends(), 0);
    }
}

/// A terminal in which a program prints each new size.
fn size_printer() -> Terminal {
    let mut terminal = subject().ssh().terminal(24, 80, &[PRINTS_SIZES]);
    terminal.shows("ready\r\n");
    terminal
}

#[test]
fn f21_after_a_thousand_resizes_the_last_size_is_in_effect() {
    let mut terminal = size_printer();
    for n in 1..=1000 {
        terminal.resizes(n, 2000 - n);
    }
    terminal.resizes(43, 210);
    let before = terminal.shows("43 210\r\n");
    assert!(before.lines().count() <= 1000, "more sizes than there were");
    // There is no backlog: the program reacts to a key, and no other size follows the last one. The last size may
    // come twice, if it was already set when the program handled the signal of the size before.
    thread::sleep(Duration::from_millis(500));
    terminal.types("\x03");
    assert_eq!(terminal.ends(), 255);
    let after = terminal.seen().replace("^C", "");
    assert!(after.is_empty() || after == "43 210\r\n", "{after:?}");
}

#[test]
fn f21_extreme_sizes_arrive_while_a_program_runs() {
    let mut terminal = size_printer();
    for (rows, columns) in [(0, 0), (u16::MAX, u16::MAX), (1, 1), (50, 132)] {
        terminal.resizes(rows, columns);
        terminal.shows(&format!("{rows} {columns}\r\n"));
    }
}

#[test]
fn f21_an_unchanged_size_sends_no_sigwinch() {
    let mut terminal = size_printer();
    for _ in 0..5 {
        terminal.resizes(24, 80);
    }
    terminal.resizes(25, 80);
    assert_eq!(terminal.shows("25 80\r\n"), "25 80\r\n");
}

#[test]
fn f21_a_size_in_pixels_arrives() {
    let mut channel = Channel::open();
    let size = [uint32(30), uint32(100), uint32(800), uint32(600)].concat();
    channel.request("pty-req", &[string(b"xterm"), size, string(&[0])].concat());
    assert_eq!(channel.next_message(), Message::Success);
    channel.exec(
        "/usr/bin/python3 -c 'import fcntl, struct, termios
print(struct.unpack(\"4H\", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))))'",
    );
    // In the protocol columns come first, in the kernel rows.
    assert_eq!(channel.output(), b"(100, 30, 800, 600)\r\n".to_vec());
}

/// Output of `stty -a` at the remote terminal, and at the local one before the client starts. Line breaks are
/// removed: they depend on the width.
fn modes(settings: &[&str]) -> (String, String) {
    let mut local = String::new();
    let mut terminal = subject().ssh().args(&["-tt"]).at_terminal(33, 99, &["stty -a; echo END"], |path| {
        // The protocol has no opcode for brkint.
        run("stty", &[&["-F", path], settings, &["-brkint"]].concat());
        local = run("stty", &["-F", path, "-a"]);
    });
    let remote = terminal.shows("END");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    (words(remote.trim_end_matches("END")), words(&local))
}

#[test]
fn the_modes_are_those_of_the_local_terminal() {
    let (remote, local) = modes(&["sane"]);
    assert_eq!(remote, local);
    assert!(local.contains("rows 33; columns 99"), "{local}");
}

#[test]
fn unusual_modes_are_those_of_the_local_terminal_too() {
    let settings = [
        "sane", "erase", "^H", "kill", "^X", "intr", "^T", "quit", "^Y", "eof", "^E", "susp", "^A", "start",
        "^F", "stop", "^G", "werase", "^P", "rprnt", "^B", "lnext", "^N", "-ixon", "ixany", "ixoff", "iutf8",
        "tostop", "-echoctl", "-echoke", "noflsh", "echonl",
    ];
    let (remote, local) = modes(&settings);
    assert_eq!(remote, local);
    assert!(local.contains("erase = ^H") && local.contains(" iutf8") && local.contains(" tostop"), "{local}");
}

#[test]
fn disabled_control_characters_stay_disabled() {
    let (remote, local) = modes(&["sane", "intr", "undef", "eof", "undef", "susp", "undef", "stop", "undef"]);
    assert_eq!(remote, local);
    assert!(local.contains("intr = <undef>"), "{local}");
}

#[test]
fn modes_set_by_a_program_last_as_long_as_the_terminal() {
    let mut terminal = subject().ssh().terminal(24, 80, &[
        "stty -echo -icanon intr ^X; stty -a | grep -o ' -echo \\| -icanon\\|intr = ^X'; stty raw; stty -a | grep -o -- '-opost' ; stty sane; stty -a | grep -o 'intr = ^C'",
    ]);
    terminal.shows("intr = ^X;".trim_end_matches(';'));
    terminal.shows("-icanon");
    terminal.shows("-echo");
    terminal.shows("-opost");
    terminal.shows("intr = ^C");
}

#[test]
fn the_local_terminal_is_restored() {
    let mut terminal = subject().ssh().terminal(24, 80, &[]);
    let before = terminal.modes();
    terminal.types("PS1='$ '; stty raw -echo; echo rea''dy\n");
    terminal.shows("ready");
    terminal.types("exit 3\r\nexit 3\n");
    assert_eq!(terminal.ends(), 3);
    assert_eq!(terminal.modes(), before);
}

#[test]
fn all_output_arrives_before_the_end() {
    for _ in 0..5 {
        let mut terminal = subject().ssh().terminal(24, 80, &["seq 20000; exit 4"]);
        terminal.shows("\r\n19999\r\n20000\r\n");
        assert_eq!(terminal.ends(), 4);
    }
}

#[test]
fn f20_a_flood_through_a_raw_terminal_is_unchanged() {
    let here = LocalFolder::new();
    let script = format!(
        "cd {}; noise() {{ openssl enc -aes-128-ctr -nosalt -K {1:032} -iv {1:032} -in /dev/zero 2>/dev/null | head -c 16777216; }}
         noise >made; remote -tt 'stty raw; openssl enc -aes-128-ctr -nosalt -K {1:032} -iv {1:032} -in /dev/zero 2>/dev/null | head -c 16777216' </dev/null >back
         cmp made back && stat -c %s back",
        here.0, 9
    );
    let output = subject().local(&script);
    assert_eq!(text(&output.stdout), "16777216\n", "{output:?}");
}

#[test]
fn f20_end_of_input_does_not_end_a_terminal_session() {
    let output = subject().local("remote -tt 'sleep 1; echo after; exit 6' </dev/null; echo =$?");
    assert_eq!(text(&output.stdout), "after\r\n=6\n");
    // sshd types no end-of-file character, so a reader goes on waiting.
    let sleep = Sleep::new();
    let mut session =
        subject().ssh().args(&["-tt"]).begin(&[&format!("echo began; cat; {}", sleep.command())]);
    session.closes_input();
    assert_eq!(session.line(), "began\r");
    thread::sleep(Duration::from_secs(1));
    assert_eq!((session.over(), sleep.runs()), (None, false));
}

#[test]
fn a_process_that_holds_the_terminal_does_not_keep_the_session_open() {
    let sleep = Sleep::new();
    let command = format!("setsid {} & sleep 0.2; echo last; exit 6", sleep.command());
    let mut terminal = subject().ssh().terminal(24, 80, &[&command]);
    terminal.shows("last");
    assert_eq!(terminal.ends(), 6);
    assert!(sleep.runs());
}

#[test]
fn a_program_that_closes_its_terminal_keeps_running() {
    let sleep = Sleep::new();
    let command = format!("exec </dev/null >/dev/null 2>&1; {} & sleep 1; kill $!; exit 7", sleep.command());
    let mut terminal = subject().ssh().terminal(24, 80, &[&command]);
    sleep.wait_for_start();
    assert_eq!(terminal.ends(), 7);
    assert!(!sleep.runs());
}

#[test]
fn a_break_request_is_accepted_and_changes_nothing() {
    let mut channel = Channel::open();
    let size = [uint32(80), uint32(24), uint32(0), uint32(0)].concat();
    channel.request("pty-req", &[string(b"xterm"), size, string(&[0])].concat());
    assert_eq!(channel.next_message(), Message::Success);
    channel.exec("stty -echo; echo ready; read line; echo =$line=");
    assert_eq!(channel.next_message(), Message::Out(b"ready\r\n".to_vec()));
    channel.request("break", &uint32(0));
    assert_eq!(channel.next_message(), Message::Success);
    channel.data(b"typed\n");
    assert_eq!(channel.output(), b"=typed=\r\n".to_vec());
}
