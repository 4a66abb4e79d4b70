//! A session without a terminal: its program holds sshd's own pipes, so only its end is waited for.

use super::relay::RelayEnd;
use crate::exit::{ExitStatus, Failure};
use crate::texts;
use crate::wire::Socket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd as _;

/// Waits until the init replies or the client vanishes.
///
/// stderr stays open: `poll` reports on it that sshd has closed its end. stdin and stdout must be closed
/// here, or the client would not notice that the program closes its own.
pub(super) fn wait(init: &Socket) -> Result<RelayEnd, Failure> {
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdin(&null);
        let _ = nix::unistd::dup2_stdout(&null);
    }
    loop {
        let stderr = io::stderr();
        let mut fds =
            [PollFd::new(init.as_fd(), PollFlags::POLLIN), PollFd::new(stderr.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => {
                return Err(Failure::because(ExitStatus::Internal, texts::NOT_WATCHED, &error));
            }
            Ok(_) => {}
        }
        if fds.first().is_some_and(|fd| fd.any() == Some(true)) {
            return Ok(RelayEnd::InitReplied);
        }
        return Ok(RelayEnd::Vanished);
    }
}
