//! Endless output and unread input take no memory.

use super::{HostileInit, MEMORY_LIMIT, largest_shell, pty, wait_until_free};
use crate::harness::{User, world};
use crate::numbers::{ContainerCleanup, report};
use std::io::Read as _;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

/// Number of bytes after which the client of a flooding box is killed.
const FLOOD: usize = 128 << 20;

#[test]
fn a10_f20_endless_output_takes_no_memory_and_ends_with_its_client() {
    let _world = world();
    let (user, id) = User::many(&["outpoured".to_owned()]).remove(0);
    let _box = ContainerCleanup(vec![user.clone()]);
    let hostile = HostileInit::new(user.clone(), &id, |session| {
        let (master, slave) = pty();
        session.reply_started(&[master.as_fd()]);
        rustix::io::ioctl_fionbio(&slave, true).unwrap();
        while !session.is_closed() {
            if rustix::io::write(&slave, &[b'x'; 4096]).is_err() {
                thread::yield_now();
            }
        }
    });
    let mut client = user.ssh().args(&["-tt"]).begin(&[]);
    let mut bytes = vec![0; 1 << 16];
    let (mut received, mut peak) = (0, 0);
    let began = Instant::now();
    while received < FLOOD {
        let count = client.stdout().read(&mut bytes).unwrap();
        assert!(count > 0, "ended after {received} bytes");
        // Measure once per MiB.
        if received >> 20 != (received + count) >> 20 {
            peak = peak.max(largest_shell());
        }
        received += count;
    }
    report(&format!(
        "hostile init, flood: {} MiB in {} s, largest sshbox-shell {peak} KiB",
        received >> 20,
        began.elapsed().as_secs()
    ));
    assert!(peak > 0 && peak < MEMORY_LIMIT, "grew to {peak} KiB");
    client.kill();
    wait_until_free(&user).unwrap();
    drop(hostile);
}

#[test]
fn a10_unread_input_is_not_buffered_without_bound() {
    let _world = world();
    let (user, id) = User::many(&["stuffed".to_owned()]).remove(0);
    let _box = ContainerCleanup(vec![user.clone()]);
    let hostile = HostileInit::new(user.clone(), &id, |session| {
        let (master, slave) = pty();
        // Raw mode: otherwise the kernel drops input that exceeds the maximal line length.
        let mut modes = rustix::termios::tcgetattr(&slave).unwrap();
        modes.make_raw();
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &modes).unwrap();
        session.start_with_master(master);
    });
    let mut client = user.ssh().args(&["-tt"]).begin(&[]);
    hostile.wait_for_session(0);
    let taken = client.stuff(64 << 20, Duration::from_secs(5));
    let peak = largest_shell();
    report(&format!("hostile init, input: {} KiB buffered, sshbox-shell {peak} KiB", taken >> 10));
    assert!(peak > 0 && peak < MEMORY_LIMIT, "grew to {peak} KiB");
    assert!(taken < 64 << 20, "all input was accepted");
    client.kill();
    wait_until_free(&user).unwrap();
    drop(hostile);
}
