//! One record of the cache: an account, and the time of the request to the account source.

use super::open;
use crate::account::Account;
use crate::config::TimeSpan;
use identity::Login;
use serde::{Deserialize, Serialize};
use session::clock::Now;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

/// Longest record, in bytes: twice the longest reply.
const MAX_LENGTH: u64 = 512 * 1024;

/// An account from a reply of the account source, and the time of the request.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct AccountRecord {
    pub(super) boot_id: String,
    pub(super) boottime: Duration,
    wall: Duration,
    /// The account.
    pub account: Account,
}

impl AccountRecord {
    /// The record of a reply to a request of time `requested`.
    #[must_use]
    pub fn new(account: Account, requested: &Now) -> Self {
        let Now { boot_id, boottime, wall } = requested.clone();
        Self { boot_id, boottime, wall, account }
    }

    /// The time of the request on the clock that counts from boot. `None` if that was in an earlier boot.
    #[must_use]
    pub fn requested(&self, now: &Now) -> Option<Duration> {
        (self.boot_id == now.boot_id && self.boottime <= now.boottime).then_some(self.boottime)
    }

    /// The time since the request; `None` if the request is in the future.
    ///
    /// Within one boot the age is measured on `CLOCK_BOOTTIME`, which nobody can set. For a record of an
    /// earlier boot only the wall clock is left.
    #[must_use]
    pub fn age(&self, now: &Now) -> Option<Duration> {
        match self.requested(now) {
            Some(requested) => now.boottime.checked_sub(requested),
            None if self.boot_id == now.boot_id => None,
            None => now.wall.checked_sub(self.wall),
        }
    }

    /// Whether the record is younger than `stale`, so that it may be used while the account source does not
    /// reply.
    #[must_use]
    pub fn serves(&self, now: &Now, stale: TimeSpan) -> bool {
        self.age(now).is_some_and(|age| age < stale.0)
    }

    /// Read a record from a file. `None` if the file is absent, invalid, or about another user.
    pub(super) fn read(path: &Path, login: &Login) -> Option<Self> {
        let file = open::read_only(path).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = Vec::new();
        file.take(MAX_LENGTH).read_to_end(&mut text).ok()?;
        let mut record: Self = serde_json::from_slice(&text).ok()?;
        // An earlier version of sshbox stored times of any length.
        let _ = record.account.bound();
        (record.account.user == login.as_str()).then_some(record)
    }
}
