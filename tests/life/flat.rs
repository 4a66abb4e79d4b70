//! Many in a row: a thousand sessions leave no descriptor, no memory, no process and no file
//! behind, in the box or on the host.

use crate::harness::{Running, User, run, status_of, until, world_alone};
use crate::numbers::{Boxes, length, of_sessions, sshd, tell};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::Instant;

/// Connections, each with one session after the other.
const CONNECTIONS: usize = 4;

/// Sessions before the first look: what is made once, at first need, is there by then.
const WARM: usize = 200;

/// What there is, of the things that must stay as they are.
#[derive(Debug, PartialEq, Eq)]
struct Things {
    box_processes: usize,
    box_terminals: usize,
    init_fds: usize,
    init_threads: String,
    host_processes: usize,
    host_terminals: usize,
    sshd_fds: Vec<usize>,
    run_entries: usize,
    cache_entries: usize,
    containers: usize,
    networks: usize,
    locks_held: usize,
}

/// Memory in KiB, of which each may grow a little.
#[derive(Debug)]
struct Memory {
    init_rss: u64,
    init_pss: u64,
    /// Of the sshd processes that serve the connections, the largest.
    connection_rss: u64,
    connection_pss: u64,
    listener_rss: u64,
}

/// How much of it may come, in KiB: a page or two that were not touched before, not a
/// piece for each session.
const GROWTH: u64 = 256;

#[test]
fn f20_a_thousand_sessions_leave_nothing_behind() {
    let _world = world_alone();
    let count = length("SSHBOX_FLAT", 1000);
    let user = User::new("steady");
    let _box = Boxes(vec![user.clone()]);
    user.says("true");
    let controls: Vec<String> = (0..CONNECTIONS).map(|n| format!("/tmp/steady-{n}")).collect();
    let _connections: Vec<Running> = controls.iter().map(|control| user.connects(control)).collect();
    let quiet = || {
        // The last remains of a vanished client are killed two seconds later.
        until("all sessions are over", || {
            user.box_processes().len() == 1 && of_sessions().len() == 2 * CONNECTIONS
        });
    };
    sessions(&user, &controls, WARM);
    quiet();
    let (things, memory) = (Things::of(&user), Memory::of(&user));
    assert_eq!(things.locks_held, 0);
    let began = Instant::now();
    sessions(&user, &controls, count);
    quiet();
    let took = began.elapsed();
    let (things_after, memory_after) = (Things::of(&user), Memory::of(&user));
    tell(&format!("flat: {count} sessions in {} s", took.as_secs()));
    tell(&format!("flat: before {things:?} {memory:?}"));
    tell(&format!("flat: after  {things_after:?} {memory_after:?}"));
    assert_eq!(things, things_after);
    for (what, before, after) in [
        ("init RSS", memory.init_rss, memory_after.init_rss),
        ("init PSS", memory.init_pss, memory_after.init_pss),
        ("connection RSS", memory.connection_rss, memory_after.connection_rss),
        ("connection PSS", memory.connection_pss, memory_after.connection_pss),
        ("listener RSS", memory.listener_rss, memory_after.listener_rss),
    ] {
        assert!(after <= before + GROWTH, "{what} grew from {before} to {after} KiB");
    }
}

/// So many sessions of all kinds, one after the other on each connection.
fn sessions(user: &User, controls: &[String], count: usize) {
    thread::scope(|scope| {
        for (first, control) in controls.iter().enumerate() {
            scope.spawn(move || {
                for number in (first..count).step_by(controls.len()) {
                    session(user, control, number);
                }
            });
        }
    });
}

fn session(user: &User, control: &str, number: usize) {
    let ssh = || user.ssh_over(control);
    // Connections take turns with the kinds, so that each has all of them.
    match (number / CONNECTIONS + 4) % 5 {
        0 => assert_eq!(ssh().run(&format!("echo {number}")).stdout, format!("{number}\n").as_bytes()),
        1 => {
            let output = ssh().args(&["-tt"]).run(&format!("echo {number}"));
            // Without a terminal of its own a client gives the one here no modes.
            assert_eq!(output.stdout.trim_ascii_end(), number.to_string().as_bytes());
        }
        2 => {
            let input = vec![b'x'; 100_000];
            assert_eq!(ssh().input(&input).run("cat").stdout, input);
        }
        3 => {
            let status = ssh().status("sleep 0.1 </dev/null >/dev/null 2>&1 & kill -TERM $$");
            assert_eq!(status, 255);
        }
        // With a connection of its own, which ends with it and takes all along.
        _ if number % 50 < CONNECTIONS => vanish(user.ssh().begin(&["echo began; sleep 600 & sleep 600"])),
        // On a shared one sshd ends its input and its output, no more.
        _ => vanish(ssh().begin(&["echo began; cat >/dev/null"])),
    }
}

fn vanish(mut client: Running) {
    assert_eq!(client.line(), "began");
    client.kill();
}

fn entries(path: &str) -> usize {
    fs::read_dir(path).unwrap_or_else(|error| panic!("{path}: {error}")).count()
}

/// Files and directories below.
fn below(path: &Path) -> usize {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| 1 + if entry.file_type().unwrap().is_dir() { below(&entry.path()) } else { 0 }).sum()
}

/// Locks on our own files; `proc_locks(5)` knows them by inode.
fn locks_held() -> usize {
    let of_user = fs::read_dir("/run/sshbox/users/steady").unwrap();
    let inodes: Vec<String> =
        of_user.map(|file| format!(":{} ", file.unwrap().metadata().unwrap().ino())).collect();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().filter(|lock| inodes.iter().any(|inode| lock.contains(inode))).count()
}

/// The sshd processes of our connections.
fn connections() -> Vec<i32> {
    let mut pids: Vec<i32> = of_sessions();
    pids.sort_unstable();
    pids
}

impl Things {
    fn of(user: &User) -> Self {
        let boxed = user.box_processes();
        let init = boxed[0];
        let mut sshd_fds: Vec<usize> = connections()
            .into_iter()
            .chain([sshd()])
            .map(|pid| entries(&format!("/proc/{pid}/fd")))
            .collect();
        sshd_fds.sort_unstable();
        Self {
            box_processes: boxed.len(),
            box_terminals: entries(&format!("/proc/{init}/root/dev/pts")),
            init_fds: entries(&format!("/proc/{init}/fd")),
            init_threads: status_of(init, "Threads").unwrap(),
            host_processes: of_sessions().len(),
            host_terminals: entries("/dev/pts"),
            sshd_fds,
            run_entries: below(Path::new("/run/sshbox")),
            cache_entries: below(Path::new("/var/cache/sshbox")),
            containers: run("docker", &["ps", "-aq"]).lines().count(),
            networks: run("docker", &["network", "ls", "-q"]).lines().count(),
            locks_held: locks_held(),
        }
    }
}

impl Memory {
    fn of(user: &User) -> Self {
        let init = user.box_processes()[0];
        let most = |measure: &dyn Fn(i32) -> u64| connections().into_iter().map(measure).max().unwrap();
        Self {
            init_rss: rss(init),
            init_pss: pss(init),
            connection_rss: most(&rss),
            connection_pss: most(&pss),
            listener_rss: rss(sshd()),
        }
    }
}

fn rss(pid: i32) -> u64 {
    kib(&status_of(pid, "VmRSS").unwrap())
}

fn pss(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    kib(rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap())
}

fn kib(text: &str) -> u64 {
    text.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap()
}
