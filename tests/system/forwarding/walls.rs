//! No connection is in the network of the host, whatever the state of its box and the configuration of sshd.

use super::{Canary, INSIDE, serve, through};
use crate::harness::{
    Changed, SSHD_CONFIG, Undo, User, free_port, journal, private_world, processes, run, status_of, text,
    until, world_alone,
};
use std::fs;
use std::process::Command;

/// The network namespace of this process.
fn namespace_of(pid: &str) -> Option<String> {
    Some(fs::read_link(format!("/proc/{pid}/ns/net")).ok()?.to_str()?.to_owned())
}

/// The addresses of the host that a box or a connection could try.
pub fn addresses_of_the_host() -> Vec<String> {
    let bridges = run("ip", &["-4", "-o", "addr", "show"]);
    let addresses = bridges.split_whitespace().filter_map(|word| word.split_once('/'));
    let mut all: Vec<String> = addresses
        .filter(|(address, length)| address.contains('.') && length.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|(address, _)| address.to_owned())
        .collect();
    all.push("localhost".to_owned());
    assert!(all.len() > 1, "{bridges}");
    all
}

/// Tries to reach the canary from a connection of this user.
fn knocks(user: &User, canary: &Canary, state: &str) {
    for address in addresses_of_the_host() {
        let target = format!("{address}:{}", canary.port);
        let output = through(user.ssh().args(&["-o", "ConnectTimeout=60"]), &target);
        // The login worked; otherwise nothing would be shown.
        let failed = text(&output.stderr).contains("stdio forwarding failed");
        assert!(failed && output.stdout.is_empty(), "{state}: {target}: {output:?}");
    }
    canary.assert_not_reached(state);
}

/// The sshd is as open as its configuration allows.
pub fn hostile_sshd() {
    let mut open = fs::read_to_string(SSHD_CONFIG).unwrap();
    for (line, instead) in [
        ("GatewayPorts no", "GatewayPorts yes"),
        ("AllowStreamLocalForwarding no", "DisableForwarding no\nPermitOpen any\nPermitListen any"),
    ] {
        assert!(open.contains(line), "{line}");
        open = open.replace(line, instead);
    }
    fs::write(SSHD_CONFIG, open).unwrap();
    run("packaging/demo/without-systemd", &["reload"]);
}

#[test]
fn a6_the_host_is_not_reached_in_any_state_of_the_box() {
    let _world = private_world();
    let canary = Canary::new();
    let user = User::new("knocks");
    hostile_sshd();
    until("sshd listens again", || user.ssh().status("true") == 0);
    knocks(&user, &canary, "running");
    for (state, words) in [
        ("stopped", &["stop", "-t", "0"][..]),
        ("killed", &["kill"]),
        ("paused", &["pause"]),
        ("removed", &["rm", "-f"]),
    ] {
        run("docker", &[words, &[&user.container()]].concat());
        knocks(&user, &canary, state);
        user.ssh().status("true");
    }
    // An image that does not exist: the box cannot start, and the session tells why.
    run("docker", &["rm", "-f", &user.container()]);
    {
        let _config = Changed::config("image = \"sshbox-user:latest\"", "image = \"nowhere:1\"");
        knocks(&user, &canary, "no image");
        assert_eq!(user.ssh().status("true"), 69);
    }
    // No service that starts boxes.
    let wake = fs::read_to_string("/run/sshbox-by-hand/wake.pid").unwrap();
    run("kill", &["-KILL", wake.split(' ').next().unwrap()]);
    knocks(&user, &canary, "without sshbox-wake");
}

#[test]
fn a6_a_configuration_that_could_forward_without_the_module_is_refused() {
    let _world = private_world();
    let canary = Canary::new();
    let user = User::new("walled-by-sshd");
    user.says("true");
    let shipped = fs::read_to_string(SSHD_CONFIG).unwrap();
    let without = shipped.replace("UsePAM yes", "UsePAM no");
    // As shipped by the release before the module.
    let earlier = without.replace("AllowTcpForwarding yes", "DisableForwarding yes");
    assert!(without != shipped && earlier != without);
    let reload = |config: &str| {
        fs::write(SSHD_CONFIG, config).unwrap();
        Command::new("packaging/demo/without-systemd").arg("reload").output().unwrap()
    };
    let again = format!("{earlier}\nMatch User walled-by-sshd\n    DisableForwarding no\n");
    for config in [&without, &again] {
        let refused = reload(config);
        let error = text(&refused.stderr);
        assert!(!refused.status.success() && error.contains("Set UsePAM yes"), "{error}");
    }
    let accepted = reload(&earlier);
    assert!(accepted.status.success(), "{accepted:?}");
    until("sshd listens again", || user.ssh().status("true") == 0);
    knocks(&user, &canary, "without the module");
}

#[test]
fn a6_the_host_is_not_reached_while_the_engine_hangs_or_is_gone() {
    let _world = world_alone();
    let canary = Canary::new();
    let (warm, cold) = (User::new("knocks-warm"), User::new("knocks-cold"));
    warm.says("true");
    {
        run("tests/system/engine", &["freeze"]);
        let _back = Undo(|| drop(run("tests/system/engine", &["thaw"])));
        for user in [&warm, &cold] {
            let output = through(user.ssh(), &format!("127.0.0.1:{}", canary.port));
            assert!(output.stdout.is_empty(), "{output:?}");
        }
        canary.assert_not_reached("the engine hangs");
    }
    {
        run("tests/system/engine", &["kill"]);
        let _back = Undo(|| {
            run("tests/system/engine", &["start"]);
            until("the engine replies", || {
                Command::new("docker").arg("info").output().unwrap().status.success()
            });
        });
        // A running box needs no engine.
        let port = free_port();
        let _server = serve(&warm, "127.0.0.1", port);
        assert_eq!(text(&through(warm.ssh(), &format!("127.0.0.1:{port}")).stdout), INSIDE);
        knocks(&warm, &canary, "the engine is gone");
        let output = through(cold.ssh(), &format!("127.0.0.1:{}", canary.port));
        assert!(output.stdout.is_empty(), "{output:?}");
        canary.assert_not_reached("the engine is gone and the box does not run");
    }
}

#[test]
fn a6_without_the_right_to_change_the_network_no_connection_works() {
    let _world = private_world();
    let canary = Canary::new();
    let user = User::new("walled");
    user.says("true");
    // The next sshd lacks the capability, as in a unit that was changed.
    let unit = "/usr/lib/systemd/system/sshbox-sshd.service";
    let changed = fs::read_to_string(unit).unwrap().replace(" CAP_SYS_ADMIN\n", "\n");
    let own = "/run/sshbox-tests/walled.service";
    fs::write(own, changed).unwrap();
    run("mount", &["--bind", own, unit]);
    run("packaging/demo/without-systemd", &["stop"]);
    run("packaging/demo/without-systemd", &["wake", "/run/sshbox-tests/walled.sock"]);
    run("packaging/demo/without-systemd", &["listen"]);
    let output = user.ssh().run("echo in");
    assert_eq!(
        (output.status.code(), text(&output.stdout).contains("in\n")),
        (Some(254), false),
        "{output:?}"
    );
    knocks(&user, &canary, "without CAP_SYS_ADMIN");
}

#[test]
fn a6_each_sshd_of_a_connection_is_in_the_network_of_the_box_or_in_none() {
    let _world = private_world();
    let user = User::new("taken-along");
    let host = namespace_of("self").unwrap();
    let servers = || {
        let is_server = |pid: &i32| {
            let name = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            text(&name).contains(": taken-along")
        };
        processes().into_iter().filter(is_server).collect::<Vec<_>>()
    };
    let networks = || {
        let networks: Vec<_> = servers().iter().filter_map(|pid| namespace_of(&pid.to_string())).collect();
        assert!(networks.len() >= 2 && !networks.contains(&host), "{networks:?}");
        networks
    };
    let mut client = user.ssh().begin(&["echo up; exec sleep 300"]);
    assert_eq!(client.line(), "up");
    let init = user.inspect("{{.State.Pid}}");
    let boxed = namespace_of(&init).unwrap();
    assert!(networks().iter().all(|network| *network == boxed), "{boxed}");
    // sshbox-shell inherits no descriptor of the module, and so does no program in the box.
    let shells = user.host_processes();
    let shell =
        shells.iter().find(|pid| status_of(**pid, "Name:").is_some_and(|name| name == "sshbox-shell"));
    let opened = fs::read_dir(format!("/proc/{}/fd", shell.unwrap())).unwrap();
    let opened: Vec<_> =
        opened.map(|fd| fs::read_link(fd.unwrap().path()).unwrap().display().to_string()).collect();
    let unexpected = |link: &&String| {
        !["pipe:", "socket:", "/dev/null"].iter().any(|known| link.starts_with(known))
            && !link.ends_with("/live.lock")
    };
    assert_eq!(opened.iter().filter(unexpected).count(), 0, "{opened:?}");
    assert_eq!(opened.iter().filter(|link| link.ends_with("/live.lock")).count(), 1, "{opened:?}");
    assert_eq!(user.says("ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ");
    client.kill();
    until("the connection has ended", || servers().is_empty());
    // Without forwarding, there is no network at all.
    let _config = Changed::config("enabled = true", "enabled = false");
    let mut client = user.ssh().begin(&["echo up; exec sleep 300"]);
    assert_eq!(client.line(), "up");
    assert!(networks().iter().all(|network| *network != boxed));
    let refused = through(user.ssh(), "127.0.0.1:22");
    assert!(text(&refused.stderr).contains("stdio forwarding failed"), "{refused:?}");
    assert!(journal().contains("refused local port forward: "));
    assert!(user.says("@help").contains("(-L, -R, -D, -W) are not forwarded: your admin"));
    client.kill();
}
