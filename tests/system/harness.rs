//! What the tests say: a user of the web app, an ssh client, a terminal.

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{LazyLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

pub const STATE: &str = "/run/sshbox-tests";
pub const CONFIG: &str = "/etc/sshbox/sshbox.toml";

/// Tests share the world; one that stops a part of it must be alone.
static WORLD: RwLock<()> = RwLock::new(());

/// The right to use the world together with others.
pub fn world() -> RwLockReadGuard<'static, ()> {
    booted();
    WORLD.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The right to use the world alone.
pub fn world_alone() -> RwLockWriteGuard<'static, ()> {
    booted();
    WORLD.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn booted() {
    assert!(
        fs::exists(STATE).unwrap(),
        "this needs a world: run `make test`, or tests/system/world tests/system/boot …"
    );
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

/// Django's own command line.
pub fn manage(arguments: &[&str]) -> String {
    let output = Command::new("target/venv/bin/python")
        .arg("django/demo/manage.py")
        .args(arguments)
        .env("SSHBOX_DEMO_DATA", format!("{STATE}/django"))
        .env("SSHBOX_TOKEN_FILE", format!("{STATE}/token"))
        .env("PYTHONPATH", "django/src")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What sshbox wrote to the system log.
pub fn journal() -> String {
    fs::read_to_string("/run/sshbox-by-hand/journal").unwrap()
}

/// How long a test waits for what must come: long, for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `ready`.
pub fn until(what: &str, ready: impl Fn() -> bool) {
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

    /// The local account behind plain sshd.
    pub fn plain() -> Self {
        Self { name: "plain".to_owned() }
    }

    pub fn ssh(&self) -> Ssh {
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]);
        command.args(["-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        command.args(["-o", "IdentitiesOnly=yes", "-o", "ControlPath=none"]);
        Ssh { command, key: format!("{STATE}/key"), user: self.clone(), input: Vec::new() }
    }

    /// Runs a command and expects it to succeed quietly.
    pub fn says(&self, command: &str) -> String {
        let output = self.ssh().run(command);
        assert!(output.status.success(), "{command}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{command}");
        text(&output.stdout)
    }

    pub fn container(&self) -> String {
        format!("sshbox-{}", self.name)
    }

    pub fn home(&self) -> String {
        format!("/var/lib/sshbox/homes/{}", self.name)
    }

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

    /// Whether a process with this word in its command line runs in the box.
    pub fn runs_in_box(&self, word: &str) -> bool {
        let top = Command::new("docker").args(["top", &self.container(), "-o", "pid,args"]).output().unwrap();
        text(&top.stdout).contains(word)
    }
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

    /// Uses another key than the one that is registered.
    pub fn key(mut self, name: &str) -> Self {
        self.key = format!("{STATE}/{name}");
        self
    }

    pub fn input(mut self, bytes: &[u8]) -> Self {
        self.input = bytes.to_vec();
        self
    }

    fn finish(mut self, words: &[&str]) -> (Command, Vec<u8>) {
        let port = if self.user.name == "plain" { "22" } else { "2200" };
        self.command.args(["-i", &self.key, "-p", port, "-l", &self.user.name, "127.0.0.1"]);
        self.command.args(words);
        (self.command, self.input)
    }

    /// Runs a command to its end.
    pub fn run(self, command: &str) -> Output {
        let (mut command, input) = self.finish(&["--", command]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = thread::spawn(move || {
            // A command that ends without reading all of its input is no failure of the test.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    pub fn status(self, command: &str) -> i32 {
        self.run(command).status.code().unwrap()
    }

    /// Begins a command, or a login shell, and lets it run.
    pub fn begin(self, words: &[&str]) -> Running {
        let (mut command, _) = self.finish(words);
        let child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running(child)
    }

    /// Begins with a terminal of this size.
    pub fn terminal(self, rows: u16, columns: u16, words: &[&str]) -> Terminal {
        let (mut command, _) = self.args(&["-tt"]).finish(words);
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        resize(&slave, rows, columns);
        command.env("TERM", "xterm-256color");
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap());
        command.stderr(slave.try_clone().unwrap());
        let child = command.spawn().unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        Terminal { child: Running(child), master, slave, seen: String::new() }
    }
}

fn resize(terminal: &OwnedFd, ws_row: u16, ws_col: u16) {
    tcsetwinsize(terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// A client that runs; ended by the test, whatever happens.
pub struct Running(Child);

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub fn wait(mut self) -> i32 {
        drop(self.0.stdin.take());
        self.0.wait().unwrap().code().unwrap()
    }

    /// Waits for a line of output, so that the command has certainly begun.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        let stdout = self.0.stdout.as_mut().unwrap();
        while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        text(&line)
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Output and status, after the end of input.
    pub fn output(mut self) -> (i32, String, String) {
        drop(self.0.stdin.take());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        self.0.stdout.take().unwrap().read_to_end(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_end(&mut err).unwrap();
        (self.0.wait().unwrap().code().unwrap_or(-1), text(&out), text(&err))
    }

    fn over(&mut self) -> Option<i32> {
        self.0.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client with a terminal, as a person has it.
pub struct Terminal {
    child: Running,
    master: OwnedFd,
    slave: OwnedFd,
    seen: String,
}

impl Terminal {
    pub fn types(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(&self.master, rest) {
                Ok(count) => rest = &rest[count..],
                Err(rustix::io::Errno::AGAIN) => self.look(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits until the screen shows `text`, and forgets what stood before its end.
    pub fn shows(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            assert!(Instant::now() < end, "waited for {text:?}, saw {:?}", self.seen);
            self.look();
        }
    }

    fn look(&mut self) {
        let mut bytes = [0; 4096];
        match rustix::io::read(&self.master, &mut bytes) {
            Ok(count) => self.seen.push_str(&String::from_utf8_lossy(&bytes[..count])),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }

    pub fn resizes(&self, rows: u16, columns: u16) {
        resize(&self.slave, rows, columns);
        signal(self.child.pid(), nix::sys::signal::Signal::SIGWINCH);
    }

    /// The modes of the local terminal, which the client changes and must bring back.
    pub fn modes(&self) -> String {
        format!("{:?}", rustix::termios::tcgetattr(self.slave.as_fd()).unwrap())
    }

    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Waits for the end of the client.
    pub fn ends(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            self.look();
            if let Some(status) = self.child.over() {
                self.look();
                return status;
            }
            assert!(Instant::now() < end, "the client does not end, saw {:?}", self.seen);
        }
    }

    pub fn seen(&self) -> &str {
        &self.seen
    }
}

pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

pub fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok()).collect()
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
        let before = fs::read_to_string(CONFIG).unwrap();
        assert!(before.contains(from), "{from}");
        fs::write(CONFIG, before.replace(from, to)).unwrap();
        Self { path: CONFIG, before }
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
