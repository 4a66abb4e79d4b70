//! One log entry for each event of a login, a session or a box, with journald and without it, whatever bytes a user
//! sends; and the programs that read the log: `sshbox logs` and fail2ban.

mod fail2ban;
mod hostile_commands;
mod logins_and_sessions;

use crate::harness::{User, run};
use session::journal::Event;
use std::collections::BTreeMap;
use std::process::{Command, Output};

type Entry = BTreeMap<String, String>;

/// The user's entries in the journal, oldest first.
fn entries(user: &User) -> Vec<Entry> {
    run("journalctl", &["--sync"]);
    let found = run("journalctl", &["--output", "json", "--all", &format!("SSHBOX_USER={}", user.name)]);
    found.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_event(entries: &[Entry], event: Event) -> Vec<Entry> {
    entries.iter().filter(|entry| entry["MESSAGE_ID"] == event.id()).cloned().collect()
}

/// Entries of sshd in the journal.
fn sshd_entries() -> Vec<Entry> {
    run("journalctl", &["--sync"]);
    let found = run("journalctl", &["--output", "json", "--all", "SYSLOG_IDENTIFIER=sshd"]);
    found.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn logs(arguments: &[&str]) -> Output {
    Command::new("/usr/sbin/sshbox").arg("logs").args(arguments).output().unwrap()
}
