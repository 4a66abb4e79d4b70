//! Users and groups of the host, also those of a directory service: a box must not have the number of one, or its
//! files would be theirs.

use nix::unistd::{Gid, Group, Uid, User};

/// Names the user or group of the host that has a number.
pub type HostOwner = fn(u32) -> Option<String>;

/// The user or group of the host with this number, as the name service knows it. It may take as long as the
/// directory service takes, so it is asked for a new claim only. If it does not answer, nobody has the number.
#[must_use]
pub fn host_owner(number: u32) -> Option<String> {
    let user = || User::from_uid(Uid::from_raw(number)).ok().flatten();
    let group = || Group::from_gid(Gid::from_raw(number)).ok().flatten();
    user()
        .map(|user| format!("user {}", user.name))
        .or_else(|| group().map(|group| format!("group {}", group.name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_service_knows_root_and_nobody_else_has_a_uid_of_boxes() {
        assert_eq!(host_owner(0).as_deref(), Some("user root"));
        assert_eq!(host_owner(1_700_000_042), None);
    }
}
