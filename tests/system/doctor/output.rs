//! The results that the doctor prints, as lines and as JSON, and its refusals.

use super::{doctor, run_doctor, traces};
use crate::harness::{Terminal, alice, text, to_the_end, world_alone};
use std::process::Command;

#[test]
fn in_a_working_world_no_check_fails_and_nothing_is_left_behind() {
    let _world = world_alone();
    let user = alice();
    let mut session = user.ssh().begin(&["echo in; read line; echo $line"]);
    assert_eq!(session.line(), "in");
    let began = user.inspect("{{.State.StartedAt}}");
    let (found, status) = run_doctor(&[]);
    // Other tests of this world remove the rules for packets, which is reported until the next boot.
    let to_know_of = ["updates", "box", "network-rules", "cgroups", "disk", "homes-mount"];
    for one in &found {
        // No systemd runs in a world.
        let systemd = matches!(&*one.id, "sshd-service" | "reap-timer" | "recheck-timer");
        assert_eq!(one.state == "skip", systemd, "{one:?}");
        assert!(matches!(&*one.state, "ok" | "skip") || to_know_of.contains(&&*one.id), "{one:?}");
        assert_ne!(one.state, "fail", "{one:?}");
    }
    assert_eq!((found.len(), status), (36, 0));
    assert_eq!(traces(), "");
    // Other users are not affected.
    session.write(b"still here\n");
    assert_eq!(session.line(), "still here");
    assert_eq!(user.inspect("{{.State.StartedAt}}"), began);
}

#[test]
fn people_get_lines_with_colour_only_on_a_terminal() {
    let _world = world_alone();
    let output = to_the_end(doctor(&["config", "users"]), Vec::new());
    assert_eq!(
        text(&output.stdout),
        "ok    config          /etc/sshbox/sshbox.toml\n\
         ok    users           group sshbox is 1879048192, user sshbox-keys is there\n\
         2 checks: 2 ok, 0 to know of, 0 failed, 0 skipped\n"
    );
    for (plain, colour) in [("", true), ("1", false)] {
        let mut command = doctor(&["config"]);
        if !plain.is_empty() {
            command.env("NO_COLOR", plain);
        }
        let mut terminal = Terminal::of(&mut command, 24, 80);
        assert_eq!(terminal.ends(), 0);
        assert_eq!(terminal.seen().contains("\x1b[32mok"), colour, "{:?}", terminal.seen());
        assert!(terminal.seen().contains("config ..."), "progress: {:?}", terminal.seen());
    }
}

#[test]
fn users_other_than_root_and_unknown_checks_are_refused() {
    let _world = world_alone();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--clear-groups", "sshbox", "doctor"]);
    let output = to_the_end(nobody, Vec::new());
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(text(&output.stderr).contains("try sudo sshbox doctor"), "{output:?}");
    let output = to_the_end(doctor(&["tokens"]), Vec::new());
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(text(&output.stderr).contains("tokens"), "{output:?}");
}
