//! The agent of the client (`ssh -A`): connects each program that comes to the socket in the container with
//! sshd's socket for the agent on the host. The listening end comes from the container and is untrusted. All
//! this happens in a thread of its own, so an agent that is slow, or a container that floods the socket, never
//! keeps the session waiting.

mod channel;

use crate::times::later;
use crate::wire::Run;
use channel::Channel;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use std::env;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Connections to the agent at once. Further ones wait in the backlog of the socket. Each has two buffers here
/// and a channel in sshd.
const CHANNELS_MAX: usize = 32;

/// Time between two connections that are accepted. Each costs sshd and the client a channel, so a container
/// cannot make them busy with nothing else.
const PAUSE: Duration = Duration::from_millis(10);

/// Time between two attempts while file descriptors or memory are short.
const SHORTAGE: Duration = Duration::from_secs(1);

/// Stack of the thread, in bytes.
const STACK: usize = 128 * 1024;

/// Whether sshd has a socket for the agent and this session needs one in the container. A file transfer does not
/// use it, and the container's own SSH server has its own.
pub(super) fn is_forwarded(run: &Run) -> bool {
    matches!(run, Run::Shell | Run::Command(_)) && env::var_os("SSH_AUTH_SOCK").is_some()
}

/// Connects whoever comes to `listener` with the agent, until this process ends.
///
/// # Errors
/// sshd's socket is gone, or the host has reached its limit of tasks.
pub(super) fn serve(listener: OwnedFd) -> io::Result<()> {
    let path = env::var_os("SSH_AUTH_SOCK").unwrap_or_default();
    let agent = AgentOfClient::open(Path::new(&path))?;
    // The thread inherits the mask: signals are for other threads.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let thread = thread::Builder::new().stack_size(STACK).spawn(move || drop(relay(&listener, &agent)));
    before.thread_set_mask()?;
    thread.map(drop)
}

/// sshd's socket for the agent.
struct AgentOfClient {
    /// The file itself. systemd removes `/tmp` of the unit when sshd is restarted, while sessions go on.
    file: OwnedFd,
}

impl AgentOfClient {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        // sshd may have been told to accept the variable from the client, who could name any socket of the host.
        let status = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::Socket
            || status.st_uid != rustix::process::getuid().as_raw()
        {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self { file })
    }

    fn connect(&self) -> io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    }
}

/// Fails when no other connection can come.
fn relay(listener: &OwnedFd, agent: &AgentOfClient) -> io::Result<()> {
    // Sockets of another family could make a call on the accepted one wait.
    let expected = sockopt::socket_domain(listener)? == AddressFamily::UNIX
        && sockopt::socket_type(listener)? == SocketType::STREAM
        && sockopt::socket_acceptconn(listener)?;
    if !expected {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::io::ioctl_fionbio(listener, true)?;
    let mut channels: Vec<Channel> = Vec::new();
    let mut accept_again = Instant::now();
    loop {
        let ready = wait(listener, &channels, accept_again)?;
        let mut events = ready.channels.into_iter();
        channels.retain_mut(|channel| events.next().is_none_or(|events| channel.transfer(events)));
        if ready.listener {
            let (channel, pause) = accept(listener, agent)?;
            channels.extend(channel);
            accept_again = later(Instant::now(), pause);
        }
    }
}

/// What poll(2) has reported.
struct Ready {
    listener: bool,
    channels: Vec<channel::Events>,
}

/// Sleeps until a channel can go on or a program connects.
fn wait(listener: &OwnedFd, channels: &[Channel], accept_again: Instant) -> io::Result<Ready> {
    let pause = accept_again.saturating_duration_since(Instant::now());
    let has_room = channels.len() < CHANNELS_MAX;
    let accepts = has_room && pause.is_zero();
    let timeout = if has_room && !accepts {
        // Rounded up: waking too early would spin.
        PollTimeout::try_from(pause.saturating_add(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX)
    } else {
        PollTimeout::NONE
    };
    let mut fds: Vec<PollFd<'_>> = channels.iter().flat_map(Channel::poll_fds).collect();
    if accepts {
        fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
    }
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut reported = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::POLLERR));
    let channels = channels.iter().map(|channel| channel.events(&mut reported)).collect();
    Ok(Ready { listener: reported.next().is_some_and(|events| !events.is_empty()), channels })
}

/// Accepts a connection; returns it, and how long to accept no other. A program that finds no agent sees its
/// connection closed, as with sshd.
fn accept(listener: &OwnedFd, agent: &AgentOfClient) -> io::Result<(Option<Channel>, Duration)> {
    use rustix::io::Errno;
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(client) => Ok((agent.connect().ok().map(|agent| Channel::new(client, agent)), PAUSE)),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok((None, PAUSE)),
        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => Ok((None, SHORTAGE)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
