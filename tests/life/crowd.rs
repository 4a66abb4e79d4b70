//! Many at once: sessions in one box, and boxes on one machine.

use crate::harness::{Changed, Running, User, WHOSE, reap, run, text, until, world_alone};
use crate::numbers::{Boxes, length, named, of_sessions, tell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Sessions at once in one box, on connections with as many each; our sshd allows 64.
const SESSIONS: usize = 200;
const PER_CONNECTION: usize = 50;

/// Clients that are begun at the same time.
const AT_ONCE: usize = 6;

#[test]
fn two_hundred_sessions_at_once_in_one_box_all_answer() {
    let _world = world_alone();
    let user = User::new("crowded");
    let _box = Boxes(vec![user.clone()]);
    user.says("true");
    let before = user.box_processes().len();
    let began = Instant::now();
    let controls: Vec<String> = (0..SESSIONS / PER_CONNECTION).map(|n| format!("/tmp/crowded-{n}")).collect();
    let _connections: Vec<Running> = controls.iter().map(|control| user.connects(control)).collect();
    // Every fourth has a terminal.
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
    // All of them, each with a program of its own, and none on a connection beside the four.
    assert_eq!(named("sshbox-shell").len(), SESSIONS);
    assert_eq!(user.box_processes().len(), before + SESSIONS);
    assert_eq!(of_sessions().len(), SESSIONS + 2 * controls.len());
    assert_eq!(user.says("echo one more"), "one more\n");
    for (n, session) in sessions.iter_mut().enumerate().rev() {
        session.write(format!("here{n}\n").as_bytes());
    }
    for (n, mut session) in sessions.into_iter().enumerate() {
        let mut line = session.line();
        // A terminal shows what is typed.
        if line.starts_with("here") {
            line = session.line();
        }
        assert_eq!(line.trim_end(), format!("still {n} here{n}"));
        assert_eq!(session.wait(), 7);
    }
    tell(&format!("crowd: {SESSIONS} sessions in one box, all answered, {} s", began.elapsed().as_secs()));
    until("all of them are gone", || {
        user.box_processes().len() == before && named("sshbox-shell").is_empty()
    });
}

#[test]
fn f24_a_hundred_boxes_at_once_all_answer_and_the_reaper_judges_them() {
    let _world = world_alone();
    let count = length("SSHBOX_BOXES", 100);
    let _memory = Changed::config("memory = \"8GiB\"", "memory = \"64MiB\"");
    let names: Vec<String> = (0..count).map(|n| format!("box{n}")).collect();
    let users: Vec<User> = User::many(&names).into_iter().map(|(user, _)| user).collect();
    let _boxes = Boxes(users.clone());
    let running = || {
        let ids =
            run("docker", &["ps", "-q", "--filter", "label=sshbox.user", "--filter", "name=^sshbox-box"]);
        ids.lines().count()
    };

    let began = Instant::now();
    all(&users, &|user| {
        assert_eq!(user.says(&format!("{WHOSE}; echo kept > file")), format!("{}\n", user.name));
    });
    let first = began.elapsed();
    assert_eq!(running(), count);
    let began = Instant::now();
    all(&users, &|user| {
        assert_eq!(user.says(&format!("{WHOSE}; cat file")), format!("{}\nkept\n", user.name));
    });
    let second = began.elapsed();
    assert_eq!(running(), count, "all still run");

    // Every tenth has somebody in it.
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
    let shown = began.elapsed();
    let of_ours = |one: &&serde_json::Value| one["user"].as_str().unwrap().starts_with("box");
    let listed: Vec<_> = list.as_array().unwrap().iter().filter(of_ours).collect();
    assert_eq!(listed.len(), count);
    assert!(listed.iter().all(|one| one["cpu"]["used"].is_f64()), "{list}");
    assert_eq!(listed.iter().filter(|one| one["sessions"] == 1).count(), sessions.len());
    tell(&format!("crowd: {count} boxes listed in {:.2} s", shown.as_secs_f32()));

    let lines = |output: &std::process::Output, verdict: &str| {
        text(&output.stdout).lines().filter(|line| line.starts_with("box") && line.contains(verdict)).count()
    };
    let began = Instant::now();
    let output = reap(&[]);
    let judged = began.elapsed();
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
    tell(&format!(
        "crowd: {count} boxes made in {:.0} s, all answered in {:.0} s; judged in {:.2} s, {} stopped in {:.0} s",
        first.as_secs_f32(),
        second.as_secs_f32(),
        judged.as_secs_f32(),
        count - sessions.len(),
        stopped.as_secs_f32()
    ));
    // One that waited for each box in turn, or asked the engine for each, would take far longer.
    assert!(judged < Duration::from_secs(10), "{judged:?}");
    for (user, mut session) in sessions {
        session.write(b"here\n");
        assert_eq!(session.line(), "here", "{}", user.name);
        assert_eq!(session.wait(), 0);
    }
    // Who was stopped comes back.
    assert_eq!(users[1].says("cat file"), "kept\n");
}

/// Does this for all users, some at a time.
fn all(users: &[User], act: &(impl Fn(&User) + Sync)) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(user) = users.get(next.fetch_add(1, Ordering::Relaxed)) {
                    act(user);
                }
            });
        }
    });
}
