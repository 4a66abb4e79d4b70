//! A session with a terminal: copies bytes between sshd's terminal and the one in the container, and
//! window sizes into the container. Each direction has its own buffer and reads only while that is
//! empty, so neither direction can block the other and memory use is bounded.

use super::audit::Audit;
use crate::deadlines::TERMINAL_DRAIN;
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

/// Size of the buffer of one direction, in bytes.
const BUFFER: usize = 64 * 1024;

/// How long a terminal may be silent after its program's end before it counts as empty. Matters only
/// while another program in the container holds the terminal open.
const SILENCE: Duration = Duration::from_millis(50);

/// Most bytes read after the program's end: more than a terminal holds, but not more, because another
/// program may go on writing.
const DRAIN_MAX: usize = 2 * BUFFER;

/// Why a session needs no relay any more.
#[derive(Debug)]
pub(super) enum RelayEnd {
    /// The init has sent a reply or closed the connection.
    InitReplied,
    /// The client vanished.
    Vanished,
}

/// Relays until the program ends, the container stops, or the client vanishes.
pub(super) fn run(socket: &Socket, master: &OwnedFd, audit: &Audit) -> Result<RelayEnd, Failure> {
    let failed = |error: io::Error| Failure::because(ExitStatus::Internal, texts::NO_TERMINAL, &error);
    let signals = signals().map_err(failed)?;
    let stdin = io::stdin();
    let terminal = stdin.as_fd();
    // From now on a signal reports each new size; an earlier change is copied here.
    tty::copy_size(terminal, master.as_fd()).map_err(failed)?;
    rustix::io::ioctl_fionbio(master, true).map_err(|error| failed(error.into()))?;
    let raw = tty::Raw::enter(terminal).map_err(failed)?;
    rustix::io::ioctl_fionbio(terminal, true).map_err(|error| failed(error.into()))?;
    let end = relay(socket, master.as_fd(), terminal, &signals, audit);
    let _ = rustix::io::ioctl_fionbio(terminal, false);
    drop(raw);
    end.map_err(failed)
}

fn signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    // Only this signal: the others must end the process even while it waits on a container's fd.
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
        // Once the last slave is closed, poll() reports POLLHUP on the master for ever, while the
        // program may still run: poll the signalfd instead.
        let master_or_signals = if shown.ended { signals.as_fd() } else { master };
        let mut fds = [
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(terminal, typed.reads() | shown.writes()),
            PollFd::new(master_or_signals, shown.reads() | typed.writes()),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [replied, signalled, here, there] = fds.map(|fd| fd.any().unwrap_or(true));
        if signalled {
            while let Ok(Some(_)) = signals.read_signal() {
                tty::copy_size(terminal, master)?;
            }
        }
        // A direction moves when its source has data, or its destination has room for the rest.
        if (here || (there && !typed.is_empty())) && typed.transfer() == TransferState::Ended {
            return Ok(RelayEnd::Vanished);
        }
        if (there || (here && !shown.is_empty())) && shown.transfer() == TransferState::Broken {
            return Ok(RelayEnd::Vanished);
        }
        if replied {
            drain(&mut shown)?;
            return Ok(RelayEnd::InitReplied);
        }
    }
}

/// Shows what is left in the terminal of a program that has ended.
fn drain(shown: &mut Direction<'_>) -> io::Result<()> {
    let until = later(Instant::now(), TERMINAL_DRAIN);
    let enough = shown.read + DRAIN_MAX;
    while Instant::now() < until && shown.transfer() == TransferState::Open {
        if shown.read > enough && shown.is_empty() {
            return Ok(());
        }
        let mut fds = [PollFd::new(shown.from, shown.reads()), PollFd::new(shown.to, shown.writes())];
        let timeout = if shown.is_empty() { SILENCE } else { TERMINAL_DRAIN };
        match poll(&mut fds, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO)) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The state of one direction.
#[derive(Debug, PartialEq, Eq)]
enum TransferState {
    Open,
    /// The source is at its end and everything is written.
    Ended,
    /// The destination is closed.
    Broken,
}

/// One direction: what was read from one terminal and is not yet written to the other.
struct Direction<'fd> {
    from: BorrowedFd<'fd>,
    to: BorrowedFd<'fd>,
    /// Zeroed pages: those that were never filled use no memory.
    buffer: Vec<u8>,
    /// The bytes of the buffer that are not yet written.
    pending: Range<usize>,
    /// Total bytes read.
    read: usize,
    /// Total bytes written.
    written: &'fd AtomicU64,
    ended: bool,
}

impl<'fd> Direction<'fd> {
    fn new(from: BorrowedFd<'fd>, to: BorrowedFd<'fd>, written: &'fd AtomicU64) -> Self {
        Self { from, to, buffer: vec![0; BUFFER], pending: 0..0, read: 0, written, ended: false }
    }

    fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// What to poll the source for.
    fn reads(&self) -> PollFlags {
        if self.is_empty() && !self.ended { PollFlags::POLLIN } else { PollFlags::empty() }
    }

    /// What to poll the destination for.
    fn writes(&self) -> PollFlags {
        if self.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT }
    }

    /// Reads once and writes once, without blocking.
    fn transfer(&mut self) -> TransferState {
        if self.is_empty() && !self.ended {
            match rustix::io::read(self.from, &mut self.buffer[..]) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.read += count;
                    self.pending = 0..count;
                }
                Err(error) if is_temporary(error) => return TransferState::Open,
                // The master reads EIO once the last slave is closed.
                Err(_) => self.ended = true,
            }
        }
        if let Some(rest) = self.buffer.get(self.pending.clone()).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(self.to, rest) {
                Ok(count) => {
                    self.pending.start += count;
                    self.written.fetch_add(count as u64, Ordering::Relaxed);
                }
                Err(error) if is_temporary(error) => {}
                Err(_) => {
                    self.pending = 0..0;
                    return TransferState::Broken;
                }
            }
        }
        if self.ended && self.is_empty() { TransferState::Ended } else { TransferState::Open }
    }
}

fn is_temporary(error: rustix::io::Errno) -> bool {
    matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR)
}
