//! The server under test, plain sshd or sshbox, with a user of it and everything in which the two may differ.
//! Programs, servers and connections are found on the host in the same way for both.

use crate::harness::{self, Running, STATE, Ssh, User, begun, processes, run, status_of, until};
use std::fs;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The server under test.
pub struct Subject {
    pub user: User,
    /// Port on which its sshd listens.
    pub port: u16,
    /// Name of the user that programs run as.
    pub program_user: &'static str,
    /// Directory in which programs start.
    pub home: &'static str,
    /// Without a terminal, plain sshd leaves the programs of a vanished client running, for ever if they neither
    /// read nor write. sshbox is better here on purpose: it hangs up such a session, as it does with a terminal.
    pub leaves_orphans: bool,
    /// When a program closes both of its outputs and goes on, plain sshd tells the client at once. sshbox tells the
    /// client when the program ends: it keeps stderr open to detect whether the client is there. This is weaker than
    /// plain sshd. Only clients that distinguish the end of output from the end of the program can see it; OpenSSH's
    /// client does not.
    pub reports_closed_outputs: bool,
    /// The terminal type that programs get when the client's is unknown. Plain sshd passes the unknown type on, and
    /// programs fail. sshbox is better here on purpose: it replaces it with a known type.
    pub unknown_terminal: &'static str,
}

/// The server that the environment variable `SUBJECT` names.
pub fn subject() -> &'static Subject {
    static SUBJECT: OnceLock<Subject> = OnceLock::new();
    let name = std::env::var("SUBJECT").unwrap_or_default();
    assert!(
        ["plain", "sshbox"].contains(&&*name),
        "SUBJECT must be `plain` or `sshbox`, but is {name:?}: run `make test`, or tests/oracle/both in a world"
    );
    drop(harness::world());
    SUBJECT.get_or_init(|| {
        let subject = if name == "plain" {
            Subject {
                user: User::plain(),
                port: 22,
                program_user: "plain",
                home: "/home/plain",
                leaves_orphans: true,
                reports_closed_outputs: true,
                unknown_terminal: "no-such-terminal",
            }
        } else {
            Subject {
                user: User::new("alice"),
                port: 2200,
                program_user: "alice",
                home: "/home/user",
                leaves_orphans: false,
                reports_closed_outputs: false,
                unknown_terminal: "xterm-256color",
            }
        };
        // Lets a test see which of these files a shell reads, without effect on other tests.
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

    /// Output of a command, which must succeed and write nothing to stderr.
    pub fn says(&self, command: &str) -> String {
        self.user.says(command)
    }

    /// Runs a local script, in which `remote` calls the client. Options may follow `remote`.
    pub fn local(&self, script: &str) -> Output {
        self.begin_local(script).ends()
    }

    /// Starts a local script, as [`Self::local`] does, without waiting for its end.
    pub fn begin_local(&self, script: &str) -> Running {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("remote() {{ {} \"$@\"; }}\n{script}", self.client()));
        begun(command, Vec::new())
    }

    /// Command line of the client, for a shell.
    pub fn client(&self) -> String {
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o LogLevel=ERROR -o IdentitiesOnly=yes -o ControlPath=none {}",
            self.target("-p")
        )
    }

    /// Options that all clients share. `port` is the option by which this client takes the port.
    pub fn target(&self, port: &str) -> String {
        format!("-i {STATE}/key {port} {} -o User={} 127.0.0.1", self.port, self.user.name)
    }

    /// Processes of sshd that hold the connection from this client port: first root's, then the login's.
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

    /// The sshd process of the connection that runs as the login's uid.
    pub fn server(&self, client: u16) -> i32 {
        *self.servers(client).last().unwrap()
    }
}

/// Starts a command that first prints the port of its client.
pub fn begin(ssh: Ssh, command: &str) -> Session {
    let mut client = ssh.begin(&[&with_client_port(command)]);
    let port = client.line().trim().parse().unwrap();
    Session { client, port }
}

/// Children of this sshd process: the leaders of its sessions.
pub fn leaders(server: i32) -> Vec<i32> {
    let parent = server.to_string();
    processes().into_iter().filter(|pid| status_of(*pid, "PPid").as_ref() == Some(&parent)).collect()
}

/// The command, changed so that it first prints the port of its client.
pub fn with_client_port(command: &str) -> String {
    format!("set -- $SSH_CONNECTION; echo $2; {command}")
}

/// A running session.
pub struct Session {
    pub client: Running,
    /// Port of the client's end of the connection.
    pub port: u16,
}

/// A number that no other test uses, nor another run in this world.
pub fn unique_number() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("{}{:04}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed))
}

/// A program that sleeps for longer than any test. Dropping this kills it.
pub struct Sleep(String);

impl Sleep {
    pub fn new() -> Self {
        Self(format!("sleep 9{}", unique_number()))
    }

    /// Its command line.
    pub fn command(&self) -> &str {
        &self.0
    }

    pub fn runs(&self) -> bool {
        !self.pids().is_empty()
    }

    pub fn pids(&self) -> Vec<i32> {
        let command_line = self.0.replace(' ', "\0") + "\0";
        processes()
            .into_iter()
            .filter(|pid| {
                fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == command_line.as_bytes())
            })
            .collect()
    }

    pub fn wait_for_start(&self) {
        until(&format!("{} runs", self.0), || self.runs());
    }

    pub fn wait_for_end(&self) {
        until(&format!("{} has ended", self.0), || !self.runs());
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

/// A directory on the server's side. Dropping this removes it.
pub struct RemoteFolder(pub String);

impl RemoteFolder {
    pub fn new() -> Self {
        let path = format!("/tmp/oracle-{}", unique_number());
        subject().says(&format!("mkdir {path}"));
        Self(path)
    }
}

impl Drop for RemoteFolder {
    fn drop(&mut self) {
        let _ = subject().ssh().run(&format!("rm -rf {}", self.0));
    }
}

/// A local directory. Dropping this removes it.
pub struct LocalFolder(pub String);

impl LocalFolder {
    pub fn new() -> Self {
        let path = format!("/tmp/oracle-here-{}", unique_number());
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for LocalFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One connection for many sessions, held open by a client without a session.
pub struct Connection {
    pub master: Running,
    pub path: String,
}

impl Connection {
    pub fn open() -> Self {
        let path = format!("/tmp/oracle-control-{}", unique_number());
        let master = subject().ssh().args(&["-M", "-S", &path, "-N", "-o", "SendEnv=LC_*"]).begin(&[]);
        let connection = Self { master, path };
        until("the connection is open", || fs::exists(&connection.path).unwrap());
        connection
    }

    /// A further session over this connection.
    pub fn ssh(&self) -> Ssh {
        subject().ssh().args(&["-S", &self.path])
    }

    pub fn says(&self, command: &str) -> String {
        harness::text(&self.ssh().run(command).stdout)
    }

    /// Sends a control command to the client that holds the connection: `check`, `stop` or `exit`.
    pub fn control(&self, command: &str) {
        run("ssh", &["-F", "/dev/null", "-S", &self.path, "-O", command, "127.0.0.1"]);
    }

    /// Port of the client.
    pub fn port(&self) -> u16 {
        self.says("set -- $SSH_CONNECTION; echo $2").trim().parse().unwrap()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
