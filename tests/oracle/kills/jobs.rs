//! Jobs and background programs when their shell or command ends.

use super::Programs;
use crate::subject::{Sleep, begin, subject};
use std::thread;
use std::time::Duration;

#[test]
fn f18_the_jobs_of_a_shell_end_when_its_window_closes() {
    let (front, back, stopped, disowned) = (Sleep::new(), Sleep::new(), Sleep::new(), Sleep::new());
    let mut terminal = subject().ssh().terminal(24, 200, &[]);
    terminal.types(&format!("{} & {} & disown; {}\n", back.command(), disowned.command(), stopped.command()));
    stopped.wait_for_start();
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types(&format!("{}\n", front.command()));
    front.wait_for_start();
    assert!(back.runs() && disowned.runs());
    terminal.kill();
    for sleep in [front, back, stopped] {
        sleep.wait_for_end();
    }
    // The shell sends a disowned job no SIGHUP, but the job is still in the session.
    if subject().leaves_orphans {
        // Plain sshd leaves it running: the kernel sends SIGHUP only to the shell and the foreground.
        thread::sleep(Duration::from_secs(3));
        assert!(disowned.runs());
    } else {
        disowned.wait_for_end();
    }
}

#[test]
fn the_background_jobs_of_a_shell_survive_its_exit() {
    let (kept, nohup) = (Sleep::new(), Sleep::new());
    let mut terminal = subject().ssh().terminal(24, 200, &[]);
    terminal.types(&format!("{} & nohup {} &\n", kept.command(), nohup.command()));
    kept.wait_for_start();
    nohup.wait_for_start();
    terminal.types("exit 5\n");
    assert_eq!(terminal.ends(), 5);
    thread::sleep(Duration::from_secs(3));
    assert!(kept.runs() && nohup.runs());
}

#[test]
fn the_shell_warns_of_a_stopped_job_and_ends_it() {
    let stopped = Sleep::new();
    let mut terminal = subject().ssh().terminal(24, 200, &[]);
    terminal.types(&format!("{}\n", stopped.command()));
    stopped.wait_for_start();
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types("exit\n");
    terminal.shows("There are stopped jobs.");
    terminal.types("exit 6\n");
    assert_eq!(terminal.ends(), 6);
    stopped.wait_for_end();
}

#[test]
fn background_programs_of_a_command_survive_its_end() {
    for option in ["-T", "-tt"] {
        let programs = Programs::new();
        let quiet = "</dev/null >/dev/null 2>&1";
        let command = format!(
            "{} {quiet} & nohup {} {quiet} & setsid {} {quiet} & sleep 1; exit 3",
            programs.back.command(),
            programs.nohup.command(),
            programs.detached.command()
        );
        let session = begin(subject().ssh().args(&[option]), &command);
        programs.back.wait_for_start();
        assert_eq!(session.client.ends().status.code(), Some(3));
        programs.assert_detached_survive();
        // With a terminal, the kernel hangs up the foreground process group. A shell without job control puts
        // all programs into it.
        assert_eq!(programs.back.runs(), option == "-T", "{option}");
    }
}
