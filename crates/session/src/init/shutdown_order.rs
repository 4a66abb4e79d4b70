//! Which process gets which signal when a container is stopped. [`due_signals`] decides from a table of
//! the processes; it has no clock and reads no files.
//!
//! Programs that catch SIGTERM may have something to save and get it at once. A process whose end would
//! disturb one that saves is signalled afterwards: the holder of its terminal, the shell that would pass
//! SIGHUP on to it, the `tee` that reads its output. When most of the grace period is over, all other
//! processes get their signal as well. The container engine sends SIGKILL at the end of the period.
//!
//! A shell with a trap cannot save before the program that it waits for has ended.

use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};

/// A process: its pid, and its start time, because pids are reused.
pub type Id = (i32, u64);

/// What matters about a process. The default has no terminal and handles no signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub id: Id,
    pub parent: i32,
    /// Its session id, which is the pid of the session leader.
    pub session: i32,
    /// Device number of its controlling terminal; 0 for none.
    pub terminal: i32,
    /// Whether it is an SSH server.
    pub sshd: bool,
    /// Whether its program is a shell; one that catches SIGTERM runs a script with a trap.
    pub shell: bool,
    pub on_sigterm: OnSigterm,
}

/// How a process reacts to SIGTERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSigterm {
    /// It ends at once, so it has nothing to save.
    #[default]
    Ends,
    /// It handles the signal, or blocks it to read it from a signalfd or in a thread. (A process whose
    /// only thread sleeps in sigwait(3) looks like `Ends`.)
    Catches,
    /// It ignores the signal.
    Ignores,
    /// It is an interactive shell, which ignores SIGTERM and SIGTSTP. It ends by SIGHUP and passes
    /// SIGHUP on to its jobs.
    Shell,
}

/// The parent of each process, by pid. Processes that have ended stay in it: an orphan still writes to the
/// reader of its output.
pub type Parents = BTreeMap<i32, i32>;

/// The signals that are due now, among the processes that have had none; all of them when the grace
/// period is `almost_over`.
pub fn due_signals(
    alive: &[Process],
    parents: &Parents,
    unsignalled: &BTreeSet<Id>,
    almost_over: bool,
) -> Vec<(Id, Signal)> {
    let others_depend_on = dependencies(alive, parents);
    let catches = |p: &Process| {
        p.on_sigterm == OnSigterm::Catches && !others_depend_on.terminal_holders.contains(&p.id.0)
    };
    let savers: Vec<&Process> = alive.iter().filter(|p| catches(p)).collect();
    let ancestors_of_savers: BTreeSet<i32> = savers.iter().flat_map(|p| ancestors_of(p, parents)).collect();
    // Shells whose trap waits for programs that have had no signal.
    let still_running =
        alive.iter().filter(|p| p.on_sigterm == OnSigterm::Ends && unsignalled.contains(&p.id));
    let ancestors_of_running: BTreeSet<i32> = still_running.flat_map(|p| ancestors_of(p, parents)).collect();
    let stuck = |p: &Process| p.shell && ancestors_of_running.contains(&p.id.0);
    let (stuck, saving): (Vec<&Process>, Vec<&Process>) = savers.iter().partition(|p| stuck(p));
    let ancestors_of_saving: BTreeSet<i32> = saving.iter().flat_map(|p| ancestors_of(p, parents)).collect();
    let stuck: BTreeSet<i32> = stuck.iter().map(|p| p.id.0).collect();
    let free = |p: &Process| match p.on_sigterm {
        OnSigterm::Ignores => false,
        OnSigterm::Shell => {
            !others_depend_on.ancestors.contains(&p.id.0)
                && !others_depend_on.session_leaders.contains(&p.id.0)
        }
        _ if others_depend_on.terminal_holders.contains(&p.id.0) => false,
        OnSigterm::Catches => true,
        OnSigterm::Ends if others_depend_on.session_leaders.contains(&p.id.0) => false,
        // A script must not go on to its next step. No other process waits for its child like this.
        OnSigterm::Ends => {
            savers.is_empty()
                || ancestors_of_savers.contains(&p.id.0)
                || ancestors_of(p, parents)
                    .any(|pid| stuck.contains(&pid) && !ancestors_of_saving.contains(&pid))
        }
    };
    let due = alive.iter().filter(|p| unsignalled.contains(&p.id) && (almost_over || free(p)));
    due.map(|p| match p.on_sigterm {
        OnSigterm::Ignores | OnSigterm::Shell => (p.id, Signal::SIGHUP),
        OnSigterm::Ends | OnSigterm::Catches => (p.id, Signal::SIGTERM),
    })
    .collect()
}

/// Pids of processes that others depend on.
struct Dependencies {
    /// Session leaders on a terminal: when one ends, the kernel sends SIGHUP to the foreground group.
    session_leaders: BTreeSet<i32>,
    /// Processes with a descendant on another terminal, and SSH servers with sessions: `tmux`, `script`,
    /// `sshd`. They hold the other end of that terminal, or the session's pipes.
    terminal_holders: BTreeSet<i32>,
    /// Processes with any descendant.
    ancestors: BTreeSet<i32>,
}

fn dependencies(alive: &[Process], tree: &Parents) -> Dependencies {
    let by_number: BTreeMap<i32, &Process> = alive.iter().map(|p| (p.id.0, p)).collect();
    let on_terminal = alive.iter().filter(|p| p.terminal != 0 && p.session != p.id.0);
    let session_leaders = on_terminal.map(|p| p.session).collect();
    let (mut terminal_holders, mut ancestors) = (BTreeSet::new(), BTreeSet::new());
    for below in alive {
        for pid in ancestors_of(below, tree) {
            ancestors.insert(pid);
            let Some(p) = by_number.get(&pid) else { continue };
            let holds = below.terminal != 0 && below.terminal != p.terminal;
            if holds || (p.sshd && !below.sshd) {
                terminal_holders.insert(pid);
            }
        }
    }
    Dependencies { session_leaders, terminal_holders, ancestors }
}

/// All ancestors of this process.
fn ancestors_of(p: &Process, parents: &Parents) -> impl Iterator<Item = i32> {
    // Reused pids can make a circle.
    std::iter::successors(parents.get(&p.id.0).copied(), |pid| parents.get(pid).copied()).take(parents.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use OnSigterm::{Catches, Ends, Ignores, Shell};

    /// Pid, parent, session and terminal, and how it reacts to SIGTERM.
    fn process((pid, parent, session, terminal): (i32, i32, i32, i32), on_sigterm: OnSigterm) -> Process {
        Process { id: (pid, 0), parent, session, terminal, on_sigterm, ..Process::default() }
    }

    /// A shell with a trap.
    fn script(ids: (i32, i32, i32, i32)) -> Process {
        Process { shell: true, ..process(ids, Catches) }
    }

    /// The signals of a whole shutdown, when every signalled process ends before the next round. A round
    /// is a text like `10 11-HUP`.
    fn rounds(mut alive: Vec<Process>) -> Vec<String> {
        let parents = alive.iter().map(|p| (p.id.0, p.parent)).collect();
        let mut unsignalled: BTreeSet<Id> = alive.iter().map(|p| p.id).collect();
        let mut rounds = Vec::new();
        loop {
            let now = due_signals(&alive, &parents, &unsignalled, false);
            if now.is_empty() {
                return rounds;
            }
            let text = |((pid, _), signal): &(Id, Signal)| match signal {
                Signal::SIGTERM => pid.to_string(),
                _ => format!("{pid}-{}", &signal.as_str()[3..]),
            };
            rounds.push(now.iter().map(text).collect::<Vec<_>>().join(" "));
            let gone: BTreeSet<Id> = now.into_iter().map(|(id, _)| id).collect();
            alive.retain(|p| !gone.contains(&p.id));
            unsignalled = &unsignalled - &gone;
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
    fn the_holder_of_a_terminal_waits_for_its_programs() {
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
        let server = |ids, on_sigterm| Process { sshd: true, ..process(ids, on_sigterm) };
        let chain = vec![server((30, 1, 30, 0), Catches), server((31, 30, 30, 0), Catches)];
        assert_eq!(rounds(chain.clone()), ["30 31"]);
        let program = process((32, 31, 32, 0), Catches);
        assert_eq!(rounds([chain.clone(), vec![program]].concat()), ["32", "30 31"]);
        // A program that outlives its script still writes to the server.
        let parents = Parents::from([(30, 1), (31, 30), (32, 31), (33, 32)]);
        let unsignalled = chain.iter().map(|p| p.id).collect();
        let orphaned = [chain, vec![process((33, 1, 32, 0), Catches)]].concat();
        assert_eq!(due_signals(&orphaned, &parents, &unsignalled, false), []);
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
        // The reader of its output waits for it, and the reader of its programs' output for them.
        let reader = process((14, 1, 10, 0), Ends);
        let alive = vec![script((10, 1, 10, 0)), step.clone(), reader.clone()];
        let unsignalled = BTreeSet::from([reader.id]);
        let parents = alive.iter().map(|p| (p.id.0, p.parent)).collect();
        assert_eq!(due_signals(&alive[..2], &parents, &BTreeSet::from([step.id]), false).len(), 1);
        assert_eq!(due_signals(&alive, &parents, &unsignalled, false), []);
        let pipeline = vec![process((15, 10, 10, 0), Catches), process((16, 10, 10, 0), Ends)];
        assert_eq!(rounds([vec![script((10, 1, 10, 0))], pipeline].concat()), ["10 15", "16"]);
        // Any other program does not wait so, and may have its child write what it saves.
        assert_eq!(rounds(vec![process((10, 1, 10, 0), Catches), step]), ["10", "11"]);
    }

    #[test]
    fn the_reader_of_a_programs_output_waits_for_it() {
        let (program, tee) = (process((11, 10, 10, 0), Catches), process((12, 10, 10, 0), Ends));
        assert_eq!(rounds(vec![program, tee.clone()]), ["11", "12"]);
        assert_eq!(rounds(vec![tee]), ["12"]);
    }

    #[test]
    fn a_program_and_its_workers_are_signalled_together() {
        let (main, worker) = (process((10, 1, 10, 5), Catches), process((11, 10, 10, 5), Catches));
        assert_eq!(rounds(vec![main, worker]), ["10 11"]);
    }

    #[test]
    fn late_in_the_grace_period_every_old_process_gets_one_signal() {
        let stubborn = process((10, 1, 10, 0), Ignores);
        let (shell, program) = (process((11, 1, 11, 5), Shell), process((12, 11, 11, 5), Catches));
        let newcomer = process((13, 12, 11, 5), Ends);
        let alive = [stubborn, shell, program, newcomer];
        let unsignalled = BTreeSet::from([(10, 0), (11, 0)]);
        let parents = alive.iter().map(|p| (p.id.0, p.parent)).collect();
        assert_eq!(due_signals(&alive, &parents, &unsignalled, false), []);
        let late = due_signals(&alive, &parents, &unsignalled, true);
        assert_eq!(late, [((10, 0), Signal::SIGHUP), ((11, 0), Signal::SIGHUP)]);
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let alive = [Process { id: (10, 2), ..Process::default() }];
        assert_eq!(due_signals(&alive, &Parents::new(), &BTreeSet::from([(10, 1)]), true), []);
    }

    #[test]
    fn a_table_with_a_circle_does_not_hang() {
        let alive = [process((10, 11, 10, 5), Catches), process((11, 10, 11, 6), Catches)];
        let parents = Parents::from([(10, 11), (11, 10)]);
        assert_eq!(due_signals(&alive, &parents, &BTreeSet::from([(10, 0)]), false), []);
    }
}
