//! Who is asked: a user of plain sshd or of sshbox, and all in which the two may differ.
//! Programs, servers and connections are found on the host, in the same way for both.

use crate::harness::{self, Running, STATE, Ssh, User, begun, processes, run, status_of, until};
use std::fs;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The server that is asked.
pub struct Subject {
    pub user: User,
    /// Where its sshd listens.
    pub port: u16,
    /// Whom a program runs as.
    pub account: &'static str,
    /// Where a program begins.
    pub home: &'static str,
    /// Without a terminal plain sshd leaves what a vanished client had running to itself, for ever if it neither
    /// reads nor writes. sshbox is better here on purpose: it hangs such a session up, as one with a terminal.
    pub leaves_orphans: bool,
    /// When a program closes both of its outputs and goes on, plain sshd tells the client at once. sshbox tells it
    /// at the program's end: it holds stderr to feel whether the client is there. Weaker than plain sshd, and seen
    /// by clients only that tell the end of output from the end of the program; OpenSSH's does not.
    pub tells_of_closed_outputs: bool,
    /// A terminal type that the host does not know is passed on by plain sshd, and programs fail. sshbox is better
    /// here on purpose: they get one that is known.
    pub unknown_terminal: &'static str,
}

/// The one that the environment names.
pub fn subject() -> &'static Subject {
    static SUBJECT: OnceLock<Subject> = OnceLock::new();
    let name = std::env::var("SUBJECT").unwrap_or_default();
    assert!(
        ["plain", "sshbox"].contains(&&*name),
        "SUBJECT must be `plain` or `sshbox`, and is {name:?}: run `make test`, or tests/oracle/both in a world"
    );
    drop(harness::world());
    SUBJECT.get_or_init(|| {
        let subject = if name == "plain" {
            Subject {
                user: User::plain(),
                port: 22,
                account: "plain",
                home: "/home/plain",
                leaves_orphans: true,
                tells_of_closed_outputs: true,
                unknown_terminal: "no-such-terminal",
            }
        } else {
            Subject {
                user: User::new("alice"),
                port: 2200,
                account: "user",
                home: "/home/user",
                leaves_orphans: false,
                tells_of_closed_outputs: false,
                unknown_terminal: "xterm-256color",
            }
        };
        // So that a case can see who reads which of them, and the others notice nothing.
        subject.says(
            "for file in bashrc profile bash_logout; do
                 touch ~/.$file
                 if grep -q ORACLE ~/.$file; then continue; fi
                 (echo \"case \\$LC_ORACLE in *$file*) echo read-$file;; esac\"; cat ~/.$file) >~/.new
                 mv ~/.new ~/.$file
             done",
        );
        subject
    })
}

impl Subject {
    pub fn ssh(&self) -> Ssh {
        self.user.ssh()
    }

    /// Runs a command that must succeed and say nothing on stderr.
    pub fn says(&self, command: &str) -> String {
        self.user.says(command)
    }

    /// Runs a script on this side, in which `remote` is the client. Options may follow it.
    pub fn local(&self, script: &str) -> Output {
        self.begin_local(script).ends()
    }

    /// The same, for a script that takes its time.
    pub fn begin_local(&self, script: &str) -> Running {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("remote() {{ {} \"$@\"; }}\n{script}", self.client()));
        begun(command, Vec::new())
    }

    /// The client, as one types it into a shell.
    pub fn client(&self) -> String {
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o LogLevel=ERROR -o IdentitiesOnly=yes -o ControlPath=none {}",
            self.target("-p")
        )
    }

    /// The options that all clients share, with the letter that this one has for the port.
    pub fn target(&self, port: &str) -> String {
        format!("-i {STATE}/key {port} {} -o User={} 127.0.0.1", self.port, self.user.name)
    }

    /// The processes of sshd that hold the connection from this port: root's, then the login's.
    pub fn servers(&self, client: u16) -> Vec<i32> {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let port = |field: &str| u16::from_str_radix(&field[9..], 16).unwrap();
        let socket = table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            (port(fields[1]) == self.port && port(fields[2]) == client && fields[9] != "0")
                .then(|| format!("socket:[{}]", fields[9]))
        });
        let Some(socket) = socket else { return Vec::new() };
        let holds = |pid: &i32| {
            let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
            fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path.as_os_str() == &*socket))
        };
        let mut pids: Vec<i32> = processes().into_iter().filter(holds).collect();
        pids.sort_by_key(|pid| status_of(*pid, "Uid").is_some_and(|uid| !uid.starts_with("0 ")));
        pids
    }

    /// The process of the connection that has the rights of the login.
    pub fn server(&self, client: u16) -> i32 {
        *self.servers(client).last().unwrap()
    }
}

/// Begins a command that first says which port its client has.
pub fn begin(ssh: Ssh, command: &str) -> Session {
    let mut client = ssh.begin(&[&said(command)]);
    let port = client.line().trim().parse().unwrap();
    Session { client, port }
}

/// What this process of sshd has started: the leaders of its sessions.
pub fn leaders(server: i32) -> Vec<i32> {
    let parent = server.to_string();
    processes().into_iter().filter(|pid| status_of(*pid, "PPid").as_ref() == Some(&parent)).collect()
}

/// The command, preceded by the port of its client.
pub fn said(command: &str) -> String {
    format!("set -- $SSH_CONNECTION; echo $2; {command}")
}

/// A session that runs.
pub struct Session {
    pub client: Running,
    /// The client's end of the connection.
    pub port: u16,
}

/// A number that no other case uses, nor another run in this world.
pub fn word() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("{}{:04}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed))
}

/// A program that does nothing, for longer than anybody waits; ended with the case.
pub struct Sleep(String);

impl Sleep {
    pub fn new() -> Self {
        Self(format!("sleep 9{}", word()))
    }

    /// What to type for it.
    pub fn command(&self) -> &str {
        &self.0
    }

    pub fn runs(&self) -> bool {
        !self.pids().is_empty()
    }

    pub fn pids(&self) -> Vec<i32> {
        let words = self.0.replace(' ', "\0") + "\0";
        processes()
            .into_iter()
            .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == words.as_bytes()))
            .collect()
    }

    pub fn comes(&self) {
        until(&format!("{} runs", self.0), || self.runs());
    }

    pub fn goes(&self) {
        until(&format!("{} is gone", self.0), || !self.runs());
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        for pid in self.pids() {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// A folder on the subject's side; removed with the case.
pub struct Folder(pub String);

impl Folder {
    pub fn new() -> Self {
        let path = format!("/tmp/oracle-{}", word());
        subject().says(&format!("mkdir {path}"));
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = subject().ssh().run(&format!("rm -rf {}", self.0));
    }
}

/// A folder on this side; removed with the case.
pub struct Here(pub String);

impl Here {
    pub fn new() -> Self {
        let path = format!("/tmp/oracle-here-{}", word());
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One connection for many sessions: a client that only holds it open.
pub struct Connection {
    pub master: Running,
    pub path: String,
}

impl Connection {
    pub fn open() -> Self {
        let path = format!("/tmp/oracle-control-{}", word());
        let master = subject().ssh().args(&["-M", "-S", &path, "-N", "-o", "SendEnv=LC_*"]).begin(&[]);
        let connection = Self { master, path };
        until("the connection stands", || fs::exists(&connection.path).unwrap());
        connection
    }

    /// One more session of it.
    pub fn ssh(&self) -> Ssh {
        subject().ssh().args(&["-S", &self.path])
    }

    pub fn says(&self, command: &str) -> String {
        harness::text(&self.ssh().run(command).stdout)
    }

    /// Asks the client that holds it: `check`, `stop` or `exit`.
    pub fn control(&self, what: &str) {
        run("ssh", &["-F", "/dev/null", "-S", &self.path, "-O", what, "127.0.0.1"]);
    }

    /// The client's port.
    pub fn port(&self) -> u16 {
        self.says("set -- $SSH_CONNECTION; echo $2").trim().parse().unwrap()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
