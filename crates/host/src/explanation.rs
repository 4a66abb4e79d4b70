//! The document that `sshbox-keys --explain --json` prints: how it would decide now about the keys of one
//! login name. The command `sshbox` reads the document, so it links no web client.

use crate::account::Account;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// All values on which the decision about the keys of a login name depends, and the decision.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Explanation {
    /// The login name.
    pub user: String,
    /// The configuration file that was read.
    pub config: PathBuf,
    /// The user as which `sshbox-keys` ran, with its uid.
    pub runs_as: String,
    /// The answer in the cache, if there is one.
    pub cache: Option<CachedAnswer>,
    /// The last lookup since boot that found no account, if there was one.
    pub recent: Option<FailedLookup>,
    /// The address of the account, with the login name in it.
    pub url: String,
    /// The file with the token that was sent. `None` if no token was sent.
    pub token_file: Option<PathBuf>,
    /// Timeout of the request, in milliseconds.
    pub timeout_ms: u64,
    /// How long the request took, in milliseconds.
    pub took_ms: u64,
    /// HTTP status of the answer. `None` if the account source is a file, or did not answer.
    pub status: Option<u16>,
    /// What the account source answered.
    pub answer: SourceAnswer,
    /// The account that a login would use: that of the answer, that of the cache, or none.
    pub serves: KeySource,
    /// Why a login would use that account.
    pub why: String,
    /// The keys that a login would accept: `sshbox-keys` would print one of them to sshd.
    pub prints: Vec<PrintedKey>,
    /// Whether a login would accept the key whose fingerprint `sshbox-keys` was given. `None` if it was given
    /// none.
    pub offered: Option<OfferedKey>,
}

/// An answer of the account source, as the cache keeps it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct CachedAnswer {
    /// Time since the request. `None` if the request lies in the future; such an answer is not used.
    pub seconds_ago: Option<u64>,
    /// Whether the answer may be used if the account source does not answer now: it is young enough.
    pub serves: bool,
    /// The account.
    pub account: Account,
}

/// A lookup that found no account.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct FailedLookup {
    /// `refused` or `failed`.
    pub outcome: String,
    /// Time since the request.
    pub seconds_ago: u64,
}

/// What the account source answered.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a program has one")]
pub enum SourceAnswer {
    /// The user may log in.
    Account {
        /// The account.
        account: Account,
        /// One message for each key, and each invalid value, that was left out, saying why.
        left_out: Vec<String>,
        /// Which value was out of range, and what is used in its place.
        bounded: Option<String>,
    },
    /// The user may not log in.
    Refusal {
        /// Why the user may not log in.
        reason: String,
        /// One message for each key that was left out, saying why.
        left_out: Vec<String>,
    },
    /// The account source gave no valid answer.
    Nothing {
        /// The chain of errors.
        error: String,
    },
}

/// Which account a login uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// The account in the answer of the account source.
    Answer,
    /// The account in the cache.
    Cache,
    /// No account: the login is refused.
    Nothing,
}

/// A key that would be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PrintedKey {
    /// `SHA256:…`, as sshd writes it.
    pub fingerprint: String,
    /// The line that `sshbox-keys` would print for sshd.
    pub line: String,
}

/// The key whose fingerprint `sshbox-keys` was given.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct OfferedKey {
    /// `SHA256:…`, as sshd writes it.
    pub fingerprint: String,
    /// Whether a login would accept the key.
    pub accepted: bool,
}
