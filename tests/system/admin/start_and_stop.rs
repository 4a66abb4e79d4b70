//! `sshbox start`, `stop`, `restart` and `reap`.

use super::{command, entry, json, output_of, refusal_of, row};
use crate::harness::{
    Changed, Terminal, User, journal, private_world, run, signal, to_the_end, world, world_alone,
};
use nix::sys::signal::Signal;

#[test]
fn stop_start_and_restart_work_and_notify_open_sessions() {
    let _world = world();
    let user = User::new("steered");
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    terminal.types("echo rea''dy\n");
    terminal.shows("ready");
    assert_eq!(output_of(&["stop", &user.name]), "the box of steered was stopped\n");
    terminal.shows("sshbox: your box was stopped: an admin stopped it; log in again to start it (ref ");
    assert_eq!(terminal.ends(), 137);
    assert_eq!(user.inspect("{{.State.Status}}"), "exited");
    assert_eq!(output_of(&["stop", &user.name]), "the box of steered is not running\n");

    assert_eq!(output_of(&["start", &user.name]), "the box of steered is running\n");
    assert_eq!(user.inspect("{{.State.Status}}"), "running");
    assert_eq!(output_of(&["start", &user.name]), "the box of steered is running\n");
    let mut session = user.ssh().begin(&["echo in; exec sleep 300"]);
    assert_eq!(session.line(), "in");
    let started = user.inspect("{{.State.StartedAt}}");
    assert_eq!(output_of(&["restart", &user.name]), "the box of steered was restarted\n");
    assert_ne!(user.inspect("{{.State.StartedAt}}"), started);
    let (status, _, told) = session.output();
    assert_eq!(status, 137);
    assert!(told.contains("your box was stopped: an admin restarted it"), "{told}");
    assert_eq!(user.says("echo in"), "in\n");

    let output = to_the_end(
        {
            let mut stop = command(&["stop", &user.name]);
            stop.env("SUDO_USER", "ada");
            stop
        },
        Vec::new(),
    );
    assert!(output.status.success(), "{output:?}");
    let journal = journal();
    for wanted in [
        r#"admin action user="steered" by="uid 0" action="stop""#,
        r#"admin action user="steered" by="uid 0" action="restart""#,
        r#"admin action user="steered" by="ada" action="stop""#,
    ] {
        assert!(journal.contains(wanted), "{wanted}");
    }
}

#[test]
fn a_slow_command_shows_progress() {
    let _world = private_world();
    let _config = Changed::config("grace = \"10s\"", "grace = \"2s\"");
    let user = User::new("slow-to-stop");
    user.says("true");
    // A stopped init does not react to SIGTERM, so the stop takes the whole grace period.
    signal(user.inspect("{{.State.Pid}}").parse().unwrap(), Signal::SIGSTOP);
    let mut terminal = Terminal::of(&mut command(&["stop", &user.name]), 24, 80);
    terminal.shows("\r| stopping the box ...");
    terminal.shows("\r/ stopping the box ...");
    terminal.shows("\r                      \r");
    terminal.shows("the box of slow-to-stop was stopped\r\n");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn a_failure_of_the_wake_service_is_reported_with_its_cause() {
    let _world = private_world();
    let user = User::new("unmade");
    user.says("true");
    run("docker", &["rm", "-f", &user.container()]);
    let _config = Changed::config("image = \"sshbox-user:latest\"", "image = \"gone:1\"");
    let (status, said) = refusal_of(&["start", &user.name]);
    assert_eq!(status, 69, "{said}");
    let wanted = "sshbox: image gone:1 is not on this host; the user sees: the image of your box is not on this host; tell your admin (ref ";
    assert!(said.starts_with(wanted), "{said}");
}

#[test]
fn reap_reports_its_decision_for_each_box() {
    let _world = world_alone();
    let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
    let (idle, busy) = (User::new("reapable"), User::new("kept"));
    idle.says("true");
    let mut session = busy.ssh().begin(&["echo in; exec sleep 300"]);
    assert_eq!(session.line(), "in");
    let judged = json(&["reap", "--dry-run"]);
    assert_eq!(entry(&judged, &idle)["verdict"], "would stop");
    assert!(entry(&judged, &idle)["reason"].as_str().unwrap().starts_with("idle for "), "{judged}");
    assert_eq!(entry(&judged, &busy)["reason"], "a session is open");
    let table = output_of(&["reap", "--dry-run"]);
    assert_eq!(row(&table, "kept")[1..], ["kept", "a session is open"], "{table}");
    assert_eq!(idle.inspect("{{.State.Status}}"), "running");
    assert_eq!(entry(&json(&["reap"]), &idle)["verdict"], "stopped");
    assert_eq!(idle.inspect("{{.State.Status}}"), "exited");
    assert_eq!(busy.inspect("{{.State.Status}}"), "running");
}
