//! `sshbox list`, `status` and `top`, and who may run the command.

use super::{command, entry, json, output_of, refusal_of, row};
use crate::harness::{Changed, Terminal, Undo, User, alice, run, text, until, world, world_alone};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::process::Command;

#[test]
fn list_shows_sessions_and_usage_of_each_box() {
    let _world = world();
    let (busy, rested) = (User::new("listed"), User::new("rested"));
    rested.says("true");
    output_of(&["stop", &rested.name]);
    let mut session = busy.ssh().begin(&["echo in; while :; do :; done"]);
    assert_eq!(session.line(), "in");

    let list = json(&["list"]);
    let one = entry(&list, &busy);
    assert_eq!((&one["state"], &one["box"]), (&"running".into(), &busy.container().into()));
    assert_eq!((&one["sessions"], &one["stops_at"]), (&1.into(), &Value::Null), "{one}");
    // On a busy machine the box gets little CPU time, but some.
    assert!(one["cpu"]["used"].as_f64().unwrap() > 0.0, "{one}");
    assert!((100 << 10..1 << 30).contains(&one["memory"]["used"].as_u64().unwrap()), "{one}");
    assert!(one["processes"]["used"].as_u64().unwrap() >= 2, "{one}");
    assert!(one["disk"]["free"].as_u64().unwrap() > 0, "{one}");
    assert_eq!(one["out_of_date"], false);
    let other = entry(&list, &rested);
    assert_eq!((&other["state"], &other["cpu"]["used"]), (&"stopped".into(), &Value::Null), "{other}");
    assert_eq!(other["last_stop"]["reason"], "an admin stopped it");
    assert!(other["idle_since"].as_str().unwrap().ends_with('Z'), "{other}");

    let table = output_of(&["list"]);
    assert!(table.starts_with("USER "), "{table}");
    assert!(!table.contains('\x1b'), "no colour without a terminal");
    let cells = row(&table, "listed");
    assert_eq!((cells[1], cells[3]), ("running", "1 of 50"), "{table}");
    assert_eq!(row(&table, "rested")[1], "stopped", "{table}");
    session.kill();
    until("the session has ended", || entry(&json(&["list"]), &busy)["sessions"] == 0);
    until("no connection is open", || {
        entry(&json(&["list"]), &busy)["stops_at"].as_str().is_some_and(|at| at.ends_with('Z'))
    });
}

#[test]
fn list_escapes_the_labels_of_foreign_containers() {
    let _world = world_alone();
    let label = "sshbox.user=../\u{1b}]0;x\u{7}\u{202e}";
    let _gone = Undo(|| drop(run("docker", &["rm", "-f", "labelled"])));
    run("docker", &["create", "--name", "labelled", "--label", label, "sshbox-user:latest", "true"]);
    let table = output_of(&["list"]);
    assert!(table.contains(r"../\x1b]0;x\x07\xe2\x80\xae"), "{table}");
    let list = json(&["list"]);
    assert!(list.as_array().unwrap().iter().any(|one| one["user"] == "../\u{1b}]0;x\u{7}\u{202e}"), "{list}");
}

#[test]
fn colours_appear_only_on_a_terminal_and_without_no_color() {
    let _world = world();
    alice().says("true");
    let shown = |command: &mut Command| {
        let mut terminal = Terminal::of(command, 24, 200);
        let shown = terminal.shows("alice");
        assert_eq!(terminal.ends(), 0);
        shown
    };
    assert!(shown(&mut command(&["list"])).contains("\x1b[1mUSER\x1b[0m"));
    assert!(!shown(command(&["list"]).env("NO_COLOR", "1")).contains('\x1b'));
}

#[test]
fn status_shows_what_the_user_sees_and_details_of_the_host() {
    let _world = world_alone();
    let user = User::new("looked-at");
    user.says("true");
    let status = json(&["status", &user.name]);
    assert_eq!(status["container"], user.inspect("{{.Id}}"));
    assert_eq!(status["home"], user.home());
    assert_eq!(status["account"], user.inspect("{{index .Config.Labels \"sshbox.id\"}}"));
    assert_eq!((&status["account"], &status["out_of_date"]), (&status["made_for"], &false.into()));
    let said = output_of(&["status", &user.name]);
    for begin in [
        &*format!("box        {}\n", user.container()),
        "\nstate      running since 20",
        "\nmade       up to date\n",
    ] {
        assert!(said.contains(begin), "{said}");
    }
    {
        let _config = Changed::config("mount = \"/home/user\"", "mount = \"/home/other\"");
        assert_eq!(json(&["status", &user.name])["out_of_date"], true);
        assert!(output_of(&["status", &user.name]).contains("\nmade       out of date: "));
    }
    // A user with an account but without a box.
    run("docker", &["rm", "-f", &user.container()]);
    let status = json(&["status", &user.name]);
    assert_eq!((&status["state"], &status["container"]), (&"missing".into(), &Value::Null));
    assert_eq!(status["image"], "sshbox-user:latest");
}

#[test]
fn a2_a_foreign_container_is_neither_shown_nor_stopped() {
    let _world = world();
    let user = User::new("squatted");
    let _gone = Undo(|| drop(run("docker", &["rm", "-f", &user.container()])));
    run(
        "docker",
        &[
            "run",
            "-d",
            "--name",
            &user.container(),
            "--network",
            "none",
            "sshbox-user:latest",
            "sleep",
            "600",
        ],
    );
    for arguments in [["status", "squatted"], ["stop", "squatted"], ["start", "squatted"]] {
        let (status, said) = refusal_of(&arguments);
        assert_eq!(status, 77, "{said}");
        assert!(said.contains(" is not the box of squatted: it lacks the labels of sshbox"), "{said}");
    }
    assert_eq!(user.inspect("{{.State.Status}}"), "running");
}

#[test]
fn an_unknown_user_is_refused_with_a_clear_error() {
    let _world = world();
    for verb in ["status", "stop", "start", "restart"] {
        let (status, said) = refusal_of(&[verb, "nobody-knows"]);
        assert_eq!(status, 69, "{verb}: {said}");
        let wanted = "sshbox: nobody-knows has no box and has not logged in yet; check the name";
        assert!(said.starts_with(wanted), "{verb}: {said}");
        let (status, said) = refusal_of(&[verb, "../etc"]);
        assert_eq!(status, 64, "{verb}: {said}");
        assert!(said.contains("not a login name"), "{verb}: {said}");
    }
    assert!(!fs::exists("/run/sshbox/users/nobody-knows").unwrap());
    assert_eq!(refusal_of(&["frobnicate"]).0, 64);
}

#[test]
fn users_other_than_root_are_refused() {
    let _world = world();
    for arguments in [&["list"][..], &["stop", "alice"], &["keys", "alice"], &["sessions"], &["kill", "1-1"]]
    {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/sbin/sshbox"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(77), "{arguments:?}");
        let wanted = "sshbox: this command needs root; run it with sudo\n";
        assert_eq!(text(&output.stderr), wanted, "{arguments:?}");
    }
}

#[test]
fn top_refreshes_until_q_and_restores_the_terminal() {
    let _world = world();
    let user = User::new("on-top");
    let mut session = user.ssh().begin(&["echo in; while :; do :; done"]);
    assert_eq!(session.line(), "in");
    for end in ["q", "\x03", ""] {
        let mut top = Terminal::of(&mut command(&["top"]), 10, 100);
        let before = top.modes();
        top.shows("\x1b[?1049h\x1b[?25l\x1b[Hboxes ");
        top.shows("on-top");
        assert_ne!(top.modes(), before);
        // `top` refreshes by itself, and at once when the size changes.
        top.shows("\x1b[Hboxes ");
        top.resizes(3, 20);
        while top.shows("\x1b[J").contains("on-top") {}
        if end.is_empty() {
            top.signals(Signal::SIGTERM);
        } else {
            top.types(end);
        }
        top.shows("\x1b[?25h\x1b[?1049l");
        assert_eq!(top.ends(), 0);
        assert_eq!(top.modes(), before, "{end:?}");
    }
    let once = output_of(&["top"]);
    assert!(once.starts_with("boxes ") && row(&once, "on-top").len() >= 7, "{once}");
    let mut terminal = Terminal::of(&mut command(&["top", "--once"]), 50, 200);
    assert!(!terminal.shows("on-top").contains("\x1b[?1049h"));
    assert_eq!(terminal.ends(), 0);
    let list = json(&["top"]);
    assert!(entry(&list, &user)["cpu"]["used"].as_f64().unwrap() > 0.0, "{list}");
}
