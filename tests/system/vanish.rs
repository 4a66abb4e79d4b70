//! Vanished clients: within seconds only detached programs of their session are left.

use crate::harness::{User, alice, signal, status_of, world};
use nix::sys::signal::Signal;
use std::thread;
use std::time::{Duration, Instant};

/// Waits for the promised 5 s until no process with this word runs in the box.
fn wait_for_end(user: &User, word: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    while user.runs_in_box(word) {
        assert!(Instant::now() < end, "{word} still runs");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A script that starts all kinds of programs, with and without signal handlers. Each command line contains `word`.
fn all_kinds_of_programs(word: &str) -> String {
    format!(
        "setsid sleep {word}9 </dev/null >/dev/null 2>&1 &
         nohup sleep {word}8 </dev/null >/dev/null 2>&1 &
         sleep {word}1 & (sleep {word}2 & exec sleep {word}3) &
         bash -c 'trap \"\" TERM INT; trap : HUP; while :; do sleep 0.{word}; done' &
         sleep 0.5; echo began; exec sleep {word}4"
    )
}

fn assert_only_detached_survive(user: &User, word: &str) {
    for leftover in ["1", "2", "3", "4"] {
        wait_for_end(user, &format!("sleep {word}{leftover}"));
    }
    wait_for_end(user, &format!("sleep 0.{word}"));
    for detached in ["8", "9"] {
        assert!(user.runs_in_box(&format!("sleep {word}{detached}")), "{detached}");
    }
    user.says(&format!("pkill -f 'sleep {word}'"));
}

#[test]
fn f18_p8_a_client_killed_without_a_terminal() {
    let _world = world();
    let user = alice();
    let mut session = user.ssh().begin(&[&all_kinds_of_programs("7001")]);
    assert_eq!(session.line(), "began");
    session.kill();
    assert_only_detached_survive(&user, "7001");
}

#[test]
fn f18_p8_a_client_killed_with_a_terminal() {
    let _world = world();
    let user = alice();
    let mut terminal = user.ssh().terminal(24, 80, &[&all_kinds_of_programs("7002")]);
    terminal.shows("began");
    terminal.kill();
    assert_only_detached_survive(&user, "7002");
}

#[test]
fn f19_p8_sshbox_shell_or_sshd_killed() {
    let _world = world();
    let user = User::new("vanished");
    user.says("true");
    for (victim, word) in [("sshbox-shell", "7003"), ("sshd", "7004")] {
        let mut session = user.ssh().begin(&[&all_kinds_of_programs(word)]);
        assert_eq!(session.line(), "began");
        let pid = user
            .host_processes()
            .into_iter()
            .find(|pid| status_of(*pid, "Name:").is_some_and(|name| name == victim))
            .unwrap_or_else(|| panic!("no {victim}"));
        signal(pid, Signal::SIGKILL);
        assert_only_detached_survive(&user, word);
        session.kill();
    }
}

#[test]
fn a_session_that_ends_by_itself_keeps_its_background_jobs() {
    let _world = world();
    // As with plain sshd, background jobs survive when their user logs out.
    for (user, time) in [(alice(), "5.5"), (User::plain(), "5.6")] {
        let output = user.ssh().run(&format!("sleep {time} </dev/null >/dev/null 2>&1 & exit 0"));
        assert!(output.status.success());
        assert_eq!(user.says(&format!("pgrep -xfc 'sleep {time}'")), "1\n", "{}", user.name);
    }
}

#[test]
fn nothing_is_left_on_the_host() {
    let _world = world();
    let user = User::new("tidy");
    for _ in 0..5 {
        let mut session = user.ssh().begin(&["echo began; sleep 600"]);
        session.line();
        session.kill();
    }
    crate::harness::until("no process of the user is left on the host", || user.host_processes().is_empty());
}

#[test]
fn signals_to_every_process_do_not_end_the_box() {
    let _world = world();
    let user = User::new("wild");
    user.says("true");
    let began = user.inspect("{{.State.StartedAt}}");
    // PID 1 has the same uid, but only the host may tell it to stop accepting sessions.
    let stubborn =
        "setsid sh -c 'trap \"\" TERM HUP INT USR1; while :; do sleep 1; done' >/dev/null 2>&1 </dev/null &";
    user.ssh().run(&format!(
        "{stubborn} sleep 0.3; kill -TERM 1; kill -USR1 1; kill -HUP 1; kill -KILL 1; pkill -u user"
    ));
    for _ in 0..3 {
        assert_eq!(user.says("echo in"), "in\n");
    }
    assert_eq!(user.inspect("{{.State.StartedAt}}"), began);
}

#[test]
fn f23_a_login_while_the_admin_stops_the_box_waits_and_starts_it() {
    let _world = world();
    let user = User::new("halted");
    user.says("setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 0.2; done' >/dev/null 2>&1 </dev/null & sleep 0.3");
    let stop = {
        let container = user.container();
        thread::spawn(move || crate::harness::run("docker", &["stop", "-t", "4", &container]))
    };
    thread::sleep(Duration::from_millis(700));
    assert_eq!(user.says("echo in"), "in\n");
    stop.join().unwrap();
    assert_eq!(user.says("echo still"), "still\n");
}
