//! What the standard library cannot do safely: a child with its own session and terminal, an exit by
//! signal, a watchdog, and an exit when memory runs out. The only unsafe code of this crate.
#![allow(
    unsafe_code,
    reason = "fork, signal dispositions and allocators have no safe interface; see each SAFETY comment"
)]

use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, setsid};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

/// Added to the score by which the kernel chooses its victim when memory runs out (proc(5),
/// `oom_score_adj`): a program of a session is killed before the init, with which the container would end.
const OOM_SCORE: &[u8] = b"500";

/// Number of signals, see signal(7).
const SIGNALS: i32 = 64;

/// Exit status when memory runs out: `ExitStatus::TryAgain`.
const NO_MEMORY: i32 = 75;

/// The system's allocator. When memory runs out, the standard library aborts by a signal; this one exits
/// with a status.
struct ExitingAllocator;

#[global_allocator]
static ALLOCATOR: ExitingAllocator = ExitingAllocator;

// SAFETY: each call goes to the system's allocator unchanged, and its result comes back unchanged; a
// null pointer never comes back.
unsafe impl GlobalAlloc for ExitingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract that the system's allocator requires.
        not_null(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        not_null(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        not_null(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn not_null(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        // SAFETY: ends the process at once; nothing runs after it.
        unsafe { libc::_exit(NO_MEMORY) }
    }
    memory
}

/// Starts `command` in a session of its own; with `terminal`, its stdin becomes the session's
/// controlling terminal. `open_files` are the soft and the hard limit of the program, if they differ from
/// those of this process.
///
/// # Errors
/// The error of fork(2) or execve(2): `WouldBlock` when the container has reached its limit of tasks.
pub fn spawn(
    command: &mut Command,
    terminal: bool,
    open_files: Option<(libc::rlim_t, libc::rlim_t)>,
) -> io::Result<Pid> {
    let (_, queued) = getrlimit(Resource::RLIMIT_SIGPENDING)?;
    let prepare = move || {
        setsid()?;
        // When a user's signal queue is full the kernel drops the sender of a signal, which then looks
        // like the host's. So programs may fill half of the queue only.
        setrlimit(Resource::RLIMIT_SIGPENDING, queued / 2, queued / 2)?;
        if let Some((soft, hard)) = open_files {
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        }
        // A child inherits the signals that the init blocks for its signalfd, and those that were ignored
        // where the engine was started.
        SigSet::empty().thread_set_mask()?;
        for number in 1..=SIGNALS {
            // SAFETY: sets the default action; no handler is involved. The call fails for SIGKILL and
            // SIGSTOP and for the signals that the C library reserves.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
        if terminal {
            rustix::process::ioctl_tiocsctty(io::stdin())?;
        }
        // The init is not dumpable, so the files in /proc of this copy belong to root. exec(2) would
        // make the child dumpable anyway.
        prctl::set_dumpable(true)?;
        let file = nix::fcntl::open(
            "/proc/self/oom_score_adj",
            nix::fcntl::OFlag::O_WRONLY,
            nix::sys::stat::Mode::empty(),
        )?;
        nix::unistd::write(file, OOM_SCORE)?;
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made: no allocation, no lock.
    let child = unsafe { command.pre_exec(prepare) }.spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?))
}

/// Makes `command` run in a session of its own, without a controlling terminal, and as the leader of a
/// process group.
pub fn in_own_session(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only setsid(2) is called: no allocation, no lock.
    unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) }
}

/// Kills this process after this time, whatever its other threads do: SIGKILL also interrupts a system
/// call that would block for ever. Runs `before_kill` first.
///
/// # Errors
/// `WouldBlock` when the host has reached its limit of tasks.
pub fn end_after(time: Duration, before_kill: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let watchdog = move || {
        thread::sleep(time);
        before_kill();
        // Cannot fail for the own process.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    };
    thread::Builder::new().spawn(watchdog).map(drop)
}

/// Ends this process by a signal, so that its parent sees how the program in the container ended. Returns
/// the exit status that a shell would use (128 + n) if the signal does not kill.
#[must_use]
pub fn die_by(number: i32) -> ExitCode {
    // A core dump of this process would say nothing about the program.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = SigSet::all().thread_unblock();
    // SAFETY: sets the default action and raises the signal; no handler is involved. The C functions
    // accept real-time signals, which have no names in Rust, and fail for a number that is no signal.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        libc::raise(number);
    }
    ExitCode::from(u8::try_from(number.saturating_add(128)).unwrap_or(255))
}
