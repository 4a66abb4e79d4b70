//! Many sessions at once in one box, and many boxes at once on one machine.

use crate::harness::{Changed, Running, User, WHOSE, reap, run, text, until, world_alone};
use crate::numbers::{ContainerCleanup, number_from_env, processes_named, report, session_processes};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Number of concurrent sessions in one box, and on each connection. sshbox's sshd allows 32 per connection.
const SESSIONS: usize = 200;
const PER_CONNECTION: usize = 25;

/// Number of clients that start at the same time.
const CONCURRENT: usize = 6;

#[test]
fn two_hundred_concurrent_sessions_in_one_box_all_work() {
    let _world = world_alone();
    let _sessions = Changed::config("sessions = 50", &format!("sessions = {}", SESSIONS + 1));
    let user = User::new("crowded");
    let _box = ContainerCleanup(vec![user.clone()]);
    user.says("true");
    let before = user.box_processes().len();
    // A connection of an earlier test may still be open, if its client keeps it for later commands.
    let others = session_processes();
    let began = Instant::now();
    let controls: Vec<String> = (0..SESSIONS / PER_CONNECTION).map(|n| format!("/tmp/crowded-{n}")).collect();
    let _connections: Vec<Running> = controls.iter().map(|control| user.connects(control)).collect();
    // Every fourth session has a terminal.
    let mut sessions: Vec<Running> = (0..SESSIONS)
        .map(|n| {
            let ssh = user.ssh_over(&controls[n / PER_CONNECTION]);
            let ssh = if n % 4 == 0 { ssh.args(&["-tt"]) } else { ssh };
            ssh.begin(&[&format!("echo up {n}; read x; echo still {n} $x; exit 7")])
        })
        .collect();
    for (n, session) in sessions.iter_mut().enumerate() {
        assert_eq!(session.line().trim_end(), format!("up {n}"));
    }
    // Every session has a program of its own, and no session uses a further connection.
    assert_eq!(processes_named("sshbox-shell").len(), SESSIONS);
    assert_eq!(user.box_processes().len(), before + SESSIONS);
    let ours = session_processes().into_iter().filter(|pid| !others.contains(pid));
    assert_eq!(ours.count(), SESSIONS + 2 * controls.len());
    assert_eq!(user.says("echo one more"), "one more\n");
    for (n, session) in sessions.iter_mut().enumerate().rev() {
        session.write(format!("here{n}\n").as_bytes());
    }
    for (n, mut session) in sessions.into_iter().enumerate() {
        let mut line = session.line();
        // A terminal echoes its input.
        if line.starts_with("here") {
            line = session.line();
        }
        assert_eq!(line.trim_end(), format!("still {n} here{n}"));
        assert_eq!(session.wait(), 7);
    }
    report(&format!("crowd: {SESSIONS} sessions in one box, all replied, {} s", began.elapsed().as_secs()));
    until("all sessions have ended", || {
        user.box_processes().len() == before && processes_named("sshbox-shell").is_empty()
    });
}

#[test]
fn f24_a_hundred_concurrent_boxes_all_work_and_the_reaper_decides_on_each() {
    let _world = world_alone();
    let count = number_from_env("SSHBOX_BOXES", 100);
    let _memory = Changed::config("memory = \"8GiB\"", "memory = \"64MiB\"");
    let names: Vec<String> = (0..count).map(|n| format!("box{n}")).collect();
    let users: Vec<User> = User::many(&names).into_iter().map(|(user, _)| user).collect();
    let _boxes = ContainerCleanup(users.clone());
    let running = || {
        let users = run("docker", &["ps", "--format", "{{.Label \"sshbox.user\"}}"]);
        users.lines().filter(|user| user.starts_with("box")).count()
    };

    let began = Instant::now();
    for_all(&users, &|user| {
        assert_eq!(user.says(&format!("{WHOSE}; echo kept > file")), format!("{}\n", user.name));
    });
    let created = began.elapsed();
    assert_eq!(running(), count);
    let began = Instant::now();
    for_all(&users, &|user| {
        assert_eq!(user.says(&format!("{WHOSE}; cat file")), format!("{}\nkept\n", user.name));
    });
    let all_replied = began.elapsed();
    assert_eq!(running(), count, "all still run");

    // Every tenth box has an open session.
    let sessions: Vec<(&User, Running)> = users
        .iter()
        .step_by(10)
        .map(|user| (user, user.ssh().begin(&["echo began; read x; echo $x"])))
        .map(|(user, mut session)| {
            assert_eq!(session.line(), "began");
            (user, session)
        })
        .collect();
    let began = Instant::now();
    let list: serde_json::Value =
        serde_json::from_str(&run("/usr/sbin/sshbox", &["list", "--json"])).unwrap();
    let listed_after = began.elapsed();
    let of_this_test = |entry: &&serde_json::Value| entry["user"].as_str().unwrap().starts_with("box");
    let listed: Vec<_> = list.as_array().unwrap().iter().filter(of_this_test).collect();
    assert_eq!(listed.len(), count);
    assert!(listed.iter().all(|entry| entry["cpu"]["used"].is_f64()), "{list}");
    assert_eq!(listed.iter().filter(|entry| entry["sessions"] == 1).count(), sessions.len());
    report(&format!("crowd: {count} boxes listed in {:.2} s", listed_after.as_secs_f32()));

    let lines = |output: &std::process::Output, decision: &str| {
        text(&output.stdout).lines().filter(|line| line.starts_with("box") && line.contains(decision)).count()
    };
    let began = Instant::now();
    let output = reap(&[]);
    let decided = began.elapsed();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lines(&output, ": kept: a session is open"), sessions.len());
    assert_eq!(lines(&output, ": kept: idle for less than"), count - sessions.len());

    let _idle = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
    let began = Instant::now();
    let output = reap(&[]);
    let stopped = began.elapsed();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lines(&output, ": kept: a session is open"), sessions.len());
    assert_eq!(lines(&output, ": stopped: "), count - sessions.len());
    assert_eq!(running(), sessions.len());
    report(&format!(
        "crowd: {count} boxes made in {:.0} s, all replied in {:.0} s; reaper decided in {:.2} s, {} stopped in {:.0} s",
        created.as_secs_f32(),
        all_replied.as_secs_f32(),
        decided.as_secs_f32(),
        count - sessions.len(),
        stopped.as_secs_f32()
    ));
    // A reaper that waited for each box in turn, or asked the engine about each box, would take far longer.
    assert!(decided < Duration::from_secs(10), "{decided:?}");
    for (user, mut session) in sessions {
        session.write(b"here\n");
        assert_eq!(session.line(), "here", "{}", user.name);
        assert_eq!(session.wait(), 0);
    }
    // A user whose box was stopped can log in again.
    assert_eq!(users[1].says("cat file"), "kept\n");
}

/// Calls `act` for all users, for [`CONCURRENT`] at a time.
fn for_all(users: &[User], act: &(impl Fn(&User) + Sync)) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CONCURRENT {
            scope.spawn(|| {
                while let Some(user) = users.get(next.fetch_add(1, Ordering::Relaxed)) {
                    act(user);
                }
            });
        }
    });
}
