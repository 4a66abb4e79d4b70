//! `AppArmor`: whether the kernel has sshbox's profile for containers. The package loads it.

use std::fs;

/// Name of the profile, see `packaging/apparmor`.
pub const PROFILE: &str = "sshbox-box";

/// All profiles of the kernel, one in a line. Only root can read it.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

/// Whether the kernel has the profile. Not if it is one without `AppArmor`.
#[must_use]
pub fn is_loaded() -> bool {
    fs::read_to_string(PROFILES).is_ok_and(|profiles| lists(&profiles))
}

fn lists(profiles: &str) -> bool {
    profiles.lines().any(|line| line.split_once(" (").is_some_and(|(name, _)| name == PROFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_found_in_the_list_of_the_kernel() {
        assert!(lists("docker-default (enforce)\nsshbox-box (enforce)\n"));
        assert!(lists("sshbox-box (complain)\n"));
        assert!(!lists("sshbox-box-other (enforce)\n/usr/bin/man (enforce)\n"));
        assert!(!lists(""));
    }
}
