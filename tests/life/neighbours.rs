//! A12, A17, A20: while one box takes all that it can get, another user logs in, opens a terminal, goes on with the
//! terminal that is open, and gets each line of `tail -f`. Afterwards the box of the attacker works too.
//!
//! `tests/attacks/attack.py` has the attacks. `SSHBOX_ATTACKS` names some of them, each of which then runs alone.

use crate::harness::{Changed, Running, Terminal, User, reap, run, text, until, world_alone};
use crate::numbers::{ContainerCleanup, report};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAM: &str = include_str!("../attacks/attack.py");

/// Attacks that run at the same time. The kernel counts what the second line takes for each user.
const ROUNDS: [&str; 8] = [
    "fork",
    "pty inflight timers inotify pipes mq keys epoll",
    "memory",
    "cpu",
    "fsync",
    "files",
    "connection",
    "lock",
];

/// What a neighbour does must work within this time: it works at all, on a machine whose processors are all taken.
const WORKS: Duration = Duration::from_secs(60);

/// Whether the line of an attack says that it took what the limits of a box leave it: less would be no attack.
fn took_its_share(line: &str) -> bool {
    let Some((name, figure)) = line.split_once(": ") else { return false };
    let floor = match name {
        // box.limits.ptys.
        "pty" => return figure.starts_with("256, "),
        // The filter refuses keys: none is right.
        "keys" => 0,
        "mq" => 9,
        "inflight" => 20,
        "inotify" => 100,
        "pipes" => 1_000,
        "timers" | "epoll" => 10_000,
        _ => return !figure.starts_with("ended"),
    };
    figure
        .split_once(", ")
        .and_then(|(count, _)| count.parse::<u64>().ok())
        .is_some_and(|count| count >= floor)
}

/// An attack that runs.
struct Attack<'a> {
    user: &'a User,
    session: Running,
    /// What it took.
    taken: Vec<String>,
}

impl<'a> Attack<'a> {
    fn begin(user: &'a User, names: &str) -> Self {
        let mut session = user.ssh().begin(&[&format!("exec python3 attack.py {names}")]);
        let taken: Vec<String> = names.split(' ').map(|_| session.line()).collect();
        let began = taken.iter().all(|line| took_its_share(line));
        assert!(began, "{taken:?}: {:?}", session.output_within(Duration::from_secs(1)));
        Self { user, session, taken }
    }

    /// Ends it. The box of the attacker must work after that, if need be after a restart.
    fn ends(mut self) -> &'static str {
        self.session.closes_input();
        // It deletes a hundred thousand files.
        let end = Instant::now() + Duration::from_secs(30);
        while self.session.over().is_none() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        self.session.kill();
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if self.user.ssh().run("echo works").stdout == b"works\n" {
                return "works";
            }
            thread::sleep(Duration::from_millis(200));
        }
        self.user.says("@restart");
        self.user.says("echo works");
        "works after @restart"
    }
}

/// Another user, who was there before the attack.
struct Neighbour<'a> {
    user: &'a User,
    terminal: Terminal,
    tail: Running,
    line: usize,
}

impl<'a> Neighbour<'a> {
    fn new(user: &'a User) -> Self {
        let mut tail = user.ssh().begin(&["echo line 0 > log; exec tail --follow=name log"]);
        assert_eq!(tail.line(), "line 0");
        let mut terminal = user.ssh().terminal(24, 80, &[]);
        terminal.shows("$ ");
        Self { user, terminal, tail, line: 0 }
    }

    fn logs_in(&mut self) {
        let (status, out, err, _) = self.user.ssh().begin(&["echo in"]).output_within(WORKS);
        assert!(status == Some(0) && out == "in\n", "{status:?} {out} {err}");
    }

    fn goes_on(&mut self) {
        types(&mut self.terminal);
    }

    fn opens_a_terminal(&mut self) {
        let mut terminal = self.user.ssh().terminal(24, 80, &[]);
        types(&mut terminal);
        terminal.types("exit\r");
        assert_eq!(terminal.ends_within(WORKS), Some(0));
    }

    fn tails(&mut self) {
        self.line += 1;
        self.user.says(&format!("echo line {} >> log", self.line));
        assert_eq!(self.tail.line(), format!("line {}", self.line));
    }

    /// Tails with a program that starts now, so that it has to get its own share of the kernel.
    fn tails_anew(&mut self) {
        let follow = "from=$(mktemp); timeout 50 tail --follow=name $from 2>&1 & sleep 0.2; echo new >> $from; sleep 1.5; kill $!";
        let (_, out, err, _) = self.user.ssh().begin(&[follow]).output_within(WORKS);
        assert!(out.contains("new\n"), "{out} {err}");
    }
}

fn types(terminal: &mut Terminal) {
    terminal.types("echo a$((1+1))b\r");
    terminal.shows("a2b");
}

type Act = fn(&mut Neighbour<'_>);
const ACTS: [(&str, Act); 5] = [
    ("login", |neighbour| neighbour.logs_in()),
    ("open terminal", |neighbour| neighbour.goes_on()),
    ("new terminal", |neighbour| neighbour.opens_a_terminal()),
    ("tail -f", |neighbour| neighbour.tails()),
    ("new tail -f", |neighbour| neighbour.tails_anew()),
];

/// Runs an act and returns how long it took, or why it failed.
fn attempt(neighbour: &mut Neighbour<'_>, act: Act) -> Result<Duration, String> {
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| act(neighbour)));
    outcome.map(|()| began.elapsed()).map_err(|why| {
        let known = why.downcast_ref::<String>().cloned();
        known.or_else(|| why.downcast_ref::<&str>().map(|why| (*why).to_owned())).unwrap_or_default()
    })
}

#[test]
fn a12_a17_a20_a_box_at_its_limits_harms_no_other() {
    let _world = world_alone();
    let rounds: Vec<String> = match std::env::var("SSHBOX_ATTACKS") {
        Ok(names) => names.split(' ').map(str::to_owned).collect(),
        Err(_) => ROUNDS.map(str::to_owned).into(),
    };
    let _memory = Changed::config("memory = \"8GiB\"", "memory = \"1GiB\"");
    let (attacker, user) = (User::new("attacks"), User::new("besides"));
    let _boxes = ContainerCleanup(vec![attacker.clone(), user.clone()]);
    assert!(attacker.ssh().input(PROGRAM.as_bytes()).run("cat > attack.py").status.success());
    let mut failures = Vec::new();
    for names in &rounds {
        let mut neighbour = Neighbour::new(&user);
        let mut attack = Attack::begin(&attacker, names);
        let mut figures = Vec::new();
        for (what, act) in ACTS {
            match attempt(&mut neighbour, act) {
                Ok(took) => figures.push(format!("{what} {} ms", took.as_millis())),
                Err(why) => {
                    figures.push(format!("{what} FAILED"));
                    failures.push(format!("{names}: {what}: {why}"));
                }
            }
        }
        // The admin sees all boxes, and the timer decides about them.
        let began = Instant::now();
        assert!(run("/usr/sbin/sshbox", &["list"]).contains("\nattacks "));
        figures.push(format!("list {} ms", began.elapsed().as_millis()));
        let reaped = reap(&[]);
        if !text(&reaped.stdout).contains("attacks: kept: a session is open") {
            failures.push(format!("{names}: {reaped:?}, the attack: {}", attack.session.over().is_some()));
        }
        let (taken, figures) = (attack.taken.join("; "), figures.join(", "));
        report(&format!("attack: {taken}: {figures}; after it the box {}", attack.ends()));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    until("the attacker has no program left", || attacker.box_processes().len() == 1);
}
