//! An account: what the web app replies about a user, and what the cache stores.
//!
//! Knows no network and no file.

mod reply;
mod site_settings;

pub use reply::{AccountReply, InvalidReply, ParsedReply, REPLY_MAX, ReplyFormat, TOO_LONG, parse};
pub use site_settings::SiteVariables;

use crate::config::IdleTimeout;
use crate::limits::RequestedLimits;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use session::wire::SiteSettings;

/// A user of the web app. The JSON form is the contract with the web app; the cache keeps it too.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Account {
    /// Login name.
    pub user: String,
    /// Distinguishes this user from a later one with the same name. `None` if the account source has
    /// no ids, such as a list of key lines.
    #[serde(default, deserialize_with = "number_or_text")]
    pub id: Option<String>,
    /// Whether the user may log in.
    #[serde(default = "yes")]
    pub active: bool,
    /// Public keys, one line each.
    pub keys: Vec<String>,
    /// Limits of the container, before the ceilings of the configuration apply.
    #[serde(default)]
    pub limits: RequestedLimits,
    /// How long the container runs without a session.
    #[serde(default, deserialize_with = "unbounded_timeout")]
    pub idle_timeout: Option<IdleTimeout>,
    /// Image of the container.
    #[serde(default)]
    pub image: Option<String>,
    /// Uid and gid of the container, where each has its own. It must be one of `box.uids`.
    #[serde(default, deserialize_with = "valid_uid")]
    pub uid: Option<u32>,
    /// Whether the container may reach the internet, unless the configuration forbids it to all.
    #[serde(default)]
    pub internet: Option<bool>,
    /// Whether the user may forward over SSH, unless the configuration forbids it to all.
    #[serde(default)]
    pub forward: Option<bool>,
    /// Variables for the user's sessions. The values may be secrets.
    #[serde(default)]
    pub env: SiteVariables,
    /// Where the user's sessions begin: an absolute path in the container, or one below the home.
    #[serde(default)]
    pub directory: Option<String>,
}

impl Account {
    /// What the account gives to the user's sessions.
    #[must_use]
    pub fn site_settings(&self) -> SiteSettings {
        self.env.settings(self.directory.as_deref())
    }

    /// The account as it may be shown: without the values of its variables.
    #[must_use]
    pub fn shown(self) -> Self {
        Self { env: self.env.hidden(), ..self }
    }

    /// Shorten an idle timeout that is too long. Return a message for the journal if it was.
    pub fn bound(&mut self) -> Option<String> {
        let bounded = self.idle_timeout.map(IdleTimeout::bounded);
        let changed = std::mem::replace(&mut self.idle_timeout, bounded) != bounded;
        changed.then(|| format!("idle_timeout is too long and counts as {}", IdleTimeout::LONGEST))
    }
}

/// Accepts a timeout of any length: one that is too long must not make the account unusable.
/// [`Account::bound`] shortens it.
fn unbounded_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IdleTimeout>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| IdleTimeout::parse_unbounded(&text)).transpose().map_err(D::Error::custom)
}

/// Root and the number that the kernel reserves are no uids of a user.
fn valid_uid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    match Option::<u32>::deserialize(deserializer)? {
        Some(0 | u32::MAX) => Err(D::Error::custom("expected a uid from 1 to 4294967294")),
        uid => Ok(uid),
    }
}

fn yes() -> bool {
    true
}

/// Primary keys in Django are numbers or UUIDs. The account keeps both as text.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Number(i64),
        Text(String),
    }
    Ok(Option::<Id>::deserialize(deserializer)?.map(|id| match id {
        Id::Number(number) => number.to_string(),
        Id::Text(text) => text,
    }))
}
