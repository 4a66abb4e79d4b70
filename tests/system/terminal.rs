//! Sessions with a terminal, as an interactive user sees them.

use crate::harness::{PRINTS_SIZES, User, alice, signal, status_of, until, world};
use nix::sys::signal::Signal;

#[test]
fn the_initial_size_is_always_right() {
    let _world = world();
    for n in 0..20_u16 {
        let (rows, columns) = (20 + n, 70 + 3 * n);
        let mut terminal = alice().ssh().terminal(rows, columns, &["stty size"]);
        terminal.shows(&format!("{rows} {columns}\r\n"));
        assert_eq!(terminal.ends(), 0);
    }
}

#[test]
fn f21_a_new_size_arrives_and_the_last_one_is_in_effect() {
    let _world = world();
    let mut terminal = alice().ssh().terminal(24, 80, &[PRINTS_SIZES]);
    terminal.shows("ready");
    terminal.resizes(50, 132);
    terminal.shows("50 132");
    for n in 1..=500 {
        terminal.resizes(n, 1000 - n);
    }
    terminal.resizes(43, 210);
    terminal.shows("43 210");
}

#[test]
fn keys_reach_the_program() {
    let _world = world();
    let mut terminal = alice().ssh().terminal(24, 80, &[]);
    terminal.types("PS1='$ '; echo pid $$ term $TERM tty $(tty)\n");
    terminal.shows("term xterm-256color tty /dev/pts/");
    terminal.types("sleep 60; echo status $?\n");
    terminal.shows("status $?");
    std::thread::sleep(std::time::Duration::from_millis(500));
    terminal.types("\x03");
    terminal.types("echo status $((100 + $?))\n");
    terminal.shows("status 230");
    // Ctrl-Z stops, fg continues, Ctrl-\ quits, Ctrl-D ends the input.
    terminal.types("sleep 60\n");
    std::thread::sleep(std::time::Duration::from_millis(500));
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types("fg\n");
    terminal.shows("sleep 60");
    std::thread::sleep(std::time::Duration::from_millis(500));
    terminal.types("\x1c");
    terminal.shows("Quit");
    terminal.types("exit 9\n");
    assert_eq!(terminal.ends(), 9);
}

#[test]
fn the_terminal_in_the_box_is_as_with_plain_sshd() {
    let _world = world();
    let settings = |user: &User| {
        let mut terminal = user.ssh().terminal(24, 80, &["stty -a; echo END"]);
        terminal.shows("END")
    };
    assert_eq!(settings(&alice()), settings(&User::plain()));
}

#[test]
fn all_output_arrives_before_the_end() {
    let _world = world();
    for _ in 0..20 {
        let mut terminal = alice().ssh().terminal(24, 80, &["seq 20000; exit 4"]);
        terminal.shows("\r\n19999\r\n20000\r\n");
        assert_eq!(terminal.ends(), 4);
    }
}

#[test]
fn a_process_that_holds_the_terminal_does_not_keep_the_session_open() {
    let _world = world();
    let mut terminal = alice().ssh().terminal(24, 80, &["setsid sleep 300 & sleep 0.2; echo last; exit 6"]);
    terminal.shows("last");
    assert_eq!(terminal.ends(), 6);
    alice().says("pkill -f 'sleep 300'");
}

#[test]
fn a_flood_of_output_can_be_interrupted() {
    let _world = world();
    let mut terminal = alice().ssh().terminal(24, 80, &[]);
    terminal.types("PS1='$ '; yes\n");
    terminal.shows("y\r\ny\r\ny\r\n");
    terminal.types("\x03");
    terminal.types("echo status $((100 + $?))\n");
    terminal.shows("status 230");
}

#[test]
fn the_local_terminal_is_restored_whatever_ends_the_session() {
    let _world = world();
    let user = User::new("restored");
    for end in ["shell", "box"] {
        let mut terminal = user.ssh().terminal(24, 80, &[]);
        let before = terminal.modes();
        terminal.types("echo rea''dy\n");
        terminal.shows("ready");
        assert_ne!(terminal.modes(), before, "the client has not switched to raw mode");
        match end {
            "shell" => {
                let shell = user
                    .host_processes()
                    .into_iter()
                    .find(|pid| status_of(*pid, "Name:").is_some_and(|name| name == "sshbox-shell"))
                    .unwrap();
                signal(shell, Signal::SIGKILL);
            }
            _ => drop(crate::harness::run("docker", &["kill", &user.container()])),
        }
        let status = terminal.ends();
        assert_eq!(terminal.modes(), before, "{end}");
        if end == "box" {
            assert_eq!(status, 137);
            assert!(terminal.seen().contains("your box was stopped"), "{:?}", terminal.seen());
        }
    }
}

#[test]
fn f18_closing_the_window_hangs_up() {
    let _world = world();
    let user = alice();
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    terminal.types("sleep 4242\n");
    until("the program runs", || user.runs_in_box("sleep 4242"));
    terminal.kill();
    until("the program has ended", || !user.runs_in_box("sleep 4242"));
}

#[test]
fn a_job_that_goes_on_printing_does_not_keep_the_session_open() {
    let _world = world();
    let user = User::new("chatty");
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    terminal.types("set +m; (trap '' HUP; exec yes) & sleep 0.5; exit 3\n");
    let began = std::time::Instant::now();
    assert_eq!(terminal.ends(), 3);
    // A limit in bytes ends the remaining output here. The limit in time would be 10 s.
    assert!(began.elapsed() < std::time::Duration::from_secs(9), "{:?}", began.elapsed());
}
