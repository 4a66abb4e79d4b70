//! Users and groups of the host, also those of a directory service: a box must not have the number of one, or its
//! files would be theirs.

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};
use std::io;

/// Names the user or group of the host that has a number.
pub type HostOwner = fn(u32) -> io::Result<Option<String>>;

/// The user or group of the host with this number, as the name service knows it. It may take as long as the
/// directory service takes, so it is asked for a new claim only.
///
/// # Errors
/// The name service does not answer.
pub fn host_owner(number: u32) -> io::Result<Option<String>> {
    let user = found(User::from_uid(Uid::from_raw(number)))?.map(|user| format!("user {}", user.name));
    let group = || found(Group::from_gid(Gid::from_raw(number)));
    Ok(match user {
        Some(user) => Some(user),
        None => group()?.map(|group| format!("group {}", group.name)),
    })
}

/// What a look-up found: for some errors, getpwuid(3) says that they mean "no such user".
fn found<T>(answer: nix::Result<Option<T>>) -> io::Result<Option<T>> {
    match answer {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        answer => Ok(answer?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_service_knows_root_and_nobody_else_has_a_uid_of_boxes() {
        assert_eq!(host_owner(0).unwrap().as_deref(), Some("user root"));
        assert_eq!(host_owner(1_700_000_042).unwrap(), None);
    }

    #[test]
    fn a_name_service_that_does_not_answer_is_an_error() {
        assert_eq!(found(Ok(Some(1))).unwrap(), Some(1));
        assert_eq!(found::<u8>(Err(Errno::ENOENT)).unwrap(), None);
        assert_eq!(found::<u8>(Err(Errno::EAGAIN)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
