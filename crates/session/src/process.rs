//! Processes, where the standard library has no safe word for it: a child with a session and
//! a terminal of its own, an end by signal, a watchdog, and an end when there is no memory. The only
//! unsafe code of this package.
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

/// Added to the chance of being chosen when memory runs out (proc(5), `oom_score_adj`):
/// a session's programs go before the init of the box, which would take all of them along.
const OOM_SCORE: &[u8] = b"500";

/// Signals of Linux, see signal(7).
const SIGNALS: i32 = 64;

/// Exit status of a program for which there is no memory; `exit::Status::TryAgain`.
const NO_MEMORY: i32 = 75;

/// The system's memory. Where there is none the standard library ends the program by a signal, and
/// this ends it with a status.
struct Memory;

#[global_allocator]
static MEMORY: Memory = Memory;

// SAFETY: each call is passed on as it came, and its result as well; what the system does not give
// is never returned.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system asks for.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn given(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        // SAFETY: ends the process at once; nothing runs after it.
        unsafe { libc::_exit(NO_MEMORY) }
    }
    memory
}

/// Starts `command` in a session of its own; with `terminal`, its stdin becomes the session's
/// controlling terminal.
///
/// # Errors
/// What fork or exec say: `WouldBlock` when the box has as many processes as it may.
pub fn spawn(command: &mut Command, terminal: bool) -> io::Result<Pid> {
    let (_, queued) = getrlimit(Resource::RLIMIT_SIGPENDING)?;
    let prepare = move || {
        setsid()?;
        // When the queue of signals is full the kernel forgets who sent one, and it looks like one
        // of the host's. Programs can fill half of what the init may have.
        setrlimit(Resource::RLIMIT_SIGPENDING, queued / 2, queued / 2)?;
        // The init takes its signals from a descriptor and has them blocked; a child inherits that,
        // and what was ignored where the engine was started.
        SigSet::empty().thread_set_mask()?;
        for number in 1..=SIGNALS {
            // SAFETY: the default action replaces a disposition; no handler is involved. Refused
            // for the two that cannot be changed and those that the C library keeps for itself.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
        if terminal {
            rustix::process::ioctl_tiocsctty(io::stdin())?;
        }
        // The child is still a copy of a process that others may not inspect, so that its
        // own files in /proc would not be its own; exec makes it an ordinary one anyway.
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

/// Ends this process after this time, whatever its other threads do: SIGKILL also interrupts a
/// system call that would block for ever. `last_word` runs before that.
///
/// # Errors
/// `WouldBlock` when the host has as many processes as it may.
pub fn end_after(time: Duration, last_word: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let watchdog = move || {
        thread::sleep(time);
        last_word();
        // Cannot fail: it is our own process.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    };
    thread::Builder::new().spawn(watchdog).map(drop)
}

/// Ends this process by `number`, so that who waits for it sees what became of the program
/// in the box. Returns the shell's way of saying so (128 + n) if the signal does not kill.
#[must_use]
pub fn die_by(number: i32) -> ExitCode {
    // A core of ours would tell nothing of the program.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = SigSet::all().thread_unblock();
    // SAFETY: the default action replaces a disposition, and a signal is sent to ourselves; no
    // handler of ours is involved. The C functions, since the numbers of real-time signals have
    // no names in Rust; one that does not exist is refused by both.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        libc::raise(number);
    }
    ExitCode::from(u8::try_from(number.saturating_add(128)).unwrap_or(255))
}
