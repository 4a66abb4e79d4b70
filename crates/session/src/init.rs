//! `sshbox-init`, PID 1 of a box: runs sessions at a socket that the host handed over, reaps,
//! and hangs up what a vanished client leaves. Runs as the image's user without any capability
//! and knows nothing of the host. One thread, one `poll`, no configuration. The SSH server of the box
//! calls the same program for each of its sessions.

mod environment;
mod first_words;
mod inner_sshd;
mod leave;
mod locales;
mod person;
mod sessions;
mod terminals;

use crate::deadlines::CALL_HOST;
use crate::wire::{Fields, Socket};
use leave::Leaving;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::Pid;
use person::Person;
use rustix::process::WaitOptions;
use sessions::{ProgramEnd, Sessions};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Where the host listens while it starts this box.
const BOOT_SOCKET: &str = "/run/sshbox/boot.sock";

/// Time between SIGTERM and SIGKILL when the box is stopped, until the host has told it: that of
/// `docker stop`.
const GRACE: Duration = Duration::from_secs(10);

/// `si_code` of a signal from `kill(2)`, see `sigaction(2)`. A process can give what it sends by
/// `rt_sigqueueinfo(2)` any sender, but not this code.
const SI_USER: i32 = 0;

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    crate::exit::on_panic("sshbox-init");
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [what, rest @ ..] if what == inner_sshd::KEYS => inner_sshd::keys(rest),
        [what] if what == inner_sshd::SESSION => inner_sshd::session(),
        _ if std::process::id() == 1 => match serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => crate::exit::ExitStatus::Internal.code().into(),
        },
        _ => crate::exit::ExitStatus::Usage.code().into(),
    }
}

fn serve() -> io::Result<()> {
    close_doors()?;
    limit_open_files(std::env::args_os())?;
    let signals = signals()?;
    let person = Person::of_this_process();
    person.furnish_home();
    let mut sessions = Sessions::new(person);
    let mut listener = None;
    let mut host = call_host();
    let mut grace = GRACE;
    let mut leaving: Option<Leaving> = None;
    loop {
        let due = sessions.due().into_iter().chain(leaving.as_ref().map(Leaving::due)).min();
        wait(&signals, listener.as_ref(), host.as_ref(), &sessions, due)?;
        while let Ok(Some(info)) = signals.read_signal() {
            match order(&info) {
                // Once is enough, unless the first one did not lead to SIGKILL.
                Some(Signal::SIGTERM) if leaving.as_ref().is_none_or(Leaving::late) => {
                    leaving = Some(Leaving::begin(grace));
                    (listener, host) = (None, None);
                    sessions.leave();
                }
                Some(Signal::SIGUSR1) if leaving.is_none() => host = call_host(),
                _ => {}
            }
        }
        match host.as_ref().map(hear) {
            None | Some(Heard::Nothing) => {}
            Some(Heard::Listener(socket, time)) => {
                (listener, host) = (Some(socket), None);
                grace = time.unwrap_or(grace);
            }
            Some(Heard::End) => host = None,
        }
        let children = reap(&mut sessions);
        if let Some(leaving) = &mut leaving {
            if !children {
                return Ok(());
            }
            leaving.attend();
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

/// Sets the soft and the hard limit that the host asks for as arguments, as far as the engine
/// allows: nobody without privilege raises a hard limit, so the engine's own is the most.
fn limit_open_files(arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let wanted: Vec<u64> = arguments.skip(1).filter_map(|number| number.to_str()?.parse().ok()).collect();
    if let [soft, hard] = *wanted {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, soft.min(most), hard.min(most))?;
    }
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
    Socket::connect(Path::new(BOOT_SOCKET), CALL_HOST).ok()
}

/// What the host wants, when a signal is from the host: its processes have no number here.
fn order(info: &siginfo) -> Option<Signal> {
    let of_host = info.ssi_code == SI_USER && info.ssi_pid == 0;
    let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
    signal.filter(|_| of_host)
}

/// What came over the connection to the host.
#[derive(Debug)]
enum Heard {
    /// Nothing yet.
    Nothing,
    /// The listening socket, and how much time there is when the box is stopped.
    Listener(Socket, Option<Duration>),
    /// The end of the connection, or nothing that makes sense.
    End,
}

/// Takes the listening socket, if the host has sent it, and tells the host that we serve.
fn hear(host: &Socket) -> Heard {
    let mut ready = [PollFd::new(host.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, PollTimeout::ZERO) {
        Ok(0) | Err(Errno::EINTR) => return Heard::Nothing,
        _ => {}
    }
    let take = || {
        let (fields, fds) = host.receive().ok()??;
        let listener: OwnedFd = fds.into_iter().next()?;
        rustix::io::ioctl_fionbio(&listener, true).ok()?;
        let ready = Fields::default().with("ready", crate::wire::VERSION.as_bytes());
        host.send(&ready, &[]).ok()?;
        Some(Heard::Listener(Socket::from_fd(listener), fields.parse("grace").map(Duration::from_secs)))
    };
    take().unwrap_or(Heard::End)
}

/// Sleeps until something happens or is due.
fn wait(
    signals: &SignalFd,
    listener: Option<&Socket>,
    host: Option<&Socket>,
    sessions: &Sessions,
    due: Option<Instant>,
) -> io::Result<()> {
    let now = Instant::now();
    let timeout = due.map_or(PollTimeout::NONE, |due| {
        // Rounded up: a moment too early would spin.
        let left = due.saturating_duration_since(now).saturating_add(Duration::from_millis(1));
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
                    sessions.ended(pid, ProgramEnd::Killed(signal));
                } else if let Some(code) = status.exit_status() {
                    sessions.ended(pid, ProgramEnd::Exited(u8::try_from(code & 0xff).unwrap_or(255)));
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
    fn nothing_yet_and_the_end_of_the_connection_are_two_things() {
        let (init, host) = connection();
        assert!(matches!(hear(&init), Heard::Nothing));
        drop(host);
        assert!(matches!(hear(&init), Heard::End));
    }

    #[test]
    fn the_listening_socket_is_taken_and_the_host_is_told() {
        let (init, host) = connection();
        host.send(&Fields::default().with("listen", b"").with("grace", b"7"), &[listening().as_fd()])
            .unwrap();
        let Heard::Listener(listener, grace) = hear(&init) else { panic!("no listener") };
        assert_eq!(grace, Some(Duration::from_secs(7)));
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(host.receive().unwrap().unwrap().0.get("ready").is_some());
        // A host that does not tell the grace, or sends no socket.
        let (init, host) = connection();
        host.send(&Fields::default().with("listen", b""), &[listening().as_fd()]).unwrap();
        assert!(matches!(hear(&init), Heard::Listener(_, None)));
        host.send(&Fields::default().with("listen", b""), &[]).unwrap();
        assert!(matches!(hear(&init), Heard::End));
    }

    #[test]
    fn only_what_the_kernel_lets_nobody_forge_is_an_order_of_the_host() {
        let mut set = SigSet::empty();
        set.add(Signal::SIGUSR1);
        let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).unwrap();
        raise(Signal::SIGUSR1).unwrap();
        let mut info = signals.read_signal().unwrap().unwrap();
        before.thread_set_mask().unwrap();
        // raise(3) is tgkill(2), from this process.
        assert_eq!(order(&info), None);
        let mut from = |code, pid| {
            (info.ssi_code, info.ssi_pid) = (code, pid);
            order(&info)
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
        let sessions = Sessions::new(Person::of_this_process());
        let signals = SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_CLOEXEC).unwrap();
        let sleeps = |host: Option<&Socket>| {
            let due = Instant::now() + Duration::from_millis(30);
            wait(&signals, None, host, &sessions, Some(due)).unwrap();
            Instant::now() >= due
        };
        assert!(sleeps(None) && sleeps(Some(&init)));
        drop(host);
        assert!(!sleeps(Some(&init)));
    }
}
