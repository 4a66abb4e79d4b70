//! Log entries of logins and sessions, and `sshbox logs`, which shows them.

use super::{Entry, entries, logs, of_event, sshd_entries};
use crate::harness::{STATE, Undo, User, run, text, until, world, world_alone};
use session::journal::Event;
use std::fs;
use std::process::Output;

fn fingerprint(key: &str) -> String {
    let said = run("ssh-keygen", &["-l", "-f", &format!("{STATE}/{key}")]);
    said.split(' ').nth(1).unwrap().to_owned()
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
    // The connection created the box, before its first session.
    let [made] = &of_event(&found, Event::BoxCreated)[..] else { panic!("{found:?}") };
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
