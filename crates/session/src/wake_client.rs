//! Sends one request to `sshbox-wake` and waits for the reply. `sshbox-shell` and the admin's
//! command use it; what the reply means is theirs to decide.

use crate::escape::printable;
use crate::journal::Reference;
use crate::presence::WAKE_SOCKET;
use crate::times::later;
use crate::waiting::Waiting;
use crate::wire::{Fields, Socket, Verb};
use identity::Login;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Sends the request of this process for the container of `login`; `None` when `sshbox-wake` closes
/// the connection without a reply. With `waiting`, that line shows the progress of a start.
///
/// # Errors
/// Nobody listens, no reply came within `patience`, or another error of the socket.
pub fn ask(
    login: &Login,
    verb: Verb,
    patience: Duration,
    waiting: Option<&Waiting>,
) -> io::Result<Option<Fields>> {
    let request = verb.request(login.as_str(), &Reference::ours().to_string());
    match waiting {
        // Only a caller that asks for progress gets it: an older one takes the first packet as the reply.
        Some(waiting) => exchange(Path::new(WAKE_SOCKET), &request.with_progress(), patience, |step| {
            waiting.show_step(step);
        }),
        None => exchange(Path::new(WAKE_SOCKET), &request, patience, |_| ()),
    }
}

/// Requests a start for a login of this user. For root: `sshbox-wake` logs that the user has started the container.
///
/// # Errors
/// As [`ask`].
pub fn ask_for_login(login: &Login, patience: Duration) -> io::Result<Option<Fields>> {
    let request = Verb::Wake.request(login.as_str(), &Reference::ours().to_string()).for_login();
    exchange(Path::new(WAKE_SOCKET), &request, patience, |_| ())
}

/// `patience` holds for all packets together: progress does not extend it.
pub(crate) fn exchange(
    socket: &Path,
    request: &Fields,
    patience: Duration,
    mut on_step: impl FnMut(&str),
) -> io::Result<Option<Fields>> {
    let until = later(Instant::now(), patience);
    let socket = Socket::connect(socket, patience)?;
    socket.send(request, &[])?;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_patience(left)?;
        let Some((fields, _)) = socket.receive()? else { return Ok(None) };
        match fields.progress_step() {
            Some(step) => on_step(&printable(step)),
            None => return Ok(Some(fields)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::progress;
    use std::thread;

    /// Runs `wake` at the other end of one request, and returns the reply and the steps before it.
    fn asked(
        request: &Fields,
        patience: Duration,
        wake: impl FnOnce(Socket, Fields) + Send,
    ) -> (io::Result<Option<Fields>>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wake.sock");
        let listener = Socket::listen(&path).unwrap();
        let mut steps = Vec::new();
        let reply = thread::scope(|scope| {
            scope.spawn(|| {
                let caller = listener.accept().unwrap();
                let (request, _) = caller.receive().unwrap().unwrap();
                wake(caller, request);
            });
            exchange(&path, request, patience, |step| steps.push(step.to_owned()))
        });
        (reply, steps)
    }

    const LONG: Duration = Duration::from_secs(20);

    fn running() -> Fields {
        Fields::default().with("running", b"")
    }

    #[test]
    fn progress_comes_before_the_reply_and_is_made_printable() {
        let request = Verb::Wake.request("alice", "1a2b3c4d").with_progress();
        let (reply, steps) = asked(&request, LONG, |caller, request| {
            assert!(request.wants_progress());
            assert_eq!(Verb::parse(&request), Some((Verb::Wake, &b"alice"[..])));
            caller.send(&progress("creating the container"), &[]).unwrap();
            caller.send(&progress("\x1b[31m"), &[]).unwrap();
            caller.send(&running(), &[]).unwrap();
        });
        assert_eq!(reply.unwrap(), Some(running()));
        assert_eq!(steps, ["creating the container", r"\x1b[31m"]);
    }

    #[test]
    fn a_release_without_progress_is_understood_on_both_sides() {
        let request = Verb::Wake.request("alice", "1a2b3c4d");
        // An older shell sends no such field, and must get no such packet.
        assert!(!request.wants_progress());
        // An older sshbox-wake skips the field and replies at once.
        let (reply, steps) =
            asked(&request.with_progress(), LONG, |caller, _| caller.send(&running(), &[]).unwrap());
        assert_eq!((reply.unwrap(), steps), (Some(running()), vec![]));
    }

    #[test]
    fn progress_does_not_extend_the_deadline() {
        let request = Verb::Wake.request("alice", "1a2b3c4d").with_progress();
        let began = Instant::now();
        let (reply, steps) = asked(&request, Duration::from_millis(100), |caller, _| {
            // Until the caller has closed its end.
            while caller.send(&progress("waiting"), &[]).is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        });
        let kind = reply.unwrap_err().kind();
        assert!(matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{kind:?}");
        assert!(!steps.is_empty() && began.elapsed() < LONG);
    }

    #[test]
    fn a_connection_that_closes_is_no_reply() {
        let request = Verb::Wake.request("alice", "1a2b3c4d").with_progress();
        let (reply, steps) = asked(&request, LONG, |caller, _| {
            caller.send(&progress("creating the container"), &[]).unwrap();
        });
        assert_eq!((reply.unwrap(), steps.len()), (None, 1));
    }
}
