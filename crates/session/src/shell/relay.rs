//! A session with a terminal: carries bytes between the terminal that sshd made here and the
//! one in the box, and its size with it. Each way has its own small store and is read only
//! when that is empty, so neither can block the other and memory stays flat.

use super::RelayEnd;
use super::audit::Audit;
use crate::deadlines::LAST_WORDS;
use crate::exit::{ExitStatus, Failure};
use crate::texts;
use crate::times::later;
use crate::tty;
use crate::wire::Socket;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes that one way holds at most.
const STORE: usize = 64 * 1024;

/// After the program's end, how long its terminal may be silent before it counts as empty.
/// Only matters when something else in the box still holds the terminal open.
const SILENCE: Duration = Duration::from_millis(50);

/// Most bytes of it: more than a terminal holds, for something else may go on writing there.
const LAST_BYTES: usize = 2 * STORE;

/// Relays until the program ends, the box goes, or the client vanishes.
pub(super) fn run(socket: &Socket, master: &OwnedFd, audit: &Audit) -> Result<RelayEnd, Failure> {
    let failed = |error: io::Error| Failure::because(ExitStatus::Internal, texts::NO_TERMINAL, &error);
    let signals = signals().map_err(failed)?;
    let stdin = io::stdin();
    let terminal = stdin.as_fd();
    // Size changes from now on are signalled; one that came before is copied here.
    tty::copy_size(terminal, master.as_fd()).map_err(failed)?;
    rustix::io::ioctl_fionbio(master, true).map_err(|error| failed(error.into()))?;
    let raw = tty::Raw::enter(terminal).map_err(failed)?;
    rustix::io::ioctl_fionbio(terminal, true).map_err(|error| failed(error.into()))?;
    let ended = relay(socket, master.as_fd(), terminal, &signals, audit);
    let _ = rustix::io::ioctl_fionbio(terminal, false);
    drop(raw);
    ended.map_err(failed)
}

fn signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    // Only this one: what ends us must do so even if a box gets us to wait on its descriptor.
    set.add(Signal::SIGWINCH);
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

fn relay(
    socket: &Socket,
    master: BorrowedFd<'_>,
    terminal: BorrowedFd<'_>,
    signals: &SignalFd,
    audit: &Audit,
) -> io::Result<RelayEnd> {
    let mut typed = Direction::new(terminal, master, &audit.received);
    let mut shown = Direction::new(master, terminal, &audit.sent);
    loop {
        // A terminal that nobody in the box holds any more reports that without being asked,
        // over and over, while its program may still live: look away from it.
        let there = if shown.ended { signals.as_fd() } else { master };
        let mut fds = [
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(terminal, typed.reads() | shown.writes()),
            PollFd::new(there, shown.reads() | typed.writes()),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [told, signalled, here, there] = fds.map(|fd| fd.any().unwrap_or(true));
        if signalled {
            while let Ok(Some(_)) = signals.read_signal() {
                tty::copy_size(terminal, master)?;
            }
        }
        // A way moves when its source has something, or its destination has room for the rest.
        if (here || (there && !typed.is_empty())) && typed.go() == Flow::Ended {
            return Ok(RelayEnd::Vanished);
        }
        if (there || (here && !shown.is_empty())) && shown.go() == Flow::Broken {
            return Ok(RelayEnd::Vanished);
        }
        if told {
            last_words(&mut shown)?;
            return Ok(RelayEnd::Told);
        }
    }
}

/// Shows what the program still had in its terminal when it ended.
fn last_words(shown: &mut Direction<'_>) -> io::Result<()> {
    let until = later(Instant::now(), LAST_WORDS);
    let enough = shown.read + LAST_BYTES;
    while Instant::now() < until && shown.go() == Flow::Goes {
        if shown.read > enough && shown.is_empty() {
            return Ok(());
        }
        let mut fds = [PollFd::new(shown.from, shown.reads()), PollFd::new(shown.to, shown.writes())];
        let timeout = if shown.is_empty() { SILENCE } else { LAST_WORDS };
        match poll(&mut fds, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO)) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How one way does.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    Goes,
    /// Its source is at its end.
    Ended,
    /// Nobody takes what it brings.
    Broken,
}

/// One direction: what was read from one terminal and is not yet written to the other.
struct Direction<'fd> {
    from: BorrowedFd<'fd>,
    to: BorrowedFd<'fd>,
    /// Allocated as zeroed pages, of which only those count in memory that were ever filled.
    store: Vec<u8>,
    /// Of the store, these bytes wait to be written.
    waiting: Range<usize>,
    /// Bytes read in all.
    read: usize,
    /// Bytes written in all.
    written: &'fd AtomicU64,
    ended: bool,
}

impl<'fd> Direction<'fd> {
    fn new(from: BorrowedFd<'fd>, to: BorrowedFd<'fd>, written: &'fd AtomicU64) -> Self {
        Self { from, to, store: vec![0; STORE], waiting: 0..0, read: 0, written, ended: false }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What to wait for at the source.
    fn reads(&self) -> PollFlags {
        if self.is_empty() && !self.ended { PollFlags::POLLIN } else { PollFlags::empty() }
    }

    /// What to wait for at the destination.
    fn writes(&self) -> PollFlags {
        if self.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT }
    }

    /// Reads once and writes once, as far as that goes without waiting.
    fn go(&mut self) -> Flow {
        if self.is_empty() && !self.ended {
            match rustix::io::read(self.from, &mut self.store[..]) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.read += count;
                    self.waiting = 0..count;
                }
                Err(error) if again(error) => return Flow::Goes,
                // The master of a terminal that nobody holds any more reads EIO.
                Err(_) => self.ended = true,
            }
        }
        if let Some(rest) = self.store.get(self.waiting.clone()).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(self.to, rest) {
                Ok(count) => {
                    self.waiting.start += count;
                    self.written.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(error) if again(error) => {}
                Err(_) => {
                    self.waiting = 0..0;
                    return Flow::Broken;
                }
            }
        }
        if self.ended && self.is_empty() { Flow::Ended } else { Flow::Goes }
    }
}

fn again(error: rustix::io::Errno) -> bool {
    matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR)
}
