//! Tells the caller of `sshbox-wake`, before the reply, which step of a start has begun. Only a caller
//! that asks for progress gets it, and it never blocks a start.

use session::wire::{Fields, Socket, progress};

/// Reports the progress of a start to the caller, or to no one.
#[derive(Debug)]
pub struct Progress<'a> {
    caller: Option<&'a Socket>,
}

impl<'a> Progress<'a> {
    /// Reports to the caller that sent `request`, if the request asks for progress.
    pub fn to_caller(caller: &'a Socket, request: &Fields) -> Self {
        Self { caller: request.wants_progress().then_some(caller) }
    }

    /// Reports the step that begins now.
    pub fn tell(&self, step: &str) {
        if let Some(caller) = self.caller {
            // Without waiting for a caller that does not read: this process holds `state.lock`.
            let _ = caller.try_send(&progress(step));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use session::wire::Verb;
    use std::time::Duration;

    fn connection() -> (Socket, Socket) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wake.sock");
        let listener = Socket::listen(&path).unwrap();
        let caller = Socket::connect(&path, Duration::from_secs(5)).unwrap();
        (caller, listener.accept().unwrap())
    }

    #[test]
    fn only_a_caller_that_wants_progress_gets_it() {
        let request = Verb::Wake.request("alice", "1a2b3c4d");
        let (caller, wake) = connection();
        Progress::to_caller(&wake, &request).tell("creating the container");
        wake.send(&Fields::default().with("running", b""), &[]).unwrap();
        assert!(caller.receive().unwrap().unwrap().0.get("running").is_some());
        Progress::to_caller(&wake, &request.with_progress()).tell("creating the container");
        let (fields, _) = caller.receive().unwrap().unwrap();
        assert_eq!(fields.progress_step(), Some(&b"creating the container"[..]));
    }

    #[test]
    fn a_caller_that_does_not_read_or_has_left_does_not_block_a_start() {
        let request = Verb::Wake.request("alice", "1a2b3c4d").with_progress();
        let (caller, wake) = connection();
        let progress = Progress::to_caller(&wake, &request);
        for _ in 0..10_000 {
            progress.tell("creating the container");
        }
        drop(caller);
        progress.tell("creating the container");
    }
}
