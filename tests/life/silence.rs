//! Idle connections: suspended clients, and master connections without a session. They last as long as they must,
//! and sshd ends those whose client has vanished.

use crate::harness::{Changed, Ssh, Undo, User, run, until, world, world_alone};
use crate::numbers::{ContainerCleanup, number_from_env, report, restart_sshd};
use nix::sys::signal::Signal;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

const CONFIG: &str = "/etc/sshbox/sshd_config";

/// Source address of a client that will sleep.
const SLEEPER: &str = "127.0.0.44";

/// A client that will sleep. In batch mode Debian's client probes the server every 300 s and gives up after four
/// probes. A suspended client does not, so the probes are switched off.
fn sleeper(user: &User) -> Ssh {
    user.ssh().args(&["-b", SLEEPER, "-o", "ServerAliveInterval=0"])
}

/// Drops all packets from and to the sleeper until this is dropped: nothing is refused, nothing is answered.
fn asleep() -> Undo<impl Fn()> {
    let rules = |action: &str| {
        for side in ["--source", "--destination"] {
            run("iptables", &[action, "INPUT", "--protocol", "tcp", side, SLEEPER, "--jump", "DROP"]);
        }
    };
    rules("--insert");
    Undo(move || rules("--delete"))
}

/// A numeric setting of the shipped sshd configuration.
fn setting(name: &str) -> u64 {
    let text = fs::read_to_string(CONFIG).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
    line.parse().unwrap()
}

#[test]
fn a_sleeping_client_keeps_its_session_and_a_master_connection_outlives_its_last_session() {
    // Shared: only packets from and to this client's own address vanish.
    let _world = world();
    let user = User::new("lunch");
    let _box = ContainerCleanup(vec![user.clone()]);
    let time = Duration::from_secs(number_from_env("SSHBOX_SILENCE", 100) as u64);
    let control = "/tmp/lunch-master";
    let mut master = user.connects(control);
    assert_eq!(user.ssh_over(control).status("true"), 0);
    let mut session = sleeper(&user).begin(&["echo in; read line; echo $line"]);
    assert_eq!(session.line(), "in");
    {
        let _asleep = asleep();
        thread::sleep(time);
    }
    assert_eq!(user.ssh_over(control).status("true"), 0, "the master has lost its connection");
    assert_eq!(master.over(), None);
    session.write(b"awake\n");
    assert_eq!(session.line(), "awake");
    assert_eq!(session.wait(), 0);
    report(&format!("silence: a sleeper and a master without a session were still connected after {time:?}"));
}

/// Uses seconds in place of the shipped hours. sshd sends nothing to a client that is silent for less than the
/// interval, and ends the connection of a client that has vanished or that no session uses.
#[test]
fn a_silent_client_gets_no_probe_for_an_hour_and_a_vanished_one_is_disconnected() {
    let _world = world_alone();
    assert!(setting("ClientAliveInterval") >= 3600, "the first probe must not come sooner");
    assert_eq!(setting("ClientAliveCountMax"), 1);
    let user = User::new("absent");
    let _box = ContainerCleanup(vec![user.clone()]);
    user.says("true");
    let _back = Undo(|| restart_sshd(Signal::SIGTERM));
    let _alive = Changed::file(CONFIG, "ClientAliveInterval 3600", "ClientAliveInterval 6");
    let _unused = Changed::file(CONFIG, "UnusedConnectionTimeout 65m", "UnusedConnectionTimeout 7");
    restart_sshd(Signal::SIGTERM);

    let mut session = sleeper(&user).begin(&["while read line; do echo $line; done"]);
    session.write(b"one\n");
    assert_eq!(session.line(), "one");
    {
        let _asleep = asleep();
        thread::sleep(Duration::from_secs(4));
    }
    session.write(b"two\n");
    assert_eq!(session.line(), "two");
    // By default TCP gives up after 15 retransmissions, a quarter of an hour. Four take some seconds.
    let retries = "/proc/sys/net/ipv4/tcp_retries2";
    let before = fs::read_to_string(retries).unwrap();
    let _retries = Undo(|| fs::write(retries, &before).unwrap());
    fs::write(retries, "4").unwrap();
    let session_pids = user.host_processes();
    let _asleep = asleep();
    let cut = Instant::now();
    until("sshd ends the session of a client that has vanished", || {
        let left = user.host_processes();
        !session_pids.iter().any(|pid| left.contains(pid))
    });
    report(&format!("silence: with an interval of 6 s ended after {:.1} s", cut.elapsed().as_secs_f32()));
    assert!(cut.elapsed() >= Duration::from_secs(6), "sooner than the first probe: {:?}", cut.elapsed());

    // One connection that never has a session, and one whose last session ends.
    let (never_used, once_used) = ("/tmp/absent-never", "/tmp/absent-spent");
    let (mut first, mut second) = (user.connects(never_used), user.connects(once_used));
    let mut open = user.ssh_over(once_used).begin(&["echo in; read line"]);
    assert_eq!(open.line(), "in");
    until("sshd ends the connection that was never used", || first.over().is_some());
    // Longer than UnusedConnectionTimeout, but the connection has a session.
    thread::sleep(Duration::from_secs(9));
    assert_eq!(second.over(), None);
    open.write(b"\n");
    assert_eq!(open.wait(), 0);
    until("sshd ends the connection that is no longer used", || second.over().is_some());
}
