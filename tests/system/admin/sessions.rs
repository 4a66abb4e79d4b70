//! `sshbox sessions` and `sshbox kill`.

use super::{json, output_of, refusal_of, row};
use crate::harness::{User, journal, signal, until, world};
use nix::sys::signal::Signal;
use serde_json::Value;

fn sessions_of(user: &User) -> Vec<Value> {
    json(&["sessions", &user.name]).as_array().unwrap().clone()
}

#[test]
fn sessions_are_listed_with_what_they_run() {
    let _world = world();
    let user = User::new("present");
    let mut shell = user.ssh().terminal(24, 80, &[]);
    shell.types("echo rea''dy\n");
    shell.shows("ready");
    let mut hostile =
        user.ssh().begin(&["echo in '\x1b]0;x\x07' \u{202e} >/dev/null; echo in; exec sleep 300"]);
    assert_eq!(hostile.line(), "in");
    let sftp = user.ssh().args(&["-s"]).begin(&["sftp"]);
    until("all sessions are listed", || sessions_of(&user).len() == 3);

    let sessions = sessions_of(&user);
    let what: Vec<_> = sessions.iter().map(|session| session["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["shell", "command", "sftp"]);
    let terminals: Vec<_> = sessions.iter().map(|session| session["terminal"].as_bool().unwrap()).collect();
    assert_eq!(terminals, [true, false, false]);
    assert!(sessions[1]["command"].as_str().unwrap().contains("'\u{1b}]0;x\u{7}' \u{202e}"));
    for session in &sessions {
        assert_eq!((&session["from"], &session["user"]), (&"127.0.0.1".into(), &"present".into()));
        let pid = i32::try_from(session["pid"].as_i64().unwrap()).unwrap();
        assert!(user.host_processes().contains(&pid), "{session}");
        let since = session["since"].as_str().unwrap();
        assert!(since.starts_with("20") && since.ends_with('Z'), "{session}");
    }
    let table = output_of(&["sessions"]);
    assert!(
        table.contains(r"  echo in '\x1b]0;x\x07' \xe2\x80\xae >/dev/null; echo in; exec sleep 300"),
        "{table}"
    );
    assert_eq!(row(&table, sessions[0]["session"].as_str().unwrap())[4], "yes", "{table}");
    drop(sftp);
    hostile.kill();
    shell.kill();
    until("all sessions have ended", || sessions_of(&user).is_empty());
    assert_eq!(output_of(&["sessions", "nobody-knows"]).lines().count(), 1);
}

#[test]
fn p8_kill_ends_one_session_and_leaves_detached_programs() {
    let _world = world();
    let user = User::new("ended");
    let control = "/tmp/ended-control";
    let _connection = user.connects(control);
    // Both sessions use one connection: the other session shows that the connection survives.
    let mut stubborn = user
        .ssh_over(control)
        .begin(&["trap : HUP; setsid sleep 4711 < /dev/null > /dev/null 2>&1 & sleep 0.1; echo in; sleep 4712; sleep 4713"]);
    assert_eq!(stubborn.line(), "in");
    let mut other = user.ssh_over(control).begin(&["echo in; read x; echo still $x"]);
    assert_eq!(other.line(), "in");
    let sessions = sessions_of(&user);
    let of = |word: &str| {
        let found = sessions.iter().find(|session| session["command"].as_str().unwrap().contains(word));
        found.unwrap()["session"].as_str().unwrap().to_owned()
    };
    let id = of("sleep 4712");
    assert_eq!(output_of(&["kill", &id]), format!("session {id} of ended was ended\n"));
    assert_ne!(stubborn.wait(), 0);
    // The program ignores SIGHUP, so it is killed a little later.
    until("its program has ended", || !user.runs_in_box("sleep 4712") && !user.runs_in_box("trap"));
    assert!(user.runs_in_box("sleep 4711"), "the detached program has ended");
    assert!(!user.runs_in_box("sleep 4713"));
    other.write(b"here\n");
    assert_eq!(other.line(), "still here");
    assert_eq!(other.wait(), 0);

    let (status, said) = refusal_of(&["kill", &id]);
    assert_eq!(status, 69);
    assert_eq!(
        said,
        format!("sshbox: no session has the id {id}; list open sessions with `sshbox sessions`\n")
    );
    assert!(journal().contains(&format!(r#"admin action user="ended" by="uid 0" action="kill {id}""#)));
    user.says("pkill -f 'sleep 4711'");
}

#[test]
fn kill_ends_a_session_with_a_terminal_and_refuses_processes_that_are_no_session() {
    let _world = world();
    let user = User::new("kicked");
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    let before = terminal.modes();
    terminal.types("sleep 4714\n");
    until("the program runs", || user.runs_in_box("sleep 4714"));
    let id = sessions_of(&user)[0]["session"].as_str().unwrap().to_owned();
    let (pid, began) = id.split_once('-').unwrap();
    // The same pid with another start time, and processes that are no session.
    let later = format!("{pid}-{:x}", u64::from_str_radix(began, 16).unwrap() + 10);
    for no_session in [&*later, "1-0", "999999-1"] {
        assert_eq!(refusal_of(&["kill", no_session]).0, 69, "{no_session}");
    }
    assert_eq!(refusal_of(&["kill", pid]).0, 64);
    assert_eq!(sessions_of(&user).len(), 1);
    // A stopped session is ended as well.
    signal(pid.parse().unwrap(), Signal::SIGSTOP);
    output_of(&["kill", &id]);
    assert_ne!(terminal.ends(), 0);
    assert_eq!(terminal.modes(), before);
    until("the program has ended", || !user.runs_in_box("sleep 4714"));
}
