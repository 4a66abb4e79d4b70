//! Log entries of commands with hostile bytes, with journald and without it.

use super::{Entry, entries, logs, of_event};
use crate::harness::{Undo, User, run, text, until, world, world_alone};
use nix::sys::signal::Signal;
use session::escape::printable;
use session::journal::Event;
use std::fs;
use std::thread;

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
