//! One log entry for each event of a login, a session or a box, with journald and without it, whatever bytes a user
//! sends; and the programs that read the log: `sshbox logs` and fail2ban.

use crate::harness::{STATE, Undo, User, run, text, until, world, world_alone};
use nix::sys::signal::Signal;
use session::escape::printable;
use session::journal::Event;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};
use std::thread;

type Entry = BTreeMap<String, String>;

/// The user's entries in the journal, oldest first.
fn entries(user: &User) -> Vec<Entry> {
    run("journalctl", &["--sync"]);
    let found = run("journalctl", &["--output", "json", "--all", &format!("SSHBOX_USER={}", user.name)]);
    found.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_event(entries: &[Entry], event: Event) -> Vec<Entry> {
    entries.iter().filter(|entry| entry["MESSAGE_ID"] == event.id()).cloned().collect()
}

/// Entries of sshd in the journal.
fn sshd_entries() -> Vec<Entry> {
    run("journalctl", &["--sync"]);
    let found = run("journalctl", &["--output", "json", "--all", "SYSLOG_IDENTIFIER=sshd"]);
    found.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn fingerprint(key: &str) -> String {
    let said = run("ssh-keygen", &["-l", "-f", &format!("{STATE}/{key}")]);
    said.split(' ').nth(1).unwrap().to_owned()
}

fn logs(arguments: &[&str]) -> Output {
    Command::new("/usr/sbin/sshbox").arg("logs").args(arguments).output().unwrap()
}

#[test]
fn p7_one_accepted_login_and_one_start_and_end_of_each_session_are_logged() {
    let _world = world();
    let user = User::new("audited");
    let control = "/tmp/audited";
    let mut connection = user.connects(control);
    for (command, status) in [("true", 0), ("exit 7", 7), ("kill -9 $$", 255)] {
        assert_eq!(user.ssh_over(control).status(command), status, "{command}");
    }
    connection.kill();
    let found = entries(&user);
    let (accepted, started) =
        (of_event(&found, Event::LoginAccepted), of_event(&found, Event::SessionStarted));
    assert_eq!(accepted.len(), 1, "{found:?}");
    let [login] = &accepted[..] else { panic!("{accepted:?}") };
    assert_eq!(login["SSHBOX_ADDRESS"], "127.0.0.1");
    assert_eq!(login["SSHBOX_FINGERPRINT"], fingerprint("key"));
    assert_eq!(login["_UID"], user.uid().to_string());
    assert_eq!((login["PRIORITY"].as_str(), login["SYSLOG_FACILITY"].as_str()), ("6", "10"));
    let commands: Vec<_> = started.iter().map(|entry| entry["SSHBOX_COMMAND"].as_str()).collect();
    assert_eq!(commands, ["true", "exit 7", "kill -9 $$"]);
    let ended = of_event(&found, Event::SessionEnded);
    let how = |field: &str| -> Vec<Option<String>> { ended.iter().map(|e| e.get(field).cloned()).collect() };
    assert_eq!(how("SSHBOX_STATUS"), [Some("0".to_owned()), Some("7".to_owned()), None]);
    assert_eq!(how("SSHBOX_SIGNAL"), [None, None, Some("9".to_owned())]);
    for (started, ended) in started.iter().zip(&ended) {
        assert_eq!(started["SSHBOX_REF"], ended["SSHBOX_REF"]);
        ended["SSHBOX_MS"].parse::<u64>().unwrap();
    }
    // The first session created the box, and the entry has its reference.
    let [made] = &of_event(&found, Event::BoxCreated)[..] else { panic!("{found:?}") };
    assert_eq!(made["SSHBOX_REF"], started[0]["SSHBOX_REF"]);
    assert_eq!((made["SSHBOX_BY"].as_str(), made["_UID"].as_str()), ("user", "0"));
    // An entry of sshd names the same process.
    let sshd = sshd_entries();
    let theirs = sshd.iter().find(|line| line["MESSAGE"].starts_with("Accepted publickey for audited "));
    assert_eq!(theirs.unwrap()["_PID"], login["SSHBOX_SSHD"]);
}

#[test]
fn p7_every_kind_of_session_end_is_logged() {
    let _world = world();
    let user = User::new("departed");
    user.says("true");
    let ends = |user: &User, count: usize| {
        until("the end is logged", || of_event(&entries(user), Event::SessionEnded).len() >= count);
        of_event(&entries(user), Event::SessionEnded).pop().unwrap()
    };
    // The entry counts the bytes of a terminal.
    let mut terminal = user.ssh().terminal(24, 80, &["stty -echo; echo ready; read x; printf %0500d 7"]);
    terminal.shows("ready");
    terminal.types("12345678\n");
    assert_eq!(terminal.ends(), 0);
    let end = ends(&user, 2);
    assert_eq!(end["SSHBOX_RECEIVED"], "9", "{end:?}");
    assert_eq!(end["SSHBOX_SENT"], "507", "{end:?}");
    // The client is killed, with a terminal and without one, on a connection of its own.
    for (index, with_terminal) in [true, false].into_iter().enumerate() {
        if with_terminal {
            let mut terminal = user.ssh().terminal(24, 80, &["echo ready; sleep 1000"]);
            terminal.shows("ready");
            terminal.kill();
        } else {
            let mut session = user.ssh().begin(&["echo ready; sleep 1000"]);
            assert_eq!(session.line(), "ready");
            session.kill();
        }
        let end = ends(&user, 3 + index);
        assert_eq!(end["SSHBOX_REASON"], "the client vanished");
        assert!(!end.contains_key("SSHBOX_STATUS"), "{end:?}");
    }
    // The user stops the box.
    let mut session = user.ssh().begin(&["echo ready; sleep 1000"]);
    assert_eq!(session.line(), "ready");
    user.says("@stop");
    assert_eq!(session.wait(), 137);
    ends(&user, 6);
    let found = entries(&user);
    let [stopped] = &of_event(&found, Event::BoxStopped)[..] else { panic!("{found:?}") };
    assert_eq!((&*stopped["SSHBOX_BY"], &*stopped["SSHBOX_REASON"]), ("user", "you typed @stop"));
    let count = |event| of_event(&found, event).len();
    assert_eq!((count(Event::SessionStarted), count(Event::SessionEnded)), (6, 6));
    assert!(found.iter().any(|e| e.get("SSHBOX_REASON").is_some_and(|why| why == "you typed @stop")
        && e["MESSAGE_ID"] == Event::SessionEnded.id()));
}

#[test]
fn a_refused_login_is_logged_with_its_key_and_sshd_logs_the_address() {
    let _world = world();
    let user = User::new("choosy");
    let refused = |output: Output| assert_eq!(output.status.code(), Some(255), "{output:?}");
    refused(user.ssh().key("stranger").run("true"));
    // Four keys of other users before the user's own: one login.
    let others: Vec<String> = (0..4).map(|n| format!("{STATE}/other-{n}")).collect();
    let mut arguments = Vec::new();
    for other in &others {
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", other]);
        arguments.extend(["-i", other]);
    }
    assert!(user.ssh().args(&arguments).run("true").status.success());
    let found = entries(&user);
    let logged = of_event(&found, Event::LoginRefused);
    assert_eq!(logged.len(), 5, "{found:?}");
    assert_eq!(of_event(&found, Event::LoginAccepted).len(), 1);
    assert_eq!(logged[0]["SSHBOX_FINGERPRINT"], fingerprint("stranger"));
    assert_eq!(logged[0]["SSHBOX_REASON"], "the key is not one of this user's");
    let address = format!("ssh2: ED25519 {}", logged[0]["SSHBOX_FINGERPRINT"]);
    let theirs = sshd_entries().into_iter().find(|line| {
        line["MESSAGE"].starts_with("Failed publickey for choosy from 127.0.0.1 port ")
            && line["MESSAGE"].ends_with(&address)
    });
    assert_eq!(theirs.unwrap()["_PID"], logged[0]["SSHBOX_SSHD"]);
    // A user who is unknown to the web app.
    let nobody = User { name: "nobody-at-all".to_owned() };
    refused(nobody.ssh().run("true"));
    let logged = of_event(&entries(&nobody), Event::LoginRefused);
    assert_eq!(logged.len(), 1, "{logged:?}");
    // An invalid name: only sshd sees it, and logs one line.
    let forged = "x from 10.9.9.9 port 1";
    refused(User { name: forged.to_owned() }.ssh().run("true"));
    let lines = sshd_entries();
    let logged = lines
        .iter()
        .filter(|line| line["MESSAGE"].starts_with(&format!("Invalid user {forged} from 127.0.0.1 port ")));
    assert_eq!(logged.count(), 1);
}

/// A command with bytes that could break lines, fields and quotes. The shell exits before it reads them.
fn hostile_command(number: usize) -> Vec<u8> {
    const PIECES: [&[u8]; 12] = [
        b"\n",
        b"\r",
        b"\"",
        b"\\",
        b"\x1b[2J",
        b"\nMESSAGE_ID=0",
        b" ref=\"0\"",
        b"{}",
        b"\xff\xfe",
        b"\xe2\x80\xae",
        b"\n<0>sshd[1]: Accepted publickey for root",
        b"\x7f",
    ];
    let mut command = format!("exit 0\n{number} ").into_bytes();
    let mut rest = number.wrapping_mul(2_654_435_761) ^ 0x5bd1_e995;
    for _ in 0..12 {
        command.extend_from_slice(PIECES[rest % PIECES.len()]);
        command.push(u8::try_from(rest % 255).unwrap() + 1);
        rest = rest.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 3;
    }
    command
}

fn run_hostile(user: &User, count: usize) {
    let control = format!("/tmp/{}", user.name);
    let _connection = user.connects(&control);
    thread::scope(|scope| {
        for part in 0..4 {
            let control = &control;
            scope.spawn(move || {
                for number in (part..count).step_by(4) {
                    let output = user.ssh_over(control).run_bytes(&hostile_command(number));
                    assert!(output.status.success(), "{number}: {output:?}");
                }
            });
        }
    });
}

/// Checks that the entries contain exactly these hostile commands.
fn assert_logged(entries: &[Entry], count: usize) {
    let mut logged: Vec<_> = of_event(entries, Event::SessionStarted)
        .into_iter()
        .map(|mut entry| entry.remove("SSHBOX_COMMAND"))
        .collect();
    let mut typed: Vec<_> = (0..count).map(|number| Some(printable(&hostile_command(number)))).collect();
    logged.sort_unstable();
    typed.sort_unstable();
    assert_eq!(logged.len(), count);
    assert_eq!(logged, typed);
    assert_eq!(of_event(entries, Event::SessionEnded).len(), count);
}

#[test]
fn a15_thousands_of_hostile_commands_are_one_entry_each() {
    let _world = world();
    let count = 2000;
    let user = User::new("forger");
    user.says("true");
    let before = entries(&user).len();
    run_hostile(&user, count);
    let found = entries(&user);
    assert_eq!(found.len(), before + 2 * count + 1, "starts, ends, one login");
    assert_logged(&found[before..], count);
    assert_eq!(of_event(&found, Event::LoginAccepted).len(), 2);
    for entry in &found {
        assert!(
            entry.values().all(|value| value.bytes().all(|byte| (0x20..=0x7e).contains(&byte))),
            "{entry:?}"
        );
    }
}

#[test]
fn sshbox_logs_shows_the_entries_of_a_user_and_of_a_reference() {
    let _world = world();
    let user = User::new("watched");
    user.says("true");
    let output = user.ssh().run("@nonsense");
    let said = text(&output.stderr);
    let reference = said.rsplit("(ref ").next().unwrap().trim_end().trim_end_matches(')').to_owned();
    assert_eq!(reference.len(), 8, "{said}");
    run("journalctl", &["--sync"]);

    let shown = logs(&[&reference]);
    assert!(shown.status.success(), "{shown:?}");
    let lines = text(&shown.stdout);
    for part in [
        "Accepted publickey for watched",
        "session started user=",
        "session failed user=",
        "unknown command @nonsense",
    ] {
        assert_eq!(lines.matches(part).count(), 1, "{part}: {lines}");
    }
    assert!(!lines.contains("box created"), "that was the session before: {lines}");

    let shown = text(&logs(&["watched"]).stdout);
    for (part, count) in [
        ("Accepted publickey for watched", 2),
        ("login accepted", 2),
        ("session started", 2),
        ("box created", 1),
        ("Disconnected from user watched ", 2),
    ] {
        assert_eq!(shown.matches(part).count(), count, "{part}: {shown}");
    }
    assert!(shown.bytes().all(|byte| (0x20..=0x7e).contains(&byte) || byte == b'\n'));

    let json = text(&logs(&["--json", "--since", "1h", "watched"]).stdout);
    assert_eq!(json.lines().count(), shown.lines().count());
    assert!(json.lines().all(|line| serde_json::from_str::<Entry>(line).is_ok()));
    assert!(text(&logs(&["--all"]).stdout).lines().count() > shown.lines().count());

    let nothing = logs(&["who-is-that"]);
    assert_eq!(
        (nothing.status.code(), &*text(&nothing.stderr)),
        (Some(1), "no log entries of who-is-that\n")
    );
    assert_eq!(logs(&["../../etc"]).status.code(), Some(64));
    assert_eq!(logs(&["--since", "yesterday-ish", "watched"]).status.code(), Some(64));
    assert_eq!(logs(&[]).status.code(), Some(64));

    // Another program on the host writes in the name of sshbox.
    let forged = "printf 'MESSAGE=forged\\nSYSLOG_IDENTIFIER=sshbox-shell\\nSSHBOX_USER=watched\\n' | logger --journald";
    run("setpriv", &["--reuid=1000", "--clear-groups", "sh", "-c", forged]);
    run("journalctl", &["--sync"]);
    assert!(run("journalctl", &["SSHBOX_USER=watched"]).contains("forged"));
    assert!(!text(&logs(&["watched"]).stdout).contains("forged"));
}

#[test]
fn without_journald_the_entries_are_json_in_a_file_that_is_rotated() {
    let _alone = world_alone();
    let user = User::new("filed");
    user.says("true");
    let file = "/var/log/sshbox.json";
    stop_journald();
    let _back = Undo(|| {
        stop("/run/rsyslogd.pid");
        for path in ["/dev/log", file, "/etc/rsyslog-test.conf"] {
            let _ = fs::remove_file(path);
        }
        run("packaging/demo/without-systemd", &["start"]);
    });
    let none = logs(&["filed"]);
    assert_eq!(none.status.code(), Some(69), "{none:?}");
    assert!(text(&none.stderr).contains("journald is not running and "), "{none:?}");
    let config = "module(load=\"imuxsock\")\n$IncludeConfig /usr/share/doc/sshbox/examples/rsyslog.conf\n";
    fs::write("/etc/rsyslog-test.conf", config).unwrap();
    run("rsyslogd", &["-f", "/etc/rsyslog-test.conf"]);
    until("rsyslogd listens", || fs::exists("/dev/log").unwrap());

    let count = 200;
    run_hostile(&user, count);
    let read = |path: &str| -> Vec<Entry> {
        let lines = fs::read_to_string(path).unwrap();
        assert!(lines.bytes().all(|byte| (0x20..=0x7e).contains(&byte) || byte == b'\n'));
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    };
    let ours = |entries: &[Entry]| -> Vec<Entry> {
        entries.iter().filter(|entry| entry.contains_key("MESSAGE_ID")).cloned().collect()
    };
    until("all entries are written", || of_event(&ours(&read(file)), Event::SessionEnded).len() == count);
    let found = read(file);
    assert_logged(&ours(&found), count);
    assert!(
        found.iter().any(|entry| entry["MESSAGE"].starts_with("Accepted publickey for filed from 127.0.0.1"))
    );

    // After a rotation new entries are in the new file, and none is lost.
    fs::copy("/usr/share/doc/sshbox/examples/logrotate.conf", "/etc/logrotate.d/sshbox").unwrap();
    run("logrotate", &["--force", "/etc/logrotate.d/sshbox"]);
    user.says("echo after");
    until("new entries are written", || {
        fs::exists(file).unwrap() && !of_event(&ours(&read(file)), Event::SessionEnded).is_empty()
    });
    assert_eq!(ours(&read(&format!("{file}.1"))).len(), ours(&found).len());
    let shown = text(&logs(&["filed"]).stdout);
    for part in
        ["Accepted publickey for filed", "session started", "session ended", "Disconnected from user filed "]
    {
        assert_eq!(shown.matches(part).count(), 1, "{part}: {shown}");
    }
    let before = text(&logs(&["--file", &format!("{file}.1"), "filed"]).stdout);
    assert_eq!(before.matches("session started").count(), count);
    assert_eq!(logs(&["--follow", "filed"]).status.code(), Some(64));
}

fn stop_journald() {
    stop("/run/sshbox-by-hand/log.pid");
    for path in [
        "/run/sshbox-by-hand/log.pid",
        "/run/systemd/journal/socket",
        "/run/systemd/journal/dev-log",
        "/dev/log",
    ] {
        fs::remove_file(path).unwrap();
    }
}

/// Ends the process of a pid file, if there is one.
fn stop(pid_file: &str) {
    let Ok(content) = fs::read_to_string(pid_file) else { return };
    let pid = content.split_whitespace().next().unwrap().parse().unwrap();
    crate::harness::signal(pid, Signal::SIGTERM);
    until("the process has ended", || !fs::exists(format!("/proc/{pid}")).unwrap());
}

#[test]
fn fail2ban_counts_failed_logins_and_no_others() {
    let _world = world();
    let user = User::new("banned");
    let from = |address: &str, user: &User, key: &str| {
        user.ssh().key(key).args(&["-b", address]).run("true").status.code().unwrap()
    };
    for name in ["banned", "root", "no such name", "x from 127.0.0.99 port 22", "x 127.0.0.99 port 1: y"] {
        assert_eq!(from("127.0.0.42", &User { name: name.to_owned() }, "stranger"), 255, "{name}");
    }
    // Keys of other users before the right key are not a failure.
    let stranger = format!("{STATE}/stranger");
    assert!(user.ssh().args(&["-b", "127.0.0.43", "-i", &stranger]).run("true").status.success());
    run("journalctl", &["--sync"]);
    let lines = run(
        "journalctl",
        &["--output", "short-iso", "SYSLOG_IDENTIFIER=sshd", "+", "SYSLOG_IDENTIFIER=sshbox-keys"],
    );
    let log = "/tmp/fail2ban.log";
    fs::write(log, &lines).unwrap();
    let found = run("fail2ban-regex", &["--out", "ip", log, "/etc/fail2ban/filter.d/sshbox.conf"]);
    let count = |address: &str| found.lines().filter(|line| *line == address).count();
    assert_eq!(count("127.0.0.42"), 5, "{found}\n{lines}");
    assert_eq!((count("127.0.0.43"), count("127.0.0.99")), (0, 0), "{found}");
    let off = run("fail2ban-client", &["-d"]);
    assert!(!off.contains("'sshbox'"), "no jail of ours without the admin: {off}");
    let example = "/etc/fail2ban/jail.d/sshbox.local";
    fs::copy("/usr/share/doc/sshbox/examples/fail2ban-jail.conf", example).unwrap();
    let _off = Undo(|| fs::remove_file(example).unwrap());
    assert!(run("fail2ban-client", &["-d"]).contains("['add', 'sshbox', 'systemd']"));
}

/// Addresses that the filter finds in these lines.
fn banned(log: &str) -> Vec<String> {
    let found = run("fail2ban-regex", &["--out", "ip", log, "/etc/fail2ban/filter.d/sshbox.conf"]);
    found.lines().map(str::to_owned).collect()
}

#[test]
fn fail2ban_bans_no_address_that_a_hostile_client_names() {
    let _world = world();
    // Log lines of OpenSSH 9.2 and 10.0 for hostile_clients.py.
    let folder = "tests/system/sshd_lines";
    assert_eq!(banned(&format!("{folder}/hostile")), [""; 0]);
    let failed = fs::read_to_string(format!("{folder}/failed")).unwrap();
    assert_eq!(banned(&format!("{folder}/failed")), vec!["127.0.0.42"; failed.lines().count()]);
    // Log lines of this host's sshd for it.
    let clients = ["tests/system/hostile_clients.py", "2200", "127.0.0.41", "127.0.0.98"];
    run("target/clients/venv/bin/python", &clients);
    run("journalctl", &["--sync"]);
    let lines = run("journalctl", &["--output", "short-iso", "SYSLOG_IDENTIFIER=sshd"]);
    let named = lines.lines().filter(|line| line.contains("127.0.0.98")).count();
    assert!(named > 250, "only {named} lines name it");
    let log = "/tmp/hostile.log";
    fs::write(log, &lines).unwrap();
    let found = banned(log);
    let count = |address: &str| found.iter().filter(|line| *line == address).count();
    assert_eq!(count("127.0.0.98"), 0);
    assert!(count("127.0.0.41") > 30, "{found:?}");
}

#[test]
fn a16_sshbox_keys_writes_no_core_and_its_memory_cannot_be_read() {
    let _alone = world_alone();
    let user = User::new("memory");
    run("tests/system/web", &["freeze"]);
    let _back = Undo(|| drop(run("tests/system/web", &["thaw"])));
    let session = user.ssh().begin(&["true"]);
    let sshbox_keys = || {
        crate::harness::processes().into_iter().find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sshbox-keys\n")
        })
    };
    until("sshbox-keys runs", || sshbox_keys().is_some());
    let pid = sshbox_keys().unwrap();
    // A process that is not dumpable writes no core, and root owns its files in /proc: see proc(5).
    until("sshbox-keys is not dumpable", || {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(format!("/proc/{pid}/environ")).is_ok_and(|file| file.uid() == 0)
    });
    drop(session);
}
