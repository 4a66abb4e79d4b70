//! `sshbox doctor`: in a working world no check fails; then each test breaks one thing for real and expects the
//! doctor to report it. Unit tests in `crates/admin` check what depends on systemd or on the kernel.

mod boxes;
mod host;
mod output;
mod sshd;
mod test_login;
mod web_app;

use crate::harness::{SSHD_CONFIG, Undo, run, text, to_the_end};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

const TOKEN: &str = "/etc/sshbox/token";

fn doctor(arguments: &[&str]) -> Command {
    let mut command = Command::new("sshbox");
    command.arg("doctor").args(arguments);
    command
}

/// Runs the doctor. Returns the results and the exit status.
fn run_doctor(arguments: &[&str]) -> (Vec<Found>, i32) {
    let output = to_the_end(doctor(&[&["--json"], arguments].concat()), Vec::new());
    assert_eq!(text(&output.stderr), "");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = report["checks"].as_array().unwrap().iter().map(Found::of).collect();
    (found, output.status.code().unwrap())
}

/// Result of one check.
fn check(id: &str) -> Found {
    let (mut found, status) = run_doctor(&[id]);
    assert_eq!(found.len(), 1);
    let found = found.remove(0);
    assert_eq!(status, i32::from(found.state == "fail"), "{found:?}");
    found
}

#[derive(Debug)]
struct Found {
    id: String,
    state: String,
    seen: String,
    fix: String,
    fixed: String,
}

impl Found {
    fn of(json: &Value) -> Self {
        let get = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        Self { id: get("id"), state: get("state"), seen: get("seen"), fix: get("fix"), fixed: get("fixed") }
    }

    /// Checks the state, and texts in the observation and in the suggested fix.
    fn says(self, state: &str, seen: &str, fix: &str) {
        assert_eq!(self.state, state, "{self:?}");
        assert!(self.seen.contains(seen) && self.fix.contains(fix), "{self:?}");
        assert_eq!(self.fix.is_empty(), matches!(&*self.state, "ok" | "skip"), "{self:?}");
    }
}

/// Changes the mode of a file or directory until this is dropped.
fn mode(path: &'static str, mode: u32) -> Undo<impl Fn()> {
    let set = |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let before = fs::metadata(path).unwrap().permissions().mode();
    set(mode);
    Undo(move || fs::set_permissions(path, fs::Permissions::from_mode(before)).unwrap())
}

/// Moves a file or directory away until this is dropped.
fn without(path: &'static str) -> Undo<impl Fn()> {
    let aside = format!("{path}.aside");
    fs::rename(path, &aside).unwrap();
    Undo(move || fs::rename(&aside, path).unwrap())
}

/// Creates a directory, which must not exist, until this is dropped.
fn folder(path: &'static str) -> Undo<impl Fn()> {
    fs::create_dir_all(path).unwrap();
    Undo(move || fs::remove_dir_all(path).unwrap())
}

/// Everything that a test login of the doctor could leave behind.
fn traces() -> String {
    // The brackets keep the patterns from matching this command itself.
    let visited = "find /var/lib/sshbox /run/sshbox /var/cache/sshbox /tmp -name '*[s]shbox-doctor-*' -o -lname '[s]shbox-doctor-*';
                   docker ps --all --format '{{.Names}}' | grep '[s]shbox-doctor-';
                   ps -e -o args | grep '[s]shbox-doctor-'; true";
    run("sh", &["-c", visited])
}
