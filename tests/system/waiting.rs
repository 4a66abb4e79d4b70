//! What the terminal shows while a box starts with a slow engine.

use crate::harness::{Undo, User, run, until, world_alone};
use std::thread;
use std::time::Duration;

/// The progress line, and the bytes that erase it.
const LINE: &str = "starting your box ...";
const ERASED: &str = "\r                       \r";

#[test]
fn a_cold_login_with_a_terminal_shows_a_spinner_and_erases_it() {
    let _world = world_alone();
    let user = User::new("waited");
    run("tests/system/engine", &["freeze"]);
    let back = Undo(|| drop(run("tests/system/engine", &["thaw"])));
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    for sign in ["\r| ", "\r/ ", "\r- ", "\r\\ ", "\r| "] {
        assert_eq!(terminal.shows(&format!("{sign}{LINE}")), format!("{sign}{LINE}"));
    }
    drop(back);
    let until_erased = terminal.shows(ERASED);
    assert!(!until_erased.contains('\n'), "{until_erased:?}");
    let shown = terminal.shows("$ ");
    assert!(!shown.contains(LINE), "{shown:?}");
    terminal.types("exit\n");
    assert_eq!(terminal.ends(), 0);
    // A login to a running box shows nothing.
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    assert!(!terminal.shows("$ ").contains(LINE));
}

#[test]
fn a_cold_login_without_a_terminal_is_silent() {
    let _world = world_alone();
    let user = User::new("silent");
    run("tests/system/engine", &["freeze"]);
    let back = Undo(|| drop(run("tests/system/engine", &["thaw"])));
    let command = user.ssh().begin(&["echo in"]);
    thread::sleep(Duration::from_secs(1));
    drop(back);
    assert_eq!(command.output(), (0, "in\n".to_owned(), String::new()));
}

#[test]
fn ctrl_c_ends_the_wait_cleanly() {
    let _world = world_alone();
    let user = User::new("hasty");
    run("tests/system/engine", &["freeze"]);
    let back = Undo(|| drop(run("tests/system/engine", &["thaw"])));
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    let before = terminal.modes();
    terminal.shows(LINE);
    // The local terminal is in raw mode by now, so the key reaches sshbox.
    assert_ne!(terminal.modes(), before);
    terminal.types("\u{3}");
    assert!(terminal.shows("sshbox: cancelled\r\n").contains(ERASED));
    assert_eq!(terminal.ends(), 130);
    assert_eq!(terminal.modes(), before);
    drop(back);
    until("its processes on the host have ended", || user.host_processes().is_empty());
    assert_eq!(user.says("echo in"), "in\n");
}
