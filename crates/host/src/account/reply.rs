//! Parsing the account source's reply. The reply is untrusted: it becomes an account or is rejected
//! as a whole. An invalid key or limit is left out and does not make the reply invalid: otherwise the cached
//! account would be used, with keys that the user has removed since.

use super::site_settings::leave_out_invalid;
use super::{Account, SiteVariables};
use crate::limits::RequestedLimits;
use identity::Login;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use session::authorized_key::{AuthorizedKey, KEYS_MAX};
use session::escape::printable;
use std::fmt;

/// Longest reply, in bytes. A hundred RSA keys take half of it.
pub const REPLY_MAX: u64 = 256 * 1024;

/// The reason of a refusal because the reply is longer than [`REPLY_MAX`]. It is a refusal, since a user can
/// make the reply long, with many keys for example, and must not keep removed keys alive by that.
pub const TOO_LONG: &str = "the answer is longer than 256 KiB";

/// Fields of an account that are left out if they are invalid, besides each field of `limits`. `user`, `id`,
/// `active` and `keys` are not among them: without one of them, another user could log in, or nobody.
const OPTIONAL: [&str; 6] = ["limits", "idle_timeout", "image", "uid", "env", "directory"];

/// What the account source replies about a login name.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum AccountReply {
    /// The user may log in with any of the account's keys.
    Known(Account),
    /// The user may not log in; with a reason for the journal.
    Refused(&'static str),
}

/// The format of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFormat {
    /// `application/json`: an account.
    Json,
    /// `text/plain`: lines of public keys and nothing else.
    KeyLines,
}

/// A parsed reply, with messages for the journal.
#[derive(Debug, PartialEq)]
pub struct ParsedReply {
    /// The reply.
    pub reply: AccountReply,
    /// One message for each key that was left out, saying why.
    pub left_out: Vec<String>,
    /// One message for each invalid value that was left out.
    pub ignored: Vec<String>,
    /// Which value was out of range, and what replaces it.
    pub bounded: Option<String>,
}

impl ParsedReply {
    /// A refusal of the user; with a reason for the journal.
    #[must_use]
    pub fn refused(reason: &'static str) -> Self {
        let reply = AccountReply::Refused(reason);
        Self { reply, left_out: Vec::new(), ignored: Vec::new(), bounded: None }
    }
}

/// Why a reply is rejected as a whole.
#[derive(Debug)]
pub enum InvalidReply {
    /// It is not UTF-8.
    Encoding,
    /// It is not an account in JSON.
    Json(serde_json::Error),
    /// It is about another user.
    OtherUser(String),
    /// This field is empty, too long, or contains a byte that is not printable ASCII.
    Field(&'static str),
}

impl fmt::Display for InvalidReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoding => f.write_str("the reply is not UTF-8 text"),
            Self::Json(_) => f.write_str("the reply is not an account in JSON"),
            Self::OtherUser(user) => write!(f, "the reply is about user \"{user}\""),
            Self::Field(name) => {
                write!(f, "the reply's {name} is not 1 to {FIELD_MAX} characters of printable ASCII")
            }
        }
    }
}

impl std::error::Error for InvalidReply {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            _ => None,
        }
    }
}

/// Longest id and image name, in bytes.
const FIELD_MAX: usize = 255;

/// Parse the body of a reply to a request for `login`.
///
/// # Errors
/// [`InvalidReply`]. The caller treats it like no reply at all.
pub fn parse(login: &Login, format: ReplyFormat, body: &[u8]) -> Result<ParsedReply, InvalidReply> {
    let mut ignored = Vec::new();
    let mut account: Account = match format {
        ReplyFormat::Json => {
            let reply = serde_json::from_slice(body).map_err(InvalidReply::Json)?;
            serde_json::from_value(without_invalid_values(reply, &mut ignored)).map_err(InvalidReply::Json)?
        }
        ReplyFormat::KeyLines => {
            from_key_lines(login, std::str::from_utf8(body).map_err(|_| InvalidReply::Encoding)?)
        }
    };
    if account.user != login.as_str() {
        return Err(InvalidReply::OtherUser(printable(account.user.as_bytes())));
    }
    if !account.id.as_deref().is_none_or(is_short_plain_text) {
        return Err(InvalidReply::Field("id"));
    }
    if !account.image.as_deref().is_none_or(is_short_plain_text) {
        account.image = None;
        ignored.push(format!("image is not 1 to {FIELD_MAX} characters of printable ASCII"));
    }
    if !account.active {
        return Ok(ParsedReply::refused("inactive"));
    }
    let bounded = account.bound();
    let mut left_out = Vec::new();
    let mut keys = Vec::new();
    for (index, line) in account.keys.iter().enumerate() {
        match AuthorizedKey::parse(line) {
            Ok(_) if keys.len() == KEYS_MAX => {
                left_out.push(format!("key {} and after: more than {KEYS_MAX}", index + 1));
                break;
            }
            Ok(key) => keys.push(key.with_comment()),
            Err(error) => left_out.push(format!("key {}: {error}", index + 1)),
        }
    }
    if keys.is_empty() {
        return Ok(ParsedReply { left_out, ignored, bounded, ..ParsedReply::refused("no keys") });
    }
    account.keys = keys;
    Ok(ParsedReply { reply: AccountReply::Known(account), left_out, ignored, bounded })
}

/// The account without its invalid optional values, and with an empty text for a key that is none. Adds a
/// message for each value that is left out.
fn without_invalid_values(mut account: Value, ignored: &mut Vec<String>) -> Value {
    // A list of the values without their names is no account.
    let Some(fields) = account.as_object_mut() else { return Value::Null };
    fields.retain(|name, value| !(value.is_null() && OPTIONAL.contains(&&**name)));
    if fields.get("limits").is_some_and(|limits| !limits.is_object()) {
        ignored.push("limits: expected an object".to_owned());
        fields.remove("limits");
    }
    // Whoever was denied something must not get it because of a wrong value.
    for name in ["internet", "forward"] {
        if let Some(wrong) = fields.get_mut(name).filter(|value| !value.is_boolean() && !value.is_null()) {
            ignored.push(format!("{name}: expected true or false; counts as false"));
            *wrong = json!(false);
        }
    }
    leave_out_invalid(fields, ignored);
    if let Some(limits) = fields.get_mut("limits").and_then(Value::as_object_mut) {
        limits.retain(|name, value| {
            let problem = problem_of::<RequestedLimits>(Map::new(), name, value);
            ignored.extend(problem.as_ref().map(|problem| format!("limits.{name}: {problem}")));
            problem.is_none()
        });
    }
    fields.retain(|name, value| {
        let required = Map::from_iter([("user".to_owned(), json!("")), ("keys".to_owned(), json!([]))]);
        let is_optional = OPTIONAL.contains(&&**name);
        let problem = is_optional.then(|| problem_of::<Account>(required, name, value)).flatten();
        ignored.extend(problem.as_ref().map(|problem| format!("{name}: {problem}")));
        problem.is_none()
    });
    for key in fields.get_mut("keys").and_then(Value::as_array_mut).into_iter().flatten() {
        if !key.is_string() {
            *key = json!("");
        }
    }
    account
}

/// Why this field with this value makes an object invalid that is valid without it.
fn problem_of<T: DeserializeOwned>(
    mut object: Map<String, Value>,
    name: &str,
    value: &Value,
) -> Option<serde_json::Error> {
    object.insert(name.to_owned(), value.clone());
    serde_json::from_value::<T>(Value::Object(object)).err()
}

fn from_key_lines(login: &Login, text: &str) -> Account {
    let keys = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    Account {
        user: login.as_str().to_owned(),
        id: None,
        active: true,
        keys: keys.map(str::to_owned).collect(),
        limits: RequestedLimits::default(),
        idle_timeout: None,
        image: None,
        uid: None,
        internet: None,
        forward: None,
        env: SiteVariables::default(),
        directory: None,
    }
}

/// Ids become labels and file contents, image names become arguments of the engine.
fn is_short_plain_text(text: &str) -> bool {
    (1..=FIELD_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
