//! Types of single values in the configuration: templates, addresses, names, ids. Each is parsed
//! from a string, and the error says what was expected.

use crate::serde_text::deserialize_from_str;
use identity::Login;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The placeholder for the login name in a value.
const USER: &str = "{user}";

/// A text that contains `{user}` exactly once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Template(pub(super) String);

impl Template {
    /// The text for this login.
    #[must_use]
    pub fn fill(&self, login: &Login) -> String {
        self.0.replace(USER, login.as_str())
    }

    /// The login for which [`Self::fill`] returns `text`, if there is one.
    #[must_use]
    pub fn login_of(&self, text: &str) -> Option<Login> {
        let (before, after) = self.0.split_once(USER)?;
        Login::parse(text.strip_prefix(before)?.strip_suffix(after)?.as_bytes()).ok()
    }

    /// The text with `{user}` in it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Template {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.matches(USER).count() == 1 && !text.contains('\0') {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a text with {user} in it once")
        }
    }
}

/// A host name that may contain `{user}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Hostname(pub(super) String);

impl Hostname {
    /// The host name for this login, cut to the 64 bytes that sethostname(2) accepts.
    #[must_use]
    pub fn fill(&self, login: &Login) -> String {
        self.0.replace(USER, login.as_str()).chars().take(64).collect()
    }
}

impl FromStr for Hostname {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.replacen(USER, "x", 1);
        let labels = || name.split('.');
        let valid_bytes = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        let valid_labels =
            labels().all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'));
        // /etc/hosts of the container maps the whole name and its first label to the container's address.
        let loopback_names = ["localhost", "ip6-localhost", "ip6-loopback"];
        let is_loopback = labels()
            .next()
            .is_some_and(|first| loopback_names.iter().any(|name| first.eq_ignore_ascii_case(name)));
        // Resolvers parse a name whose last label is a number as an IP address.
        let is_address =
            labels().next_back().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if valid_bytes && valid_labels && !is_loopback && !is_address && name.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a host name like \"box\" or \"{user}-box\"")
        }
    }
}

/// The engine's program that starts the processes of a container, where the engine knows several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum EngineRuntime {
    /// The one that the engine uses by default.
    #[default]
    #[serde(rename = "")]
    EngineDefault,
    /// runc
    #[serde(rename = "runc")]
    Runc,
    /// crun
    #[serde(rename = "crun")]
    Crun,
}

impl EngineRuntime {
    /// The name that the engine knows; `None` for its default.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::EngineDefault => None,
            Self::Runc => Some("runc"),
            Self::Crun => Some("crun"),
        }
    }
}

impl FromStr for EngineRuntime {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // gVisor and Kata run a container on a kernel of its own, which cannot receive file descriptors.
        [Self::EngineDefault, Self::Runc, Self::Crun]
            .into_iter()
            .find(|runtime| runtime.name().unwrap_or_default() == text)
            .ok_or("expected \"runc\", \"crun\" or \"\": sshbox passes file descriptors into a box, so the box must share the host's kernel")
    }
}

/// Address of an account: `http`, `https` or `file`, with `{user}` in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AccountUrl(pub(super) String);

impl AccountUrl {
    /// `http`, `https` or `file`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// The address with `{user}` in it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address for this login. No character of a login needs escaping in a URL.
    #[must_use]
    pub fn fill(&self, login: &Login) -> String {
        self.0.replace(USER, login.as_str())
    }
}

impl FromStr for AccountUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let supported = ["http://", "https://", "file:///"].iter().any(|scheme| text.starts_with(scheme));
        if supported && text.contains(USER) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected http://…, https://… or file:///… with {user} in it")
        }
    }
}

/// Address of a web page that may contain `{user}`; or empty, for no page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ManageUrl(pub(super) String);

impl ManageUrl {
    /// The address for this login, or `None` if it is empty.
    #[must_use]
    pub fn fill(&self, login: &Login) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.replace(USER, login.as_str()))
    }
}

impl FromStr for ManageUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let supported = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
        if text.is_empty() || supported && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected http://…, https://… or nothing")
        }
    }
}

/// A user and a group by number, written like `1000:1000`. Neither is root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UidGid {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl FromStr for UidGid {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (uid, gid) = text.split_once(':')?;
            Some((uid.parse().ok()?, gid.parse().ok()?))
        };
        match parse() {
            Some((0, _) | (_, 0)) => Err("the user of a box cannot be root"),
            Some((uid, gid)) => Ok(Self { uid, gid }),
            None => Err("expected \"uid:gid\" in numbers, like \"1000:1000\""),
        }
    }
}

impl fmt::Display for UidGid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl Serialize for UidGid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

deserialize_from_str!(Template, Hostname, AccountUrl, EngineRuntime, ManageUrl, UidGid);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_finds_the_login_in_a_filled_text() {
        let template: Template = "scitex-user-{user}".parse().unwrap();
        let login = Login::parse(b"Ada-L").unwrap();
        assert_eq!(template.login_of(&template.fill(&login)).unwrap(), login);
        for text in ["scitex-user-", "scitex-Ada-L", "scitex-user-a/b", "user-Ada-L", ""] {
            assert_eq!(template.login_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_host_name_is_the_same_for_all_or_has_the_login_in_it() {
        let login = Login::parse(b"Ada-L").unwrap();
        let fill = |text: &str| text.parse::<Hostname>().map(|name| name.fill(&login));
        assert_eq!(fill("box").unwrap(), "box");
        assert_eq!(fill("{user}.boxes.example").unwrap(), "Ada-L.boxes.example");
        assert_eq!(fill(&format!("{{user}}-{}", "x".repeat(60))).unwrap().len(), 64);
        for text in [
            "",
            "-box",
            "box.",
            "a b",
            "{user}{user}",
            "box\n",
            "localhost",
            "LocalHost.localdomain",
            "ip6-localhost",
            "a..b",
            "a.-b",
            "1234",
            "127.0.0.1",
            "{user}.1",
            &"x".repeat(65),
        ] {
            assert!(fill(text).is_err(), "{text}");
        }
    }
}
