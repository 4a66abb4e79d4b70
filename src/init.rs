//! `sshbox-init`, PID 1 of a box: runs sessions at a socket that the host handed over, reaps,
//! and hangs up what a vanished client leaves. Runs as the image's user without any capability
//! and knows nothing of the host. One thread, one `poll`, no configuration. The SSH server of the box
//! calls the same program for each of its sessions.

mod environment;
mod inner_sshd;
mod locales;
mod person;
mod sessions;
mod terminals;

use crate::wire::{Fields, Socket};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use person::Person;
use rustix::process::WaitOptions;
use sessions::{End, Sessions};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Where the host listens while it starts this box.
const BOOT_SOCKET: &str = "/run/sshbox/boot.sock";

/// How long connecting to the host and each packet to it may take. It is waiting for us.
const PATIENCE: Duration = Duration::from_secs(5);

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [what, rest @ ..] if what == inner_sshd::KEYS => inner_sshd::keys(rest),
        [what] if what == inner_sshd::SESSION => inner_sshd::session(),
        [] if std::process::id() == 1 => match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => crate::exit::Status::Internal.code().into(),
        },
        _ => crate::exit::Status::Usage.code().into(),
    }
}

fn serve() -> io::Result<()> {
    close_doors()?;
    let signals = signals()?;
    let person = Person::of_this_process();
    person.furnish_home();
    let mut sessions = Sessions::new(person);
    let mut listener = None;
    let mut host = call_host();
    let mut leaving = false;
    loop {
        wait(&signals, listener.as_ref(), host.as_ref(), &mut sessions)?;
        while let Ok(Some(info)) = signals.read_signal() {
            // A process in the box may signal us as well; the host has no number here.
            if info.ssi_pid != 0 {
                continue;
            }
            match i32::try_from(info.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGTERM)) => leaving = true,
                Ok(Ok(Signal::SIGUSR1)) if !sessions.left() => host = call_host(),
                _ => {}
            }
        }
        if let Some(new) = host.as_ref().and_then(take_listener) {
            (listener, host) = (Some(new), None);
        }
        let children = reap(&mut sessions);
        if leaving {
            if !children {
                return Ok(());
            }
            say_goodbye();
            leaving = false;
            listener = None;
            sessions.leave();
        }
        if sessions.left() && !children {
            return Ok(());
        }
        if let Some(listener) = &listener {
            sessions.accept(listener);
        }
        sessions.attend();
    }
}

/// Nobody in the box reads our memory or our descriptors, or writes to the log of the
/// container, which Docker keeps on the host.
fn close_doors() -> io::Result<()> {
    prctl::set_dumpable(false)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// SIGCHLD to reap, SIGTERM to leave, SIGUSR1 to fetch a new listening socket.
fn signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGUSR1] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

fn call_host() -> Option<Socket> {
    Socket::connect(Path::new(BOOT_SOCKET), PATIENCE).ok()
}

/// The listening socket, if the host has sent it; tells the host that we serve.
fn take_listener(host: &Socket) -> Option<Socket> {
    let mut ready = [PollFd::new(host.as_fd(), PollFlags::POLLIN)];
    poll(&mut ready, PollTimeout::ZERO).ok().filter(|count| *count > 0)?;
    let (_, fds) = host.receive().ok()??;
    let listener: OwnedFd = fds.into_iter().next()?;
    rustix::io::ioctl_fionbio(&listener, true).ok()?;
    let ready = Fields::default().with("ready", crate::wire::VERSION.as_bytes());
    host.send(&ready, &[]).ok()?;
    Some(Socket::from_fd(listener))
}

/// Sleeps until something happens or is due.
fn wait(
    signals: &SignalFd,
    listener: Option<&Socket>,
    host: Option<&Socket>,
    sessions: &mut Sessions,
) -> io::Result<()> {
    let now = Instant::now();
    let timeout = sessions.due().map_or(PollTimeout::NONE, |due| {
        // Rounded up: a moment too early would spin.
        let left = due.saturating_duration_since(now) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let listener = listener.filter(|_| sessions.room());
    fds.extend(
        [listener, host].into_iter().flatten().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)),
    );
    fds.extend(sessions.watched());
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reaps all that ended; whether any child is left.
///
/// By `rustix`, which hands every status on as it is: `nix` reaps a child that died of a
/// real-time signal and then reports an error in place of it.
fn reap(sessions: &mut Sessions) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let pid = Pid::from_raw(pid.as_raw_nonzero().get());
                if let Some(signal) = status.terminating_signal() {
                    sessions.ended(pid, End::Killed(signal));
                } else if let Some(code) = status.exit_status() {
                    sessions.ended(pid, End::Exited(u8::try_from(code & 0xff).unwrap_or(255)));
                }
            }
            Ok(None) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Asks every process in the box to end. A stopped one must go on to hear it; an interactive
/// shell ignores SIGTERM but not SIGHUP. Who stays is killed by Docker when the grace is over.
fn say_goodbye() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCONT] {
        // Fails only when nobody is left.
        let _ = kill(Pid::from_raw(-1), signal);
    }
}
