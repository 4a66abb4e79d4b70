//! How many sessions of a user are open, counted from the locks of sshbox alone, and how many may be.

use crate::harness::{
    Changed, Undo, User, alice, private_world, run, signal, status_of, text, until, world, world_alone,
};
use nix::sys::signal::Signal;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The `sshbox-shell` processes of a user.
fn shells(user: &User) -> Vec<i32> {
    let is_shell = |pid: &i32| status_of(*pid, "Name:").is_some_and(|name| name == "sshbox-shell");
    user.host_processes().into_iter().filter(is_shell).collect()
}

#[test]
fn a17_a_session_beyond_the_limit_is_refused_and_special_commands_are_not() {
    let _world = private_world();
    let _config = Changed::config("sessions = 50", "sessions = 3");
    let user = User::new("capped");
    let control = "/tmp/capped";
    let _connection = user.connects(control);
    let mut sessions: Vec<_> =
        (0..3).map(|_| user.ssh_over(control).begin(&["echo in; read x; echo $x"])).collect();
    for session in &mut sessions {
        assert_eq!(session.line(), "in");
    }
    for ssh in [user.ssh_over(control), user.ssh()] {
        let output = ssh.run("echo in");
        assert_eq!(output.status.code(), Some(75), "{output:?}");
        let error = text(&output.stderr);
        assert!(error.starts_with("sshbox: you have 3 open sessions, the most you may have; close some, or end all with @restart (@status counts them) (ref "), "{error}");
    }
    let status = user.ssh_over(control).run("@status");
    assert!(text(&status.stdout).contains("\nsessions   3 of 3, "), "{status:?}");
    // The kernel frees the slot of a session that is killed.
    signal(shells(&user)[0], Signal::SIGKILL);
    until("a slot is free", || user.ssh_over(control).run("echo in").stdout == b"in\n");
    drop(sessions);
    until("no session is open", || {
        text(&user.ssh_over(control).run("@status").stdout).contains("sessions   0 of 3")
    });
}

#[test]
fn f26_a_session_works_with_the_files_of_an_earlier_release() {
    let _world = world();
    let user = User::new("slotted");
    let control = "/tmp/upgraded";
    let _connection = user.connects(control);
    assert_eq!(user.ssh_over(control).run("echo in").stdout, b"in\n");
    let files =
        ["users/slotted/sessions", "users/slotted/pace", "users/slotted/limits", "accounts/.slotted.answer"]
            .map(|name| format!("/run/sshbox/{name}"));
    for file in &files {
        fs::remove_file(file).unwrap();
    }
    let mut session = user.ssh_over(control).begin(&["echo in; read x; echo $x"]);
    assert_eq!(session.line(), "in");
    let status = user.ssh_over(control).run("@status");
    assert!(text(&status.stdout).contains("sessions   1 of 50"), "{status:?}");
    // What is missing comes back: by the wake service, and by the next login.
    user.says("true");
    assert!(files.iter().filter(|file| !file.ends_with("limits")).all(|file| fs::exists(file).unwrap()));
    session.write(b"still here\n");
    assert_eq!(session.line(), "still here");
}

#[test]
fn a12_three_hundred_thousand_locks_in_a_box_delay_no_one() {
    let _world = world_alone();
    let (user, other) = (User::new("locker"), alice());
    other.says("true");
    let took = |what: &mut dyn FnMut()| {
        let began = Instant::now();
        what();
        began.elapsed()
    };
    let measure = || {
        [
            took(&mut || drop(other.says("@status"))),
            took(&mut || drop(run("/usr/sbin/sshbox", &["list"]))),
            took(&mut || drop(other.says("true"))),
        ]
    };
    measure();
    let before = measure();
    let mut locks = user.ssh().begin(&["python3 -c '
import fcntl
# The kernel walks all locks of a file for each new one: many files are faster.
files = [open(\"/tmp/locked-%d\" % n, \"w\") for n in range(300)]
for file in files:
    for n in range(1000):
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * n)
print(\"held\", flush=True)
input()'"]);
    assert_eq!(locks.line(), "held");
    let after = measure();
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("locks: @status, list, login {before:?} before, {after:?} with 300,000 locks\n").as_bytes(),
    );
    for (before, after) in before.iter().zip(after) {
        assert!(after < *before + Duration::from_secs(2), "{before:?} {after:?}");
    }
    // Its end frees the locks.
    locks.kill();
    run("docker", &["rm", "-f", &user.container()]);
}

#[test]
fn a17_a_flood_of_sessions_slows_itself_and_not_others() {
    // 300 sessions may begin at once, then 20 a second.
    const SESSIONS: usize = 400;
    let _world = world();
    let (flooder, user) = (User::new("rushing"), User::new("unrushed"));
    let control = "/tmp/rushing";
    let _connection = flooder.connects(control);
    flooder.says("true");
    user.says("true");
    let (count, flood) = (AtomicUsize::new(0), Instant::now());
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                while count.fetch_add(1, Ordering::Relaxed) < SESSIONS {
                    // All come to their turn: a session that would wait for more than 20 seconds is refused.
                    assert!(flooder.ssh_over(control).run("true").status.success());
                }
            });
        }
        for _ in 0..3 {
            user.says("@stop");
            let began = Instant::now();
            user.says("true");
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        }
    });
    let (took, least) = (flood.elapsed(), Duration::from_millis(50) * 95);
    assert!(took > least, "{SESSIONS} sessions took {took:?}");
}

#[test]
fn a17_a_flood_of_one_user_delays_the_start_of_another_box_by_little() {
    let _world = world();
    let (flooder, user) = (User::new("flooding"), User::new("unmoved"));
    let control = "/tmp/flooder";
    let _connection = flooder.connects(control);
    flooder.says("true");
    user.says("true");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = Undo(|| over.store(true, Ordering::Relaxed));
        for _ in 0..20 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    flooder.ssh_over(control).run("@status");
                }
            });
        }
        thread::sleep(Duration::from_secs(1));
        for _ in 0..3 {
            user.says("@stop");
            let began = Instant::now();
            user.says("true");
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        }
    });
}
