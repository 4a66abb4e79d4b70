//! How long the tests run, what they found, and what both are about: chance that can be
//! repeated, and the processes of the host.

use crate::harness::{User, processes, run, status_of};
use std::fs;
use std::io::Write as _;

/// A length, which the environment may set.
pub fn length(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |number| number.parse().unwrap())
}

/// Tells a figure past the runner, which would keep it to itself when all goes well.
pub fn tell(figure: &str) {
    let mut past_the_runner = std::io::stderr();
    writeln!(past_the_runner, "life: {figure}").unwrap();
}

/// Chance: `SplitMix64`, the same for the same seed.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

/// Takes the containers of these users away when the test ends, however it ends.
pub struct Boxes(pub Vec<User>);

impl Drop for Boxes {
    fn drop(&mut self) {
        let names: Vec<String> = self.0.iter().map(User::container).collect();
        let arguments: Vec<&str> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
        // Who has none is no surprise here.
        let _ = std::process::Command::new("docker").args(arguments).output();
    }
}

/// The process that listens for us: started by `without-systemd`, which wrote its number down.
pub fn sshd() -> i32 {
    let line = fs::read_to_string("/run/sshbox-by-hand/sshd.pid").unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

/// Processes of this name; a process that ends meanwhile has none.
pub fn named(name: &str) -> Vec<i32> {
    processes().into_iter().filter(|pid| is_named(*pid, name)).collect()
}

pub fn is_named(pid: i32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
}

pub fn parent_of(pid: i32) -> Option<i32> {
    status_of(pid, "PPid")?.parse().ok()
}

/// The command line with blanks for its NULs; empty for a process that has ended.
pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

/// What sessions have on the host: every `sshbox-shell`, and every sshd that serves one of
/// our connections.
pub fn of_sessions() -> Vec<i32> {
    let master = sshd();
    let ours = |pid: &i32| {
        let mut above = Some(*pid);
        // A connection's processes are children and grandchildren of the one that listens.
        (0..3).any(|_| {
            above = above.and_then(parent_of);
            above == Some(master)
        })
    };
    let connections = named("sshd").into_iter().filter(ours);
    named("sshbox-shell").into_iter().chain(connections).collect()
}

/// Ends our sshd the hard way, or asks it to go, and starts it as the package would.
pub fn restart_sshd(signal: nix::sys::signal::Signal) {
    let master = sshd();
    crate::harness::signal(master, signal);
    crate::harness::until("the old sshd is gone", || {
        status_of(master, "State").is_none_or(|state| state.starts_with('Z'))
    });
    run("packaging/demo/without-systemd", &["start"]);
    assert_ne!(sshd(), master);
}
