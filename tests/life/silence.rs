//! Connections on which nothing happens: clients asleep, and masters without a session. What must last
//! does, and what is gone goes.

use crate::harness::{Changed, Ssh, Undo, User, run, until, world, world_alone};
use crate::numbers::{Boxes, length, restart_sshd, tell};
use nix::sys::signal::Signal;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

const CONFIG: &str = "/etc/sshbox/sshd_config";

/// From where a client comes that will sleep.
const SLEEPER: &str = "127.0.0.44";

/// A client that will sleep. Debian's asks the server every 300 s in batch mode and would give up after
/// four times; asleep it would not.
fn sleeper(user: &User) -> Ssh {
    user.ssh().args(&["-b", SLEEPER, "-o", "ServerAliveInterval=0"])
}

/// Packets from and to the sleeper vanish until this is dropped: nothing is refused, nothing answered.
fn asleep() -> Undo<impl Fn()> {
    let rules = |what: &str| {
        for side in ["--source", "--destination"] {
            run("iptables", &[what, "INPUT", "--protocol", "tcp", side, SLEEPER, "--jump", "DROP"]);
        }
    };
    rules("--insert");
    Undo(move || rules("--delete"))
}

/// A number of the shipped configuration.
fn setting(name: &str) -> u64 {
    let text = fs::read_to_string(CONFIG).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
    line.parse().unwrap()
}

#[test]
fn a_sleeping_client_finds_its_session_and_a_master_outlives_its_last_one() {
    // Shared: only packets from and to this client's own address vanish.
    let _world = world();
    let user = User::new("lunch");
    let _box = Boxes(vec![user.clone()]);
    let time = Duration::from_secs(length("SSHBOX_SILENCE", 100) as u64);
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
    tell(&format!("silence: a sleeper and a master without a session were there after {time:?}"));
}

/// The shipped hours as seconds: nothing is sent to a client that is silent for less than the interval,
/// and one that is gone goes, as does a connection that no session uses.
#[test]
fn a_silent_client_is_left_alone_for_an_hour_and_goes_in_the_end() {
    let _world = world_alone();
    assert!(setting("ClientAliveInterval") >= 3600, "the first probe must not come sooner");
    assert_eq!(setting("ClientAliveCountMax"), 1);
    let user = User::new("absent");
    let _box = Boxes(vec![user.clone()]);
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
    // TCP's quarter of an hour is 15 retransmissions; four of them take some seconds.
    let retries = "/proc/sys/net/ipv4/tcp_retries2";
    let before = fs::read_to_string(retries).unwrap();
    let _retries = Undo(|| fs::write(retries, &before).unwrap());
    fs::write(retries, "4").unwrap();
    let of_session = user.host_processes();
    let _asleep = asleep();
    let cut = Instant::now();
    until("sshd ends the session of a client that is gone", || {
        let left = user.host_processes();
        !of_session.iter().any(|pid| left.contains(pid))
    });
    tell(&format!("silence: with an interval of 6 s gone after {:.1} s", cut.elapsed().as_secs_f32()));
    assert!(cut.elapsed() >= Duration::from_secs(6), "sooner than the first probe: {:?}", cut.elapsed());

    // Never used, and used up.
    let (never, spent) = ("/tmp/absent-never", "/tmp/absent-spent");
    let (mut first, mut second) = (user.connects(never), user.connects(spent));
    let mut open = user.ssh_over(spent).begin(&["echo in; read line"]);
    assert_eq!(open.line(), "in");
    until("the one that was never used is ended", || first.over().is_some());
    // Longer than its time, but it has a session.
    thread::sleep(Duration::from_secs(9));
    assert_eq!(second.over(), None);
    open.write(b"\n");
    assert_eq!(open.wait(), 0);
    until("the one that is no longer used is ended", || second.over().is_some());
}
