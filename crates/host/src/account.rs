//! What is known of a user, and how an answer of the web app becomes that.
//!
//! An answer is untrusted text: it is parsed into these types or refused as a whole, but a
//! key that is no key costs only itself. Knows no network and no file.

use crate::config::{Cpus, IdleTimeout, MemorySize, Size};
use identity::Login;
use serde::{Deserialize, Serialize};
use session::authorized_key::{AuthorizedKey, KEYS_MAX};
use session::escape::printable;
use std::fmt;

/// A user who may log in.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Account {
    /// The login name that the web app speaks of.
    pub user: String,
    /// Tells this person from a later one with the same name; a source of key lines has none.
    #[serde(default, deserialize_with = "id")]
    pub id: Option<String>,
    /// Whether the user may log in at all.
    #[serde(default = "yes")]
    pub active: bool,
    /// Public keys, one line each.
    pub keys: Vec<String>,
    /// What the box gets, before the admin's ceilings.
    #[serde(default)]
    pub limits: RequestedLimits,
    /// How long the box runs without a session.
    #[serde(default, deserialize_with = "of_any_length")]
    pub idle_timeout: Option<IdleTimeout>,
    /// Image of the box.
    #[serde(default)]
    pub image: Option<String>,
}

/// Limits that an account asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct RequestedLimits {
    /// CPU time, in cores.
    #[serde(default)]
    pub cpus: Option<Cpus>,
    /// Memory, swap off.
    #[serde(default)]
    pub memory: Option<Size>,
    /// Tasks: processes and threads.
    #[serde(default)]
    pub pids: Option<u32>,
    /// Size of `/dev/shm`.
    #[serde(default)]
    pub shm: Option<MemorySize>,
    /// Size of `/tmp`, and of `/var/tmp`.
    #[serde(default)]
    pub tmp: Option<MemorySize>,
}

impl Account {
    /// Brings each time that is too long to the longest one; what was done, for the journal.
    pub fn bound(&mut self) -> Option<String> {
        let bounded = self.idle_timeout.map(IdleTimeout::bounded);
        let changed = std::mem::replace(&mut self.idle_timeout, bounded) != bounded;
        changed.then(|| format!("idle_timeout is too long and counts as {}", IdleTimeout::LONGEST))
    }
}

/// A time that is too long makes no account unusable: see [`Account::bound`].
fn of_any_length<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IdleTimeout>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| IdleTimeout::of_any_length(&text)).transpose().map_err(serde::de::Error::custom)
}

fn yes() -> bool {
    true
}

/// Django's ids are numbers or UUIDs; both are kept as text.
fn id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
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

/// What the web app says of a login.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// May log in, with one of these keys.
    Known(Account),
    /// May not; the reason is for the journal.
    Refused(&'static str),
}

/// Why a body is no answer.
#[derive(Debug)]
pub enum BadBody {
    /// Not UTF-8.
    Text,
    /// Not the JSON that an account is.
    Json(serde_json::Error),
    /// It speaks of somebody else.
    OtherUser(String),
    /// Its id or image is no plain short text.
    Field(&'static str),
}

impl fmt::Display for BadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("the answer is not UTF-8 text"),
            Self::Json(_) => f.write_str("the answer is not an account in JSON"),
            Self::OtherUser(user) => write!(f, "the answer speaks of user \"{user}\""),
            Self::Field(name) => write!(f, "the answer's {name} is not a short plain text"),
        }
    }
}

impl std::error::Error for BadBody {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            _ => None,
        }
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`: an account.
    Json,
    /// `text/plain`: key lines and nothing else.
    Lines,
}

/// An answer with the keys that were left out of it, for the journal.
#[derive(Debug, PartialEq)]
pub struct Parsed {
    /// The answer.
    pub answer: Answer,
    /// Why which lines were left out.
    pub left_out: Vec<String>,
    /// Which value was out of range, and what counts in its place.
    pub bounded: Option<String>,
}

/// Parses a body that answers for `login`.
///
/// # Errors
/// [`BadBody`]: it counts as no answer at all.
pub fn parse(login: &Login, format: Format, body: &[u8]) -> Result<Parsed, BadBody> {
    let mut account: Account = match format {
        Format::Json => serde_json::from_slice(body).map_err(BadBody::Json)?,
        Format::Lines => key_lines(login, std::str::from_utf8(body).map_err(|_| BadBody::Text)?),
    };
    if account.user != login.as_str() {
        return Err(BadBody::OtherUser(printable(account.user.as_bytes())));
    }
    if !account.id.as_deref().is_none_or(is_plain) {
        return Err(BadBody::Field("id"));
    }
    if !account.image.as_deref().is_none_or(is_plain) {
        return Err(BadBody::Field("image"));
    }
    if !account.active {
        return Ok(refused("inactive"));
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
        return Ok(Parsed { left_out, bounded, ..refused("no keys") });
    }
    account.keys = keys;
    Ok(Parsed { answer: Answer::Known(account), left_out, bounded })
}

fn refused(reason: &'static str) -> Parsed {
    Parsed { answer: Answer::Refused(reason), left_out: Vec::new(), bounded: None }
}

fn key_lines(login: &Login, text: &str) -> Account {
    let keys = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    Account {
        user: login.as_str().to_owned(),
        id: None,
        active: true,
        keys: keys.map(str::to_owned).collect(),
        limits: RequestedLimits::default(),
        idle_timeout: None,
        image: None,
    }
}

/// Ids become file contents and labels, image names arguments.
fn is_plain(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";

    fn json(body: &str) -> Result<Parsed, BadBody> {
        parse(&Login::parse(b"alice").unwrap(), Format::Json, body.as_bytes())
    }

    fn known(body: &str) -> Account {
        match json(body).unwrap().answer {
            Answer::Known(account) => account,
            Answer::Refused(reason) => panic!("refused: {reason}"),
        }
    }

    #[test]
    fn an_account_as_the_contract_shows_it() {
        let account = known(&format!(
            r#"{{"user":"alice","id":42,"active":true,"keys":["{KEY} laptop"],
                "limits":{{"cpus":2,"memory":"8GiB","pids":512,"disk":"50GiB","sessions":20}},
                "idle_timeout":"30m","image":"x:y","later":[1]}}"#
        ));
        assert_eq!(account.id.as_deref(), Some("42"));
        assert_eq!(account.keys, [format!("{KEY} laptop")]);
        assert_eq!(account.limits.memory, Some(Size(8 << 30)));
        assert_eq!(account.idle_timeout.unwrap().0.unwrap().as_secs(), 1800);
        // What the cache writes is read again by the same rule.
        assert_eq!(known(&serde_json::to_string(&account).unwrap()), account);
    }

    #[test]
    fn f35_a_time_that_is_too_long_is_bounded_and_told() {
        let parsed = |time: &str| {
            json(&format!(r#"{{"user":"alice","keys":["{KEY}"],"idle_timeout":"{time}"}}"#)).unwrap()
        };
        let longest = IdleTimeout(Some(IdleTimeout::LONGEST.0));
        for time in ["9999y", "10y 1ns", "99999999999999999999y", "18446744073709551615s 1s"] {
            let Parsed { answer, bounded, .. } = parsed(time);
            assert!(
                matches!(answer, Answer::Known(account) if account.idle_timeout == Some(longest)),
                "{time}"
            );
            assert_eq!(bounded.unwrap(), "idle_timeout is too long and counts as 10years", "{time}");
        }
        for (time, expected) in [("10y", longest), ("never", IdleTimeout(None))] {
            let Parsed { answer, bounded, .. } = parsed(time);
            let Answer::Known(account) = answer else { panic!("{time}") };
            assert_eq!((account.idle_timeout, bounded), (Some(expected), None), "{time}");
            assert_eq!(known(&serde_json::to_string(&account).unwrap()), account);
        }
        for nonsense in ["soon", "Never", "-1s", ""] {
            let body = format!(r#"{{"user":"alice","keys":["{KEY}"],"idle_timeout":"{nonsense}"}}"#);
            assert!(json(&body).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn optional_fields_are_optional() {
        let account = known(&format!(r#"{{"user":"alice","id":"8f-1","keys":["{KEY}"]}}"#));
        assert!(account.active && account.image.is_none() && account.limits == RequestedLimits::default());
    }

    #[test]
    fn inactive_and_keyless_are_answers() {
        for (body, reason) in [
            (format!(r#"{{"user":"alice","id":1,"active":false,"keys":["{KEY}"]}}"#), "inactive"),
            (r#"{"user":"alice","id":1,"keys":[]}"#.to_owned(), "no keys"),
            (r#"{"user":"alice","id":1,"keys":["ssh-ed25519 AAAA"]}"#.to_owned(), "no keys"),
        ] {
            assert_eq!(json(&body).unwrap().answer, Answer::Refused(reason));
        }
    }

    #[test]
    fn a3_bodies_that_are_no_answer() {
        for body in [
            "",
            "[]",
            "null",
            "{}",
            "42",
            "\"alice\"",
            "{\"user\":\"alice\"}",
            "\u{feff}{}",
            "{\"user\":\"alice\",",
            &format!(r#"{{"user":"mallory","id":1,"keys":["{KEY}"]}}"#),
            &format!(r#"{{"user":"Alice","id":1,"keys":["{KEY}"]}}"#),
            &format!(r#"{{"user":"alice\u0000","id":1,"keys":["{KEY}"]}}"#),
            &format!(r#"{{"user":"alice","id":1,"keys":"{KEY}"}}"#),
            &format!(r#"{{"user":"alice","id":1,"active":"yes","keys":["{KEY}"]}}"#),
            &format!(r#"{{"user":"alice","id":[1],"keys":["{KEY}"]}}"#),
            &format!(r#"{{"user":"alice","id":"a\nb","keys":["{KEY}"]}}"#),
            &format!(r#"{{"user":"alice","id":1,"image":"-v /:/x","keys":["{KEY}"]}}"#),
            &format!(r#"{{"user":"alice","id":1,"limits":{{"memory":"lots"}},"keys":["{KEY}"]}}"#),
            &format!(r#"{{"user":"alice","id":1,"limits":{{"cpus":-1}},"keys":["{KEY}"]}}"#),
            &"[".repeat(100_000),
        ] {
            assert!(json(body).is_err(), "{body:.80}");
        }
    }

    #[test]
    fn a_bad_key_costs_only_itself() {
        let parsed = json(&format!(
            r#"{{"user":"alice","id":1,"keys":["command=\"x\" {KEY}","{KEY}","x\n{KEY}",""]}}"#
        ))
        .unwrap();
        assert_eq!(parsed.left_out.len(), 3);
        assert!(matches!(parsed.answer, Answer::Known(account) if account.keys == [KEY]));
    }

    #[test]
    fn a_hundred_keys_are_enough() {
        let keys = vec![format!("\"{KEY}\""); 150].join(",");
        let parsed = json(&format!(r#"{{"user":"alice","id":1,"keys":[{keys}]}}"#)).unwrap();
        assert!(matches!(parsed.answer, Answer::Known(account) if account.keys.len() == 100));
        assert_eq!(parsed.left_out, ["key 101 and after: more than 100"]);
    }

    #[test]
    fn a_forge_answers_in_lines() {
        let login = Login::parse(b"alice").unwrap();
        let body = format!("# keys of alice\n\n{KEY} a@b\r\n{KEY}\nnonsense\n");
        let parsed = parse(&login, Format::Lines, body.as_bytes()).unwrap();
        let keys = [format!("{KEY} a@b"), KEY.to_owned()];
        assert!(matches!(parsed.answer, Answer::Known(account) if account.keys == keys));
        assert_eq!(parsed.left_out.len(), 1);
        assert!(parse(&login, Format::Lines, b"\xff").is_err());
        let empty = parse(&login, Format::Lines, b"").unwrap();
        assert_eq!(empty.answer, Answer::Refused("no keys"));
    }
}
