//! What a person sees while something takes long, a box that starts above all: nothing for a moment, then one line with a sign that
//! turns, gone before anything else is shown. Ctrl-C ends the wait, and the program. Without a
//! terminal there is nothing to see, since scp, rsync and git share the stream.

use crate::texts;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::{self, IsTerminal as _, PipeReader, PipeWriter, Write as _};
use std::os::fd::AsFd as _;
use std::thread::{self, JoinHandle};

/// What takes no longer than this is not worth a word.
const SOON: u16 = 300;

/// Time from one sign to the next.
const TURN: u16 = 100;

/// In ASCII, as all that we show: not every terminal has more.
const SIGNS: [char; 4] = ['|', '/', '-', '\\'];

/// Exit status after Ctrl-C, as a shell has it: 128 + SIGINT.
const CANCELLED: u8 = 130;

/// Somebody waits, until this is dropped.
#[derive(Debug)]
pub struct Waiting {
    signals: SigSet,
    thread: Option<JoinHandle<()>>,
    /// Closing it tells the thread that the wait is over.
    over: Option<PipeWriter>,
}

impl Waiting {
    /// Shows `text` if this takes a while; `None` without a terminal. Before Ctrl-C ends the
    /// program, `cancelled` is told the exit status.
    #[must_use]
    pub fn begin(text: &'static str, cancelled: fn(u8)) -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let signals: SigSet = [Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
        let (reader, over) = io::pipe().ok()?;
        let keys = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).ok()?;
        // Before the thread begins, which inherits it: no other thread is to take them.
        signals.thread_block().ok()?;
        let thread = thread::Builder::new().spawn(move || show(text, &reader, &keys, cancelled)).ok();
        Some(Self { signals, thread, over: Some(over) })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.signals.thread_unblock();
    }
}

fn show(text: &str, over: &PipeReader, keys: &SignalFd, cancelled: fn(u8)) {
    let mut signs = SIGNS.iter().cycle();
    let mut wait = SOON;
    let mut shown = false;
    loop {
        let mut fds =
            [PollFd::new(over.as_fd(), PollFlags::POLLIN), PollFd::new(keys.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(wait)) {
            Ok(0) => {
                let sign = signs.next().unwrap_or(&' ');
                let _ = write!(io::stderr(), "\r{sign} {text}");
                (wait, shown) = (TURN, true);
                continue;
            }
            Err(nix::errno::Errno::EINTR) => continue,
            _ => {}
        }
        if shown {
            let _ = write!(io::stderr(), "\r{:width$}\r", "", width = text.len() + 2);
        }
        if fds.last().is_some_and(|fd| fd.any() == Some(true)) {
            let _ = writeln!(io::stderr(), "\r{}", texts::CANCELLED);
            cancelled(CANCELLED);
            #[expect(
                clippy::exit,
                reason = "the other thread waits for a lock or a socket and holds nothing"
            )]
            std::process::exit(CANCELLED.into());
        }
        return;
    }
}
