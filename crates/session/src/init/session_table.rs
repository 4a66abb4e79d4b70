//! The sessions of a container: one connection each, from the request to the exit status, and what a
//! vanished client leaves.

use super::container_user::ContainerUser;
use super::hang_up::{hang_up, kill_session};
use super::own_cgroup::oom_kills;
use super::program;
use crate::deadlines::{GREETING, HANG_UP};
use crate::times::later;
use crate::wire::{Reply, Request, Socket, hello};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

/// File descriptors that are not connections: of the init itself, and of a session that starts.
const RESERVED_FDS: u64 = 16;

/// How long to accept no connection after accept(2) has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The signal of the kernel when memory runs out.
const KILL: i32 = Signal::SIGKILL as i32;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramEnd {
    /// With this exit status.
    Exited(u8),
    /// Killed by this signal.
    Killed(i32),
}

/// All sessions, and the sessions of vanished clients.
#[derive(Debug)]
pub struct SessionTable {
    user: ContainerUser,
    open: Vec<Session>,
    /// Sessions that got SIGHUP, and when SIGKILL follows.
    vanished: Vec<(Pid, Instant)>,
    /// No connection is accepted before then.
    accept_again: Option<Instant>,
    /// Most connections at once: with more, accept(2) would run out of file descriptors.
    most: usize,
    shutting_down: bool,
}

#[derive(Debug)]
struct Session {
    socket: Socket,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Waits for the request until then.
    Greeting(Instant),
    /// Runs the program with this pid, which is also the session id. The number is that of all
    /// out-of-memory kills in the container before it started.
    Running(Pid, Option<u64>),
    /// The program has ended and the client has its exit status. Whether the client says goodbye
    /// decides what happens to the rest of the session.
    Reported(Pid),
    /// The program has ended during the shutdown. The connection stays open until the init exits,
    /// because `sshbox-shell` holds the session's terminal for as long.
    EndedInShutdown,
    Over,
}

impl SessionTable {
    pub fn new(user: ContainerUser) -> Self {
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Self {
            user,
            open: Vec::new(),
            vanished: Vec::new(),
            accept_again: None,
            most: usize::try_from(files.saturating_sub(RESERVED_FDS).max(1)).unwrap_or(usize::MAX),
            shutting_down: false,
        }
    }

    /// The connections, for poll(2). A client that has sent its request can only hang up, and poll(2)
    /// reports that always.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.open.iter().filter_map(|session| {
            let events = match session.phase {
                Phase::Greeting(_) | Phase::Reported(_) => PollFlags::POLLIN,
                Phase::Running(..) => PollFlags::empty(),
                Phase::EndedInShutdown | Phase::Over => return None,
            };
            Some(PollFd::new(session.socket.as_fd(), events))
        })
    }

    /// Whether one more connection can be accepted.
    pub fn has_room(&self) -> bool {
        self.open.len() < self.most && self.accept_again.is_none_or(|at| at <= Instant::now())
    }

    /// The next moment at which something is due.
    pub fn due(&self) -> Option<Instant> {
        let greetings = self.open.iter().filter_map(|session| match session.phase {
            Phase::Greeting(by) => Some(by),
            _ => None,
        });
        let accept = self.accept_again.filter(|at| *at > Instant::now());
        greetings.chain(self.vanished.iter().map(|(_, at)| *at)).chain(accept).min()
    }

    /// Starts no session from now on: the container is being stopped.
    pub fn shut_down(&mut self) {
        self.shutting_down = true;
    }

    /// Accepts all waiting connections.
    pub fn accept(&mut self, listener: &Socket) {
        while self.has_room() {
            let socket = match listener.accept() {
                Ok(socket) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // For example out of file descriptors: the connection stays in the backlog.
                Err(_) => {
                    self.accept_again = Some(later(Instant::now(), ACCEPT_PAUSE));
                    return;
                }
            };
            let greeted = rustix::io::ioctl_fionbio(&socket, true).is_ok()
                && socket.send(&hello(self.user.name.as_bytes()), &[]).is_ok();
            if greeted {
                let by = later(Instant::now(), GREETING);
                self.open.push(Session { socket, phase: Phase::Greeting(by) });
            }
        }
    }

    /// Handles the end of a child: if it was the program of a session, reports it to the client.
    pub fn program_ended(&mut self, pid: Pid, end: ProgramEnd) {
        let Some((session, kills_before)) = self.open.iter_mut().find_map(|session| match session.phase {
            Phase::Running(program, kills_before) if program == pid => Some((session, kills_before)),
            _ => None,
        }) else {
            return;
        };
        let reply = match end {
            ProgramEnd::Exited(status) => Reply::Exited(status),
            ProgramEnd::Killed(KILL) if oom_kills() > kills_before => Reply::OutOfMemory,
            ProgramEnd::Killed(signal) => Reply::Killed(signal),
        };
        // During the shutdown the exit status tells nothing about the program. When the init exits, the
        // client learns that the container was stopped.
        if self.shutting_down {
            session.phase = Phase::EndedInShutdown;
            return;
        }
        // A vanished client does not read it, and does not say goodbye either.
        let _ = session.socket.send(&(&reply).into(), &[]);
        session.phase = Phase::Reported(pid);
    }

    /// Reads what clients have sent, and does what is due.
    pub fn serve(&mut self) {
        let shutting_down = self.shutting_down;
        // During the shutdown all programs have the same grace period, with a client or without.
        let abandon = |session, vanished: &mut Vec<(Pid, Instant)>| {
            if !shutting_down {
                hang_up(session);
                vanished.push((session, later(Instant::now(), HANG_UP)));
            }
            Phase::Over
        };
        for session in &mut self.open {
            match session.phase {
                Phase::Greeting(by) => {
                    session.phase = greet(&session.socket, by, &self.user, shutting_down);
                }
                Phase::Running(pid, _) if has_hung_up(&session.socket) => {
                    session.phase = abandon(pid, &mut self.vanished);
                }
                Phase::Reported(pid) => match session.socket.receive() {
                    // Goodbye: what still runs was put into the background on purpose.
                    Ok(Some(_)) => session.phase = Phase::Over,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The client had vanished, and its program died of that.
                    Ok(None) | Err(_) => {
                        session.phase = abandon(pid, &mut self.vanished);
                    }
                },
                Phase::Running(..) | Phase::EndedInShutdown | Phase::Over => {}
            }
        }
        self.open.retain(|session| !matches!(session.phase, Phase::Over));
        let now = Instant::now();
        for (session, _) in self.vanished.extract_if(.., |(_, at)| *at <= now) {
            kill_session(session);
        }
    }
}

/// Reads the request of a new connection and starts its program.
fn greet(socket: &Socket, by: Instant, user: &ContainerUser, shutting_down: bool) -> Phase {
    let (request, fds) = match socket.receive() {
        Ok(Some((fields, fds))) => (Request::parse(&fields), fds),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < by => {
            return Phase::Greeting(by);
        }
        _ => return Phase::Over,
    };
    // A client that has hung up must not start anything.
    let Some(request) = request.filter(|_| !shutting_down && !has_hung_up(socket)) else {
        return Phase::Over;
    };
    let kills_before = oom_kills();
    match program::start(&request, fds, user) {
        Ok((pid, master)) => {
            let fds: Vec<BorrowedFd<'_>> = master.iter().map(OwnedFd::as_fd).collect();
            // Fails if the client is gone, which the next round notices.
            let _ = socket.send(&(&Reply::Started).into(), &fds);
            Phase::Running(pid, kills_before)
        }
        Err(reason) => {
            let _ = socket.send(&(&Reply::Failed(reason)).into(), &[]);
            Phase::Over
        }
    }
}

/// Whether the other end of a connection is closed: poll(2) reports POLLHUP without being asked for it.
fn has_hung_up(socket: &Socket) -> bool {
    let mut fd = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    matches!(poll(&mut fd, PollTimeout::ZERO), Ok(count) if count > 0)
}

#[cfg(test)]
mod tests;
