//! One connection to the agent: a program in the container, the agent on the other side, and the bytes on their
//! way. No call here waits.

use nix::poll::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Size of the buffer of one direction, in bytes.
const BUFFER: usize = 8 * 1024;

/// One connection to the agent.
#[derive(Debug)]
pub(super) struct Channel {
    client: OwnedFd,
    agent: OwnedFd,
    requests: Direction,
    replies: Direction,
}

/// What poll(2) has reported about the two ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Events {
    client: PollFlags,
    agent: PollFlags,
}

impl Channel {
    pub(super) fn new(client: OwnedFd, agent: OwnedFd) -> Self {
        Self { client, agent, requests: Direction::new(), replies: Direction::new() }
    }

    /// What to poll: an end that has nothing to do now is left out, because poll(2) would report again and again
    /// that it has hung up.
    pub(super) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        let (client, agent) = self.wanted();
        let client = client.map(|events| PollFd::new(self.client.as_fd(), events));
        let agent = agent.map(|events| PollFd::new(self.agent.as_fd(), events));
        client.into_iter().chain(agent)
    }

    fn wanted(&self) -> (Option<PollFlags>, Option<PollFlags>) {
        let client = self.requests.reads() | self.replies.writes();
        let agent = self.replies.reads() | self.requests.writes();
        // A program that has sent its last request may still read the reply. Without events poll(2) tells when
        // it has gone.
        let client =
            if self.requests.is_over() { Some(client) } else { Some(client).filter(|c| !c.is_empty()) };
        (client, Some(agent).filter(|events| !events.is_empty()))
    }

    /// Takes what poll(2) has reported about the file descriptors of [`Self::poll_fds`].
    pub(super) fn events(&self, reported: &mut impl Iterator<Item = PollFlags>) -> Events {
        let (client, agent) = self.wanted();
        let mut of =
            |wanted: Option<PollFlags>| wanted.and_then(|_| reported.next()).unwrap_or(PollFlags::empty());
        Events { client: of(client), agent: of(agent) }
    }

    /// Moves bytes; returns whether the connection goes on.
    pub(super) fn transfer(&mut self, events: Events) -> bool {
        let (client, agent) = (self.client.as_fd(), self.agent.as_fd());
        if !events.client.is_empty() || !events.agent.is_empty() {
            let was_over = self.requests.is_over();
            if !self.requests.transfer(client, agent) || !self.replies.transfer(agent, client) {
                return false;
            }
            if self.requests.is_over() && !was_over {
                // ssh-agent answers what it has read, and closes.
                let _ = rustix::net::shutdown(agent, Shutdown::Write);
            }
        }
        let gone =
            self.requests.is_over() && events.client.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        !gone && !self.replies.is_over()
    }
}

/// The bytes of one direction that are read and not yet written.
#[derive(Debug)]
struct Direction {
    buffer: Vec<u8>,
    pending: Range<usize>,
    /// Nothing more comes.
    ended: bool,
}

impl Direction {
    fn new() -> Self {
        Self { buffer: vec![0; BUFFER], pending: 0..0, ended: false }
    }

    /// Whether the source has ended and everything is written.
    fn is_over(&self) -> bool {
        self.ended && self.pending.is_empty()
    }

    /// What to poll the source for.
    fn reads(&self) -> PollFlags {
        if self.pending.is_empty() && !self.ended { PollFlags::POLLIN } else { PollFlags::empty() }
    }

    /// What to poll the destination for.
    fn writes(&self) -> PollFlags {
        if self.pending.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT }
    }

    /// Reads once if the buffer is empty, and writes once. Returns whether that can go on.
    fn transfer(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
        if self.pending.is_empty() && !self.ended {
            // File descriptors that a program sends are not received: the kernel closes them.
            match rustix::net::recv(from, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => self.ended = true,
                Ok((_, count)) => self.pending = 0..count,
                Err(error) if is_temporary(error) => {}
                Err(_) => return false,
            }
        }
        if let Some(rest) = self.buffer.get(self.pending.clone()).filter(|rest| !rest.is_empty()) {
            match rustix::net::send(to, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => self.pending.start += count,
                Err(error) if is_temporary(error) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn is_temporary(error: Errno) -> bool {
    matches!(error, Errno::AGAIN | Errno::INTR)
}
