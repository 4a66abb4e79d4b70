//! Signals that would end this process while it does what must not stop halfway. They are held back and
//! can be read, so that the program ends at a point of its own choice.

use crate::procfs::ProcessStatus;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::cell::Cell;
use std::io;

const SIGNALS: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// The signals that are held back until this process ends.
#[derive(Debug)]
pub struct HeldSignals {
    fd: SignalFd,
    first: Cell<Option<i32>>,
}

impl HeldSignals {
    /// Holds back SIGHUP, SIGINT, SIGQUIT and SIGTERM, except those that this process ignores, as below
    /// `nohup`. Call it before the first other thread starts: threads inherit the mask, and one without
    /// it would let the signal end the process.
    ///
    /// # Errors
    /// [`io::Error`] when the process has no file descriptors left.
    pub fn hold() -> io::Result<Self> {
        let ignored = ProcessStatus::of(nix::unistd::getpid().as_raw()).unwrap_or_default().ignored;
        let signals: SigSet = SIGNALS.into_iter().filter(|signal| !ignored.has(*signal)).collect();
        let fd = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        signals.thread_block()?;
        Ok(Self { fd, first: Cell::new(None) })
    }

    /// The number of the first signal that has arrived, if any.
    #[must_use]
    pub fn first(&self) -> Option<i32> {
        if self.first.get().is_none()
            && let Ok(Some(arrived)) = self.fd.read_signal()
        {
            self.first.set(i32::try_from(arrived.ssi_signo).ok());
        }
        self.first.get()
    }
}
