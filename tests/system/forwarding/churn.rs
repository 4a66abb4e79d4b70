//! Connections that forward while all around the box changes: none of them reaches the host.

use super::walls::{addresses_of_the_host, hostile_sshd};
use super::{Canary, INSIDE, ask, server, through};
use crate::harness::{SSHD_CONFIG, Undo, User, free_port, run, text, until, world_alone};
use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Connections at a time.
const AT_ONCE: usize = 6;

/// What happens in turn. The box may be in any state: some of the commands fail.
const CHANGES: [&str; 8] = [
    "docker restart -t 0 $BOX",
    "pgrep -x sshbox-wake | xargs -r kill -KILL",
    "docker kill $BOX",
    "docker pause $BOX",
    "sshbox restart often",
    "docker rm -f $BOX",
    "sshbox stop often",
    "tests/system/engine kill; tests/system/engine start; until docker info; do sleep 0.1; done",
];

/// A connection that forwards in one of the ways. Returns what came through it.
fn forwards(user: &User, way: usize, target: &str) -> String {
    let local = free_port();
    if way == 0 {
        return text(&through(user.ssh(), target).stdout);
    }
    let options = match way {
        1 => ["-L".to_owned(), format!("{local}:{target}")],
        2 => ["-D".to_owned(), local.to_string()],
        // The host must not listen, whatever the client asks for.
        _ => ["-R".to_owned(), format!("*:{local}:127.0.0.1:1")],
    };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut client = user.ssh().args(&options).args(&["-v", "-N"]).begin(&[]);
    // The client's own port, or the one that must not be there.
    let mut came = String::new();
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(50));
        if TcpStream::connect(("127.0.0.1", local)).is_ok() {
            came = match way {
                2 => through_socks(local, target),
                _ => ask(local, "GET / HTTP/1.0\r\n\r\n"),
            };
            break;
        }
    }
    client.kill();
    came
}

fn through_socks(local: u16, target: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-m", "20", "--socks5", &format!("127.0.0.1:{local}"), &format!("telnet://{target}")]);
    text(&curl.stdin(Stdio::null()).output().unwrap().stdout)
}

#[test]
fn a6_the_host_is_not_reached_while_the_box_starts_and_stops() {
    let _world = world_alone();
    let canary = Canary::new();
    let user = User::new("often");
    let shipped = fs::read_to_string(SSHD_CONFIG).unwrap();
    let _back = Undo(move || {
        fs::write(SSHD_CONFIG, &shipped).unwrap();
        run("packaging/demo/without-systemd", &["reload"]);
        until("the engine replies", || Command::new("docker").arg("info").output().unwrap().status.success());
    });
    hostile_sshd();
    until("sshd listens again", || user.ssh().status("true") == 0);
    let number: usize = std::env::var("SSHBOX_CONNECTIONS").map_or(48, |number| number.parse().unwrap());
    // Those of the canary, and what listens on the host by itself: the web app and two servers of SSH.
    let addresses = addresses_of_the_host().into_iter().chain(["[::1]".to_owned()]);
    let canaries = addresses.map(|address| format!("{address}:{}", canary.port));
    let servers = [8000, 22, 2200].map(|port| format!("127.0.0.1:{port}"));
    let targets: Vec<String> = canaries.chain(servers).collect();
    let done = AtomicBool::new(false);
    let server = format!("setsid -f {} >/dev/null 2>&1 </dev/null", server("::", canary.port));
    let outcomes: Vec<String> = thread::scope(|scope| {
        scope.spawn(|| {
            for change in CHANGES.iter().cycle() {
                // It may fail, as all else here.
                let _ = user.ssh().args(&["-o", "ConnectTimeout=10"]).run(&server);
                thread::sleep(Duration::from_millis(700));
                if done.load(Ordering::SeqCst) {
                    break;
                }
                let mut shell = Command::new("sh");
                let _ = shell.args(["-c", change]).env("BOX", user.container()).output();
            }
        });
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|client| {
                let (user, targets) = (&user, &targets);
                scope.spawn(move || {
                    let once = |round: usize| {
                        let turn = round * AT_ONCE + client;
                        forwards(user, round % 4, &targets[turn % targets.len()])
                    };
                    (0..number / AT_ONCE).map(once).collect::<Vec<_>>()
                })
            })
            .collect();
        let outcomes = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        done.store(true, Ordering::SeqCst);
        outcomes
    });
    canary.assert_not_reached("the box starts and stops");
    let inside = outcomes.iter().filter(|came| *came == INSIDE).count();
    let nothing = outcomes.iter().filter(|came| came.is_empty()).count();
    assert_eq!(inside + nothing, outcomes.len(), "{outcomes:?}");
    // Otherwise none could have reached anything.
    assert!(inside > 0, "no connection forwarded");
    eprintln!(
        "system: forwards: {} connections, {inside} reached the box, 0 reached the host",
        outcomes.len()
    );
}
