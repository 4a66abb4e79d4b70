//! Logins against a reaper that stops every box as soon as nobody is in it: none may be lost.

use crate::harness::{Changed, User, reap, text, world_alone};
use crate::numbers::{Boxes, length, tell};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// Users who log in at the same time, each over and over in as many places: so logins meet
/// boxes that run, boxes that are being stopped, and boxes that another login starts.
const USERS: usize = 4;
const PLACES: usize = 3;

#[test]
fn f3_no_login_is_lost_to_the_reaper() {
    let _world = world_alone();
    let races = length("SSHBOX_RACES", 1000);
    let _idle = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
    let _grace = Changed::config("grace = \"10s\"", "grace = \"1s\"");
    let names: Vec<String> = (0..USERS).map(|n| format!("racer{n}")).collect();
    let users: Vec<User> = User::many(&names).into_iter().map(|(user, _)| user).collect();
    let _boxes = Boxes(users.clone());
    let over = AtomicBool::new(false);
    let (mut lost, mut logins, mut stopped) = (Vec::new(), 0, 0);
    let began = Instant::now();
    thread::scope(|scope| {
        let reaper = scope.spawn(|| {
            let mut stopped = 0;
            while !over.load(Ordering::Relaxed) {
                let said = text(&reap(&[]).stdout);
                stopped += said.lines().filter(|line| line.contains(": stopped: ")).count();
            }
            stopped
        });
        let racing: Vec<_> = (0..USERS * PLACES)
            .map(|first| {
                let user = &users[first % USERS];
                scope.spawn(move || race(user, (first..races).step_by(USERS * PLACES)))
            })
            .collect();
        let results: Vec<_> = racing.into_iter().map(thread::ScopedJoinHandle::join).collect();
        // Before a panic is passed on: the reaper would go on for ever.
        over.store(true, Ordering::Relaxed);
        stopped = reaper.join().unwrap();
        for result in results {
            let (count, some) = result.unwrap();
            logins += count;
            lost.extend(some);
        }
    });
    tell(&format!(
        "race: {logins} logins, {} lost, {stopped} boxes stopped meanwhile, {} s",
        lost.len(),
        began.elapsed().as_secs()
    ));
    assert_eq!(logins, races);
    assert!(lost.is_empty(), "{} lost: {:?}", lost.len(), lost[0]);
    assert!(stopped > races / 10, "only {stopped} stops: no race at all");
}

/// Logs in for each number; how often, and what went wrong.
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
