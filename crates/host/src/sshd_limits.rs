//! The limits of sshd while the connections of many users come from one address: from the trusted proxies and the
//! memory of the host to lines of `sshd_config`. A function without side effects.
//!
//! sshd cannot exempt an address from `PerSourceMaxStartups`, so it gets no limit for an address at all, and
//! `network_rules` limits those that are not trusted.

use crate::config::Subnet;
use std::fmt::Write as _;

/// Memory of a connection that has not logged in, in bytes: two processes of sshd (measured: 1.3 to 1.5 MiB).
const HALF_OPEN: u64 = 1600 << 10;

/// Part of the host's memory that such connections may take: half of what the unit of sshd has (`MemoryMax=25%`).
const MEMORY_PART: u64 = 8;

/// The fewest such connections, which is the limit without proxies, and the most: each is an open file of sshd's
/// listener, whose unit allows 4096.
const FEWEST: u64 = 300;
const MOST: u64 = 1200;

/// Seconds to log in. Shorter than without proxies, because all connections of an attacker count until then; long
/// enough to type a passphrase or to touch a security key.
const GRACE: u64 = 20;

/// How many connections may be waiting to log in, on a host with this much memory in bytes.
#[must_use]
pub fn startups(memory: u64) -> u64 {
    (memory / MEMORY_PART / HALF_OPEN).clamp(FEWEST, MOST)
}

/// How many new connections in a second never log in and still leave a fifth of the places to users.
#[must_use]
pub fn max_attack_rate(memory: u64) -> u64 {
    startups(memory) * 4 / 5 / GRACE
}

/// The lines of `sshd_config`. `has_penalties`: whether sshd blocks addresses by itself (OpenSSH 9.8).
#[must_use]
pub fn settings(trusted: &[Subnet], memory: u64, has_penalties: bool) -> String {
    let startups = startups(memory);
    let mut lines = format!(
        "# Written by `sshbox proxies apply`, because listen.trusted_proxies in /etc/sshbox/sshbox.toml is not empty. Replaced
# at each start and reload of sshbox-sshd. The limit for each address that is not trusted is in the rules for packets.
LoginGraceTime {GRACE}
MaxStartups {startups}:100:{startups}
PerSourceMaxStartups none
"
    );
    if has_penalties {
        let all: Vec<_> = trusted.iter().map(ToString::to_string).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "PerSourcePenaltyExemptList {}", all.join(","));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn more_memory_allows_more_connections_that_have_not_logged_in() {
        assert_eq!(
            (startups(GIB), startups(4 * GIB), startups(8 * GIB), startups(64 * GIB)),
            (300, 327, 655, 1200)
        );
        assert_eq!(
            (max_attack_rate(4 * GIB), max_attack_rate(8 * GIB), max_attack_rate(64 * GIB)),
            (13, 26, 48)
        );
    }

    #[test]
    fn sshd_has_no_limit_for_an_address_and_one_for_all() {
        let trusted: Vec<Subnet> = ["127.0.0.1", "10.0.0.0/8"].map(|text| text.parse().unwrap()).into();
        let old = settings(&trusted, 8 * GIB, false);
        assert!(
            old.ends_with("\nLoginGraceTime 20\nMaxStartups 655:100:655\nPerSourceMaxStartups none\n"),
            "{old}"
        );
        let new = settings(&trusted, 8 * GIB, true);
        assert_eq!(new, old + "PerSourcePenaltyExemptList 127.0.0.1,10.0.0.0/8\n");
    }
}
