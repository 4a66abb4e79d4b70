//! What the tests of whole logins say: a user of the web app, an ssh client, a terminal.
#![allow(dead_code, unused_imports, reason = "each target leaves a part to the others")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

// By path, since other targets include this file from their own folders.
#[path = "running.rs"]
mod running;
#[path = "turns.rs"]
mod turns;
pub use running::{PRINTS_SIZES, Running, Terminal, begun, to_the_end};
pub use turns::{Alone, private_world, world, world_alone};

pub const STATE: &str = "/run/sshbox-tests";
pub const CONFIG: &str = "/etc/sshbox/sshbox.toml";
pub const SSHD_CONFIG: &str = "/etc/sshbox/sshd_config";

/// Shows, in a box, the login name that it was made for.
pub const WHOSE: &str = "cut -d: -f1 /run/sshbox/passwd";

/// A port that is free now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a script of the world, or any command, and expects it to succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = text(&output.stdout);
    assert!(output.status.success(), "{program} {arguments:?}: {}{}", text, self::text(&output.stderr));
    text
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Judges all boxes, as the timer does.
pub fn reap(arguments: &[&str]) -> Output {
    Command::new("/usr/lib/sshbox/sshbox-reap").args(arguments).output().unwrap()
}

/// Django's own command line, in one process for all calls of this program.
pub fn manage(arguments: &[&str]) -> String {
    static DJANGO: LazyLock<Mutex<(Child, BufReader<ChildStdout>)>> = LazyLock::new(|| {
        let mut command = Command::new("target/venv/bin/python");
        command.arg("tests/system/manage.py").env("SSHBOX_DEMO_DATA", format!("{STATE}/django"));
        command.env("SSHBOX_TOKEN_FILE", format!("{STATE}/token")).env("PYTHONPATH", "django/src");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap());
        // It ends at the end of its input, with this program.
        Mutex::new((child, replies))
    });
    let mut django = DJANGO.lock().unwrap();
    writeln!(django.0.stdin.as_mut().unwrap(), "{}", serde_json::to_string(arguments).unwrap()).unwrap();
    let mut reply = String::new();
    django.1.read_line(&mut reply).unwrap();
    // A call that failed is the failure of one test, not of all that come after.
    drop(django);
    let (status, printed): (i32, String) = serde_json::from_str(&reply).unwrap();
    assert_eq!(status, 0, "{arguments:?}: {printed}");
    printed
}

/// What the system log has by now: the texts of all entries.
pub fn journal() -> String {
    run("journalctl", &["--sync"]);
    run("journalctl", &["--no-pager", "--quiet", "--all", "--output", "cat"])
}

/// How long a test waits for what must come: long, for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `ready`.
pub fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < end, "gave up waiting: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A user who may log in.
#[derive(Clone)]
pub struct User {
    pub name: String,
}

impl User {
    /// Registers a user of this name, with the key that all tests use, in Django.
    pub fn new(name: &str) -> Self {
        manage(&["sshbox_key", "add", name, &format!("{STATE}/key.pub"), "--create-user"]);
        Self { name: name.to_owned() }
    }

    /// Registers many users with that key at once. Gives their ids as well, as the web app tells them.
    pub fn many(names: &[String]) -> Vec<(Self, String)> {
        let script = format!(
            "from django.contrib.auth import get_user_model\n\
             from django_sshbox.models import SSHKey\n\
             key = open('{STATE}/key.pub').read()\n\
             for name in '{}'.split():\n    \
                 user = get_user_model().objects.create_user(name)\n    \
                 SSHKey.objects.create(user=user, public_key=key)\n    \
                 print('made', name, user.pk)\n",
            names.join(" ")
        );
        let said = manage(&["shell", "-c", &script]);
        let made = said.lines().filter_map(|line| line.strip_prefix("made ")?.split_once(' '));
        let users: Vec<_> = made.map(|(name, id)| (Self { name: name.to_owned() }, id.to_owned())).collect();
        assert_eq!(users.len(), names.len(), "{said}");
        users
    }

    /// The local account behind plain sshd.
    pub fn plain() -> Self {
        Self { name: "plain".to_owned() }
    }

    pub fn ssh(&self) -> Ssh {
        self.ssh_over("none")
    }

    /// The client, by way of a connection that is open already (`ControlPath`).
    pub fn ssh_over(&self, control: &str) -> Ssh {
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        command.args(["-o", "IdentitiesOnly=yes", "-o", &format!("ControlPath={control}")]);
        Ssh { command, key: format!("{STATE}/key"), user: self.clone(), input: Vec::new() }
    }

    /// Opens a connection that carries other clients' sessions and none of its own, at this
    /// `ControlPath`.
    pub fn connects(&self, control: &str) -> Running {
        let connection = self.ssh_over(control).args(&["-M", "-N"]).begin(&[]);
        until("the connection is there", || fs::exists(control).unwrap());
        connection
    }

    /// Runs a command and expects it to succeed quietly.
    pub fn says(&self, command: &str) -> String {
        let output = self.ssh().run(command);
        assert!(output.status.success(), "{command}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{command}");
        text(&output.stdout)
    }

    /// Name of the container.
    pub fn container(&self) -> String {
        let config = fs::read_to_string(CONFIG).unwrap_or_default();
        let name = config.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        let name = name.unwrap_or("sshbox-{digest}").parse().unwrap();
        let names = ::host::box_names::BoxNames::load(&name).unwrap();
        names.of(&::identity::Login::parse(self.name.as_bytes()).unwrap())
    }

    pub fn home(&self) -> String {
        format!("/var/lib/sshbox/homes/{}", self.name)
    }

    /// Uid of the box, and of the files in the home.
    pub fn box_uid(&self) -> u32 {
        fs::metadata(self.home()).unwrap().uid()
    }

    /// Uid of the login's own processes on the host.
    pub fn uid(&self) -> u32 {
        ::identity::Login::parse(self.name.as_bytes()).unwrap().uid()
    }

    /// A field of the container, as `docker inspect` shows it.
    pub fn inspect(&self, format: &str) -> String {
        run("docker", &["inspect", "--format", format, &self.container()]).trim().to_owned()
    }

    /// Ids of the processes of this user on the host: sshd's child and sshbox-shell.
    pub fn host_processes(&self) -> Vec<i32> {
        processes().into_iter().filter(|pid| uid_of(*pid) == Some(self.uid())).collect()
    }

    /// Ids on the host of all processes in the box, its init the first.
    pub fn box_processes(&self) -> Vec<i32> {
        let init = self.inspect("{{.State.Pid}}").parse().unwrap();
        [init].into_iter().chain(beside(init)).collect()
    }

    /// Whether a process with this word in its command line runs in the box.
    pub fn runs_in_box(&self, word: &str) -> bool {
        let top = Command::new("docker").args(["top", &self.container(), "-o", "pid,args"]).output().unwrap();
        text(&top.stdout).contains(word)
    }
}

/// Where sshbox's sshd listens: that of the world, or one of this test's own (`private_world`).
fn port() -> String {
    let config = fs::read_to_string("/etc/sshbox/sshd_config").unwrap_or_default();
    config.lines().find_map(|line| line.strip_prefix("Port ")).unwrap_or("2200").to_owned()
}

/// One call of the OpenSSH client.
pub struct Ssh {
    command: Command,
    user: User,
    key: String,
    input: Vec<u8>,
}

impl Ssh {
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the client.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Uses another key than the one that is registered.
    pub fn key(mut self, name: &str) -> Self {
        self.key = format!("{STATE}/{name}");
        self
    }

    pub fn input(mut self, bytes: &[u8]) -> Self {
        self.input = bytes.to_vec();
        self
    }

    fn finish(mut self, words: &[impl AsRef<OsStr>]) -> (Command, Vec<u8>) {
        let port = if self.user.name == "plain" { "22".to_owned() } else { port() };
        self.command.args(["-i", &self.key, "-p", &port, "-l", &self.user.name, "127.0.0.1"]);
        self.command.args(words);
        (self.command, self.input)
    }

    /// The client's command line, with the words of a command.
    pub fn command(self, words: &[&str]) -> Command {
        self.finish(words).0
    }

    /// Runs a command to its end.
    pub fn run(self, command: &str) -> Output {
        self.run_bytes(command.as_bytes())
    }

    /// Runs a command that is no text.
    pub fn run_bytes(self, command: &[u8]) -> Output {
        let (command, input) = self.finish(&[OsStr::new("--"), OsStr::from_bytes(command)]);
        to_the_end(command, input)
    }

    pub fn status(self, command: &str) -> i32 {
        self.run(command).status.code().unwrap()
    }

    /// Begins a command, or a login shell, and lets it run.
    pub fn begin(self, words: &[&str]) -> Running {
        let (mut command, _) = self.finish(words);
        let child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running::of(child)
    }

    /// Begins with a terminal of this size, and asks for one there.
    pub fn terminal(self, rows: u16, columns: u16, words: &[&str]) -> Terminal {
        self.args(&["-tt"]).at_terminal(rows, columns, words, |_| ())
    }

    /// Begins at a terminal that was prepared by `prepare`, which is told its path.
    pub fn at_terminal(
        self,
        rows: u16,
        columns: u16,
        words: &[&str],
        prepare: impl FnOnce(&str),
    ) -> Terminal {
        let (mut command, _) = self.finish(words);
        Terminal::prepared(&mut command, rows, columns, prepare)
    }
}

pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

pub fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect()
}

/// Ids on the host of all other processes in the box of this init.
pub fn beside(init: i32) -> Vec<i32> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let here = namespace(init).unwrap_or_else(|| panic!("{init} is no init of a box"));
    let others = processes().into_iter().filter(|pid| *pid != init);
    others.filter(|pid| namespace(*pid).as_ref() == Some(&here)).collect()
}

/// A line of `/proc/PID/status`.
pub fn status_of(pid: i32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line[field.len() + 1..].split_whitespace().collect::<Vec<_>>().join(" "))
}

fn uid_of(pid: i32) -> Option<u32> {
    status_of(pid, "Uid")?.split(' ').next()?.parse().ok()
}

/// A change to a file that is undone when the test ends, however it ends.
pub struct Changed {
    path: &'static str,
    before: String,
}

impl Changed {
    pub fn config(from: &str, to: &str) -> Self {
        Self::file(CONFIG, from, to)
    }

    pub fn file(path: &'static str, from: &str, to: &str) -> Self {
        let before = fs::read_to_string(path).unwrap();
        assert!(before.contains(from), "{from}");
        fs::write(path, before.replace(from, to)).unwrap();
        Self { path, before }
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        fs::write(self.path, &self.before).unwrap();
    }
}

/// Something that is undone when the test ends, however it ends.
pub struct Undo<F: Fn()>(pub F);

impl<F: Fn()> Drop for Undo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A user whom many tests use that change nothing of the box.
pub fn alice() -> User {
    static ALICE: LazyLock<User> = LazyLock::new(|| {
        let alice = User::new("alice");
        alice.says("true");
        alice
    });
    ALICE.clone()
}

/// A user whose box is made of an image like that of all others, but without this file. The
/// configuration names the image while the box is made: a running box stays as it is.
pub fn user_without(name: &str, path: &str, _alone: &Alone) -> User {
    let image = format!("without-{name}:1");
    let remove = format!(
        "docker run --name without-{name} --network none --user 0:0 --entrypoint rm sshbox-user:latest {path} &&
         docker commit --change 'USER 1000:1000' --change 'ENTRYPOINT []' without-{name} {image} &&
         docker rm without-{name}"
    );
    run("sh", &["-c", &remove]);
    let _config = Changed::config("image = \"sshbox-user:latest\"", &format!("image = \"{image}\""));
    let user = User::new(name);
    assert_eq!(user.ssh().status(&format!("test -e {path}")), 1, "{path} is in the box");
    user
}
