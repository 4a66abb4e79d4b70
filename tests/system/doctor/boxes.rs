//! Checks of boxes: start, image, network, and the container engine.

use super::{check, mode, traces};
use crate::harness::{Changed, Undo, run, until, user_without, world_alone};
use crate::network::rules_left_alone;
use std::net::TcpListener;
use std::process::{Command, Stdio};

#[test]
fn a_login_that_cannot_start_a_box() {
    let _world = world_alone();
    {
        let _mode = mode("/run/sshbox/wake.sock", 0o600);
        check("wake-socket").says("fail", "with mode 0600", "systemctl restart sshbox-wake.socket");
    }
    {
        let (socket, aside) = ("/run/sshbox/wake.sock", "/run/sshbox/wake.aside");
        std::fs::rename(socket, aside).unwrap();
        let _back = Undo(|| std::fs::rename(aside, socket).unwrap());
        check("login").says("fail", "(ref ", "journalctl --grep");
        check("sftp").says("skip", "see check login", "");
    }
    let _mode = mode("/usr/lib/sshbox/sshbox-keys", 0o644);
    check("login").says("fail", "Permission denied", "journalctl -t sshbox-keys");
    assert_eq!(traces(), "");
}

#[test]
fn an_image_that_is_missing_or_has_no_sftp_server() {
    let world = world_alone();
    {
        let _changed = Changed::config("image = \"sshbox-user:latest\"", "image = \"nowhere:1\"");
        check("image").says("fail", "nowhere:1 is not on this host", "packaging/image/build");
        check("login").says("fail", "(ref ", "");
    }
    user_without("doctored", "/usr/lib/openssh/sftp-server", &world);
    let _changed = Changed::config("image = \"sshbox-user:latest\"", "image = \"without-doctored:1\"");
    check("sftp").says("fail", "", "openssh-sftp-server");
}

#[test]
fn a_network_on_which_boxes_reach_each_other() {
    let _world = world_alone();
    {
        run("docker", &["network", "create", "sshbox-open"]);
        let _gone = Undo(|| drop(run("docker", &["network", "rm", "sshbox-open"])));
        let _changed = Changed::config("network = \"sshbox0\"", "network = \"sshbox-open\"");
        check("network").says(
            "fail",
            "sshbox-open lets boxes reach each other",
            "enable_icc=false sshbox-open",
        );
        check("isolation").says("fail", "a box reaches another box", "see check network");
    }
    let _changed = Changed::config("network = \"sshbox0\"", "network = \"sshbox-new\"");
    check("network").says("fail", "it is not filtered", "box.network = \"sshbox0\"");
}

#[test]
fn a13_network_rules_that_are_missing_are_loaded_by_fix() {
    let _world = world_alone();
    let _alone = rules_left_alone();
    run("nft", &["delete", "table", "inet", "sshbox"]);
    check("network-rules").says("fail", "nft flush ruleset", "sshbox network apply");
    let found = super::run_doctor(&["--fix", "network-rules"]).0.remove(0);
    assert_eq!((&*found.state, &*found.fixed), ("warn", "sshbox network apply"), "{found:?}");
    check("network").says("ok", "sshbox0", "");
}

#[test]
fn services_of_the_host_that_a_box_can_reach() {
    let _world = world_alone();
    // Docker's bridge has an address of this host. On a network that is not filtered, boxes reach services on it.
    let network = ["network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "sshbox-apart"];
    run("docker", &network);
    let _removed = Undo(|| drop(run("docker", &["network", "rm", "sshbox-apart"])));
    let changed = Changed::config("network = \"sshbox0\"", "network = \"sshbox-apart\"");
    let service = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = service.local_addr().unwrap().port().to_string();
    run("ip", &["address", "add", "169.254.169.254/32", "dev", "lo"]);
    let _gone = Undo(|| drop(run("ip", &["address", "del", "169.254.169.254/32", "dev", "lo"])));
    let _metadata = TcpListener::bind("169.254.169.254:80").unwrap();
    let found = check("isolation");
    assert!(found.seen.split_whitespace().any(|word| word == port), "{port}: {found:?}");
    found.says("fail", "the metadata service at 169.254.169.254", "network-rules");
    drop(changed);
    check("isolation").says("ok", "the host's open ports", "");
}

#[test]
fn an_engine_that_does_not_run_hangs_or_stops_boxes_when_it_ends() {
    let _world = world_alone();
    let answers = || {
        Command::new("docker")
            .arg("version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    {
        run("tests/system/engine", &["freeze"]);
        let _back = Undo(|| drop(run("tests/system/engine", &["thaw"])));
        check("docker").says("fail", "did not answer at /run/docker.sock in time", "journalctl -u docker");
    }
    run("tests/system/engine", &["stop"]);
    {
        let _back = Undo(move || {
            run("tests/system/engine", &["start-mortal"]);
            until("dockerd replies", answers);
        });
        until("dockerd has ended", || !answers());
        check("docker").says("fail", "cannot reach the engine at /run/docker.sock", "systemctl start docker");
        check("live-restore").says("skip", "see check docker", "");
    }
    check("live-restore").says("warn", "off", "\"live-restore\": true");
    run("tests/system/engine", &["stop"]);
    run("tests/system/engine", &["start"]);
    until("dockerd replies", answers);
    check("live-restore").says("ok", "", "");
}
