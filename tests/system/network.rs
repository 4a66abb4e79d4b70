//! What a box can reach. `matrix` and `limits` send packets through the rules alone, in network namespaces of the test;
//! `boxes` uses real boxes.

mod boxes;
mod limits;
mod matrix;
mod restored;

use crate::harness::{Undo, run, to_the_end};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

/// The namespaces of one test: see tests/system/network/namespaces.
struct Spaces {
    name: &'static str,
    servers: Vec<Child>,
}

impl Spaces {
    fn new(name: &'static str) -> Self {
        run("tests/system/network/namespaces", &["stop", name]);
        run("tests/system/network/namespaces", &["start", name]);
        Self { name, servers: Vec::new() }
    }

    /// A command in one of them.
    fn command(&self, space: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{space}", self.name)]).args(words);
        command
    }

    /// Runs a command in one of them. Returns its output.
    fn run(&self, space: &str, words: &[&str], input: &str) -> String {
        let output = to_the_end(self.command(space, words), input.as_bytes().to_vec());
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts servers at these addresses, each followed by its ports.
    fn serve(&mut self, space: &str, addresses: &[String]) {
        let mut command = self.command(space, &["python3", "tests/system/network/serve.py"]);
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        writeln!(server.stdin.as_mut().unwrap(), "{}\n", addresses.join("\n")).unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        self.servers.push(server);
    }

    /// Tries these targets from a namespace. Returns the results in the same order.
    fn probe(&self, space: &str, targets: &[String]) -> Vec<String> {
        let said = self.run(space, &["python3", "tests/system/network/probe.py"], &targets.join("\n"));
        let results: Vec<_> = said.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
        assert_eq!(results.len(), targets.len(), "{said}");
        results
    }

    /// Loads the rules of a configuration, and those within the bridges where the kernel can.
    fn load(&self, settings: &str) {
        let file = format!("/run/sshbox-tests/network-{}.toml", self.name);
        std::fs::write(&file, settings).unwrap();
        let script = run("sshbox", &["--config", &file, "network", "show", "--script"]);
        let (routed, bridged) = script.split_once("table bridge").unwrap();
        self.run("host", &["nft", "-f", "-"], routed);
        let bridged = format!("table bridge{bridged}");
        let _ = to_the_end(self.command("host", &["nft", "-f", "-"]), bridged.into_bytes());
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // The end of its input ends it.
            drop(server.stdin.take());
            server.wait().unwrap();
        }
        run("tests/system/network/namespaces", &["stop", self.name]);
    }
}

/// Nothing loads the rules by itself until this is dropped.
pub fn rules_left_alone() -> Undo<impl Fn()> {
    let file = fs::read_to_string("/run/sshbox-by-hand/network.pid").unwrap();
    let pid = Pid::from_raw(file.split_whitespace().next().unwrap().parse().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    // It may have begun to load them.
    File::options().append(true).open("/run/sshbox/network.lock").unwrap().lock().unwrap();
    Undo(move || kill(pid, Signal::SIGCONT).unwrap())
}

/// Removes the rules of the world until this is dropped.
fn without_rules() -> (Undo<impl Fn()>, Undo<impl Fn()>) {
    let alone = rules_left_alone();
    run("nft", &["delete", "table", "inet", "sshbox"]);
    (Undo(|| drop(run("sshbox", &["network", "apply"]))), alone)
}
