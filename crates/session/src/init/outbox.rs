//! Replies to one client that wait because the kernel does not accept them at the moment: too many file
//! descriptors are in flight between processes of this user (`ETOOMANYREFS`, unix(7)), or memory is short.

use crate::deadlines::RESEND;
use crate::times::later;
use crate::wire::{Reply, Socket};
use nix::errno::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// The replies to one client, in their order.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Waiting>,
    /// When the next attempt is due.
    again: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    reply: Reply,
    /// These travel beside the reply.
    fds: Vec<OwnedFd>,
    /// Waits no longer than this.
    until: Instant,
}

/// What has become of the replies.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// None waits: all are sent, or the client has gone.
    Done,
    /// The next attempt is due later.
    Waits,
    /// This one was given up, and those after it.
    GivenUp(Reply),
}

impl Outbox {
    /// Adds a reply, and sends what can be sent.
    pub fn send(&mut self, socket: &Socket, reply: Reply, fds: Vec<OwnedFd>) -> Delivery {
        let until = later(Instant::now(), RESEND);
        self.waiting.push_back(Waiting { reply, fds, until });
        self.flush(socket)
    }

    /// Sends what can be sent, unless it is too early for another attempt.
    pub fn flush(&mut self, socket: &Socket) -> Delivery {
        let now = Instant::now();
        if self.again.is_some_and(|at| now < at) {
            return Delivery::Waits;
        }
        self.again = None;
        while let Some(first) = self.waiting.front() {
            let fds: Vec<BorrowedFd<'_>> = first.fds.iter().map(OwnedFd::as_fd).collect();
            match socket.send(&(&first.reply).into(), &fds) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(error) if is_gone(&error) => self.waiting.clear(),
                Err(_) if now < first.until => {
                    self.again = Some(later(now, PAUSE));
                    return Delivery::Waits;
                }
                Err(_) => {
                    let first = self.waiting.pop_front();
                    self.waiting.clear();
                    return first.map_or(Delivery::Done, |first| Delivery::GivenUp(first.reply));
                }
            }
        }
        Delivery::Done
    }

    /// Makes the time of the waiting replies be over.
    #[cfg(test)]
    pub fn expire(&mut self) {
        self.again = None;
        self.waiting.iter_mut().for_each(|waiting| waiting.until = Instant::now());
    }

    /// When the next attempt is due, if a reply waits.
    pub fn due(&self) -> Option<Instant> {
        self.again
    }
}

fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> (Socket, Socket) {
        let dir = tempfile::tempdir().unwrap();
        let listener = Socket::listen(&dir.path().join("s")).unwrap();
        let client = Socket::connect(&dir.path().join("s"), Duration::from_secs(5)).unwrap();
        let init = listener.accept().unwrap();
        rustix::io::ioctl_fionbio(&init, true).unwrap();
        (client, init)
    }

    fn reply(number: u8) -> Reply {
        Reply::Exited(number)
    }

    fn received(client: &Socket) -> Reply {
        Reply::parse(&client.receive().unwrap().unwrap().0).unwrap()
    }

    /// Sends packets that nobody reads until the kernel accepts no other; returns how many.
    fn fill(init: &Socket) -> usize {
        let long = Reply::Failed("x".repeat(50_000));
        (0..1000).find(|_| init.send(&(&long).into(), &[]).is_err()).unwrap()
    }

    #[test]
    fn a_reply_that_the_kernel_does_not_accept_is_sent_later_in_its_order() {
        let (client, init) = connection();
        let count = fill(&init);
        let mut outbox = Outbox::default();
        // Longer than what is left of the buffer.
        let long = Reply::Failed("y".repeat(60_000));
        assert_eq!(outbox.send(&init, long.clone(), Vec::new()), Delivery::Waits);
        assert_eq!(outbox.send(&init, reply(7), Vec::new()), Delivery::Waits);
        let due = outbox.due().unwrap();
        assert!(due <= Instant::now() + PAUSE);
        for _ in 0..count {
            received(&client);
        }
        assert_eq!(outbox.flush(&init), if Instant::now() < due { Delivery::Waits } else { Delivery::Done });
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        assert_eq!((outbox.flush(&init), outbox.due()), (Delivery::Done, None));
        assert_eq!((received(&client), received(&client)), (long, reply(7)));
    }

    #[test]
    fn a_reply_is_given_up_after_a_time_and_dropped_when_the_client_has_gone() {
        let (client, init) = connection();
        fill(&init);
        let mut outbox = Outbox::default();
        let long = Reply::Failed("y".repeat(60_000));
        assert_eq!(outbox.send(&init, long.clone(), Vec::new()), Delivery::Waits);
        outbox.expire();
        assert_eq!((outbox.flush(&init), outbox.due()), (Delivery::GivenUp(long.clone()), None));
        assert_eq!(outbox.send(&init, long, Vec::new()), Delivery::Waits);
        drop(client);
        outbox.again = None;
        crate::soon::soon(|| {
            outbox.again = None;
            outbox.flush(&init) == Delivery::Done
        });
        assert!(outbox.waiting.is_empty());
    }
}
