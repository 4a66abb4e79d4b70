//! The line that a terminal shows while an operation takes long, such as the start of a container:
//! nothing for a moment, then one line with a spinner and the current step, erased before anything
//! else is shown. Ctrl-C ends the wait and the program, unless the program holds signals back itself.
//! Without a terminal nothing is shown, because scp, rsync and git share the stream.

use crate::texts;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::{self, IsTerminal as _, PipeReader, PipeWriter, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Milliseconds before the line is shown.
const SHOW_AFTER: u16 = 300;

/// Milliseconds from one spinner character to the next.
const SPIN: u16 = 100;

/// ASCII, because not every terminal has more.
const SPINNER: [char; 4] = ['|', '/', '-', '\\'];

/// Exit status after Ctrl-C, as a shell has it: 128 + SIGINT.
const CANCELLED: u8 = 130;

/// Shows the line until this is dropped.
#[derive(Debug)]
pub struct Waiting {
    text: &'static str,
    line: Arc<Mutex<String>>,
    /// Blocked until this is dropped.
    signals: SigSet,
    thread: Option<JoinHandle<()>>,
    /// Closing it tells the thread that the wait is over.
    over: Option<PipeWriter>,
}

impl Waiting {
    /// Shows `text` if this takes a while; `None` without a terminal. Before Ctrl-C ends the
    /// program, `cancelled` is called with the exit status. Ctrl-C does not wait for other threads:
    /// while one changes something that must be finished, use [`Self::begin_uncancellable`].
    #[must_use]
    pub fn begin(text: &'static str, cancelled: fn(u8)) -> Option<Self> {
        Self::with(text, Some(cancelled))
    }

    /// The same, but Ctrl-C is left to the caller, who holds it back (`held_signals`).
    #[must_use]
    pub fn begin_uncancellable(text: &'static str) -> Option<Self> {
        Self::with(text, None)
    }

    fn with(text: &'static str, cancelled: Option<fn(u8)>) -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let (reader, over) = io::pipe().ok()?;
        let mut signals = SigSet::empty();
        let mut cancel = None;
        if let Some(cancelled) = cancelled {
            signals.extend([Signal::SIGINT, Signal::SIGQUIT]);
            let keys = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).ok()?;
            cancel = Some(Cancel { keys, cancelled });
        }
        // Before the thread begins, which inherits the mask: no other thread may take these signals.
        signals.thread_block().ok()?;
        let line = Arc::new(Mutex::new(format!("{text} ...")));
        let shown = Arc::clone(&line);
        let thread = thread::Builder::new().spawn(move || show(&shown, &reader, cancel.as_ref())).ok();
        Some(Self { text, line, signals, thread, over: Some(over) })
    }

    /// Shows the current step behind the text, from the next spinner character on.
    pub fn show_step(&self, step: &str) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = format!("{}: {step} ...", self.text);
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

/// What ends the program while it waits.
struct Cancel {
    keys: SignalFd,
    cancelled: fn(u8),
}

fn show(line: &Mutex<String>, over: &PipeReader, cancel: Option<&Cancel>) {
    let mut spinner = SPINNER.iter().cycle();
    let mut wait = SHOW_AFTER;
    let mut shown = String::new();
    loop {
        let keys = cancel.map(|cancel| cancel.keys.as_fd());
        let fds = [over.as_fd()].into_iter().chain(keys);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::from(wait)) {
            Ok(0) => {
                let text = fitting(&line.lock().unwrap_or_else(PoisonError::into_inner), columns());
                if text != shown {
                    erase(&shown);
                }
                let sign = spinner.next().unwrap_or(&' ');
                let _ = write!(io::stderr(), "\r{sign} {text}");
                (wait, shown) = (SPIN, text);
                continue;
            }
            Err(nix::errno::Errno::EINTR) => continue,
            _ => {}
        }
        erase(&shown);
        let pressed = fds.get(1).is_some_and(|fd| fd.any() == Some(true));
        if let Some(Cancel { cancelled, .. }) = cancel.filter(|_| pressed) {
            let _ = writeln!(io::stderr(), "\r{}", texts::CANCELLED);
            cancelled(CANCELLED);
            #[expect(
                clippy::exit,
                reason = "the other thread waits or only reads, and the kernel releases its locks"
            )]
            std::process::exit(CANCELLED.into());
        }
        return;
    }
}

/// Takes a line from the terminal, if one was shown.
fn erase(shown: &str) {
    if !shown.is_empty() {
        let _ = write!(io::stderr(), "\r{:width$}\r", "", width = shown.len() + 2);
    }
}

/// Columns of the terminal; 0 when it has no known size.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col.into())
}

/// As much of an ASCII line as fits beside the spinner: a line that wraps cannot be erased.
fn fitting(line: &str, columns: usize) -> String {
    match columns.checked_sub(3).and_then(|width| line.get(..width)) {
        Some(beginning) => beginning.to_owned(),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_would_wrap_is_cut() {
        let line = "starting your box ...";
        for columns in [0, 1, 2, 24, 80] {
            assert_eq!(fitting(line, columns), line, "{columns}");
        }
        assert_eq!(fitting(line, 23), "starting your box ..");
        assert_eq!(fitting(line, 4), "s");
    }
}
