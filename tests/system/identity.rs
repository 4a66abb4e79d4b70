//! Login names: each has its own uid and its own box, and no name grants rights on the host.

use crate::harness::{User, WHOSE, alice, run, status_of, until, world};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Uid, gid and groups of the user's session on the host.
fn credentials(user: &User) -> (String, String, String) {
    let mut session = user.ssh().begin(&["echo began; sleep 60"]);
    session.line();
    let shell = user
        .host_processes()
        .into_iter()
        .find(|pid| status_of(*pid, "Name:").is_some_and(|name| name == "sshbox-shell"))
        .unwrap_or_else(|| panic!("no sshbox-shell for {}: {:?}", user.name, session.line()));
    let read = |field| status_of(shell, field).unwrap();
    let rights = (read("Uid"), read("Gid"), read("Groups"));
    session.kill();
    rights
}

#[test]
fn every_name_has_its_own_uid_and_no_group_of_the_host() {
    let _world = world();
    run(
        "sh",
        &[
            "-c",
            "useradd --create-home localadmin && usermod -aG docker localadmin && usermod -aG docker mail",
        ],
    );
    let longest = "x".repeat(64);
    let mut seen = BTreeSet::new();
    for name in ["root", "mail", "localadmin", "sshd-x", "Alice", "aLICE", "a.b", "a_b", &longest] {
        let user = User::new(name);
        let (uid, gid, groups) = credentials(&user);
        let expected = user.uid().to_string();
        assert_eq!(uid, [expected.as_str(); 4].join(" "), "{name}");
        assert_eq!(gid, ["1879048192"; 4].join(" "), "{name}");
        assert!(groups.is_empty() || groups == "1879048192", "{name}: {groups}");
        assert_eq!(user.inspect("{{index .Config.Labels \"sshbox.user\"}}"), name);
        // In the box every user has the login name and a uid of its own, never that of root.
        let own = user.box_uid();
        assert!((1_700_000_000..1_800_000_000).contains(&own), "{own}");
        assert_eq!(user.says("id -u; id -G; whoami"), format!("{own}\n{own}\n{name}\n"));
        seen.insert(user.says(WHOSE));
        run("docker", &["rm", "-f", &user.container()]);
    }
    assert_eq!(seen.len(), 9);
}

#[test]
fn local_accounts_cannot_log_in() {
    let _world = world();
    // Django knows the name and sshd finds it in the local files, but AllowGroups refuses it.
    for name in ["sshd", "sshbox-keys", "nobody"] {
        let user = User { name: name.to_owned() };
        assert_eq!(user.ssh().run("id").status.code(), Some(255), "{name}");
    }
    // `plain` is a local account with its own key file, and unknown to Django.
    let output = Command::new("ssh")
        .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-i", "/run/sshbox-tests/key", "-p", "2200"])
        .args(["plain@127.0.0.1", "id"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
}

#[test]
fn the_host_does_not_resolve_login_names() {
    let _world = world();
    let _user = alice();
    for name in ["alice", "nosuchuser"] {
        let output = Command::new("getent").args(["passwd", name]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    assert!(!fs::read_to_string("/etc/nsswitch.conf").unwrap().contains("sshbox"));
    assert_eq!(run("getent", &["passwd", "root"]), "root:x:0:0:root:/root:/bin/bash\n");
}

fn hostile_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "../../etc",
        ".",
        "..",
        "%2e",
        "%2e%2e%2f",
        "-oProxyCommand=x",
        "a b",
        " a",
        "a ",
        "a\tb",
        "a/b",
        "/etc",
        "a\\b",
        "a;id",
        "a|id",
        "$(id)",
        "`id`",
        "a&b",
        "a'b",
        "a\"b",
        "a*b",
        "a?b",
        "~",
        "~root",
        "a:b",
        "{user}",
        "a{user}",
        "аlice",
        "ａlice",
        "alice\u{202e}",
        "al\u{200b}ice",
        "\u{1b}[31m",
        "a\nb",
        "a\rb",
        "a\x7fb",
        "@sshd",
        "#a",
        "a=b",
        "a,b",
        "a+b",
        "a!b",
        "a^b",
        "(a)",
        "[a]",
        "<a>",
        "é",
        "a\u{301}",
        "..alice",
        ".alice",
        "-",
        "--",
        "-a",
        "ali ce",
        "null\u{2400}",
        "%s%s%n",
        "%u",
        "%%",
        "con/nul",
        "a//b",
        "alice/",
        "/alice",
        "alice/..",
        "alice%00",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("a".repeat(65));
    names.push("a".repeat(5000));
    for byte in (0x21..0x7f_u8).filter(|b| !b.is_ascii_alphanumeric() && !b"_.-".contains(b)) {
        for shape in [
            format!("{}x", char::from(byte)),
            format!("x{}", char::from(byte)),
            format!("x{}y", char::from(byte)),
            format!("{0}{0}", char::from(byte)),
        ] {
            names.push(shape);
        }
    }
    for depth in 1..=130 {
        names.push(format!("{}etc/passwd", "../".repeat(depth)));
    }
    names
}

/// All files that a login name could leave behind.
fn traces() -> BTreeSet<String> {
    let find = run(
        "find",
        &["/var/cache/sshbox", "/var/lib/sshbox", "/run/sshbox", "/etc/sshbox", "-not", "-name", "*.sock"],
    );
    find.lines().map(str::to_owned).collect()
}

/// The traces once no session of an earlier test writes any more, such as the reason for its end.
fn settled_traces() -> BTreeSet<String> {
    let mut before = traces();
    until("no session of an earlier test writes a file", || {
        std::thread::sleep(Duration::from_secs(2));
        let now = traces();
        std::mem::replace(&mut before, now.clone()) == now
    });
    before
}

#[test]
fn a1_hostile_names_are_refused_and_leave_no_trace() {
    let _world = crate::harness::world_alone();
    let names = hostile_names();
    assert!(names.len() >= 300, "{}", names.len());
    let before = settled_traces();
    let asked = fs::read_to_string("/run/sshbox-tests/access.log").unwrap().len();
    for name in &names {
        // Call sshbox-keys as sshd would for such a name.
        let output = Command::new("/usr/lib/sshbox/sshbox-keys")
            .args(["--fingerprint", "SHA256:x", "--", name])
            .output()
            .unwrap();
        assert_eq!((output.stdout.len(), output.status.code()), (0, Some(0)), "{name:?}");
    }
    // Complete logins with some of the names: those that a client can send, and that sshd does not split at `:` or
    // `/` to find an authentication style or a role.
    let sent = names.iter().filter(|name| name.len() < 100 && !name.contains([':', '/', '\n'])).take(60);
    for name in sent {
        let status = Command::new("ssh")
            .args([
                "-F",
                "/dev/null",
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "LogLevel=ERROR",
            ])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-i", "/run/sshbox-tests/key", "-p", "2200"])
            .args(["-l", name, "127.0.0.1", "id"])
            .output()
            .unwrap();
        assert_eq!(status.status.code(), Some(255), "{name:?}");
    }
    assert_eq!(traces(), before);
    let log = fs::read_to_string("/run/sshbox-tests/access.log").unwrap();
    assert_eq!(&log[asked..], "");
}
