//! `sshbox-init`, PID 1 of a container: starts sessions for the connections at a listening socket that
//! the host has sent, reaps processes, and hangs up the sessions of vanished clients. It runs as the
//! image's user, without any capability, and knows nothing about the host. One thread, one `poll`, no
//! configuration. The container's SSH server runs the same program for each of its sessions.

mod agent_socket;
mod container_user;
mod environment;
mod filter;
mod hang_up;
mod home_space;
mod inner_session;
mod inner_settings;
mod inner_sshd;
mod limits;
mod locales;
mod outbox;
mod own_cgroup;
mod program;
mod session_table;
mod shutdown;
mod shutdown_order;
mod starting_directory;
mod terminals;
mod welcome;

use crate::deadlines::CALL_HOST;
use crate::exit::ExitStatus;
use crate::wire::{Fields, Socket};
use container_user::ContainerUser;
use limits::Limits;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::Pid;
use rustix::process::WaitOptions;
use session_table::{ProgramEnd, SessionTable};
use shutdown::Shutdown;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The socket of the host, which listens while it starts this container.
const BOOT_SOCKET: &str = "/run/sshbox/boot.sock";

/// Time between SIGTERM and SIGKILL at a stop, until the host has sent its own: the default of
/// `docker stop`.
const GRACE: Duration = Duration::from_secs(10);

/// Exit status of PID 1 if the kernel does not accept the filters of system calls: no program may then run.
pub const NO_FILTER: ExitStatus = ExitStatus::Config;

/// `si_code` of a signal from kill(2), see sigaction(2). `rt_sigqueueinfo(2)` lets a process choose the
/// sender of a signal, but not this code.
const SI_USER: i32 = 0;

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    crate::exit::on_panic("sshbox-init");
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [what, rest @ ..] if what == inner_sshd::KEYS => inner_session::print_key(rest),
        [what] if what == inner_sshd::SESSION => inner_session::exec(),
        _ if std::process::id() == 1 => match filter::install().map(|()| serve()) {
            Ok(Ok(())) => ExitCode::SUCCESS,
            Ok(Err(_)) => ExitStatus::Internal.code().into(),
            Err(_) => NO_FILTER.code().into(),
        },
        _ => ExitStatus::Usage.code().into(),
    }
}

fn serve() -> io::Result<()> {
    close_standard_fds()?;
    let limits = Limits::take(std::env::args_os())?;
    let signals = signals()?;
    let user = ContainerUser::of_this_process();
    user.fill_empty_home();
    let mut sessions = SessionTable::new(user, limits);
    let mut listener = None;
    let mut host = call_host();
    let mut grace = GRACE;
    let mut shutdown: Option<Shutdown> = None;
    loop {
        let due = sessions.due().into_iter().chain(shutdown.as_ref().map(Shutdown::due)).min();
        wait(&signals, listener.as_ref(), host.as_ref(), &sessions, due)?;
        while let Ok(Some(info)) = signals.read_signal() {
            match host_signal(&info) {
                // A second SIGTERM counts only if no SIGKILL has followed the first.
                Some(Signal::SIGTERM) if shutdown.as_ref().is_none_or(Shutdown::is_almost_over) => {
                    shutdown = Some(Shutdown::begin(grace));
                    (listener, host) = (None, None);
                    sessions.shut_down();
                }
                Some(Signal::SIGUSR1) if shutdown.is_none() => host = call_host(),
                _ => {}
            }
        }
        match host.as_ref().map(read_host) {
            None | Some(HostMessage::NotYet) => {}
            Some(HostMessage::Listener(socket, time)) => {
                (listener, host) = (Some(socket), None);
                grace = time.unwrap_or(grace);
            }
            Some(HostMessage::Closed) => host = None,
        }
        let children = reap(&mut sessions);
        if let Some(shutdown) = &mut shutdown {
            if !children {
                return Ok(());
            }
            shutdown.signal_due();
        }
        if let Some(listener) = &listener {
            sessions.accept(listener);
        }
        sessions.serve();
    }
}

/// Keeps the container's programs from reading this process's memory and file descriptors, and from
/// writing to the container's log, which the engine stores on the host.
fn close_standard_fds() -> io::Result<()> {
    prctl::set_dumpable(false)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// SIGCHLD to reap, SIGTERM to shut down, SIGUSR1 to fetch a new listening socket.
fn signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGUSR1] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

fn call_host() -> Option<Socket> {
    Socket::connect(Path::new(BOOT_SOCKET), CALL_HOST).ok()
}

/// A signal of the host; `None` for any other. A sender outside this pid namespace has pid 0.
fn host_signal(info: &siginfo) -> Option<Signal> {
    let of_host = info.ssi_code == SI_USER && info.ssi_pid == 0;
    let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
    signal.filter(|_| of_host)
}

/// What the host has sent.
#[derive(Debug)]
enum HostMessage {
    NotYet,
    /// The listening socket, and the grace period of a stop.
    Listener(Socket, Option<Duration>),
    /// The connection is closed, or the message is invalid.
    Closed,
}

/// Reads the listening socket, if the host has sent it, and replies that this init is ready.
fn read_host(host: &Socket) -> HostMessage {
    let mut ready = [PollFd::new(host.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, PollTimeout::ZERO) {
        Ok(0) | Err(Errno::EINTR) => return HostMessage::NotYet,
        _ => {}
    }
    let read = || {
        let (fields, fds) = host.receive().ok()??;
        let listener: OwnedFd = fds.into_iter().next()?;
        rustix::io::ioctl_fionbio(&listener, true).ok()?;
        let ready = Fields::default().with("ready", crate::wire::VERSION.as_bytes());
        host.send(&ready, &[]).ok()?;
        Some(HostMessage::Listener(Socket::from_fd(listener), fields.parse("grace").map(Duration::from_secs)))
    };
    read().unwrap_or(HostMessage::Closed)
}

/// Sleeps until an event, or until something is due.
fn wait(
    signals: &SignalFd,
    listener: Option<&Socket>,
    host: Option<&Socket>,
    sessions: &SessionTable,
    due: Option<Instant>,
) -> io::Result<()> {
    let now = Instant::now();
    let timeout = due.map_or(PollTimeout::NONE, |due| {
        // Rounded up: waking too early would spin.
        let left = due.saturating_duration_since(now).saturating_add(Duration::from_millis(1));
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let listener = listener.filter(|_| sessions.has_room());
    fds.extend(
        [listener, host].into_iter().flatten().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)),
    );
    fds.extend(sessions.poll_fds());
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reaps all processes that have ended; returns whether any child is left.
///
/// Uses rustix, because nix reaps a child that a real-time signal killed and then returns an error
/// instead of its status.
fn reap(sessions: &mut SessionTable) -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let pid = Pid::from_raw(pid.as_raw_nonzero().get());
                if let Some(signal) = status.terminating_signal() {
                    sessions.program_ended(pid, ProgramEnd::Killed(signal));
                } else if let Some(code) = status.exit_status() {
                    sessions.program_ended(pid, ProgramEnd::Exited(u8::try_from(code & 0xff).unwrap_or(255)));
                }
            }
            Ok(None) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soon::soon;
    use nix::sys::signal::{SigmaskHow, raise};

    /// The two ends of a connection: the init's and the host's.
    fn connection() -> (Socket, Socket) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot.sock");
        let host = Socket::listen(&path).unwrap();
        (Socket::connect(&path, CALL_HOST).unwrap(), host.accept().unwrap())
    }

    fn listening() -> Socket {
        Socket::listen(&tempfile::tempdir().unwrap().path().join("init.sock")).unwrap()
    }

    #[test]
    fn no_message_yet_differs_from_a_closed_connection() {
        let (init, host) = connection();
        assert!(matches!(read_host(&init), HostMessage::NotYet));
        drop(host);
        soon(|| matches!(read_host(&init), HostMessage::Closed));
    }

    #[test]
    fn the_listening_socket_is_received_and_the_host_gets_a_reply() {
        let (init, host) = connection();
        host.send(&Fields::default().with("listen", b"").with("grace", b"7"), &[listening().as_fd()])
            .unwrap();
        let HostMessage::Listener(listener, grace) = read_host(&init) else { panic!("no listener") };
        assert_eq!(grace, Some(Duration::from_secs(7)));
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(host.receive().unwrap().unwrap().0.get("ready").is_some());
        // A host that sends no grace period, or no socket.
        let (init, host) = connection();
        host.send(&Fields::default().with("listen", b""), &[listening().as_fd()]).unwrap();
        assert!(matches!(read_host(&init), HostMessage::Listener(_, None)));
        host.send(&Fields::default().with("listen", b""), &[]).unwrap();
        assert!(matches!(read_host(&init), HostMessage::Closed));
    }

    #[test]
    fn only_a_signal_that_no_process_can_forge_is_the_hosts() {
        let mut set = SigSet::empty();
        set.add(Signal::SIGUSR1);
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).unwrap();
        raise(Signal::SIGUSR1).unwrap();
        let mut info = signals.read_signal().unwrap().unwrap();
        before.thread_set_mask().unwrap();
        // raise(3) is tgkill(2), from this process.
        assert_eq!(host_signal(&info), None);
        let mut from = |code, pid| {
            (info.ssi_code, info.ssi_pid) = (code, pid);
            host_signal(&info)
        };
        assert_eq!(from(SI_USER, 0), Some(Signal::SIGUSR1));
        assert_eq!(from(SI_USER, 7), None);
        // SI_QUEUE, SI_TIMER, SI_MESGQ, SI_ASYNCIO, SI_SIGIO, SI_TKILL; POLL_IN of F_SETSIG.
        for forged in [-1, -2, -3, -4, -5, -6, 1] {
            assert_eq!(from(forged, 0), None, "{forged}");
        }
    }

    #[test]
    fn it_sleeps_until_something_happens_or_is_due() {
        let (init, host) = connection();
        let sessions = SessionTable::new(ContainerUser::of_this_process(), Limits::default());
        let signals = SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_CLOEXEC).unwrap();
        let sleeps = |host: Option<&Socket>| {
            let due = Instant::now() + Duration::from_millis(30);
            wait(&signals, None, host, &sessions, Some(due)).unwrap();
            Instant::now() >= due
        };
        assert!(sleeps(None) && sleeps(Some(&init)));
        drop(host);
        soon(|| !sleeps(Some(&init)));
    }
}
