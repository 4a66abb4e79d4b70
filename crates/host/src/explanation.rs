//! The document that `sshbox-keys --explain --json` prints: how the keys of one login name would
//! be decided now. `sshbox-keys` writes it; the admin's command reads it, and so needs no web client.

use crate::account::Account;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that decides about the keys of a login name.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Explanation {
    /// The login name.
    pub user: String,
    /// The configuration file that was read.
    pub config: PathBuf,
    /// The user that the program ran as, with its uid.
    pub runs_as: String,
    /// The cached answer; `None` when there is none.
    pub cache: Option<CachedAnswer>,
    /// The outcome of the last login that found no account, since boot.
    pub recent: Option<FailedLookup>,
    /// The account URL, filled in.
    pub url: String,
    /// The file of the token that was sent; `None` when none was sent.
    pub token_file: Option<PathBuf>,
    /// Longest time for one answer, in milliseconds.
    pub timeout_ms: u64,
    /// How long the answer took, in milliseconds.
    pub took_ms: u64,
    /// HTTP status of the answer; `None` for a file, and when nothing was received.
    pub status: Option<u16>,
    /// What the account source answered.
    pub answer: SourceAnswer,
    /// Where the keys of a login would come from.
    pub serves: KeySource,
    /// Why the keys come from there.
    pub why: String,
    /// The keys that would be accepted.
    pub prints: Vec<PrintedKey>,
    /// Whether the given key would be accepted; `None` when none was given.
    pub offered: Option<OfferedKey>,
}

/// An answer of the account source, as the cache keeps it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct CachedAnswer {
    /// Its age; `None` when it lies in the future, which counts as too old.
    pub seconds_ago: Option<u64>,
    /// Whether it is young enough to be used when the account source does not answer.
    pub serves: bool,
    /// The account.
    pub account: Account,
}

/// A login that found no account.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FailedLookup {
    /// `refused` or `failed`.
    pub outcome: String,
    /// When it was.
    pub seconds_ago: u64,
}

/// What the account source answered.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum SourceAnswer {
    /// It knows the user.
    Account {
        /// The account.
        account: Account,
        /// Why which keys were left out.
        left_out: Vec<String>,
        /// Which value was out of range, and what is used in its place.
        bounded: Option<String>,
    },
    /// It refuses the user.
    Refusal {
        /// Why.
        reason: String,
        /// Why which keys were left out.
        left_out: Vec<String>,
    },
    /// There is no answer.
    Nothing {
        /// The chain of errors.
        error: String,
    },
}

/// Where the keys of a login come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// From the answer of the account source.
    Answer,
    /// From the cache.
    Cache,
    /// From nowhere: the login is refused.
    Nothing,
}

/// A key that would be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PrintedKey {
    /// `SHA256:…`, as sshd writes it.
    pub fingerprint: String,
    /// The line that sshd would be given.
    pub line: String,
}

/// A key that was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct OfferedKey {
    /// `SHA256:…`, as sshd writes it.
    pub fingerprint: String,
    /// Whether it is one of the keys that would be accepted.
    pub accepted: bool,
}
