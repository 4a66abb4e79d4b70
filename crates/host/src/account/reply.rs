//! Parsing the account source's reply. The reply is untrusted: it becomes an account or is rejected
//! as a whole. An invalid key is left out; it does not make the reply invalid.

use super::Account;
use crate::limits::RequestedLimits;
use identity::Login;
use session::authorized_key::{AuthorizedKey, KEYS_MAX};
use session::escape::printable;
use std::fmt;

/// What the account source replies about a login name.
#[derive(Clone, Debug, PartialEq)]
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
    /// Which value was out of range, and what replaces it.
    pub bounded: Option<String>,
}

impl ParsedReply {
    /// A refusal of the user; with a reason for the journal.
    #[must_use]
    pub fn refused(reason: &'static str) -> Self {
        Self { reply: AccountReply::Refused(reason), left_out: Vec::new(), bounded: None }
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
    let mut account: Account = match format {
        ReplyFormat::Json => serde_json::from_slice(body).map_err(InvalidReply::Json)?,
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
        return Err(InvalidReply::Field("image"));
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
        return Ok(ParsedReply { left_out, bounded, ..ParsedReply::refused("no keys") });
    }
    account.keys = keys;
    Ok(ParsedReply { reply: AccountReply::Known(account), left_out, bounded })
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
        internet: None,
    }
}

/// Ids become labels and file contents, image names become arguments of the engine.
fn is_short_plain_text(text: &str) -> bool {
    (1..=FIELD_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IdleTimeout;
    use crate::limits::Size;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";

    fn json(body: &str) -> Result<ParsedReply, InvalidReply> {
        parse(&Login::parse(b"alice").unwrap(), ReplyFormat::Json, body.as_bytes())
    }

    fn known(body: &str) -> Account {
        match json(body).unwrap().reply {
            AccountReply::Known(account) => account,
            AccountReply::Refused(reason) => panic!("refused: {reason}"),
        }
    }

    #[test]
    fn an_account_as_the_contract_shows_it() {
        let account = known(&format!(
            r#"{{"user":"alice","id":42,"active":true,"keys":["{KEY} laptop"],
                "limits":{{"cpus":2,"memory":"8GiB","pids":512,"disk":"50GiB","sessions":20}},
                "idle_timeout":"30m","image":"x:y","internet":false,"later":[1]}}"#
        ));
        assert_eq!(account.id.as_deref(), Some("42"));
        assert_eq!(account.keys, [format!("{KEY} laptop")]);
        assert_eq!(account.limits.memory, Some(Size(8 << 30)));
        assert_eq!(account.idle_timeout.unwrap().0.unwrap().as_secs(), 1800);
        assert_eq!(account.internet, Some(false));
        // What the cache writes is read again by the same rule.
        assert_eq!(known(&serde_json::to_string(&account).unwrap()), account);
    }

    #[test]
    fn f35_a_time_that_is_too_long_is_bounded_and_reported() {
        let parsed = |time: &str| {
            json(&format!(r#"{{"user":"alice","keys":["{KEY}"],"idle_timeout":"{time}"}}"#)).unwrap()
        };
        let longest = IdleTimeout(Some(IdleTimeout::LONGEST.0));
        for time in ["9999y", "10y 1ns", "99999999999999999999y", "18446744073709551615s 1s"] {
            let ParsedReply { reply, bounded, .. } = parsed(time);
            assert!(
                matches!(reply, AccountReply::Known(account) if account.idle_timeout == Some(longest)),
                "{time}"
            );
            assert_eq!(bounded.unwrap(), "idle_timeout is too long and counts as 10years", "{time}");
        }
        for (time, expected) in [("10y", longest), ("never", IdleTimeout(None))] {
            let ParsedReply { reply, bounded, .. } = parsed(time);
            let AccountReply::Known(account) = reply else { panic!("{time}") };
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
    fn inactive_users_and_users_without_keys_are_refused() {
        for (body, reason) in [
            (format!(r#"{{"user":"alice","id":1,"active":false,"keys":["{KEY}"]}}"#), "inactive"),
            (r#"{"user":"alice","id":1,"keys":[]}"#.to_owned(), "no keys"),
            (r#"{"user":"alice","id":1,"keys":["ssh-ed25519 AAAA"]}"#.to_owned(), "no keys"),
        ] {
            assert_eq!(json(&body).unwrap().reply, AccountReply::Refused(reason));
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
            &format!(r#"{{"user":"alice","id":1,"internet":"no","keys":["{KEY}"]}}"#),
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
        assert!(matches!(parsed.reply, AccountReply::Known(account) if account.keys == [KEY]));
    }

    #[test]
    fn a_hundred_keys_are_enough() {
        let keys = vec![format!("\"{KEY}\""); 150].join(",");
        let parsed = json(&format!(r#"{{"user":"alice","id":1,"keys":[{keys}]}}"#)).unwrap();
        assert!(matches!(parsed.reply, AccountReply::Known(account) if account.keys.len() == 100));
        assert_eq!(parsed.left_out, ["key 101 and after: more than 100"]);
    }

    #[test]
    fn a_reply_of_key_lines_is_an_account() {
        let login = Login::parse(b"alice").unwrap();
        let body = format!("# keys of alice\n\n{KEY} a@b\r\n{KEY}\nnonsense\n");
        let parsed = parse(&login, ReplyFormat::KeyLines, body.as_bytes()).unwrap();
        let keys = [format!("{KEY} a@b"), KEY.to_owned()];
        assert!(matches!(parsed.reply, AccountReply::Known(account) if account.keys == keys));
        assert_eq!(parsed.left_out.len(), 1);
        assert!(parse(&login, ReplyFormat::KeyLines, b"\xff").is_err());
        let empty = parse(&login, ReplyFormat::KeyLines, b"").unwrap();
        assert_eq!(empty.reply, AccountReply::Refused("no keys"));
    }
}
