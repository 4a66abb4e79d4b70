//! F24: `sshbox reap` and `sshbox list` with up to a thousand boxes, some of which make trouble. The engine is a fake:
//! no test machine has room for a thousand containers. Needs root.

use crate::fake_engine::FakeEngine;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Output};
use std::time::Instant;

/// Boxes that run, of those that exist.
const RUNNING: usize = 20;

/// A box whose inspection fails, and one whose label is no login name.
const BAD: usize = 3;
const FOREIGN: usize = 7;

fn labels(number: usize) -> String {
    let user = if number == FOREIGN { "../etc".to_owned() } else { format!("u{number}") };
    format!(r#""Labels":{{"sshbox.user":"{user}","sshbox.id":"1","sshbox.spec":"x"}}"#)
}

fn reply(request: &str, count: usize, running: usize) -> (u16, String) {
    let target = request.split(' ').nth(1).unwrap();
    let path = target.split('?').next().unwrap();
    match path.strip_prefix("/containers/").and_then(|rest| rest.split_once('/')) {
        None if path == "/containers/json" => {
            let listed = if target.contains("running") { running } else { count };
            let boxes = (0..listed).map(|number| format!(r#"{{"Id":"b{number}",{}}}"#, labels(number)));
            (200, format!("[{}]", boxes.collect::<Vec<_>>().join(",")))
        }
        None => (200, "OK".to_owned()),
        Some((id, "json")) => {
            let number: usize = id.trim_start_matches('b').parse().unwrap();
            if number == BAD {
                return (500, r#"{"message":"this one is broken"}"#.to_owned());
            }
            let state = if number < running { "running" } else { "exited" };
            let text = format!(
                r#"{{"Id":"{id}","Name":"/sshbox-{id}","State":{{"Status":"{state}","StartedAt":"2026-11-24T10:00:00Z"}},"Config":{{"Image":"image",{}}}}}"#,
                labels(number)
            );
            (200, text)
        }
        Some((_, "stop")) => (204, String::new()),
        Some(other) => panic!("{other:?}"),
    }
}

/// Runs `sshbox` twice with a `/run` of its own: first `reap`, then `command`.
fn sshbox(engine: &FakeEngine, idle_timeout: &str, command: &str) -> (Output, u128) {
    let dir = tempfile::tempdir().unwrap();
    let (config, time) = (dir.path().join("sshbox.toml"), dir.path().join("time"));
    let text = format!(
        "[accounts]\nurl = \"http://127.0.0.1/{{user}}\"\ncache = \"{}\"\n[engine]\nsocket = \"{}\"\n[reap]\nidle_timeout = \"{idle_timeout}\"\n",
        dir.path().display(),
        engine.socket().display()
    );
    fs::write(&config, text).unwrap();
    let script = format!(
        "mount -t tmpfs tmpfs /run &&
         mkdir -p /run/sshbox/users /run/sshbox/boxes /run/sshbox/accounts || exit
         \"$0\" --config \"$1\" reap >/dev/null 2>&1
         before=$(date +%s%N); \"$0\" --config \"$1\" {command}; status=$?
         echo $(( ($(date +%s%N) - before) / 1000000 )) >\"$2\"; exit $status"
    );
    let mut run = Command::new("unshare");
    run.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    let output = run.arg(env!("CARGO_BIN_EXE_sshbox")).args([&config, &time]).output().unwrap();
    (output, fs::read_to_string(&time).unwrap().trim().parse().unwrap())
}

fn entries(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str::<Vec<serde_json::Value>>(&text)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The number of boxes for which this was decided.
fn with(output: &Output, decision: &str) -> usize {
    entries(output).iter().filter(|entry| entry["verdict"] == decision).count()
}

fn report(figure: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "many boxes: {figure}").unwrap();
}

#[test]
fn f24_a_thousand_idle_boxes_are_stopped_past_a_bad_one() {
    for count in [10, 100, 1000] {
        let engine = FakeEngine::new((1, 41), move |request| reply(request, count, count));
        let (output, took) = sshbox(&engine, "0s", "reap --json");
        // The reaper tells about the bad ones and goes on.
        assert!(!output.status.success(), "{output:?}");
        assert_eq!((with(&output, "stopped"), with(&output, "failed")), (count - 2, 2), "{output:?}");
        report(&format!("{count} running, all idle: {took} ms"));
    }
}

#[test]
fn f24_of_a_thousand_boxes_in_use_none_costs_a_request() {
    for count in [10, 100, 1000] {
        let engine = FakeEngine::new((1, 41), move |request| reply(request, count, count));
        let (output, took) = sshbox(&engine, "30m", "reap --json");
        assert_eq!((with(&output, "kept"), with(&output, "failed")), (count - 1, 1), "{output:?}");
        let inspected = engine.asked().iter().filter(|request| request.contains("/containers/b")).count();
        assert_eq!(inspected, 0);
        report(&format!("{count} running, none idle for long: {took} ms"));
    }
}

#[test]
fn f24_a_thousand_boxes_are_listed_with_one_request_each() {
    for count in [10, 100, 1000] {
        let engine = FakeEngine::new((1, 41), move |request| reply(request, count, count.min(RUNNING)));
        let before = Instant::now();
        let (output, took) = sshbox(&engine, "30m", "list --json");
        assert_eq!(entries(&output).len(), count, "{output:?} {:?}", before.elapsed());
        let of_state = |state: &str| entries(&output).iter().filter(|one| one["state"] == state).count();
        assert_eq!(of_state("stopped"), count.saturating_sub(RUNNING));
        let inspected = engine.asked().iter().filter(|request| request.contains("/containers/b")).count();
        assert_eq!(inspected, count);
        report(&format!("{count} listed, {} of them running: {took} ms", count.min(RUNNING)));
    }
}
