//! Logins while a reaper stops every box that has no open session: no login may fail.

use crate::harness::{Changed, User, reap, text, world_alone};
use crate::numbers::{ContainerCleanup, number_from_env, report};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// Users who log in at the same time, each repeatedly from several threads. So logins find boxes that
/// run, boxes that are being stopped, and boxes that another login starts.
const USERS: usize = 4;
const THREADS_PER_USER: usize = 3;

#[test]
fn f3_no_login_is_lost_to_the_reaper() {
    let _world = world_alone();
    let races = number_from_env("SSHBOX_RACES", 1000);
    let _idle = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
    let _grace = Changed::config("grace = \"10s\"", "grace = \"1s\"");
    let names: Vec<String> = (0..USERS).map(|n| format!("racer{n}")).collect();
    let users: Vec<User> = User::many(&names).into_iter().map(|(user, _)| user).collect();
    let _boxes = ContainerCleanup(users.clone());
    let over = AtomicBool::new(false);
    let (mut lost, mut logins, mut stopped) = (Vec::new(), 0, 0);
    let began = Instant::now();
    thread::scope(|scope| {
        let reaper = scope.spawn(|| {
            let mut stopped = 0;
            while !over.load(Ordering::Relaxed) {
                let printed = text(&reap(&[]).stdout);
                stopped += printed.lines().filter(|line| line.contains(": stopped: ")).count();
            }
            stopped
        });
        let racing: Vec<_> = (0..USERS * THREADS_PER_USER)
            .map(|first| {
                let user = &users[first % USERS];
                scope.spawn(move || race(user, (first..races).step_by(USERS * THREADS_PER_USER)))
            })
            .collect();
        let results: Vec<_> = racing.into_iter().map(thread::ScopedJoinHandle::join).collect();
        // Set this before a panic propagates: otherwise the reaper thread runs for ever.
        over.store(true, Ordering::Relaxed);
        stopped = reaper.join().unwrap();
        for result in results {
            let (count, failed) = result.unwrap();
            logins += count;
            lost.extend(failed);
        }
    });
    report(&format!(
        "race: {logins} logins, {} lost, {stopped} boxes stopped during the race, {} s",
        lost.len(),
        began.elapsed().as_secs()
    ));
    assert_eq!(logins, races);
    assert!(lost.is_empty(), "{} lost: {:?}", lost.len(), lost[0]);
    assert!(stopped > races / 10, "only {stopped} stops: too few for a race");
}

/// Logs in once for each number. Returns the number of logins and the output of each that failed.
fn race(user: &User, numbers: impl Iterator<Item = usize>) -> (usize, Vec<Output>) {
    let mut lost = Vec::new();
    let mut count = 0;
    for number in numbers {
        let output = user.ssh().run(&format!("echo {number}"));
        count += 1;
        if !output.status.success()
            || text(&output.stdout) != format!("{number}\n")
            || !output.stderr.is_empty()
        {
            lost.push(output);
        }
    }
    (count, lost)
}
