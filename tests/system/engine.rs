//! The engine: gone, hung or restarted, it takes nobody's session along.

use crate::harness::{Undo, User, alice, run, text, until, world_alone};
use std::process::Command;
use std::time::Instant;

fn engine_answers() -> bool {
    Command::new("docker").args(["version"]).output().unwrap().status.success()
}

#[test]
fn p4_f10_a_session_lives_through_the_death_of_dockerd() {
    let _world = world_alone();
    let user = alice();
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    terminal.types("PS1='$ '; echo one $((1 + 1))\n");
    terminal.shows("one 2");
    let began = user.inspect("{{.State.StartedAt}}");
    for end in ["kill", "stop"] {
        run("tests/system/engine", &[end]);
        until("dockerd is gone", || !engine_answers());
        terminal.types("echo without $((2 + 3))\n");
        terminal.shows("without 5");
        // F12: a box that runs needs no engine.
        assert_eq!(user.says("echo warm"), "warm\n");
        run("tests/system/engine", &["start"]);
        until("dockerd is back", engine_answers);
        terminal.types("echo with $((3 + 4))\n");
        terminal.shows("with 7");
    }
    assert_eq!(user.inspect("{{.State.StartedAt}}"), began);
    terminal.types("exit 5\n");
    assert_eq!(terminal.ends(), 5);
}

#[test]
fn f12_a_cold_login_without_an_engine_is_told() {
    let _world = world_alone();
    let user = User::new("unlucky");
    run("tests/system/engine", &["stop"]);
    let _back = Undo(|| {
        run("tests/system/engine", &["start"]);
        until("dockerd is back", engine_answers);
    });
    until("dockerd is gone", || !engine_answers());
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
fn f11_a_hung_engine_costs_a_cold_login_its_deadline_and_a_warm_one_nothing() {
    let _world = world_alone();
    let (warm, cold) = (alice(), User::new("patient"));
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
fn f11_a_frozen_box_and_a_hung_engine_end_with_a_word() {
    let _world = world_alone();
    let user = User::new("frozen");
    user.says("true");
    run("docker", &["pause", &user.container()]);
    run("tests/system/engine", &["freeze"]);
    let back = Undo(|| drop(run("tests/system/engine", &["thaw"])));
    // ssh ends: nothing of the session hangs on in the frozen box.
    let output = user.ssh().run("echo ran >> ran");
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    drop(back);
    until("dockerd is back", engine_answers);
    assert_eq!(
        user.says("cat ran 2>/dev/null; echo in"),
        "in\n",
        "a command ran when nobody waited any more"
    );
}
