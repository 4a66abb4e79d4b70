//! What runs on this side: a client or another program, with pipes or at a terminal.

use super::{PATIENCE, signal, text};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::io::{Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Runs a command with this input to its end, which must come.
pub fn to_the_end(command: Command, input: Vec<u8>) -> Output {
    begun(command, input).ends()
}

/// Begins a command with this input.
pub fn begun(mut command: Command, input: Vec<u8>) -> Running {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::spawn(move || {
        // A command that ends without reading all of its input is no failure of the test.
        let _ = stdin.write_all(&input);
    });
    Running(child)
}

fn resize(terminal: &OwnedFd, ws_row: u16, ws_col: u16) {
    tcsetwinsize(terminal, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// A client that runs; ended by the test, whatever happens.
pub struct Running(Child);

impl Running {
    pub fn of(child: Child) -> Self {
        Self(child)
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub fn wait(mut self) -> i32 {
        self.closes_input();
        self.ended(3 * PATIENCE).code().unwrap()
    }

    /// Waits for a line of output, so that the command has certainly begun.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        let stdout = self.0.stdout.as_mut().unwrap();
        loop {
            let mut ready = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(PATIENCE).unwrap();
            assert!(
                poll(&mut ready, patience) != Ok(0),
                "gave up waiting for a line after {:?}",
                text(&line)
            );
            if stdout.read(&mut byte).unwrap() == 0 || byte == *b"\n" {
                return text(&line);
            }
            line.push(byte[0]);
        }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Whether the client still takes input.
    pub fn writes(&mut self, bytes: &[u8]) -> bool {
        self.0.stdin.as_mut().unwrap().write_all(bytes).is_ok()
    }

    /// The end of input.
    pub fn closes_input(&mut self) {
        drop(self.0.stdin.take());
    }

    /// Output and status, after the end of input.
    pub fn output(mut self) -> (i32, String, String) {
        self.closes_input();
        let output = self.ends();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// All that comes until the end, which must come.
    pub fn ends(self) -> Output {
        self.ends_within(3 * PATIENCE)
    }

    /// All that comes until the end, which must come within this time.
    pub fn ends_within(mut self, time: Duration) -> Output {
        let stdout = collect(self.0.stdout.take().unwrap());
        let stderr = collect(self.0.stderr.take().unwrap());
        // Who waits for a client that cannot write would wait for ever, so both are read meanwhile.
        let status = self.ended(time);
        Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    }

    fn ended(&mut self, time: Duration) -> ExitStatus {
        let end = Instant::now() + time;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the client does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The output as it comes.
    pub fn stdout(&mut self) -> &mut impl Read {
        self.0.stdout.as_mut().unwrap()
    }

    /// Writes up to `most` bytes, until nothing goes in any more for `patience`; how many went.
    pub fn stuff(&mut self, most: usize, patience: Duration) -> usize {
        let stdin = self.0.stdin.as_ref().unwrap();
        rustix::io::ioctl_fionbio(stdin, true).unwrap();
        let (mut sent, mut last) = (0, Instant::now());
        while sent < most && last.elapsed() < patience {
            match rustix::io::write(stdin, &[b'x'; 1 << 14]) {
                Ok(count) => (sent, last) = (sent + count, Instant::now()),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        sent
    }

    /// Output and status after the end of input, and how long it took; a client that is still
    /// there after `bound` is killed and has no status.
    pub fn output_within(mut self, bound: Duration) -> (Option<i32>, String, String, Duration) {
        let began = Instant::now();
        self.closes_input();
        let (out, err) = (collect(self.0.stdout.take().unwrap()), collect(self.0.stderr.take().unwrap()));
        let mut status = None;
        while status.is_none() && began.elapsed() < bound {
            thread::sleep(Duration::from_millis(10));
            status = self.over();
        }
        let took = began.elapsed();
        drop(self);
        (status, text(&out.join().unwrap()), text(&err.join().unwrap()), took)
    }

    /// The status, if the client has ended; -1 for a death by signal.
    pub fn over(&mut self) -> Option<i32> {
        self.0.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prints "ready", then each new size of its terminal. Not a shell script: bash loses a signal that arrives
/// while its trap ends.
pub const PRINTS_SIZES: &str = "exec /usr/bin/python3 -c '
import fcntl, signal, struct, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
print(\"ready\", flush=True)
while True:
    signal.sigwait({signal.SIGWINCH})
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    print(\"%d %d\" % struct.unpack(\"4H\", size)[:2], flush=True)'";

/// A client with a terminal, as a person has it.
pub struct Terminal {
    child: Running,
    master: OwnedFd,
    slave: OwnedFd,
    seen: String,
}

impl Terminal {
    /// Runs a program with a terminal of this size.
    pub fn of(command: &mut Command, rows: u16, columns: u16) -> Self {
        Self::prepared(command, rows, columns, |_| ())
    }

    pub(super) fn prepared(
        command: &mut Command,
        rows: u16,
        columns: u16,
        prepare: impl FnOnce(&str),
    ) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        resize(&slave, rows, columns);
        prepare(rustix::termios::ttyname(&slave, Vec::new()).unwrap().to_str().unwrap());
        command.env("TERM", "xterm-256color");
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap());
        command.stderr(slave.try_clone().unwrap());
        let child = command.spawn().unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        Self { child: Running(child), master, slave, seen: String::new() }
    }

    pub fn types(&mut self, text: &str) {
        self.types_bytes(text.as_bytes());
    }

    pub fn types_bytes(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::io::write(&self.master, rest) {
                Ok(count) => rest = &rest[count..],
                Err(rustix::io::Errno::AGAIN) => self.look(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits until the screen shows `text`, and forgets what stood before its end.
    pub fn shows(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            assert!(Instant::now() < end, "waited for {text:?}, saw {:?}", self.seen);
            self.look();
        }
    }

    fn look(&mut self) {
        let mut bytes = [0; 4096];
        match rustix::io::read(&self.master, &mut bytes) {
            Ok(count) => self.seen.push_str(&String::from_utf8_lossy(&bytes[..count])),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }

    pub fn resizes(&self, rows: u16, columns: u16) {
        resize(&self.slave, rows, columns);
        signal(self.child.pid(), nix::sys::signal::Signal::SIGWINCH);
    }

    pub fn signals(&self, kind: nix::sys::signal::Signal) {
        signal(self.child.pid(), kind);
    }

    /// The modes of the local terminal, which the client changes and must bring back.
    pub fn modes(&self) -> String {
        format!("{:?}", rustix::termios::tcgetattr(self.slave.as_fd()).unwrap())
    }

    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Waits for the end of the client.
    pub fn ends(&mut self) -> i32 {
        self.ends_within(PATIENCE).unwrap_or_else(|| panic!("the client does not end, saw {:?}", self.seen))
    }

    /// The same; `None` when it does not end in this time.
    pub fn ends_within(&mut self, bound: Duration) -> Option<i32> {
        let end = Instant::now() + bound;
        while Instant::now() < end {
            self.look();
            if let Some(status) = self.child.over() {
                self.look();
                return Some(status);
            }
        }
        None
    }

    pub fn seen(&self) -> &str {
        &self.seen
    }
}
