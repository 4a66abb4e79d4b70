//! Login names, and the one rule that gives each login name a uid.
//!
//! The NSS module, which runs inside sshd, and all programs share it, so it uses no file, no socket and
//! no other crate. Both sides of a trust boundary must agree on this rule; changing it gives every user
//! another uid.

use std::fmt;

/// Group id of every login. `sysusers` creates the group with this number, so that the NSS module needs
/// no look-up. The first number above the ranges that systemd reserves for containers
/// (<https://systemd.io/UIDS-GIDS/>).
pub const GID: u32 = 0x7000_0000;

/// Lowest uid that a login can have; the highest is `UID_BASE + UID_MASK`.
pub const UID_BASE: u32 = 0x7000_0000;

/// The 28 bits of a uid that come from the name. The range stays below 2^31.
pub const UID_MASK: u32 = 0x0fff_ffff;

/// Longest login name, in bytes; also the longest host name of Linux.
pub const LOGIN_MAX: usize = 64;

/// Accounts that sshd must find in the local files.
const RESERVED: [&str; 3] = ["nobody", "sshbox-keys", "sshd"];

/// A valid login name: 1 to 64 of `A-Z a-z 0-9 _ . -`, the first one a letter, a digit or `_`, and no
/// account that sshd itself needs.
///
/// Safe as one component of a path, of a URL and of a container's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Login(String);

impl Login {
    /// Parses a name from outside: argv, environment, socket, HTTP reply, label.
    ///
    /// # Errors
    /// [`InvalidLogin`] for every other name. Its text states the rule and not the input, which is
    /// untrusted.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidLogin> {
        if !is_login(bytes) {
            return Err(InvalidLogin);
        }
        String::from_utf8(bytes.to_vec()).map(Self).map_err(|_| InvalidLogin)
    }

    /// The name, in its original case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The uid of this login; see [`uid`].
    #[must_use]
    pub fn uid(&self) -> u32 {
        uid(self.0.as_bytes())
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that [`Login::parse`] refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLogin;

impl fmt::Display for InvalidLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a login name: 1 to 64 of A-Z a-z 0-9 _ . - beginning with a letter, digit or _")
    }
}

impl std::error::Error for InvalidLogin {}

/// Whether these bytes are a valid login name. Allocates nothing: sshd asks on every connection.
#[must_use]
pub fn is_login(name: &[u8]) -> bool {
    let Some(first) = name.first() else {
        return false;
    };
    name.len() <= LOGIN_MAX
        && (first.is_ascii_alphanumeric() || *first == b'_')
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !RESERVED.iter().any(|r| r.as_bytes() == name)
}

/// The uid of a valid login name: 64-bit FNV-1a, folded to 28 bits.
///
/// Two names can have the same uid (on average one pair among 19,000 users). Neither gains a right by it:
/// access depends on the name, which sshd sets, and the uid is a second check.
#[must_use]
pub fn uid(name: &[u8]) -> u32 {
    // Constants of FNV-1a, 64 bit: http://www.isthe.com/chongo/tech/comp/fnv/
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let folded = hash ^ (hash >> 28) ^ (hash >> 56);
    let low = u32::try_from(folded & u64::from(UID_MASK)).unwrap_or(0);
    UID_BASE + low
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_that_people_have_are_logins() {
        for name in ["alice", "Alice", "a", "_x", "9lives", "a.b", "a_b", "a-b", "root", "mail", "sshd-x"] {
            assert_eq!(Login::parse(name.as_bytes()).unwrap().as_str(), name);
        }
        let longest = "x".repeat(LOGIN_MAX);
        assert!(Login::parse(longest.as_bytes()).is_ok());
    }

    #[test]
    fn a1_everything_else_is_refused() {
        let too_long = "x".repeat(LOGIN_MAX + 1);
        let huge = "a".repeat(65_536);
        for name in [
            "",
            ".",
            "..",
            "../../etc",
            "-oProxyCommand",
            "-",
            "a b",
            " a",
            "a\n",
            "a/b",
            "%2e",
            "a\0b",
            "аlice",
            "ａlice",
            "a\u{202e}b",
            "nobody",
            "sshd",
            "sshbox-keys",
            "a:b",
            "a@b",
            "{user}",
            "a\\b",
            "~",
            "$x",
            &too_long,
            &huge,
        ] {
            assert_eq!(Login::parse(name.as_bytes()), Err(InvalidLogin), "{name:?}");
        }
        assert!(Login::parse(&[b'a', 0xff]).is_err());
    }

    #[test]
    fn uids_are_stable_and_in_range() {
        // An upgrade that changed these values would lock every user out of their box.
        assert_eq!(uid(b"alice"), 2_098_369_249);
        assert_eq!(uid(b"root"), 1_972_090_521);
        assert_eq!(uid(&[b'x'; 64]), 1_942_492_199);
        for n in 0..10_000 {
            let name = format!("user{n}");
            let uid = uid(name.as_bytes());
            assert!((0x7000_0000..0x8000_0000).contains(&uid));
        }
    }

    #[test]
    fn ten_thousand_users_hardly_collide() {
        let uids: HashSet<u32> = (0..10_000).map(|n| uid(format!("u{n}").as_bytes())).collect();
        assert!(uids.len() >= 9_998, "{} distinct", uids.len());
    }
}
