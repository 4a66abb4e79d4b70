//! Number of repetitions, printed figures, repeatable random numbers, and the processes of the host.

use crate::harness::{User, processes, run, status_of};
use std::fs;
use std::io::Write as _;

/// Value of an environment variable, or `usual` if it is not set.
pub fn number_from_env(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |number| number.parse().unwrap())
}

/// Prints a figure to stderr directly: the test runner captures `eprintln!` and drops it if the test passes.
pub fn report(figure: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "life: {figure}").unwrap();
}

/// Random numbers by `SplitMix64`: the same seed gives the same numbers.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

/// Removes the containers of these users when the test ends, also when it fails.
pub struct ContainerCleanup(pub Vec<User>);

impl Drop for ContainerCleanup {
    fn drop(&mut self) {
        let names: Vec<String> = self.0.iter().map(User::container).collect();
        let arguments: Vec<&str> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
        // A user may have no container.
        let _ = std::process::Command::new("docker").args(arguments).output();
    }
}

/// Pid of sshbox's sshd that listens. `without-systemd` has started it and written its pid to a file.
pub fn sshd_listener() -> i32 {
    let line = fs::read_to_string("/run/sshbox-by-hand/sshd.pid").unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

/// Processes with this name. A process that has just ended has no name.
pub fn processes_named(name: &str) -> Vec<i32> {
    processes().into_iter().filter(|pid| is_named(*pid, name)).collect()
}

pub fn is_named(pid: i32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
}

pub fn parent_of(pid: i32) -> Option<i32> {
    status_of(pid, "PPid")?.parse().ok()
}

/// Command line with spaces in place of NULs; empty for a process that has ended.
pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

/// Processes of sessions on the host: every `sshbox-shell`, and every sshd that serves a connection of
/// sshbox's sshd.
pub fn session_processes() -> Vec<i32> {
    let listener = sshd_listener();
    let descends_from_listener = |pid: &i32| {
        let mut ancestor = Some(*pid);
        // The processes of a connection are children and grandchildren of the listener.
        (0..3).any(|_| {
            ancestor = ancestor.and_then(parent_of);
            ancestor == Some(listener)
        })
    };
    let connections = processes_named("sshd").into_iter().filter(descends_from_listener);
    processes_named("sshbox-shell").into_iter().chain(connections).collect()
}

/// Ends sshbox's sshd with this signal and starts it as the package does.
pub fn restart_sshd(signal: nix::sys::signal::Signal) {
    let listener = sshd_listener();
    crate::harness::signal(listener, signal);
    crate::harness::until("the old sshd has ended", || {
        status_of(listener, "State").is_none_or(|state| state.starts_with('Z'))
    });
    run("packaging/demo/without-systemd", &["start"]);
    assert_ne!(sshd_listener(), listener);
}
