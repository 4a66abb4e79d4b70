//! The end of a box: who gets which signal, and when. [`next`] decides from a table of the
//! processes; it has no clock and reads no files.
//!
//! Programs that catch SIGTERM have something to save and get it at once. Whose end would hurt
//! a program that saves has to wait until it is done: what holds its terminal, the shell that
//! would pass SIGHUP on to it, the `tee` that its output goes through. When most of the grace
//! is over, all the others get their signal as well; SIGKILL at its end is the engine's.
//!
//! A shell with a trap cannot save before the program that it waits for has ended.

use crate::times::later;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

/// Time between two looks at the processes.
const LOOK: Duration = Duration::from_millis(100);

/// Programs that run a trap only when the program that they wait for has ended.
const SHELLS: [&str; 8] = ["bash", "busybox", "dash", "ksh", "ksh93", "mksh", "sh", "zsh"];

/// A process: its number, and when it began, since numbers are used again.
pub type Id = (i32, u64);

/// A process, as far as it matters for the end of a box. The default is one that does nothing
/// special and has no terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub id: Id,
    pub parent: i32,
    /// Number of its session, which is that of the process that leads it.
    pub session: i32,
    /// Its controlling terminal; 0 for none.
    pub terminal: i32,
    /// Whether it is an SSH server.
    pub sshd: bool,
    /// Whether it is a shell, which runs a script if it catches SIGTERM.
    pub shell: bool,
    /// What it does about SIGTERM.
    pub at_end: AtEnd,
}

/// What a process does about SIGTERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtEnd {
    /// It ends at once, and so has nothing to save.
    #[default]
    Ends,
    /// It has a handler, or blocks it, to take it by `signalfd` or in a thread. (One whose only
    /// thread sleeps in `sigwait` looks like the above.)
    Catches,
    /// It ignores it.
    Ignores,
    /// It ignores it as an interactive shell does, together with SIGTSTP. Such a shell ends by
    /// SIGHUP and passes that on to its jobs.
    Shell,
}

/// Who started whom, by their numbers. Those that have ended stay in it: an orphan still writes to
/// what reads its output.
pub type Parents = BTreeMap<i32, i32>;

/// Whom to signal now, of those who wait for their signal; `late` in the grace all of them.
pub fn next(alive: &[Process], parents: &Parents, waiting: &BTreeSet<Id>, late: bool) -> Vec<(Id, Signal)> {
    let holds = holders(alive, parents);
    let catches = |p: &Process| p.at_end == AtEnd::Catches && !holds.others.contains(&p.id.0);
    let savers: Vec<&Process> = alive.iter().filter(|p| catches(p)).collect();
    let above_savers: BTreeSet<i32> = savers.iter().flat_map(|p| above(p, parents)).collect();
    // Shells whose trap has to wait for programs that have had no signal.
    let unasked = alive.iter().filter(|p| p.at_end == AtEnd::Ends && waiting.contains(&p.id));
    let above_unasked: BTreeSet<i32> = unasked.flat_map(|p| above(p, parents)).collect();
    let stuck = |p: &Process| p.shell && above_unasked.contains(&p.id.0);
    let (stuck, saving): (Vec<&Process>, Vec<&Process>) = savers.iter().partition(|p| stuck(p));
    let above_saving: BTreeSet<i32> = saving.iter().flat_map(|p| above(p, parents)).collect();
    let stuck: BTreeSet<i32> = stuck.iter().map(|p| p.id.0).collect();
    let free = |p: &Process| match p.at_end {
        AtEnd::Ignores => false,
        AtEnd::Shell => !holds.parents.contains(&p.id.0) && !holds.terminals.contains(&p.id.0),
        _ if holds.others.contains(&p.id.0) => false,
        AtEnd::Catches => true,
        AtEnd::Ends if holds.terminals.contains(&p.id.0) => false,
        // A script must not go on to its next step. Nobody waits for anything else.
        AtEnd::Ends => {
            savers.is_empty()
                || above_savers.contains(&p.id.0)
                || above(p, parents).any(|pid| stuck.contains(&pid) && !above_saving.contains(&pid))
        }
    };
    let due = alive.iter().filter(|p| waiting.contains(&p.id) && (late || free(p)));
    due.map(|p| match p.at_end {
        AtEnd::Ignores | AtEnd::Shell => (p.id, Signal::SIGHUP),
        AtEnd::Ends | AtEnd::Catches => (p.id, Signal::SIGTERM),
    })
    .collect()
}

/// Processes on which others depend, each by its number.
struct Holders {
    /// Those that lead the session of others on a terminal: when they end, the kernel sends
    /// SIGHUP to its foreground.
    terminals: BTreeSet<i32>,
    /// Those that hold the other end of others' terminal, and SSH servers with sessions: `tmux`,
    /// `script`, `sshd`. They are above a process that is on another terminal than they are.
    others: BTreeSet<i32>,
    /// Those that are above any process.
    parents: BTreeSet<i32>,
}

fn holders(alive: &[Process], tree: &Parents) -> Holders {
    let by_number: BTreeMap<i32, &Process> = alive.iter().map(|p| (p.id.0, p)).collect();
    let on_terminal = alive.iter().filter(|p| p.terminal != 0 && p.session != p.id.0);
    let terminals = on_terminal.map(|p| p.session).collect();
    let (mut others, mut parents) = (BTreeSet::new(), BTreeSet::new());
    for below in alive {
        for pid in above(below, tree) {
            parents.insert(pid);
            let Some(p) = by_number.get(&pid) else { continue };
            let holds = below.terminal != 0 && below.terminal != p.terminal;
            if holds || (p.sshd && !below.sshd) {
                others.insert(pid);
            }
        }
    }
    Holders { terminals, others, parents }
}

/// All above this process.
fn above(p: &Process, parents: &Parents) -> impl Iterator<Item = i32> {
    // Numbers are used again, which may make a circle.
    std::iter::successors(parents.get(&p.id.0).copied(), |pid| parents.get(pid).copied()).take(parents.len())
}

/// A box that is being stopped.
#[derive(Debug)]
pub struct Leaving {
    /// Those that were there when it began and have had no signal. What came later is part of
    /// somebody's saving.
    waiting: BTreeSet<Id>,
    parents: Parents,
    late: Instant,
    due: Instant,
}

impl Leaving {
    /// Begins it, with so much time until SIGKILL.
    pub fn begin(grace: Duration) -> Self {
        let now = Instant::now();
        let waiting = processes().iter().map(|p| p.id).collect();
        let most = grace.saturating_mul(3).checked_div(4).unwrap_or(grace);
        Self { waiting, parents: Parents::new(), late: later(now, most), due: now }
    }

    /// When to look again.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Whether everybody has had a signal by now.
    pub fn late(&self) -> bool {
        Instant::now() >= self.late
    }

    /// Signals those whose turn it is.
    pub fn attend(&mut self) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = later(now, LOOK);
        let alive = processes();
        for p in &alive {
            self.parents.entry(p.id.0).or_insert(p.parent);
        }
        for (id, signal) in next(&alive, &self.parents, &self.waiting, self.late()) {
            self.waiting.remove(&id);
            // A stopped one must go on to notice; it may have ended in the meantime.
            let _ = kill(Pid::from_raw(id.0), signal);
            let _ = kill(Pid::from_raw(id.0), Signal::SIGCONT);
        }
    }
}

/// All processes of the box but this one and those that have ended.
fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter_map(|pid| {
            let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
            let status = fs::read(format!("/proc/{pid}/status")).ok()?;
            // By its file: a script has a name of its own.
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let shell = program.file_name().is_some_and(|name| SHELLS.iter().any(|shell| name == *shell));
            Some(Process { shell, ..parse(&stat, &status)? })
        })
        .collect()
}

/// A process from `proc_pid_stat(5)` and `proc_pid_status(5)`; `None` when it has ended.
fn parse(stat: &[u8], status: &[u8]) -> Option<Process> {
    // The name in field 2 may hold spaces and parentheses.
    let (begin, end) =
        (stat.iter().position(|byte| *byte == b'(')?, stat.iter().rposition(|byte| *byte == b')')?);
    let pid = std::str::from_utf8(stat.get(..begin)?).ok()?.trim().parse().ok()?;
    let rest: Vec<&str> = std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_ascii_whitespace().collect();
    // The first of these is field 3.
    let field = |number: usize| rest.get(number - 3).copied();
    // Of one whose first thread has ended the others may go on.
    if matches!(field(3)?, "Z" | "X") && matches!(field(20)?, "0" | "1") {
        return None;
    }
    let [caught, ignored, blocked] = ["SigCgt:", "SigIgn:", "SigBlk:"].map(|name| mask(status, name));
    let bit = |signal: Signal| 1_u64 << (signal as i32 - 1);
    let (term, stop) = (bit(Signal::SIGTERM), bit(Signal::SIGTSTP));
    Some(Process {
        id: (pid, field(22)?.parse().ok()?),
        parent: field(4)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        terminal: field(7)?.parse().ok()?,
        sshd: stat.get(begin + 1..end)?.starts_with(b"sshd"),
        shell: false,
        at_end: match () {
            () if ignored & term != 0 && ignored & stop != 0 => AtEnd::Shell,
            () if ignored & term != 0 => AtEnd::Ignores,
            () if (caught | blocked) & term != 0 => AtEnd::Catches,
            () => AtEnd::Ends,
        },
    })
}

fn mask(status: &[u8], name: &str) -> u64 {
    let text = String::from_utf8_lossy(status);
    let mask = text.lines().find_map(|line| line.strip_prefix(name));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use AtEnd::{Catches, Ends, Ignores, Shell};

    /// `number parent session terminal`, and what it does.
    fn process((pid, parent, session, terminal): (i32, i32, i32, i32), at_end: AtEnd) -> Process {
        Process { id: (pid, 0), parent, session, terminal, at_end, ..Process::default() }
    }

    /// The same, of a shell that has a trap.
    fn script(ids: (i32, i32, i32, i32)) -> Process {
        Process { shell: true, ..process(ids, Catches) }
    }

    /// Stops a box: who is signalled in which round, when all that were signalled end before
    /// the next one. A round is the text `pid pid-HUP`.
    fn rounds(mut alive: Vec<Process>) -> Vec<String> {
        let parents = alive.iter().map(|p| (p.id.0, p.parent)).collect();
        let mut waiting: BTreeSet<Id> = alive.iter().map(|p| p.id).collect();
        let mut rounds = Vec::new();
        loop {
            let now = next(&alive, &parents, &waiting, false);
            if now.is_empty() {
                return rounds;
            }
            let told = |((pid, _), signal): &(Id, Signal)| match signal {
                Signal::SIGTERM => pid.to_string(),
                _ => format!("{pid}-{}", &signal.as_str()[3..]),
            };
            rounds.push(now.iter().map(told).collect::<Vec<_>>().join(" "));
            let gone: BTreeSet<Id> = now.into_iter().map(|(id, _)| id).collect();
            alive.retain(|p| !gone.contains(&p.id));
            waiting = &waiting - &gone;
        }
    }

    #[test]
    fn an_interactive_shell_gets_sighup_when_its_programs_are_gone() {
        let shell = process((10, 1, 10, 5), Shell);
        let (front, back) = (process((11, 10, 10, 5), Catches), process((12, 10, 10, 5), Ends));
        let nested = vec![process((13, 10, 10, 5), Shell), process((14, 13, 10, 5), Catches)];
        assert_eq!(rounds(vec![shell.clone()]), ["10-HUP"]);
        assert_eq!(rounds(vec![shell.clone(), front, back.clone()]), ["11", "12", "10-HUP"]);
        assert_eq!(rounds([vec![shell, back], nested].concat()), ["14", "12 13-HUP", "10-HUP"]);
        // A child that left its session is a job of a shell all the same.
        let (shell, child) = (process((10, 1, 10, 5), Shell), process((11, 10, 11, 0), Catches));
        assert_eq!(rounds(vec![shell, child]), ["11", "10-HUP"]);
    }

    #[test]
    fn what_holds_the_terminal_of_others_waits_for_them() {
        // tmux: a server without a terminal, a shell, a program; its client on a terminal of its own.
        let server = process((20, 1, 20, 0), Catches);
        let pane = vec![process((21, 20, 21, 6), Shell), process((22, 21, 21, 6), Catches)];
        let client = vec![process((10, 1, 10, 5), Shell), process((11, 10, 10, 5), Catches)];
        assert_eq!(rounds([vec![server], pane, client].concat()), ["22 11", "21-HUP 10-HUP", "20"]);
        // A server that catches nothing, and a terminal whose leader is a script.
        let server = process((20, 1, 20, 0), Ends);
        let pane = vec![process((21, 20, 21, 6), Ends), process((22, 21, 21, 6), Catches)];
        assert_eq!(rounds([vec![server], pane].concat()), ["22", "21", "20"]);
    }

    #[test]
    fn an_ssh_server_waits_for_what_runs_below_it() {
        let server = |ids, at_end| Process { sshd: true, ..process(ids, at_end) };
        let chain = vec![server((30, 1, 30, 0), Catches), server((31, 30, 30, 0), Catches)];
        assert_eq!(rounds(chain.clone()), ["30 31"]);
        let program = process((32, 31, 32, 0), Catches);
        assert_eq!(rounds([chain.clone(), vec![program]].concat()), ["32", "30 31"]);
        // A program that outlives its script still writes to the server.
        let parents = Parents::from([(30, 1), (31, 30), (32, 31), (33, 32)]);
        let waiting = chain.iter().map(|p| p.id).collect();
        let orphaned = [chain, vec![process((33, 1, 32, 0), Catches)]].concat();
        assert_eq!(next(&orphaned, &parents, &waiting, false), []);
    }

    #[test]
    fn a_script_does_not_go_on_to_its_next_step() {
        let (script, step) = (process((10, 1, 10, 0), Ends), process((11, 10, 10, 0), Catches));
        assert_eq!(rounds(vec![script, step]), ["10 11"]);
        // But where its end would hang up the terminal.
        let (script, step) = (process((10, 1, 10, 5), Ends), process((11, 10, 10, 5), Catches));
        assert_eq!(rounds(vec![script, step]), ["11", "10"]);
    }

    #[test]
    fn a_script_with_a_trap_gets_to_run_it() {
        let step = process((11, 10, 10, 0), Ends);
        assert_eq!(rounds(vec![script((10, 1, 10, 0)), step.clone()]), ["10 11"]);
        // Also with another program that saves, and with another such script.
        let other = vec![process((20, 1, 20, 0), Catches), process((21, 20, 20, 0), Ends)];
        let inner = vec![script((12, 10, 10, 0)), process((13, 12, 10, 0), Ends)];
        let outer = vec![script((10, 1, 10, 0)), step.clone()];
        assert_eq!(rounds([outer, inner, other].concat()), ["10 11 12 13 20", "21"]);
        // What its output goes through waits for it, and what that of its programs goes through for
        // them.
        let reader = process((14, 1, 10, 0), Ends);
        let alive = vec![script((10, 1, 10, 0)), step.clone(), reader.clone()];
        let waiting = BTreeSet::from([reader.id]);
        let parents = alive.iter().map(|p| (p.id.0, p.parent)).collect();
        assert_eq!(next(&alive[..2], &parents, &BTreeSet::from([step.id]), false).len(), 1);
        assert_eq!(next(&alive, &parents, &waiting, false), []);
        let pipeline = vec![process((15, 10, 10, 0), Catches), process((16, 10, 10, 0), Ends)];
        assert_eq!(rounds([vec![script((10, 1, 10, 0))], pipeline].concat()), ["10 15", "16"]);
        // Any other program does not wait so, and may have its child write what it saves.
        assert_eq!(rounds(vec![process((10, 1, 10, 0), Catches), step]), ["10", "11"]);
    }

    #[test]
    fn what_the_output_of_a_program_goes_through_waits_for_it() {
        let (program, tee) = (process((11, 10, 10, 0), Catches), process((12, 10, 10, 0), Ends));
        assert_eq!(rounds(vec![program, tee.clone()]), ["11", "12"]);
        assert_eq!(rounds(vec![tee]), ["12"]);
    }

    #[test]
    fn a_program_with_workers_is_told_together_with_them() {
        let (main, worker) = (process((10, 1, 10, 5), Catches), process((11, 10, 10, 5), Catches));
        assert_eq!(rounds(vec![main, worker]), ["10 11"]);
    }

    #[test]
    fn late_in_the_grace_everybody_who_was_there_gets_a_signal_once() {
        let stubborn = process((10, 1, 10, 0), Ignores);
        let (shell, program) = (process((11, 1, 11, 5), Shell), process((12, 11, 11, 5), Catches));
        let newcomer = process((13, 12, 11, 5), Ends);
        let alive = [stubborn, shell, program, newcomer];
        let waiting = BTreeSet::from([(10, 0), (11, 0)]);
        let parents = alive.iter().map(|p| (p.id.0, p.parent)).collect();
        assert_eq!(next(&alive, &parents, &waiting, false), []);
        let late = next(&alive, &parents, &waiting, true);
        assert_eq!(late, [((10, 0), Signal::SIGHUP), ((11, 0), Signal::SIGHUP)]);
    }

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let alive = [Process { id: (10, 2), ..Process::default() }];
        assert_eq!(next(&alive, &Parents::new(), &BTreeSet::from([(10, 1)]), true), []);
    }

    #[test]
    fn a_table_with_a_circle_does_not_hang() {
        let alive = [process((10, 11, 10, 5), Catches), process((11, 10, 11, 6), Catches)];
        let parents = Parents::from([(10, 11), (11, 10)]);
        assert_eq!(next(&alive, &parents, &BTreeSet::from([(10, 0)]), false), []);
    }

    #[test]
    fn processes_are_read_as_the_kernel_writes_them() {
        let stat = b"42 (a) b (c) S 7 42 42 34816 42 4194304 0 0 0 0 0 0 0 0 20 0 1 0 999 0 0";
        let status = |caught: &str, ignored: &str| format!("SigIgn:\t{ignored}\nSigCgt:\t{caught}\n");
        let read = |caught, ignored| parse(stat, status(caught, ignored).as_bytes()).unwrap();
        let process = read("0000000000004000", "0000000000000000");
        assert_eq!((process.id, process.parent, process.session), ((42, 999), 7, 42));
        assert_eq!((process.terminal, process.sshd, process.at_end), (34816, false, Catches));
        assert_eq!(read("0", "0000000000004000").at_end, Ignores);
        // bash, zsh
        assert_eq!(read("0", "0000000000384004").at_end, Shell);
        assert_eq!(read("0", "0000000000000004").at_end, Ends);
        // signalfd
        assert_eq!(parse(stat, b"SigBlk:\t0000000000004000\n").unwrap().at_end, Catches);
        let ended = b"42 (x) Z 7 42 42 0 42 0 0 0 0 0 0 0 0 0 20 0 1 0 999 0 0";
        assert_eq!(parse(ended, b""), None);
        let goes_on = b"42 (x) Z 7 42 42 0 42 0 0 0 0 0 0 0 0 0 20 0 2 0 999 0 0";
        assert_eq!(parse(goes_on, b"").unwrap().id, (42, 999));
        assert_eq!(parse(b"", b""), None);
        // This test's own process lists all but itself.
        assert!(processes().iter().all(|p| p.id.0 != i32::try_from(std::process::id()).unwrap()));
    }
}
