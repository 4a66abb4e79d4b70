//! A17: a user who floods sshd with input that no program reads. sshbox's sshd runs in a cgroup with the memory limit
//! of the kind that its unit sets (`MemoryMax=`): the kernel ends connections of the flood, and those of others go on.

use crate::harness::{Running, Undo, User, status_of, text, until, world_alone};
use crate::numbers::{ContainerCleanup, is_named, report, restart_sshd, session_processes, sshd_listener};
use nix::sys::signal::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Memory of all connections. A whole server has more; the flood only takes longer there.
const LIMIT: u64 = 256 << 20;

/// Channels of a connection of the flood: as many as sshd allows (`MaxSessions`).
const CHANNELS: usize = 32;

/// Connections of one user: sessions of both are its cap (`limits.sessions`), so a third would add nothing.
const CONNECTIONS: usize = 2;

/// Users who flood, each up to its cap. Together they would need twice the limit.
const FLOODERS: [&str; 4] = ["floods-1", "floods-2", "floods-3", "floods-4"];

/// Channels that an editor has on one connection.
const EDITOR: usize = 20;

/// A memory cgroup of this test, of version 1 or 2.
struct MemoryCgroup(PathBuf);

impl MemoryCgroup {
    fn new() -> Self {
        // Named after the world, which removes what is left there.
        let name = format!("{}-sshd", std::env::var("SSHBOX_WORLD_NAME").unwrap());
        let root = Path::new("/sys/fs/cgroup");
        let (mount, limit) = if root.join("memory").exists() {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            (root.to_owned(), "memory.max")
        };
        let path = mount.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join(limit), LIMIT.to_string()).unwrap();
        Self(path)
    }

    fn takes(&self, pid: i32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// Processes that the kernel has ended for want of memory.
    fn kills(&self) -> u64 {
        let read = |file: &str| fs::read_to_string(self.0.join(file)).ok();
        let events = read("memory.oom_control").or_else(|| read("memory.events")).unwrap();
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.unwrap().trim().parse().unwrap()
    }
}

/// Memory in KiB that only the processes of sshd with this id use, of a connection's two.
fn memory_of_sshd() -> u64 {
    let of = |pid: i32| status_of(pid, "RssAnon")?.strip_suffix(" kB")?.parse::<u64>().ok();
    session_processes().into_iter().filter(|pid| is_named(*pid, "sshd")).filter_map(of).sum()
}

/// A connection with channels whose programs read no input.
struct Flood {
    connection: Running,
    channels: Vec<Running>,
}

impl Flood {
    fn begin(user: &User, number: usize, count: usize) -> Self {
        let control = format!("/tmp/flood-{number}");
        let _ = fs::remove_file(&control);
        let connection = user.connects(&control);
        let channels = (0..count).map(|_| user.ssh_over(&control).begin(&["exec sleep 600"])).collect();
        Self { connection, channels }
    }

    fn stuffs(&mut self) -> usize {
        thread::scope(|scope| {
            let stuffing: Vec<_> = self
                .channels
                .iter_mut()
                .map(|channel| scope.spawn(|| channel.stuff(8 << 20, Duration::from_secs(2))))
                .collect();
            stuffing.into_iter().map(|one| one.join().unwrap()).sum()
        })
    }
}

#[test]
fn a17_who_floods_sshd_loses_connections_and_nobody_else_does() {
    let _world = world_alone();
    let (flooders, other) = (FLOODERS.map(User::new), User::new("stays"));
    let _boxes = ContainerCleanup(flooders.iter().chain([&other]).cloned().collect());
    for user in flooders.iter().chain([&other]) {
        user.says("true");
    }
    let cgroup = MemoryCgroup::new();
    restart_sshd(Signal::SIGTERM);
    // After this test, a listener without a limit.
    let _unlimited = Undo(|| restart_sshd(Signal::SIGTERM));
    let listener = sshd_listener();
    cgroup.takes(listener);

    let mut terminal = other.ssh().terminal(24, 80, &[]);
    terminal.shows("$ ");
    let mut reads = other.ssh().begin(&["echo began; while read line; do echo got $line; done"]);
    assert_eq!(reads.line(), "began");
    let (processes, memory) = (session_processes().len(), memory_of_sshd());
    report(&format!("sshd memory: {memory} KiB for two sessions"));

    // An editor's channels, all of which work.
    let mut editor = Flood::begin(&other, 100, 0);
    editor.channels =
        (0..EDITOR).map(|_| other.ssh_over("/tmp/flood-100").begin(&["read x; echo $x"])).collect();
    for (n, mut channel) in editor.channels.into_iter().enumerate() {
        channel.write(format!("{n}\n").as_bytes());
        assert_eq!(channel.line(), n.to_string());
        assert_eq!(channel.wait(), 0);
    }
    editor.connection.kill();
    until("the connection has ended", || session_processes().len() == processes);

    let mut floods: Vec<Flood> = Vec::new();
    let (began, mut sizes) = (Instant::now(), Vec::new());
    for flooder in &flooders {
        for _ in 0..CONNECTIONS {
            let before = memory_of_sshd();
            let mut flood = Flood::begin(flooder, floods.len(), CHANNELS);
            let taken = flood.stuffs();
            sizes.push((memory_of_sshd().saturating_sub(before) / 1024, taken >> 20));
            floods.push(flood);
            // Others do not notice, at the limit either.
            assert_eq!(other.says("echo in"), "in\n");
        }
        if cgroup.kills() > 0 {
            break;
        }
    }
    assert!(floods.len() > CONNECTIONS, "one user alone reaches the limit: {sizes:?}");
    until("the kernel ends a connection of the flood", || {
        floods.iter_mut().any(|flood| flood.connection.over().is_some())
    });
    report(&format!(
        "sshd memory: {CHANNELS} unread channels each, (MiB in sshd, MiB sent) {sizes:?}; {} of {} connections ended after {} s, {} kills",
        floods.iter_mut().filter_map(|flood| flood.connection.over()).count(),
        floods.len(),
        began.elapsed().as_secs(),
        cgroup.kills()
    ));
    assert_eq!(sshd_listener(), listener);
    assert!(status_of(listener, "State").is_some_and(|state| !state.starts_with('Z')));
    // The sessions of the other user go on.
    reads.write(b"a line\n");
    assert_eq!(reads.line(), "got a line");
    terminal.types("echo a$((1+1))b\r");
    terminal.shows("a2b");
    assert_eq!(other.says("echo in"), "in\n");
    // The user of the flood may log in again once it is over.
    drop(floods);
    let output = flooders[0].ssh().run("echo in");
    assert_eq!(text(&output.stdout), "in\n", "{output:?}");
    // For the largest connection sshd needs less than its comment says.
    assert!(sizes[0].0 > 10 && sizes[0].0 < 100, "{sizes:?}");
}
