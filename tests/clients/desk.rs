//! The client's end: a user with a folder to work in, and the ssh configuration that a person
//! writes once. Every command runs under a time limit: a client that hangs fails its test.

use crate::harness::{STATE, User, run, text};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// What `prepare` made: Python's clients.
pub const PYTHON: &str = "target/clients/venv/bin";

/// Long enough for a machine with other things to do.
const LIMIT: &str = "150";

/// A user at a desk.
pub struct Desk {
    pub user: User,
    /// Where the commands run.
    pub folder: String,
}

/// What a command said.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Desk {
    /// A user of this name, known to Django, with a box that runs.
    pub fn new(name: &str) -> Self {
        LazyLock::force(&CONFIGURED);
        let user = User::new(name);
        user.says("true");
        Self::of(user)
    }

    /// The same desk in front of plain sshd.
    pub fn plain(name: &str) -> Self {
        LazyLock::force(&CONFIGURED);
        let desk = Self { user: User::plain(), folder: format!("/tmp/clients/plain-{name}") };
        fs::create_dir_all(&desk.folder).unwrap();
        // One account for all tests, so each needs a place of its own there.
        desk.user.says(&format!("rm -rf {name}; mkdir {name}"));
        desk
    }

    fn of(user: User) -> Self {
        let folder = format!("/tmp/clients/{}", user.name);
        fs::create_dir_all(&folder).unwrap();
        Self { user, folder }
    }

    /// What stands before the colon: `alice@box`, or `plain@host` for plain sshd.
    pub fn address(&self) -> String {
        let host = if self.user.name == "plain" { "host" } else { "box" };
        format!("{}@{host}", self.user.name)
    }

    /// Runs lines of the shell in the folder, as they are typed. `$TO` is the address, `$NAME` the
    /// login name. Only Debian's programs are found, not what else is on this machine.
    pub fn types(&self, script: &str) -> Told {
        let output = Command::new("timeout")
            .args([LIMIT, "bash", "-euo", "pipefail", "-c", script])
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
        Told {
            status: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// The same, and nothing may fail or complain.
    pub fn does(&self, script: &str) -> String {
        let told = self.types(script);
        assert_eq!((told.status, told.err.as_str()), (0, ""), "{script}: {told:?}");
        told.out
    }

    /// The same for clients that are talkative on standard error.
    pub fn manages(&self, script: &str) -> String {
        let told = self.types(script);
        assert_eq!(told.status, 0, "{script}: {told:?}");
        told.out + &told.err
    }

    /// A file in the folder.
    pub fn file(&self, name: &str, content: &str) {
        fs::write(format!("{}/{name}", self.folder), content).unwrap();
    }

    /// A program in the folder.
    pub fn program(&self, name: &str, content: &str) {
        self.file(name, content);
        let path = format!("{}/{name}", self.folder);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn repository() -> String {
    std::env::current_dir().unwrap().to_str().unwrap().to_owned()
}

/// `~/.ssh` of the person at the desk: two hosts and their keys, checked strictly.
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

/// Writes down that this client did this, once it has. The page may claim no less and no
/// more: its table has the same client and the same deeds, with the version of its day.
pub fn tried(client: &str, version: &str, deeds: &str) {
    let version = version.trim();
    assert!(!version.is_empty() && !version.contains('\n'), "{client}: {version:?}");
    fs::create_dir_all("target/clients/rows").unwrap();
    fs::write(format!("target/clients/rows/{client}"), format!("| {client} | {version} | {deeds} |\n"))
        .unwrap();
    let page = fs::read_to_string("docs/src/clients.md").unwrap();
    let (begin, end) = (format!("| {client} | "), format!(" | {deeds} |"));
    assert!(
        page.lines().any(|line| line.starts_with(&begin) && line.ends_with(&end)),
        "docs/src/clients.md lacks: {begin}{version}{end}"
    );
}

/// Version of a Debian package that is installed here.
pub fn packaged(package: &str) -> String {
    run("dpkg-query", &["--show", "--showformat=${Version}", package])
}
