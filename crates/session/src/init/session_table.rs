//! The sessions of a container: one connection each, from the request to the exit status, and what a
//! vanished client leaves.

use super::agent_socket::AgentSocket;
use super::container_user::ContainerUser;
use super::hang_up::{SessionProcesses, streams};
use super::limits::Limits;
use super::outbox::{Delivery, Outbox};
use super::own_cgroup::oom_kills;
use super::program::{self, Started};
use crate::deadlines::{GREETING, HANG_UP};
use crate::texts;
use crate::times::later;
use crate::wire::{Reply, Request, Socket, hello};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

/// File descriptors that are not connections: of the init itself, and of a session that starts.
const RESERVED_FDS: u64 = 16;

/// Most connections at once, however many file descriptors there may be.
const MOST_CONNECTIONS: usize = 4096;

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
    limits: Limits,
    open: Vec<Session>,
    /// Sessions that got SIGHUP, and when SIGKILL follows.
    vanished: Vec<(SessionProcesses, Instant)>,
    /// No connection is accepted before then.
    accept_again: Option<Instant>,
    /// Most connections at once: with more, accept(2) would run out of file descriptors.
    most: usize,
    shutting_down: bool,
}

#[derive(Debug)]
struct Session {
    socket: Socket,
    outbox: Outbox,
    phase: Phase,
    /// Removed with the session.
    agent: Option<AgentSocket>,
    /// Device and inode of each standard stream of the program; empty on a terminal.
    streams: Vec<(u64, u64)>,
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
    /// The session is over once the client has been told why it did not start.
    Refused,
    Over,
}

impl SessionTable {
    pub fn new(user: ContainerUser, limits: Limits) -> Self {
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let most = usize::try_from(files.saturating_sub(RESERVED_FDS).max(1)).unwrap_or(usize::MAX);
        Self {
            user,
            limits,
            open: Vec::new(),
            vanished: Vec::new(),
            accept_again: None,
            most: most.min(MOST_CONNECTIONS),
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
                Phase::EndedInShutdown | Phase::Refused | Phase::Over => return None,
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
        let unsent = self.open.iter().filter_map(|session| session.outbox.due());
        greetings.chain(self.vanished.iter().map(|(_, at)| *at)).chain(accept).chain(unsent).min()
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
                let (outbox, phase) = (Outbox::default(), Phase::Greeting(by));
                self.open.push(Session { socket, outbox, phase, agent: None, streams: Vec::new() });
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
        // A vanished client does not read it, and does not say goodbye either. What is not sent now is sent
        // by `serve`.
        session.outbox.send(&session.socket, reply, Vec::new());
        session.phase = Phase::Reported(pid);
    }

    /// Reads what clients have sent, and does what is due.
    pub fn serve(&mut self) {
        let shutting_down = self.shutting_down;
        // During the shutdown all programs have the same grace period, with a client or without.
        let abandon = |leader, streams: &[_], vanished: &mut Vec<(SessionProcesses, Instant)>| {
            if !shutting_down {
                let processes = SessionProcesses::new(leader, streams);
                processes.hang_up();
                vanished.push((processes, later(Instant::now(), HANG_UP)));
            }
            Phase::Over
        };
        for session in &mut self.open {
            let mut delivery = session.outbox.flush(&session.socket);
            if let Phase::Greeting(by) = session.phase {
                let first;
                (session.phase, first) = greet(&session.socket, by, &self.user, self.limits, shutting_down);
                if let Some(First { reply, fds, agent, streams }) = first {
                    (session.agent, session.streams) = (agent, streams);
                    delivery = session.outbox.send(&session.socket, reply, fds);
                }
            }
            if let Delivery::GivenUp(reply) = delivery {
                session.phase = match session.phase {
                    Phase::Running(pid, _) | Phase::Reported(pid) => {
                        abandon(pid, &session.streams, &mut self.vanished)
                    }
                    _ => Phase::Over,
                };
                // This one has no file descriptor beside it.
                if matches!(reply, Reply::Started { .. }) {
                    let failed = Reply::Failed(texts::TOO_MANY_IN_FLIGHT.to_owned());
                    session.outbox.send(&session.socket, failed, Vec::new());
                    session.phase = Phase::Refused;
                }
            }
            match session.phase {
                Phase::Running(pid, _) if has_hung_up(&session.socket) => {
                    session.phase = abandon(pid, &session.streams, &mut self.vanished);
                }
                Phase::Reported(pid) => match session.socket.receive() {
                    // Goodbye: what still runs was put into the background on purpose.
                    Ok(Some(_)) => session.phase = Phase::Over,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The client had vanished, and its program died of that.
                    Ok(None) | Err(_) => {
                        session.phase = abandon(pid, &session.streams, &mut self.vanished);
                    }
                },
                Phase::Refused if session.outbox.due().is_none() => session.phase = Phase::Over,
                Phase::Greeting(_)
                | Phase::Running(..)
                | Phase::EndedInShutdown
                | Phase::Refused
                | Phase::Over => {}
            }
        }
        self.open.retain(|session| !matches!(session.phase, Phase::Over));
        let now = Instant::now();
        for (processes, _) in self.vanished.extract_if(.., |(_, at)| *at <= now) {
            processes.kill();
        }
    }
}

/// The first reply to a client.
struct First {
    reply: Reply,
    /// The master of the program's terminal, and the socket for the agent.
    fds: Vec<OwnedFd>,
    agent: Option<AgentSocket>,
    streams: Vec<(u64, u64)>,
}

/// Reads the request of a new connection and starts its program. Returns the first reply.
fn greet(
    socket: &Socket,
    by: Instant,
    user: &ContainerUser,
    limits: Limits,
    shutting_down: bool,
) -> (Phase, Option<First>) {
    let (request, fds) = match socket.receive() {
        Ok(Some((fields, fds))) => (Request::parse(&fields), fds),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < by => {
            return (Phase::Greeting(by), None);
        }
        _ => return (Phase::Over, None),
    };
    // A client that has hung up must not start anything.
    let Some(request) = request.filter(|_| !shutting_down && !has_hung_up(socket)) else {
        return (Phase::Over, None);
    };
    let kills_before = oom_kills();
    let streams = if request.terminal.is_some() { Vec::new() } else { streams(&fds) };
    match program::start(&request, fds, user, limits) {
        Ok(Started { pid, master, agent }) => {
            let (agent, listener) = agent.unzip();
            let reply = Reply::Started { agent: agent.is_some() };
            let fds = master.into_iter().chain(listener).collect();
            (Phase::Running(pid, kills_before), Some(First { reply, fds, agent, streams }))
        }
        Err(reason) => {
            let reply = Reply::Failed(reason);
            (Phase::Refused, Some(First { reply, fds: Vec::new(), agent: None, streams }))
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
