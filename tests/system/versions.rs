//! An upgrade while boxes run: `sshbox-shell` and `sshbox-init` of this version and of the version before
//! it (`tests/system/previous`) understand each other, in both directions.

use crate::harness::{Undo, User, text, until, world_alone};
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;

/// Installs the previous version of a program until this is dropped. Renames files, because a file that
/// is being executed cannot be written to.
fn previous(program: &str) -> Undo<impl Fn()> {
    let folder =
        std::env::var("SSHBOX_PREVIOUS").expect("SSHBOX_PREVIOUS names a folder: tests/system/previous");
    let installed = format!("/usr/lib/sshbox/{program}");
    let aside = format!("{installed}.aside");
    fs::rename(&installed, &aside).unwrap();
    fs::copy(Path::new(&folder).join(program), &installed).unwrap();
    assert_ne!(fs::read(&installed).unwrap(), fs::read(&aside).unwrap(), "{program} is the same program");
    Undo(move || fs::rename(&aside, &installed).unwrap())
}

/// All that the two programs tell each other about.
fn sessions_work(user: &User) {
    let output = user.ssh().input(b"in\n").run("cat; echo err >&2; exit 7");
    assert_eq!(
        (output.status.code(), &*text(&output.stdout), &*text(&output.stderr)),
        (Some(7), "in\n", "err\n")
    );
    // sshd answers a session that a signal has ended with the signal's name, and ssh ends with 255.
    assert_eq!(user.ssh().status("kill -TERM $$"), 255);
    assert_eq!(user.ssh().args(&["-s"]).status("sftp"), 0);

    let mut terminal = user.ssh().terminal(33, 101, &[]);
    terminal.types("PS1='$ '; stty size\n");
    terminal.shows("33 101");
    terminal.resizes(44, 55);
    terminal.types("until [ \"$(stty size)\" = '44 55' ]; do sleep 0.1; done; echo resized $((1 + 1))\n");
    terminal.shows("resized 2");
    terminal.types("echo sleeps $((1 + 2)); sleep 600\n");
    terminal.shows("sleeps 3");
    terminal.types("\x03");
    terminal.types("echo interrupted $?\n");
    terminal.shows("interrupted 130");
    terminal.types("exit 5\n");
    assert_eq!(terminal.ends(), 5);

    // A client that vanishes takes its session along; one that leaves leaves the background.
    let mut vanishes = user.ssh().begin(&["echo began; sleep 611"]);
    assert_eq!(vanishes.line(), "began");
    vanishes.kill();
    until("the session of the client that vanished has ended", || !user.runs_in_box("sleep 611"));
    let mut hangs_up = user.ssh().terminal(24, 80, &["echo began $((1 + 1)); sleep 612"]);
    hangs_up.shows("began 2");
    hangs_up.signals(Signal::SIGTERM);
    until("the terminal is hung up", || !user.runs_in_box("sleep 612"));
    user.says("sleep 613 </dev/null >/dev/null 2>&1 &");
    assert!(user.runs_in_box("sleep 613"));
}

#[test]
#[ignore = "needs the previous version: `tests/long previous`"]
fn the_previous_init_serves_this_shell() {
    let _world = world_alone();
    let user = User::new("old-init");
    {
        let _init = previous("sshbox-init");
        user.says("true");
    }
    let made = user.inspect("{{.State.StartedAt}}");
    sessions_work(&user);
    assert_eq!(user.inspect("{{.State.StartedAt}}"), made, "the box was restarted");
    assert_eq!(user.says("@stop"), "your box is stopped; the next login starts it\n");
}

#[test]
#[ignore = "needs the previous version: `tests/long previous`"]
fn this_init_serves_the_previous_shell() {
    let _world = world_alone();
    let user = User::new("old-shell");
    let _shell = previous("sshbox-shell");
    sessions_work(&user);
    assert!(user.says("@status").contains("running since"));
    assert_eq!(user.says("@stop"), "your box is stopped; the next login starts it\n");
    sessions_work(&user);
}
