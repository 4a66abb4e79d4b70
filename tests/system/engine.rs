//! The engine ends, hangs or restarts: sessions go on, and logins that need it fail in time with the reason.

use crate::harness::{Undo, User, alice, run, text, until, world_alone};
use std::process::Command;
use std::time::Instant;

fn engine_replies() -> bool {
    Command::new("docker").args(["version"]).output().unwrap().status.success()
}

#[test]
fn p4_f10_a_session_survives_the_death_of_dockerd() {
    let _world = world_alone();
    let user = alice();
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    terminal.types("PS1='$ '; echo one $((1 + 1))\n");
    terminal.shows("one 2");
    let began = user.inspect("{{.State.StartedAt}}");
    for end in ["kill", "stop"] {
        run("tests/system/engine", &[end]);
        until("dockerd has ended", || !engine_replies());
        terminal.types("echo without $((2 + 3))\n");
        terminal.shows("without 5");
        // F12: a running box needs no engine.
        assert_eq!(user.says("echo warm"), "warm\n");
        run("tests/system/engine", &["start"]);
        until("dockerd replies", engine_replies);
        terminal.types("echo with $((3 + 4))\n");
        terminal.shows("with 7");
    }
    assert_eq!(user.inspect("{{.State.StartedAt}}"), began);
    terminal.types("exit 5\n");
    assert_eq!(terminal.ends(), 5);
}

#[test]
fn f12_a_cold_login_without_an_engine_fails_with_the_reason() {
    let _world = world_alone();
    let user = User::new("unlucky");
    run("tests/system/engine", &["stop"]);
    let _back = Undo(|| {
        run("tests/system/engine", &["start"]);
        until("dockerd replies", engine_replies);
    });
    until("dockerd has ended", || !engine_replies());
    let output = user.ssh().run("id");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(
        text(&output.stderr).contains(
            "the container engine does not run, so boxes cannot be started, stopped or shown; tell your admin (ref "
        ),
        "{output:?}"
    );
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn f11_a_hung_engine_delays_a_cold_login_by_its_timeout_and_a_warm_one_not_at_all() {
    let _world = world_alone();
    let (warm, cold) = (alice(), User::new("patient"));
    warm.says("true");
    run("tests/system/engine", &["freeze"]);
    let _back = Undo(|| drop(run("tests/system/engine", &["thaw"])));
    let began = Instant::now();
    let cold = std::thread::spawn(move || (cold.ssh().run("id"), began.elapsed()));
    assert_eq!(warm.says("echo warm"), "warm\n");
    let (output, took) = cold.join().unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(text(&output.stderr).contains("the container engine is too slow"), "{output:?}");
    // Its deadline, with room for a busy machine; without one it would be minutes.
    assert!(took.as_secs() < 30, "{took:?}");
}

#[test]
fn unrelated_containers_are_not_touched() {
    let _world = world_alone();
    run(
        "docker",
        &["run", "-d", "--name", "neighbour", "--network", "none", "sshbox-user:latest", "sleep", "600"],
    );
    let began = run("docker", &["inspect", "-f", "{{.State.StartedAt}}", "neighbour"]);
    let user = User::new("neighbourly");
    user.says("true");
    run("docker", &["stop", "-t", "0", &user.container()]);
    user.says("true");
    assert_eq!(run("docker", &["inspect", "-f", "{{.State.StartedAt}}", "neighbour"]), began);
    run("docker", &["rm", "-f", "neighbour"]);
}

#[test]
fn f11_a_login_to_a_frozen_box_with_a_hung_engine_fails_with_the_reason() {
    let _world = world_alone();
    let user = User::new("frozen");
    user.says("true");
    run("docker", &["pause", &user.container()]);
    run("tests/system/engine", &["freeze"]);
    let back = Undo(|| drop(run("tests/system/engine", &["thaw"])));
    // ssh ends: the session does not wait for the frozen box.
    let output = user.ssh().run("echo ran >> ran");
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    drop(back);
    until("dockerd replies", engine_replies);
    assert_eq!(user.says("cat ran 2>/dev/null; echo in"), "in\n", "a command ran after its client had gone");
}
