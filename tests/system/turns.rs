//! Who may use the world when: many tests at once, and each of those alone that stop or change a part of
//! it for all.
//!
//! Tests that share the world come first. Otherwise each one that wants it alone would wait for the
//! longest that runs, and all others would wait behind it.

use super::STATE;
use nix::sched::{CloneFlags, unshare};
use std::fs::{self, File};
use std::io::Write as _;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// Tests that share the world at a time: most of their time is waiting.
static AT_ONCE: LazyLock<usize> =
    LazyLock::new(|| std::env::var("SSHBOX_AT_ONCE").map_or(6, |number| number.parse().unwrap()));

#[derive(Default)]
struct Turns {
    /// Tests that share the world, and those that want to.
    sharing: usize,
    waiting: usize,
    alone: bool,
}

static TURNS: Mutex<Turns> = Mutex::new(Turns { sharing: 0, waiting: 0, alone: false });
static CHANGED: Condvar = Condvar::new();

fn turns() -> MutexGuard<'static, Turns> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_while(condition: impl FnMut(&mut Turns) -> bool) -> MutexGuard<'static, Turns> {
    CHANGED.wait_while(turns(), condition).unwrap_or_else(PoisonError::into_inner)
}

fn booted() {
    assert!(
        fs::exists(STATE).unwrap(),
        "this needs a world: run `make test`, or tests/system/world tests/system/boot …"
    );
}

/// The right to use the world together with others, until this is dropped.
pub struct Shared {
    began: Instant,
}

pub fn world() -> Shared {
    booted();
    turns().waiting += 1;
    let mut turns = wait_while(|turns| turns.alone || turns.sharing >= *AT_ONCE);
    turns.waiting -= 1;
    turns.sharing += 1;
    Shared { began: Instant::now() }
}

impl Drop for Shared {
    fn drop(&mut self) {
        turns().sharing -= 1;
        CHANGED.notify_all();
        note("shared", self.began);
    }
}

/// The right to use the world alone, until this is dropped.
pub struct Alone {
    began: Instant,
}

pub fn world_alone() -> Alone {
    booted();
    wait_while(|turns| turns.alone || turns.sharing > 0 || turns.waiting > 0).alone = true;
    Alone { began: Instant::now() }
}

impl Drop for Alone {
    fn drop(&mut self) {
        turns().alone = false;
        CHANGED.notify_all();
        note("alone", self.began);
    }
}

/// A server of a test's own, until this is dropped.
pub struct Private {
    _world: Shared,
}

/// The right to use the world together with others, and to change anything in `/etc`: this thread and all
/// that it starts see an `/etc` of their own, an sshd and a wake service that read it. Engine, web app,
/// users and their boxes are the world's.
pub fn private_world() -> Private {
    static PORT: AtomicU16 = AtomicU16::new(2300);
    let world = world();
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
    super::run("tests/system/private", &["start", &port.to_string()]);
    Private { _world: world }
}

impl Drop for Private {
    fn drop(&mut self) {
        super::run("tests/system/private", &["stop"]);
    }
}

/// Writes down how long a test had the world: what the runner tells includes the wait.
fn note(how: &str, began: Instant) {
    let line = format!(
        "{:7.1} s {how:6} {}\n",
        began.elapsed().as_secs_f32(),
        thread::current().name().unwrap_or("?")
    );
    let file = File::options().append(true).create(true).open(format!("{STATE}/times"));
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}
