//! A thousand sessions in a row leave no file descriptor, memory, process or file behind, in the box or on the
//! host.

use crate::harness::{Running, User, run, status_of, until, world_alone};
use crate::numbers::{ContainerCleanup, number_from_env, report, session_processes, sshd_listener};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::Instant;

/// Number of connections; each has its sessions one after the other.
const CONNECTIONS: usize = 4;

/// Number of sessions before the first measurement: what is created once, on first use, exists by then.
const WARM_UP: usize = 200;

/// Number of resources in use, which must not change.
#[derive(Debug, PartialEq, Eq)]
struct Resources {
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

/// Memory in KiB. Each value may grow by [`GROWTH`].
#[derive(Debug)]
struct Memory {
    init_rss: u64,
    init_pss: u64,
    /// Maximum over the sshd processes that serve the connections.
    connection_rss: u64,
    connection_pss: u64,
    listener_rss: u64,
}

/// Allowed growth in KiB: some pages that were not touched before, but not an amount per session.
const GROWTH: u64 = 256;

#[test]
fn f20_a_thousand_sessions_leave_nothing_behind() {
    let _world = world_alone();
    let count = number_from_env("SSHBOX_FLAT", 1000);
    let user = User::new("unvarying");
    let _box = ContainerCleanup(vec![user.clone()]);
    user.says("true");
    let controls: Vec<String> = (0..CONNECTIONS).map(|n| format!("/tmp/steady-{n}")).collect();
    let _connections: Vec<Running> = controls.iter().map(|control| user.connects(control)).collect();
    let wait_for_end = || {
        // The last processes of a vanished client are killed two seconds later.
        until("all sessions have ended", || {
            user.box_processes().len() == 1 && session_processes().len() == 2 * CONNECTIONS
        });
    };
    run_sessions(&user, &controls, WARM_UP);
    wait_for_end();
    let (resources, memory) = (Resources::of(&user), Memory::of(&user));
    // Each connection holds its slot, and the lock that sessions share.
    assert_eq!(resources.locks_held, 2 * CONNECTIONS);
    let began = Instant::now();
    run_sessions(&user, &controls, count);
    wait_for_end();
    let took = began.elapsed();
    let (resources_after, memory_after) = (Resources::of(&user), Memory::of(&user));
    report(&format!("flat: {count} sessions in {} s", took.as_secs()));
    report(&format!("flat: before {resources:?} {memory:?}"));
    report(&format!("flat: after  {resources_after:?} {memory_after:?}"));
    assert_eq!(resources, resources_after);
    for (name, before, after) in [
        ("init RSS", memory.init_rss, memory_after.init_rss),
        ("init PSS", memory.init_pss, memory_after.init_pss),
        ("connection RSS", memory.connection_rss, memory_after.connection_rss),
        ("connection PSS", memory.connection_pss, memory_after.connection_pss),
        ("listener RSS", memory.listener_rss, memory_after.listener_rss),
    ] {
        assert!(after <= before + GROWTH, "{name} grew from {before} to {after} KiB");
    }
}

/// Runs sessions of all kinds, one after the other on each connection.
fn run_sessions(user: &User, controls: &[String], count: usize) {
    thread::scope(|scope| {
        for (first, control) in controls.iter().enumerate() {
            scope.spawn(move || {
                for number in (first..count).step_by(controls.len()) {
                    run_session(user, control, number);
                }
            });
        }
    });
}

fn run_session(user: &User, control: &str, number: usize) {
    let ssh = || user.ssh_over(control);
    // Each connection goes through all kinds of sessions.
    match (number / CONNECTIONS + 4) % 5 {
        0 => assert_eq!(ssh().run(&format!("echo {number}")).stdout, format!("{number}\n").as_bytes()),
        1 => {
            let output = ssh().args(&["-tt"]).run(&format!("echo {number}"));
            // A client without a local terminal sends no terminal modes.
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
        // On a connection of its own, which ends with the client, and with it all its processes.
        _ if number % 50 < CONNECTIONS => {
            kill_client(user.ssh().begin(&["echo began; sleep 600 & sleep 600"]));
        }
        // On a shared connection sshd only closes input and output.
        _ => kill_client(ssh().begin(&["echo began; cat >/dev/null"])),
    }
}

fn kill_client(mut client: Running) {
    assert_eq!(client.line(), "began");
    client.kill();
}

fn entries(path: &str) -> usize {
    fs::read_dir(path).unwrap_or_else(|error| panic!("{path}: {error}")).count()
}

/// Number of files and directories below this path.
fn entries_below(path: &Path) -> usize {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| 1 + if entry.file_type().unwrap().is_dir() { entries_below(&entry.path()) } else { 0 })
        .sum()
}

/// Number of locks held on the user's files. `/proc/locks` names files by inode.
fn locks_held() -> usize {
    let files = fs::read_dir("/run/sshbox/users/unvarying").unwrap();
    let inodes: Vec<String> =
        files.map(|file| format!(":{} ", file.unwrap().metadata().unwrap().ino())).collect();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().filter(|lock| inodes.iter().any(|inode| lock.contains(inode))).count()
}

/// The sshd processes of the connections to sshbox's sshd.
fn connections() -> Vec<i32> {
    let mut pids: Vec<i32> = session_processes();
    pids.sort_unstable();
    pids
}

impl Resources {
    fn of(user: &User) -> Self {
        let in_box = user.box_processes();
        let init = in_box[0];
        let mut sshd_fds: Vec<usize> = connections()
            .into_iter()
            .chain([sshd_listener()])
            .map(|pid| entries(&format!("/proc/{pid}/fd")))
            .collect();
        sshd_fds.sort_unstable();
        Self {
            box_processes: in_box.len(),
            box_terminals: entries(&format!("/proc/{init}/root/dev/pts")),
            init_fds: entries(&format!("/proc/{init}/fd")),
            init_threads: status_of(init, "Threads").unwrap(),
            host_processes: session_processes().len(),
            host_terminals: entries("/dev/pts"),
            sshd_fds,
            run_entries: entries_below(Path::new("/run/sshbox")),
            cache_entries: entries_below(Path::new("/var/cache/sshbox")),
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
            listener_rss: rss(sshd_listener()),
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
