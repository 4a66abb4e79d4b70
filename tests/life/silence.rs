//! Idle connections: clients on a suspended machine, and multiplexing masters without a session. They survive an
//! hour of silence. sshd ends connections whose client is gone, and connections without a session.

use crate::harness::{Changed, Ssh, Undo, User, run, until, world, world_alone};
use crate::numbers::{ContainerCleanup, number_from_env, report, restart_sshd};
use nix::sys::signal::Signal;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

const CONFIG: &str = "/etc/sshbox/sshd_config";

/// Source address of the client whose machine is suspended: a network cut stands in for that.
const SLEEPER: &str = "127.0.0.44";

/// The client whose machine will be suspended. Its own keepalive probes are off, because a suspended client sends
/// none: with them, Debian's client would give up after 20 minutes.
fn sleeper(user: &User) -> Ssh {
    user.ssh().args(&["-b", SLEEPER, "-o", "ServerAliveInterval=0"])
}

/// Discards all packets from and to that client until the returned guard goes out of scope.
fn asleep() -> Undo<impl Fn()> {
    let rules = |action: &str| {
        for side in ["--source", "--destination"] {
            run("iptables", &[action, "INPUT", "--protocol", "tcp", side, SLEEPER, "--jump", "DROP"]);
        }
    };
    rules("--insert");
    Undo(move || rules("--delete"))
}

/// A number in the sshd configuration.
fn setting(name: &str) -> u64 {
    let text = fs::read_to_string(CONFIG).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
    line.parse().unwrap()
}

#[test]
fn a_sleeping_client_keeps_its_session_and_a_master_connection_outlives_its_last_session() {
    // The shared world is enough: only packets of this client's own address are discarded.
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

/// With seconds in place of the shipped hours: a client that is silent for less than the interval keeps its
/// session, a client that is gone loses it, and a connection without a session stays.
#[test]
fn the_first_probe_comes_after_an_hour_and_a_client_that_is_gone_is_disconnected() {
    let _world = world_alone();
    assert!(setting("ClientAliveInterval") >= 3600, "the first probe must not come sooner");
    assert_eq!(setting("ClientAliveCountMax"), 1);
    let user = User::new("absent");
    let _box = ContainerCleanup(vec![user.clone()]);
    user.says("true");
    let _back = Undo(|| restart_sshd(Signal::SIGTERM));
    let _alive = Changed::file(CONFIG, "ClientAliveInterval 3600", "ClientAliveInterval 6");
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
    // After the interval sshd sends a probe. TCP has to find that nobody acknowledges it, which by default takes 15
    // retransmissions, a quarter of an hour. Four take some seconds.
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

    // A connection that never has a session, and one whose last session has ended, stay while their client answers.
    let (never_used, once_used) = ("/tmp/absent-never-used", "/tmp/absent-once-used");
    let (mut never, mut once) = (user.connects(never_used), user.connects(once_used));
    assert_eq!(user.ssh_over(once_used).status("true"), 0);
    thread::sleep(Duration::from_secs(15));
    assert_eq!((never.over(), once.over()), (None, None));
    assert_eq!(user.ssh_over(never_used).status("true"), 0);
    // As when the user closes the laptop for good.
    never.kill();
    once.kill();
}
