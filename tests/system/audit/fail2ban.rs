//! The fail2ban filter: it counts failed logins, and bans no address that a client only names.

use crate::harness::{STATE, Undo, User, run, world};
use std::fs;

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
