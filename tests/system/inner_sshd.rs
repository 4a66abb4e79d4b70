//! `@sshd`: with the output of `@config`, stock ssh forwards ports, agent and X11 into the box, and never to the host.
//! These tests do without VS Code what VS Code Remote-SSH needs.

mod connection;
mod forwarding;
mod host_key;

use crate::harness::{Running, STATE, User, text};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

/// The user's own machine, on which `ssh NAME-box` works.
pub struct Machine {
    pub user: User,
    pub folder: String,
}

impl Machine {
    /// Writes the output of `@config` to a file, and adds options that tests need for both connections.
    pub fn of(user: &User) -> Self {
        let folder = format!("{STATE}/machine-{}", user.name);
        fs::create_dir_all(&folder).unwrap();
        let config = user.says("@config");
        let options = format!("-F /dev/null -o BatchMode=yes -i {STATE}/key -o IdentitiesOnly=yes");
        let outer = format!("ssh {options} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -q ");
        let config = config.replace("ProxyCommand ssh ", &format!("ProxyCommand {outer}"));
        let inner = format!("    IdentityFile {STATE}/key\n    UserKnownHostsFile {folder}/known_hosts\n");
        fs::write(format!("{folder}/config"), config + &inner).unwrap();
        Self { user: user.clone(), folder }
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args([
            "-F",
            &format!("{}/config", self.folder),
            "-o",
            "BatchMode=yes",
            "-o",
            "LogLevel=ERROR",
        ]);
        command.args(["-o", "ExitOnForwardFailure=yes"]);
        command
    }

    pub fn host(&self) -> String {
        format!("{}-box", self.user.name)
    }

    /// Runs `ssh OPTIONS NAME-box COMMAND` and waits for its end.
    pub fn ssh(&self, options: &[&str], command: &str) -> Output {
        let mut ssh = self.command("ssh");
        ssh.args(options).arg(self.host()).arg(command).stdin(Stdio::null()).output().unwrap()
    }

    /// Output of a command that must succeed and write nothing to stderr.
    pub fn says(&self, options: &[&str], command: &str) -> String {
        let output = self.ssh(options, command);
        assert!(output.status.success(), "{options:?} {command}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{command}");
        text(&output.stdout)
    }

    /// Opens a connection with these forwardings and keeps it open. `command` prints `up` when it is ready.
    fn open(&self, options: &[&str], command: &str) -> Running {
        let mut ssh = self.command("ssh");
        ssh.args(options).arg(self.host()).arg(command);
        let child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Running::of(child);
        assert_eq!(running.line().trim_end(), "up");
        running
    }
}

/// Keeps a connection open.
const STAY: &str = "echo up; exec cat";

/// Starts a web server in the box, with a page that identifies it.
const SERVE: &str = "cd $(mktemp -d); echo inside the box > where;

    python3 -m http.server --bind 127.0.0.1 8765 >/dev/null 2>&1 & \
    until (exec 3<>/dev/tcp/127.0.0.1/8765) 2>/dev/null; do sleep 0.1; done; echo up; exec cat";

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    // A forwarding without a target closes or resets the connection.
    let _ = stream.read_to_string(&mut answer);
    answer
}
