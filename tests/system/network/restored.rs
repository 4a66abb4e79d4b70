//! The rules stay, whatever other programs do to the host's firewall, or come back.

use super::rules_left_alone;
use crate::harness::{Undo, User, alice, journal, run, to_the_end, until, world_alone};
use serde_json::Value;
use std::process::Command;

fn show() -> Value {
    serde_json::from_str(&run("sshbox", &["network", "show", "--json"])).unwrap()
}

fn apply() -> String {
    run("sshbox", &["network", "apply"]).lines().next().unwrap().to_owned()
}

/// Ends the engine and starts it again, which brings back its own rules, when this is dropped.
fn restarts_engine(end: &'static str) -> Undo<impl Fn()> {
    Undo(move || {
        run("tests/system/engine", &[end]);
        run("tests/system/engine", &["start"]);
        until("the engine answers", || Command::new("docker").arg("info").output().unwrap().status.success());
    })
}

/// Whether a box reaches sshd on the host.
fn reaches_host(user: &User) -> bool {
    let gateway = "{{range .IPAM.Config}}{{.Gateway}} {{end}}";
    let gateway = run("docker", &["network", "inspect", "--format", gateway, "sshbox0"]);
    let script = format!("timeout 2 bash -c 'exec 3<>/dev/tcp/{}/2200' 2>/dev/null", gateway.trim());
    user.ssh().status(&script) == 0
}

#[test]
fn a13_rules_that_are_removed_or_changed_are_noticed_and_loaded_again() {
    let _world = world_alone();
    let user = alice();
    assert_eq!(apply(), "the rules are loaded");
    assert_eq!(show()["state"], "loaded");
    assert!(!reaches_host(&user));
    let alone = rules_left_alone();
    let restored = || show()["restored"].as_u64().unwrap();
    let before = restored();
    for (command, state, said) in [
        ("nft delete table inet sshbox", "missing", "the rules were missing; loaded them again"),
        (
            "nft flush chain inet sshbox input",
            "changed",
            "another program had changed the rules; loaded them again",
        ),
        (
            "nft insert rule inet sshbox open accept",
            "changed",
            "another program had changed the rules; loaded them again",
        ),
    ] {
        run("sh", &["-c", command]);
        assert_eq!(show()["state"], state, "{command}");
        assert_eq!(apply(), said, "{command}");
        assert_eq!(show()["state"], "loaded");
        assert!(!reaches_host(&user), "{command}");
    }
    assert_eq!(restored(), before + 3);
    let found = to_the_end(
        {
            let mut doctor = Command::new("sshbox");
            doctor.args(["doctor", "network-rules"]);
            doctor
        },
        Vec::new(),
    );
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains("they were changed at") && found.contains("warn"), "{found}");
    let entries = journal();
    assert!(entries.contains("network rules restored reason=\"missing\""), "{entries}");
    // The service without systemd, like the timer, does it by itself.
    let engine = restarts_engine("stop");
    run("nft", &["flush", "ruleset"]);
    drop(alone);
    until("the rules are back", || show()["state"] == "loaded");
    // The flush also removed the engine's rules.
    drop(engine);
    assert!(!reaches_host(&user));
}

#[test]
fn a13_other_firewalls_and_the_engine_do_not_touch_the_rules() {
    let _world = world_alone();
    let user = alice();
    assert_eq!(apply(), "the rules are loaded");
    let engine = restarts_engine("kill");
    // What ufw and firewalld do with iptables when they are reloaded.
    run("sh", &["-c", "iptables -F && iptables -X 2>/dev/null; iptables -t nat -F; ip6tables -F; true"]);
    assert_eq!(show()["state"], "loaded");
    assert!(!reaches_host(&user));
    drop(engine);
    assert_eq!(show()["state"], "loaded");
    assert!(!reaches_host(&user));
    assert_eq!(apply(), "the rules are loaded");
}

#[test]
fn a13_rules_that_cannot_be_loaded_are_reported_and_no_box_starts() {
    let _world = world_alone();
    let restore = Undo(|| drop(run("sshbox", &["network", "apply"])));
    run("mount", &["--bind", "/bin/false", "/usr/sbin/nft"]);
    let back = Undo(|| drop(run("umount", &["/usr/sbin/nft"])));
    let output = Command::new("sshbox").args(["network", "apply"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("boxes do not start until the rules are loaded"), "{said}");
    assert!(journal().contains("network rules failed"));
    drop(back);
    drop(restore);
    assert_eq!(show()["state"], "loaded");
}
