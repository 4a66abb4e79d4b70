//! Clients, connections and servers that are killed. The same programs of a session end or survive as with plain
//! sshd, or sshbox does better: see [`Subject::leaves_orphans`].
//!
//! [`Subject::leaves_orphans`]: crate::subject::Subject::leaves_orphans

mod client;
mod jobs;
mod many_sessions;
mod server;

use crate::harness::until;
use crate::subject::{Session, Sleep, begin, subject};
use std::thread;
use std::time::Duration;

/// Programs of one session, ordered by how strongly they are detached from it.
struct Programs {
    /// In the foreground.
    front: Sleep,
    /// In the background.
    back: Sleep,
    /// In the background, ignoring SIGHUP.
    nohup: Sleep,
    /// In a session of its own (setsid).
    detached: Sleep,
}

impl Programs {
    fn new() -> Self {
        Self { front: Sleep::new(), back: Sleep::new(), nohup: Sleep::new(), detached: Sleep::new() }
    }

    fn command(&self) -> String {
        let quiet = "</dev/null >/dev/null 2>&1";
        let [front, back, nohup, detached] =
            [&self.front, &self.back, &self.nohup, &self.detached].map(Sleep::command);
        format!("setsid {detached} {quiet} & nohup {nohup} {quiet} & {back} & {front}; exit $?")
    }

    fn wait_for_start(&self) {
        for sleep in [&self.front, &self.back, &self.nohup, &self.detached] {
            sleep.wait_for_start();
        }
    }

    /// Checks the programs after the end of a session with a terminal: the kernel hangs it up on both servers.
    fn assert_only_detached_survive(&self) {
        self.front.wait_for_end();
        self.back.wait_for_end();
        self.assert_detached_survive();
    }

    fn assert_detached_survive(&self) {
        thread::sleep(Duration::from_secs(3));
        assert!(self.nohup.runs() && self.detached.runs(), "a detached program has ended");
    }

    /// Checks the programs after the end of a session without a terminal.
    fn assert_end_without_terminal(&self) {
        if subject().leaves_orphans {
            // Plain sshd is worse here: it sends these programs no signal.
            self.assert_detached_survive();
            assert!(
                self.front.runs() && self.back.runs(),
                "plain sshd now hangs up such a session: update `leaves_orphans`"
            );
        } else {
            self.assert_only_detached_survive();
        }
    }
}

/// Starts a session of these programs with this client option.
fn start_session(programs: &Programs, option: &str) -> Session {
    let session = begin(subject().ssh().args(&[option]), &programs.command());
    programs.wait_for_start();
    session
}

/// Waits until the sshd processes of a connection have ended.
fn wait_for_end_of_servers(servers: &[i32]) {
    assert_eq!(servers.len(), 2);
    until("sshd has ended", || servers.iter().all(|pid| crate::harness::status_of(*pid, "Name").is_none()));
}
