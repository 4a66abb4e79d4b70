//! What the site gives to sessions, `env` and `directory` of an account: in every kind of session, from the next one
//! on, and the values of variables in no other place.

use crate::environment::{PRINT_ENVIRONMENT, every_kind, parse, sftp_server};
use crate::harness::{Changed, STATE, User, journal, private_world, processes, run, text, until};
use crate::inner_sshd::Machine;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

/// A web app of this test's own, with one user.
pub struct Site {
    pub user: User,
    answer: Arc<Mutex<String>>,
    _config: Changed,
}

impl Site {
    pub fn of(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("url = \"http://{}/{{user}}\"", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(String::new()));
        let current = answer.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut request) = (stream.unwrap(), [0; 4096]);
                let _ = stream.read(&mut request);
                let answer = current.lock().unwrap().clone();
                let status = if answer.is_empty() { "403 Forbidden" } else { "200 OK" };
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                    answer.len()
                );
            }
        });
        let config = Changed::config("url = \"http://127.0.0.1:8000/sshbox/accounts/{user}\"", &url);
        Self { user: User { name: name.to_owned() }, answer, _config: config }
    }

    /// From now on the account has these fields as well.
    pub fn answers(&self, more: &Value) {
        let key = fs::read_to_string(format!("{STATE}/key.pub")).unwrap();
        let mut account = json!({"user": self.user.name, "id": "one", "keys": [key.trim()]});
        account.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        *self.answer.lock().unwrap() = account.to_string();
    }

    /// From now on the user is refused.
    pub fn refuses(&self) {
        self.answer.lock().unwrap().clear();
    }

    fn note(&self) -> String {
        format!("/run/sshbox/accounts/.{}.session", self.user.name)
    }

    fn recheck(&self) {
        run("/usr/sbin/sshbox", &["recheck", &self.user.name]);
    }
}

/// Reads a file as this uid of the host, with the group of all logins.
fn read_as(uid: u32, path: &str) -> Output {
    Command::new("setpriv")
        .args(["--reuid", &uid.to_string(), "--regid", "1879048192", "--clear-groups", "cat", path])
        .output()
        .unwrap()
}

#[test]
fn variables_of_the_site_reach_every_kind_of_session() {
    let _world = private_world();
    let site = Site::of("furnished");
    let user = &site.user;
    let token = "two\nlines = \u{e4}\u{1b} 'x'";
    site.answers(&json!({"env": {
        "SITE_TOKEN": token, "EMPTY": "", "COLORTERM": "site", "PATH": "/no", "LD_PRELOAD": "/no", "SSH_TTY": "/no"
    }}));
    let machine = Machine::of(user);
    for (kind, found) in every_kind(&machine, &["-o", "SetEnv=COLORTERM=client LC_TIME=C SITE_TOKEN=client"])
    {
        assert_eq!(found.get("SITE_TOKEN").map(String::as_str), Some(token), "{kind}");
        assert_eq!((&*found["EMPTY"], &*found["COLORTERM"], &*found["LC_TIME"]), ("", "site", "C"), "{kind}");
        assert!(found["PATH"].starts_with("/usr/local"), "{kind}");
        assert!(!found.contains_key("LD_PRELOAD") && !found.contains_key("SSH_TTY"), "{kind}");
        assert!(found.keys().all(|name| !name.starts_with("SSHBOX_")), "{kind}: {found:?}");
    }
    for name in ["PATH", "LD_PRELOAD", "SSH_TTY"] {
        let entry = format!("env.{name}: the site may not set this variable");
        assert!(
            journal()
                .lines()
                .any(|line| line.starts_with("value left out user=\"furnished\"") && line.contains(&entry)),
            "{name}"
        );
    }

    // A change reaches the next login, and then the next session of an open connection. The box goes on.
    let control = format!("{STATE}/furnished");
    let connection = user.connects(&control);
    let over = || text(&user.ssh_over(&control).run("echo $SITE_TOKEN").stdout);
    let began = user.inspect("{{.Id}} {{.State.StartedAt}}");
    site.answers(&json!({"env": {"SITE_TOKEN": "second"}}));
    assert_eq!(user.says("echo $SITE_TOKEN"), "second\n");
    assert_eq!(over(), "second\n");
    site.answers(&json!({"env": {"SITE_TOKEN": "third"}}));
    site.recheck();
    assert_eq!(over(), "third\n");
    site.answers(&json!({}));
    assert_eq!(user.says("echo ${SITE_TOKEN-none}"), "none\n");
    assert!(!fs::exists(site.note()).unwrap());
    assert_eq!(user.inspect("{{.Id}} {{.State.StartedAt}}"), began);
    drop(connection);

    // A refusal leaves nothing of it, and the site's answer counts again.
    site.answers(&json!({"env": {"SITE_TOKEN": "fourth"}}));
    assert_eq!(user.says("echo $SITE_TOKEN"), "fourth\n");
    site.refuses();
    assert_eq!(user.ssh().status("true"), 255);
    assert!(!fs::exists(site.note()).unwrap());
}

#[test]
fn a7_a16_values_of_the_sites_variables_are_in_no_other_place() {
    const SECRET: &str = "s3cret-5f1b0c77";
    let _world = private_world();
    let site = Site::of("discreet");
    let user = &site.user;
    site.answers(
        &json!({"env": {"SITE_TOKEN": SECRET, "1BAD": SECRET, "PATH": SECRET, "NUL": format!("{SECRET}\0")}}),
    );
    let machine = Machine::of(user);
    let mut session = user.ssh().begin(&["echo began; sleep 60"]);
    assert_eq!(session.line(), "began");
    let mut through = machine.command("ssh");
    through.args([&machine.host(), "echo $SITE_TOKEN; sleep 60"]);
    let mut through = crate::harness::begun(through, vec![]);
    assert_eq!(through.line(), SECRET);

    let hexadecimal = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let has_none = |what: &str, text: &str| {
        assert!(!text.contains(SECRET) && !text.contains(&hexadecimal), "{what} shows the value");
    };
    for pid in processes() {
        has_none("ps", &text(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()));
    }
    // sshd has read the file with it, which is gone.
    assert_eq!(user.says("ls -A /tmp | grep -c sshbox-sshd || :"), "0\n");
    has_none("docker inspect", &run("docker", &["inspect", &user.container()]));
    has_none("sshbox keys", &run("/usr/sbin/sshbox", &["keys", &user.name]));
    let shown = run("/usr/sbin/sshbox", &["keys", "--json", &user.name]);
    has_none("sshbox keys --json", &shown);
    assert!(shown.contains("SITE_TOKEN") && shown.contains("(hidden)"), "{shown}");
    has_none("sshbox list", &run("/usr/sbin/sshbox", &["list", "--json"]));
    has_none("sshbox status", &run("/usr/sbin/sshbox", &["status", "--json", &user.name]));
    has_none("@status", &user.says("@status --json"));
    has_none("@keys", &user.says("@keys"));
    session.kill();
    through.kill();
    has_none("the journal", &journal());
    has_none("sshd's log", &fs::read_to_string("/run/sshbox-by-hand/sshd.log").unwrap());

    // The note is for this login's uid, and not for that of another login or of a box.
    let note = site.note();
    assert!(text(&read_as(user.uid(), &note).stdout).contains(SECRET));
    let other = User { name: "indiscreet".to_owned() };
    for uid in [other.uid(), user.box_uid(), 65534] {
        for path in [note.as_str(), &note.replace(".session", ".json"), "/var/cache/sshbox/discreet.json"] {
            let output = read_as(uid, path);
            assert!(!output.status.success() && output.stdout.is_empty(), "{uid} reads {path}");
        }
    }
}

#[test]
fn the_longest_variables_reach_every_kind_of_session_beside_a_long_command() {
    let _world = private_world();
    let site = Site::of("loaded");
    let mut variables: serde_json::Map<_, _> = (0..255).map(|n| (format!("N{n}"), json!("x"))).collect();
    let rest: usize = variables.keys().map(|name| name.len() + 3).sum();
    variables.insert("LONG".to_owned(), json!("y".repeat(32 * 1024 - rest - 6)));
    site.answers(&json!({"env": variables, "directory": "z".repeat(4095)}));
    let machine = Machine::of(&site.user);
    for (kind, found) in every_kind(&machine, &[]) {
        assert_eq!(found.keys().filter(|name| name.starts_with('N')).count(), 255, "{kind}");
        assert!(found["LONG"].len() > 30_000 && found["LONG"].bytes().all(|byte| byte == b'y'), "{kind}");
    }
    let long = format!(": {}; echo ${{#LONG}}", "c".repeat(100_000));
    assert_eq!(site.user.says(&long).trim().parse::<usize>().unwrap(), 32 * 1024 - rest - 6);
}

#[test]
fn sessions_begin_in_the_directory_of_the_site_or_in_the_home() {
    let _world = private_world();
    let site = Site::of("placed");
    let user = &site.user;
    site.answers(&json!({"directory": "proj/one"}));
    // A terminal is told, a command is not, and nothing is created.
    let mut terminal = user.ssh().terminal(24, 100, &[]);
    terminal.shows("sshbox: this box has no directory proj/one, which your site sets as the first one");
    terminal.types("pwd; exit\n");
    terminal.shows("/home/user");
    terminal.ends();
    assert_eq!(user.says("pwd; test -e proj || echo none"), "/home/user\nnone\n");
    assert_eq!(user.says("mkdir -p proj/one; touch proj/file"), "");

    let machine = Machine::of(user);
    let cwd_of_sftp = || {
        let _client = user.ssh().args(&["-s"]).begin(&["sftp"]);
        until("the sftp server runs", || sftp_server(user).is_some());
        fs::read_link(format!("/proc/{}/cwd", sftp_server(user).unwrap())).unwrap()
    };
    let begins = "/home/user/proj/one\n";
    assert_eq!(user.says("pwd"), begins);
    assert_eq!(text(&user.ssh().args(&["-T"]).input(b"pwd\nexit\n").run("").stdout), begins);
    assert_eq!(cwd_of_sftp().to_str().unwrap(), begins.trim());
    until("the sftp server has ended", || sftp_server(user).is_none());
    assert_eq!(machine.says(&[], "pwd"), begins);
    let mut terminal = user.ssh().terminal(24, 100, &[]);
    terminal.types("pwd; exit\n");
    terminal.shows(begins.trim());
    terminal.ends();
    assert!(!terminal.seen().contains("has no directory"), "{}", terminal.seen());

    site.answers(&json!({"directory": "/srv"}));
    assert_eq!((user.says("pwd"), machine.says(&[], "pwd")), ("/srv\n".to_owned(), "/srv\n".to_owned()));
    for missing in ["proj/file", "/root/x", "a\u{1b}[31m\nb"] {
        site.answers(&json!({"directory": missing}));
        assert_eq!(user.says("pwd"), "/home/user\n", "{missing:?}");
    }
    let mut terminal = user.ssh().terminal(24, 100, &[]);
    terminal.shows(r"this box has no directory a\x1b[31m\x0ab, which your site");
    terminal.kill();
    site.answers(&json!({"directory": 7, "env": "x"}));
    assert_eq!(parse(&user.ssh().run(PRINT_ENVIRONMENT).stdout)["HOME"], "/home/user");
    assert!(journal().contains("directory: expected a path of 1 to 4095 bytes, without NUL"));
}
