//! The client's side: a user with a local working directory, and the ssh configuration that a user writes once.
//! Every command has a time limit, so that a client that hangs fails its test.

use crate::harness::{STATE, User, run, text};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// The Python clients, installed by `prepare`.
pub const PYTHON: &str = "target/clients/venv/bin";

/// Time limit of a command in seconds, enough for a busy machine.
const TIME_LIMIT: &str = "150";

/// A user with a local working directory.
pub struct Client {
    pub user: User,
    /// Working directory of the commands.
    pub folder: String,
}

/// Exit status and output of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandResult {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Client {
    /// A user with this login name, registered in Django, whose box runs.
    pub fn new(name: &str) -> Self {
        LazyLock::force(&CONFIGURED);
        let user = User::new(name);
        user.says("true");
        Self::of(user)
    }

    /// A user of plain sshd.
    pub fn plain(name: &str) -> Self {
        LazyLock::force(&CONFIGURED);
        let client = Self { user: User::plain(), folder: format!("/tmp/clients/plain-{name}") };
        fs::create_dir_all(&client.folder).unwrap();
        // All tests share one account, so each test needs a remote directory of its own.
        client.user.says(&format!("rm -rf {name}; mkdir {name}"));
        client
    }

    fn of(user: User) -> Self {
        let folder = format!("/tmp/clients/{}", user.name);
        fs::create_dir_all(&folder).unwrap();
        Self { user, folder }
    }

    /// The address before the colon: `alice@box`, or `plain@host` for plain sshd.
    pub fn address(&self) -> String {
        let host = if self.user.name == "plain" { "host" } else { "box" };
        format!("{}@{host}", self.user.name)
    }

    /// Runs a local shell script in the working directory. `$TO` is the address, `$NAME` the login name. `PATH` has
    /// only Debian's directories, so that nothing else on this machine is used.
    pub fn try_run(&self, script: &str) -> CommandResult {
        let output = Command::new("timeout")
            .args([TIME_LIMIT, "bash", "-euo", "pipefail", "-c", script])
            .current_dir(&self.folder)
            .env_clear()
            .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8"), ("TERM", "xterm")])
            .envs([("HOME", "/root"), ("TO", &self.address()), ("NAME", &self.user.name)])
            .envs([("KEY", format!("{STATE}/key")), ("REPOSITORY", repository())])
            .env("PYTHON", format!("{}/{PYTHON}", repository()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_ne!(output.status.code(), Some(124), "{script}: hangs: {output:?}");
        CommandResult {
            status: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Output of a script that must succeed and write nothing to stderr.
    pub fn run(&self, script: &str) -> String {
        let result = self.try_run(script);
        assert_eq!((result.status, result.err.as_str()), (0, ""), "{script}: {result:?}");
        result.out
    }

    /// Output, then stderr, of a script that must succeed.
    pub fn run_verbose(&self, script: &str) -> String {
        let result = self.try_run(script);
        assert_eq!(result.status, 0, "{script}: {result:?}");
        result.out + &result.err
    }

    /// Creates a file in the working directory.
    pub fn file(&self, name: &str, content: &str) {
        fs::write(format!("{}/{name}", self.folder), content).unwrap();
    }

    /// Creates a program in the working directory.
    pub fn program(&self, name: &str, content: &str) {
        self.file(name, content);
        let path = format!("{}/{name}", self.folder);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn repository() -> String {
    std::env::current_dir().unwrap().to_str().unwrap().to_owned()
}

/// The client's `~/.ssh`: two hosts and their keys, with strict checking.
static CONFIGURED: LazyLock<()> = LazyLock::new(|| {
    let folder = "/root/.ssh";
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(
        format!("{folder}/config"),
        format!(
            "Host ansible-box\n User ansible\n HostName 127.0.0.1\n Port 2200\nHost box\n HostName 127.0.0.1\n Port 2200\nHost host\n HostName 127.0.0.1\n Port 22\n\
             Host *\n IdentityFile {STATE}/key\n IdentitiesOnly yes\n StrictHostKeyChecking yes\n"
        ),
    )
    .unwrap();
    let keys = run("sh", &["-c", "cut -d' ' -f1,2 /etc/ssh/ssh_host_*_key.pub"]);
    let known = keys.lines().map(|key| format!("127.0.0.1 {key}\n[127.0.0.1]:2200 {key}\n"));
    fs::write(format!("{folder}/known_hosts"), known.collect::<String>()).unwrap();
});

/// Records that this client has done this, for the table of clients. docs/src/clients.md must contain a row with the
/// same client and the same actions; the version may differ.
pub fn record(client: &str, version: &str, actions: &str) {
    let version = version.trim();
    assert!(!version.is_empty() && !version.contains('\n'), "{client}: {version:?}");
    fs::create_dir_all("target/clients/rows").unwrap();
    fs::write(format!("target/clients/rows/{client}"), format!("| {client} | {version} | {actions} |\n"))
        .unwrap();
    let page = fs::read_to_string("docs/src/clients.md").unwrap();
    let (begin, end) = (format!("| {client} | "), format!(" | {actions} |"));
    assert!(
        page.lines().any(|line| line.starts_with(&begin) && line.ends_with(&end)),
        "docs/src/clients.md lacks: {begin}{version}{end}"
    );
}

/// Version of an installed Debian package.
pub fn package_version(package: &str) -> String {
    run("dpkg-query", &["--show", "--showformat=${Version}", package])
}
