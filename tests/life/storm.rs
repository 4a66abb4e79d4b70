//! A storm of kills: at any moment of a session, with and without a terminal, the client, the
//! sshd of its connection or `sshbox-shell` dies of SIGKILL. What is left seconds later is what
//! the sessions had detached, all of it and nothing else.
//!
//! Detached programs say so themselves, in a file in the home, once nothing ties them to their
//! session any more; who has said so must live.

use crate::harness::{Changed, Running, User, beside, signal, until, world_alone};
use crate::numbers::{
    Boxes, Chance, command_line, is_named, length, named, of_sessions, parent_of, sshd, tell,
};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Boxes that have sessions killed at the same time, one each.
const USERS: usize = 6;

/// Seconds after which nothing may be left, as promised; and what a busy machine gets.
const PROMISED: Duration = Duration::from_secs(5);
const ALLOWED: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    LoggingIn,
    Beginning,
    Running,
    Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Client,
    Sshd,
    Shell,
}

/// One kill: when, whom, and after how many milliseconds.
#[derive(Clone, Copy, Debug)]
struct Plan {
    number: usize,
    terminal: bool,
    phase: Phase,
    victim: Victim,
    delay: u64,
}

impl Plan {
    fn of(seed: u64, number: usize) -> Self {
        let mut chance = Chance(seed ^ (number as u64) << 32);
        let phases = [Phase::LoggingIn, Phase::Beginning, Phase::Running, Phase::Ending];
        let victims = [Victim::Client, Victim::Sshd, Victim::Shell];
        let phase = phases[usize::try_from(chance.below(4)).unwrap()];
        let delay = match phase {
            Phase::LoggingIn => chance.below(500),
            Phase::Beginning => chance.below(40),
            Phase::Running => chance.below(300),
            Phase::Ending => 100 + chance.below(400),
        };
        let victim = victims[usize::try_from(chance.below(3)).unwrap()];
        Self { number, terminal: number.is_multiple_of(2), phase, victim, delay }
    }

    /// Programs of every kind of stubbornness; the number of the session is in each command
    /// line. `s-` and `n-` say that something is detached, `b-` that all has begun, `e-` that
    /// the session ends by itself, so that what is in its background may stay.
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

/// What a program in a box is to the storm.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// By `setsid` or `nohup` of this session.
    Detached(char, usize),
    /// Of this session, and tied to it.
    Tied(usize),
    Unknown(String),
}

impl Kind {
    fn of(line: &str) -> Self {
        for (way, mark) in [('s', "sleep 20"), ('n', "sleep 30")] {
            let number = line.rsplit_once(mark).filter(|_| !line.contains("until ")).map(|(_, rest)| rest);
            if let Some(Ok(number)) = number.map(str::parse) {
                return Self::Detached(way, number);
            }
        }
        let digits: Vec<&str> =
            line.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() >= 6).collect();
        match digits.last().map(|digits| digits[digits.len() - 6..].parse()) {
            Some(Ok(number)) => Self::Tied(number),
            _ => Self::Unknown(line.to_owned()),
        }
    }
}

/// What a kill came to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Struck(Victim),
    /// The session was over.
    Missed,
}

#[test]
fn p8_f18_f19_a_storm_of_kills_leaves_what_was_detached_and_nothing_else() {
    let _world = world_alone();
    let kills = length("SSHBOX_KILLS", 240);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = length("SSHBOX_SEED", usize::try_from(now).unwrap()) as u64;
    tell(&format!("storm: {kills} kills, SSHBOX_SEED={seed}"));
    // What was detached stays to the end, so boxes need places.
    let _pids = Changed::config("pids = 512", "pids = 4096");
    let names: Vec<String> = (0..USERS).map(|n| format!("storm{n}")).collect();
    let users: Vec<User> = User::many(&names).into_iter().map(|(user, _)| user).collect();
    let _boxes = Boxes(users.clone());
    for user in &users {
        user.says("mkdir ~/storm");
    }
    let inits: Vec<i32> = users.iter().map(|user| user.box_processes()[0]).collect();
    let files = |init: i32| fs::read_dir(format!("/proc/{init}/fd")).unwrap().count();
    let before: Vec<usize> = inits.iter().copied().map(files).collect();

    sees_what_is_left(&users[0], inits[0], kills);
    let blows = Mutex::new(BTreeMap::new());
    let began = Instant::now();
    thread::scope(|scope| {
        for (first, user) in users.iter().enumerate() {
            let blows = &blows;
            scope.spawn(move || {
                for plan in (first..kills).step_by(USERS).map(|number| Plan::of(seed, number)) {
                    let blow = storm(user, plan);
                    *blows.lock().unwrap().entry((plan.phase, blow)).or_insert(0) += 1;
                }
            });
        }
    });
    let last = Instant::now();
    tell(&format!("storm: {} s; {:?}", began.elapsed().as_secs(), blows.lock().unwrap()));

    // The look itself takes its time on a busy machine; what it does not find was gone before.
    let (looked, left) = loop {
        let looked = last.elapsed();
        let left: Vec<String> =
            users.iter().zip(&inits).flat_map(|(user, init)| leftovers(user, *init)).collect();
        let host: Vec<String> = of_sessions().into_iter().map(command_line).collect();
        if (left.is_empty() && host.is_empty()) || looked > ALLOWED {
            assert!(host.is_empty(), "left on the host: {host:?}");
            break (looked, left);
        }
        thread::sleep(Duration::from_millis(100));
    };
    assert!(left.is_empty(), "{} processes are left: {left:?}", left.len());
    let late = if looked > PROMISED { ", which is late" } else { "" };
    tell(&format!("storm: 0 left at a look {:.1} s after the last kill{late}", looked.as_secs_f32()));

    let (mut alive, mut stayed) = (0, 0);
    for ((user, init), before) in users.iter().zip(inits).zip(before) {
        let (detached, tied) = there(init);
        assert_eq!(detached, said(user, &['s', 'n']), "{}: detached and alive, detached as said", user.name);
        alive += detached.len();
        stayed += tied.len();
        until("the init has closed all", || files(init) == before);
    }
    tell(&format!(
        "storm: {alive} detached and alive, as many as said so; {stayed} sessions had ended by themselves first and kept their background"
    ));
    assert!(alive > kills / 2, "only {alive} were detached: the kills come too early to show anything");
    assert_eq!(users[0].says("echo in"), "in\n");
}

/// That what is looked for is seen at all: a session that lives is nothing but leftovers, and
/// its end leaves none.
fn sees_what_is_left(user: &User, init: i32, number: usize) {
    let plan = Plan { number, terminal: false, phase: Phase::Running, victim: Victim::Client, delay: 0 };
    let mut client = user.ssh().begin(&[&plan.script()]);
    until("all kinds of programs run", || leftovers(user, init).len() == 6 && there(init).0.len() == 2);
    assert!(of_sessions().len() >= 3, "sshd's two and sshbox-shell");
    client.kill();
    until("all that was tied has gone", || leftovers(user, init).is_empty() && of_sessions().is_empty());
}

/// One session and its end.
fn storm(user: &User, plan: Plan) -> Blow {
    let options: &[&str] = if plan.terminal { &["-tt"] } else { &[] };
    let mut client = user.ssh().args(options).begin(&[&plan.script()]);
    let until_then = Instant::now() + Duration::from_secs(60);
    let began = format!("{}/storm/b-{:06}", user.home(), plan.number);
    match plan.phase {
        Phase::LoggingIn => {}
        Phase::Beginning => {
            while Instant::now() < until_then && client.over().is_none() && shell_of(&client).is_none() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        Phase::Running | Phase::Ending => {
            while Instant::now() < until_then && client.over().is_none() && !Path::new(&began).exists() {
                thread::sleep(Duration::from_millis(10));
            }
            assert!(Path::new(&began).exists(), "{plan:?} does not begin");
        }
    }
    thread::sleep(Duration::from_millis(plan.delay));
    let blow = strike(user, &mut client, plan.victim);
    // It hears of the end of its session, if it is not the one that was struck. What does not
    // end a connection, such as half of an sshd that had only begun, ends with the client.
    let patience = Instant::now() + Duration::from_secs(10);
    while client.over().is_none() && Instant::now() < patience {
        thread::sleep(Duration::from_millis(10));
    }
    drop(client);
    blow
}

fn strike(user: &User, client: &mut Running, victim: Victim) -> Blow {
    let struck = |pid: Option<i32>| {
        // It may have ended between the look and the blow.
        pid.is_some_and(|pid| {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).is_ok()
        })
    };
    if client.over().is_some() {
        return Blow::Missed;
    }
    let hit = match victim {
        Victim::Client => false,
        Victim::Sshd => {
            let connection = connection_of(client);
            let own = user.host_processes();
            // Once the user is in, it is the one with the user's rights that has the session.
            struck(connection.iter().copied().find(|pid| own.contains(pid)).or(connection.first().copied()))
        }
        Victim::Shell => struck(shell_of(client)),
    };
    if hit {
        return Blow::Struck(victim);
    }
    // Also in place of one that has not come to be or has just gone.
    signal(client.pid(), Signal::SIGKILL);
    Blow::Struck(Victim::Client)
}

/// The sshd processes of a client's connection, found by the two ends of it.
fn connection_of(client: &Running) -> Vec<i32> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
    let sockets = sockets(client.pid());
    let Some(here) = rows.iter().find(|row| sockets.contains(row[9])) else {
        return Vec::new();
    };
    let there = rows.iter().find(|row| port(row[1]) == port(here[2]) && port(row[2]) == port(here[1]));
    let Some(there) = there.map(|row| row[9].to_owned()) else {
        return Vec::new();
    };
    let holds = |pid: &i32| self::sockets(*pid).contains(&there);
    named("sshd").into_iter().filter(|pid| *pid != sshd()).filter(holds).collect()
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
    let shells = named("sshbox-shell");
    if shells.is_empty() {
        return None;
    }
    let connection = connection_of(client);
    shells.into_iter().find(|pid| parent_of(*pid).is_some_and(|parent| connection.contains(&parent)))
}

/// What is detached in a box, and the sessions of everything else.
fn there(init: i32) -> (BTreeSet<(char, usize)>, BTreeSet<usize>) {
    let (mut detached, mut tied) = (BTreeSet::new(), BTreeSet::new());
    for pid in beside(init) {
        match Kind::of(&command_line(pid)) {
            Kind::Detached(way, number) => drop(detached.insert((way, number))),
            Kind::Tied(number) => drop(tied.insert(number)),
            Kind::Unknown(_) => {}
        }
    }
    (detached, tied)
}

/// What the files of these kinds in the home say.
fn said(user: &User, kinds: &[char]) -> BTreeSet<(char, usize)> {
    let files = fs::read_dir(format!("{}/storm", user.home())).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names
        .filter_map(|name| Some((name.chars().next()?, name.get(2..)?.parse().ok()?)))
        .filter(|(kind, _)| kinds.contains(kind))
        .collect()
}

/// What must not be there: all but the detached, and but the background of a session that had
/// come to its own end.
fn leftovers(user: &User, init: i32) -> Vec<String> {
    let ended = said(user, &['e']);
    let others = beside(init).into_iter();
    // One that has ended and is not yet buried has no command line.
    let lines = others.map(|pid| (pid, command_line(pid))).filter(|(_, line)| !line.is_empty());
    lines
        .filter(|(_, line)| match Kind::of(line) {
            Kind::Detached(..) => false,
            Kind::Tied(number) => !ended.contains(&('e', number)),
            Kind::Unknown(_) => true,
        })
        .map(|(pid, line)| format!("{}: {pid}: {line}", user.name))
        .collect()
}

#[test]
fn what_the_storm_sees_it_names_rightly() {
    for (line, kind) in [
        ("sleep 20000017", Kind::Detached('s', 17)),
        ("sh -c echo > n-000017; exec sleep 30000017", Kind::Detached('n', 17)),
        ("sleep 14000017", Kind::Tied(17)),
        ("sleep 0.7000017", Kind::Tied(17)),
        ("sleep 0.02", Kind::Unknown("sleep 0.02".to_owned())),
    ] {
        assert_eq!(Kind::of(line), kind);
    }
    let script = Plan::of(1, 17).script();
    assert_eq!(Kind::of(&format!("bash -c {script}")), Kind::Tied(17));
    assert!(!is_named(std::process::id().try_into().unwrap(), "sshd"));
}
