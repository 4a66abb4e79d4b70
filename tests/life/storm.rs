//! A storm of kills: SIGKILL ends the client, the sshd of its connection or `sshbox-shell`, at any moment of a
//! session, with and without a terminal. Some seconds later exactly the detached programs are left.
//!
//! Each detached program creates a file in the home once it is independent of its session. Every program that has
//! created its file must survive.

use crate::harness::{Changed, Running, User, beside, signal, until, world_alone};
use crate::numbers::{
    ContainerCleanup, Random, command_line, is_named, number_from_env, parent_of, processes_named, report,
    session_processes, sshd_listener,
};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Number of boxes in which sessions are killed at the same time, one session each.
const USERS: usize = 6;

/// Promised time after which nothing may be left, and the time allowed on a busy machine.
const PROMISED: Duration = Duration::from_secs(5);
const ALLOWED: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    LoggingIn,
    Starting,
    Running,
    Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Client,
    Sshd,
    Shell,
}

/// One planned kill: the phase of the session, the victim, and the delay in milliseconds.
#[derive(Clone, Copy, Debug)]
struct KillPlan {
    number: usize,
    terminal: bool,
    phase: Phase,
    victim: Victim,
    delay: u64,
}

impl KillPlan {
    fn of(seed: u64, number: usize) -> Self {
        let mut random = Random(seed ^ (number as u64) << 32);
        let phases = [Phase::LoggingIn, Phase::Starting, Phase::Running, Phase::Ending];
        let victims = [Victim::Client, Victim::Sshd, Victim::Shell];
        let phase = phases[usize::try_from(random.below(4)).unwrap()];
        let delay = match phase {
            Phase::LoggingIn => random.below(500),
            Phase::Starting => random.below(40),
            Phase::Running => random.below(300),
            Phase::Ending => 100 + random.below(400),
        };
        let victim = victims[usize::try_from(random.below(3)).unwrap()];
        Self { number, terminal: number.is_multiple_of(2), phase, victim, delay }
    }

    /// A script that starts all kinds of programs, with and without signal handlers. Each command line contains the
    /// number of the session. Files report the progress: `s-` and `n-` that a program is detached, `b-` that all
    /// programs run, `e-` that the session ends by itself, so that its background programs may stay.
    fn script(self) -> String {
        let n = format!("{:06}", self.number);
        let last = match self.phase {
            Phase::Ending => format!("sleep 0.3; echo > e-{n}; exit 0"),
            _ => format!("exec sleep 14{n}"),
        };
        format!(
            "cd ~/storm
             setsid sh -c 'echo > s-{n}; exec sleep 20{n}' </dev/null >/dev/null 2>&1 &
             nohup sh -c 'echo > n-{n}; exec sleep 30{n}' </dev/null >/dev/null 2>&1 &
             sleep 11{n} & (sleep 12{n} & exec sleep 13{n}) &
             bash -c 'trap \"\" TERM INT; trap : HUP; while :; do sleep 0.7{n}; done' &
             until [ -e s-{n} ] && [ -e n-{n} ]; do sleep 0.02; done
             echo > b-{n}; {last}"
        )
    }
}

/// Classification of a program in a box.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ProgramKind {
    /// Detached from this session by `setsid` (`s`) or `nohup` (`n`).
    Detached(char, usize),
    /// Belongs to this session and must end with it.
    Attached(usize),
    Unknown(String),
}

impl ProgramKind {
    fn of(line: &str) -> Self {
        for (method, mark) in [('s', "sleep 20"), ('n', "sleep 30")] {
            let number = line.rsplit_once(mark).filter(|_| !line.contains("until ")).map(|(_, rest)| rest);
            if let Some(Ok(number)) = number.map(str::parse) {
                return Self::Detached(method, number);
            }
        }
        let digits: Vec<&str> =
            line.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() >= 6).collect();
        match digits.last().map(|digits| digits[digits.len() - 6..].parse()) {
            Some(Ok(number)) => Self::Attached(number),
            _ => Self::Unknown(line.to_owned()),
        }
    }
}

/// Outcome of one kill.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum KillOutcome {
    Killed(Victim),
    /// The session had already ended.
    TooLate,
}

#[test]
fn p8_f18_f19_many_kills_leave_detached_programs_and_nothing_else() {
    let _world = world_alone();
    let kills = number_from_env("SSHBOX_KILLS", 240);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = number_from_env("SSHBOX_SEED", usize::try_from(now).unwrap()) as u64;
    report(&format!("storm: {kills} kills, SSHBOX_SEED={seed}"));
    // Detached programs stay until the end of the test, so boxes need a higher pids limit.
    let _pids = Changed::config("pids = 512", "pids = 4096");
    let names: Vec<String> = (0..USERS).map(|n| format!("storm{n}")).collect();
    let users: Vec<User> = User::many(&names).into_iter().map(|(user, _)| user).collect();
    let _boxes = ContainerCleanup(users.clone());
    for user in &users {
        user.says("mkdir ~/storm");
    }
    let inits: Vec<i32> = users.iter().map(|user| user.box_processes()[0]).collect();
    let open_fds = |init: i32| fs::read_dir(format!("/proc/{init}/fd")).unwrap().count();
    let before: Vec<usize> = inits.iter().copied().map(open_fds).collect();

    assert_leftovers_are_detected(&users[0], inits[0], kills);
    let outcomes = Mutex::new(BTreeMap::new());
    let began = Instant::now();
    thread::scope(|scope| {
        for (first, user) in users.iter().enumerate() {
            let outcomes = &outcomes;
            scope.spawn(move || {
                for plan in (first..kills).step_by(USERS).map(|number| KillPlan::of(seed, number)) {
                    let outcome = run_and_kill(user, plan);
                    *outcomes.lock().unwrap().entry((plan.phase, outcome)).or_insert(0) += 1;
                }
            });
        }
    });
    let last = Instant::now();
    report(&format!("storm: {} s; {:?}", began.elapsed().as_secs(), outcomes.lock().unwrap()));

    // The search itself takes time on a busy machine. `looked` is its start: what it does not find had ended by then.
    let (looked, left) = loop {
        let looked = last.elapsed();
        let left: Vec<String> =
            users.iter().zip(&inits).flat_map(|(user, init)| leftovers(user, *init)).collect();
        let host: Vec<String> = session_processes().into_iter().map(command_line).collect();
        if (left.is_empty() && host.is_empty()) || looked > ALLOWED {
            assert!(host.is_empty(), "left on the host: {host:?}");
            break (looked, left);
        }
        thread::sleep(Duration::from_millis(100));
    };
    assert!(left.is_empty(), "{} processes are left: {left:?}", left.len());
    let late = if looked > PROMISED { ", which is late" } else { "" };
    report(&format!("storm: 0 left {:.1} s after the last kill{late}", looked.as_secs_f32()));

    let (mut alive, mut finished_sessions) = (0, 0);
    for ((user, init), before) in users.iter().zip(inits).zip(before) {
        let (detached, attached) = programs_in_box(init);
        assert_eq!(
            detached,
            reported(user, &['s', 'n']),
            "{}: running detached, reported detached",
            user.name
        );
        alive += detached.len();
        finished_sessions += attached.len();
        until("the init has closed its file descriptors", || open_fds(init) == before);
    }
    report(&format!(
        "storm: {alive} detached programs run, all that had reported; {finished_sessions} sessions had ended by themselves before and kept their background programs"
    ));
    assert!(alive > kills / 2, "only {alive} were detached: the kills come too early to prove anything");
    assert_eq!(users[0].says("echo in"), "in\n");
}

/// Checks that `leftovers` detects programs at all: a running session consists of leftovers only, and its end
/// leaves none.
fn assert_leftovers_are_detected(user: &User, init: i32, number: usize) {
    let plan = KillPlan { number, terminal: false, phase: Phase::Running, victim: Victim::Client, delay: 0 };
    let mut client = user.ssh().begin(&[&plan.script()]);
    until("all kinds of programs run", || {
        leftovers(user, init).len() == 6 && programs_in_box(init).0.len() == 2
    });
    assert!(session_processes().len() >= 3, "fewer than two sshd processes and sshbox-shell");
    client.kill();
    until("all attached programs have ended", || {
        leftovers(user, init).is_empty() && session_processes().is_empty()
    });
}

/// Runs one session and kills it.
fn run_and_kill(user: &User, plan: KillPlan) -> KillOutcome {
    let options: &[&str] = if plan.terminal { &["-tt"] } else { &[] };
    let mut client = user.ssh().args(options).begin(&[&plan.script()]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let began = format!("{}/storm/b-{:06}", user.home(), plan.number);
    match plan.phase {
        Phase::LoggingIn => {}
        Phase::Starting => {
            while Instant::now() < deadline && client.over().is_none() && shell_of(&client).is_none() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        Phase::Running | Phase::Ending => {
            while Instant::now() < deadline && client.over().is_none() && !Path::new(&began).exists() {
                thread::sleep(Duration::from_millis(10));
            }
            assert!(Path::new(&began).exists(), "{plan:?} does not start");
        }
    }
    thread::sleep(Duration::from_millis(plan.delay));
    let outcome = kill(user, &mut client, plan.victim);
    // The client notices the end of its session, unless it was killed itself. A kill that does not end the
    // connection, such as one of half an sshd during login, ends with the client below.
    let give_up = Instant::now() + Duration::from_secs(10);
    while client.over().is_none() && Instant::now() < give_up {
        thread::sleep(Duration::from_millis(10));
    }
    drop(client);
    outcome
}

fn kill(user: &User, client: &mut Running, victim: Victim) -> KillOutcome {
    let killed = |pid: Option<i32>| {
        // The process may have ended after it was found.
        pid.is_some_and(|pid| {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).is_ok()
        })
    };
    if client.over().is_some() {
        return KillOutcome::TooLate;
    }
    let hit = match victim {
        Victim::Client => false,
        Victim::Sshd => {
            let connection = connection_of(client);
            let own = user.host_processes();
            // After authentication, the process with the user's uid serves the session.
            killed(connection.iter().copied().find(|pid| own.contains(pid)).or(connection.first().copied()))
        }
        Victim::Shell => killed(shell_of(client)),
    };
    if hit {
        return KillOutcome::Killed(victim);
    }
    // Kill the client also if the planned victim does not exist yet or has just ended.
    signal(client.pid(), Signal::SIGKILL);
    KillOutcome::Killed(Victim::Client)
}

/// The sshd processes of a client's connection, found by the connection's two ends in `/proc/net/tcp`.
fn connection_of(client: &Running) -> Vec<i32> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
    let sockets = sockets(client.pid());
    let Some(client_end) = rows.iter().find(|row| sockets.contains(row[9])) else {
        return Vec::new();
    };
    let server_end =
        rows.iter().find(|row| port(row[1]) == port(client_end[2]) && port(row[2]) == port(client_end[1]));
    let Some(server_inode) = server_end.map(|row| row[9].to_owned()) else {
        return Vec::new();
    };
    let holds = |pid: &i32| self::sockets(*pid).contains(&server_inode);
    processes_named("sshd").into_iter().filter(|pid| *pid != sshd_listener()).filter(holds).collect()
}

/// Inodes of the sockets that a process holds.
fn sockets(pid: i32) -> BTreeSet<String> {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return BTreeSet::new();
    };
    let links = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()?.into_os_string().into_string().ok());
    links.filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

/// The `sshbox-shell` of a client's connection.
fn shell_of(client: &Running) -> Option<i32> {
    let shells = processes_named("sshbox-shell");
    if shells.is_empty() {
        return None;
    }
    let connection = connection_of(client);
    shells.into_iter().find(|pid| parent_of(*pid).is_some_and(|parent| connection.contains(&parent)))
}

/// Detached programs in a box, and the sessions of all attached ones.
fn programs_in_box(init: i32) -> (BTreeSet<(char, usize)>, BTreeSet<usize>) {
    let (mut detached, mut attached) = (BTreeSet::new(), BTreeSet::new());
    for pid in beside(init) {
        match ProgramKind::of(&command_line(pid)) {
            ProgramKind::Detached(method, number) => drop(detached.insert((method, number))),
            ProgramKind::Attached(number) => drop(attached.insert(number)),
            ProgramKind::Unknown(_) => {}
        }
    }
    (detached, attached)
}

/// What the sessions have reported by files of these kinds in the home.
fn reported(user: &User, kinds: &[char]) -> BTreeSet<(char, usize)> {
    let files = fs::read_dir(format!("{}/storm", user.home())).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| Some((name.chars().next()?, name.get(2..)?.parse().ok()?)))
        .filter(|(kind, _)| kinds.contains(kind))
        .collect()
}

/// Programs that must have ended: all except detached ones, and except background programs of a session that
/// has ended by itself.
fn leftovers(user: &User, init: i32) -> Vec<String> {
    let ended = reported(user, &['e']);
    let programs = beside(init).into_iter();
    // A zombie has no command line.
    let lines = programs.map(|pid| (pid, command_line(pid))).filter(|(_, line)| !line.is_empty());
    lines
        .filter(|(_, line)| match ProgramKind::of(line) {
            ProgramKind::Detached(..) => false,
            ProgramKind::Attached(number) => !ended.contains(&('e', number)),
            ProgramKind::Unknown(_) => true,
        })
        .map(|(pid, line)| format!("{}: {pid}: {line}", user.name))
        .collect()
}

#[test]
fn command_lines_of_the_storm_are_classified_correctly() {
    for (line, kind) in [
        ("sleep 20000017", ProgramKind::Detached('s', 17)),
        ("sh -c echo > n-000017; exec sleep 30000017", ProgramKind::Detached('n', 17)),
        ("sleep 14000017", ProgramKind::Attached(17)),
        ("sleep 0.7000017", ProgramKind::Attached(17)),
        ("sleep 0.02", ProgramKind::Unknown("sleep 0.02".to_owned())),
    ] {
        assert_eq!(ProgramKind::of(line), kind);
    }
    let script = KillPlan::of(1, 17).script();
    assert_eq!(ProgramKind::of(&format!("bash -c {script}")), ProgramKind::Attached(17));
    assert!(!is_named(std::process::id().try_into().unwrap(), "sshd"));
}
