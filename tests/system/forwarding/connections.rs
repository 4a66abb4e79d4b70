//! Connections are counted, keep the box running, and are closed when their user or key is removed.

use super::{INSIDE, read_from, serve, through};
use crate::harness::{
    Changed, Running, STATE, User, free_port, journal, manage, private_world, reap, run, text, until, world,
    world_alone,
};
use crate::site_settings::Site;
use serde_json::json;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// The open connections of this user, as the kernel counts them.
fn open_connections(user: &User) -> usize {
    let login = ::identity::Login::parse(user.name.as_bytes()).unwrap();
    let runtime_dir = ::session::presence::UserRuntimeDir::of(std::path::Path::new("/run/sshbox"), &login);
    runtime_dir.open_connections().unwrap_or_default()
}

/// A connection that forwards and has no session.
fn idle(user: &User, key: &str) -> Running {
    let before = open_connections(user);
    let forward = format!("{}:127.0.0.1:1", free_port());
    let client = user.ssh().key(key).args(&["-N", "-L", &forward]).begin(&[]);
    until("the connection is counted", || open_connections(user) > before);
    client
}

#[test]
fn a17_a_connection_beyond_the_limit_is_refused_with_the_reason() {
    let _world = private_world();
    let user = User::new("connects-often");
    let neighbour = User::new("connects-once");
    user.says("true");
    until("the first connection has ended", || open_connections(&user) == 0);
    let _config = Changed::config("\nconnections = 20\nshm = \"50%\"", "\nconnections = 2\nshm = \"50%\"");
    let mut clients = vec![idle(&user, "key"), idle(&user, "key")];
    // The harness keeps its clients from showing banners; users see them.
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
    ssh.args(["-o", "UserKnownHostsFile=/dev/null", "-i", &format!("{STATE}/key"), "-l", &user.name]);
    let port = fs::read_to_string("/etc/sshbox/sshd_config").unwrap();
    let port = port.lines().find_map(|line| line.strip_prefix("Port ")).unwrap();
    let refused = ssh.args(["-p", port, "127.0.0.1", "echo in"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(255), String::new()), "{refused:?}");
    let error = text(&refused.stderr);
    let wanted =
        "sshbox: you have 2 open connections, the most you may have; close some and log in again (ref ";
    assert!(error.contains(wanted), "{error}");
    assert!(journal().contains(r#"connection refused user="connects-often" reason="you have 2 open"#));
    assert_eq!(neighbour.says("echo in"), "in\n");
    clients.pop().unwrap().kill();
    until("there is room again", || open_connections(&user) == 1);
    assert_eq!(user.says("echo in"), "in\n");
    clients.pop().unwrap().kill();
}

#[test]
fn a_box_with_a_connection_is_kept_and_without_it_is_stopped() {
    let _world = world_alone();
    let user = User::new("tunnels");
    user.says("true");
    let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"1s\"");
    let mut client = idle(&user, "key");
    until("no session is open", || user.host_processes().len() == 1);
    thread::sleep(Duration::from_millis(1100));
    let kept = reap(&[]);
    assert!(text(&kept.stdout).contains("tunnels: kept: a connection is open"), "{kept:?}");
    client.kill();
    until("the connection has ended", || open_connections(&user) == 0);
    thread::sleep(Duration::from_millis(1100));
    let stopped = reap(&[]);
    assert!(text(&stopped.stdout).contains("tunnels: stopped: idle for "), "{stopped:?}");
}

#[test]
fn p14_a_removed_key_closes_a_connection_that_only_forwards() {
    let _world = world();
    let user = User::new("tunnels-rekeyed");
    let second = format!("{STATE}/second-tunnels-rekeyed");
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &second]);
    manage(&["sshbox_key", "add", &user.name, &format!("{second}.pub")]);
    user.says("true");
    until("the first connection has ended", || open_connections(&user) == 0);
    let (mut kept, closed) = (idle(&user, "key"), idle(&user, "second-tunnels-rekeyed"));
    manage(&["sshbox_key", "remove", &user.name, &format!("{second}.pub")]);
    run("/usr/sbin/sshbox", &["recheck", &user.name]);
    assert_eq!(closed.ends().status.code(), Some(255));
    until("one connection is left", || open_connections(&user) == 1);
    assert!(kept.writes(b""), "the other connection was closed");
    kept.kill();
}

#[test]
fn p14_a17_a_user_who_may_not_forward_is_told_and_each_connection_counts_without_a_box() {
    let _world = private_world();
    let site = Site::of("unforwarded");
    let user = &site.user;
    site.answers(&json!({"forward": false, "limits": {"connections": 2}}));
    // No box has run since boot, and these connections start none.
    let (mut first, second) = (idle(user, "key"), idle(user, "key"));
    assert_eq!(open_connections(user), 2);
    let refused = user.ssh().run("true");
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    assert!(journal().contains(r#"connection refused user="unforwarded" reason="you have 2 open"#));
    first.kill();
    until("there is room again", || open_connections(user) == 1);
    let refused = through(user.ssh(), "127.0.0.1:22");
    assert!(text(&refused.stderr).contains("stdio forwarding failed"), "{refused:?}");
    let help = user.says("@help");
    assert!(help.contains("are not forwarded: your admin or the web app does not allow it"), "{help}");
    assert_eq!(user.ssh().args(&["-A"]).run("echo \"<$SSH_AUTH_SOCK>\"").stdout, b"<>\n");
    // A refused user loses the connection, too.
    site.refuses();
    run("/usr/sbin/sshbox", &["recheck", &user.name]);
    assert_eq!(second.ends().status.code(), Some(255));
    until("no connection is left", || open_connections(user) == 0);
    run("docker", &["rm", "-f", &user.container()]);
}

#[test]
fn after_a_restart_of_the_box_a_new_connection_forwards() {
    let _world = world();
    let user = User::new("restarts-under");
    let (port, local) = (free_port(), free_port());
    let first = serve(&user, "127.0.0.1", port);
    let forward = format!("{local}:127.0.0.1:{port}");
    let mut client = user.ssh().args(&["-N", "-L", &forward]).begin(&[]);
    until("it forwards", || read_from(local) == INSIDE);
    let said = user.says("@restart");
    assert!(said.ends_with("reconnect to forward again\n"), "{said}");
    drop(first);
    let _server = serve(&user, "127.0.0.1", port);
    assert_eq!(read_from(local), "", "the old connection is still in the network of a box that has ended");
    let told =
        r#"forwarding unavailable user="restarts-under" reason="the box was stopped; open connections"#;
    assert!(journal().contains(told));
    client.kill();
    let mut client = user.ssh().args(&["-N", "-L", &forward]).begin(&[]);
    until("it forwards again", || read_from(local) == INSIDE);
    client.kill();
    assert!(!fs::read_to_string("/run/sshbox/users/restarts-under/network").unwrap().is_empty());
}
