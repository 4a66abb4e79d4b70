//! All users come from one address, and so does an attacker who opens connections that never log in. Without
//! `listen.trusted_proxies` nobody gets in; with it, almost everybody does, at once.

use crate::harness::{CONFIG, Undo, User, run, until, world_alone};
use crate::numbers::{number_from_env, report, sshd_listener};
use std::collections::VecDeque;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Time between two connections of the attacker: 20 in a second.
const ATTACK: Duration = Duration::from_millis(50);

/// How long the attacker keeps a connection: longer than sshd does.
const HELD: usize = 35 * 20;

/// Users who log in, and how many of them in a second.
const USERS: usize = 60;
const PER_SECOND: u32 = 5;

/// How long the attack lasts before the first user comes: longer than sshd gives a connection to log in.
const BEFORE: Duration = Duration::from_secs(25);

/// How fast a login must be.
const FAST: Duration = Duration::from_secs(5);

/// The attacker; dropping this ends the attack.
struct Attack<'a>(&'a AtomicBool);

impl Drop for Attack<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens connections that never log in: one half says nothing, the other half begins the protocol, for which sshd
/// starts a second process. `opened` counts those that sshd has taken, as far as it tells: it sends its version.
fn attack(over: &AtomicBool, opened: &AtomicUsize) {
    let address = SocketAddr::from(([127, 0, 0, 1], 2200));
    let mut held = VecDeque::new();
    let mut next = Instant::now();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            if number % 2 == 0 {
                // sshd may have closed it already.
                let _ = stream.write_all(b"SSH-2.0-attacker\r\n");
            }
            held.push_back(stream);
        }
        if held.len() > HELD {
            held.pop_front();
        }
        if number % 20 == 0 {
            let taken = held.iter_mut().map(is_open).filter(|open| *open).count();
            opened.store(taken, Ordering::Relaxed);
        }
        next += ATTACK;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Whether sshd still holds the other end.
fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// How long a login took, if it succeeded.
fn login(user: &User) -> Option<Duration> {
    let began = Instant::now();
    let output = user.ssh().args(&["-o", "ConnectTimeout=20"]).run("@help");
    (output.status.success() && !output.stdout.is_empty()).then(|| began.elapsed())
}

/// The logins of these users under attack, `PER_SECOND` a second: the time of each first try that succeeded, and
/// which try did.
fn logins(users: &[User], tries: usize) -> Vec<(Option<Duration>, Option<usize>)> {
    let begin = Instant::now();
    thread::scope(|scope| {
        let running: Vec<_> = users
            .iter()
            .zip(0..)
            .map(|(user, number)| {
                scope.spawn(move || {
                    let at = begin + Duration::from_secs(1) * number / PER_SECOND;
                    thread::sleep(at.saturating_duration_since(Instant::now()));
                    let first = login(user);
                    let again = || {
                        (2..=tries).find(|_| {
                            thread::sleep(Duration::from_secs(1));
                            login(user).is_some()
                        })
                    };
                    (first, if first.is_some() { Some(1) } else { again() })
                })
            })
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn reload() {
    run("packaging/demo/without-systemd", &["reload"]);
    let listener = sshd_listener();
    until("sshd listens again", || {
        TcpStream::connect(("127.0.0.1", 2200)).is_ok() && sshd_listener() == listener
    });
}

#[test]
fn a17_behind_one_address_users_get_in_while_it_is_flooded() {
    let _world = world_alone();
    let count = number_from_env("SSHBOX_PROXIED", USERS);
    let names: Vec<String> = (0..count).map(|number| format!("proxied-{number}")).collect();
    let users: Vec<User> = User::many(&names).into_iter().map(|(user, _)| user).collect();
    let before = fs::read_to_string(CONFIG).unwrap();
    // Otherwise each login starts a box, and hundreds of them at once measure the container engine.
    let base = before.replace("\nenabled = true\n", "\nenabled = false\n");
    assert_ne!(base, before);
    fs::write(CONFIG, &base).unwrap();
    assert!(login(&users[0]).is_some());
    // Also when the test fails; after the attack.
    let _undone = Undo(|| {
        fs::write(CONFIG, &before).unwrap();
        reload();
    });

    let over = AtomicBool::new(false);
    let opened = AtomicUsize::new(0);
    let refused = thread::scope(|scope| {
        let _attack = Attack(&over);
        scope.spawn(|| attack(&over, &opened));
        until("the attacker has all places of its address", || opened.load(Ordering::Relaxed) >= 100);
        logins(&users[..10], 1).iter().filter(|(first, _)| first.is_none()).count()
    });
    report(&format!("proxied: without trusted_proxies {refused} of 10 first logins refused"));
    assert!(refused > 5, "the attack shows nothing");

    fs::write(CONFIG, base.replace("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1\"]")).unwrap();
    reload();
    over.store(false, Ordering::Relaxed);
    let tried = thread::scope(|scope| {
        let _attack = Attack(&over);
        scope.spawn(|| attack(&over, &opened));
        thread::sleep(BEFORE);
        let tried = logins(&users, 3);
        report(&format!("proxied: the attacker has {} connections", opened.load(Ordering::Relaxed)));
        tried
    });
    let mut times: Vec<_> = tried.iter().filter_map(|(first, _)| *first).collect();
    times.sort_unstable();
    let fast = times.iter().filter(|time| **time <= FAST).count();
    let within_three = tried.iter().filter(|(_, which)| which.is_some()).count();
    report(&format!(
        "proxied: with it, {fast} of {count} first logins within {} s, all tries {within_three}; median {} ms, slowest {} ms",
        FAST.as_secs(),
        times.get(times.len() / 2).map_or(0, Duration::as_millis),
        times.last().map_or(0, Duration::as_millis)
    ));
    assert!(opened.load(Ordering::Relaxed) > 300, "the attack shows nothing");
    assert!(fast * 100 >= count * 95, "{tried:?}");
    assert_eq!(within_three, count);
    // sshd's and our lines name the proxy, not a client.
    run("journalctl", &["--sync"]);
    let entries = run("journalctl", &["--quiet", "--output=cat", "SSHBOX_USER=proxied-1"]);
    let last = entries.lines().rfind(|line| line.starts_with("login accepted")).unwrap();
    assert!(last.contains("proxy=\"127.0.0.1\"") && !last.contains("address="), "{last}");
}
