//! Names of containers and images in the configuration.

use super::values::{Template, USER};
use crate::serde_text::deserialize_from_str;
use serde::Serialize;
use std::str::FromStr;

/// The placeholder for a keyed digest of the login name.
const DIGEST: &str = "{digest}";

/// Name of the containers: it contains `{user}` or `{digest}` exactly once. `BoxNames` fills it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ContainerName(pub(super) String);

impl ContainerName {
    /// Whether it contains `{digest}`, and so does not tell the login name.
    #[must_use]
    pub fn has_digest(&self) -> bool {
        self.0.contains(DIGEST)
    }

    /// The same name as a [`Template`]; `None` if it contains a digest.
    #[must_use]
    pub fn with_user(&self) -> Option<Template> {
        (!self.has_digest()).then(|| Template(self.0.clone()))
    }

    /// The name with this login name, or with this digest of it.
    pub(crate) fn fill(&self, user_or_digest: &str) -> String {
        let placeholder = if self.has_digest() { DIGEST } else { USER };
        self.0.replace(placeholder, user_or_digest)
    }
}

impl FromStr for ContainerName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What engines accept; the first character may be the placeholder's.
        let name = text.replacen(DIGEST, "0", 1).replacen(USER, "0", 1);
        let valid_bytes = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let placeholders = text.matches(USER).count().saturating_add(text.matches(DIGEST).count());
        // A digest alone could be the beginning of the id of another container, by which engines find it.
        if valid_bytes && starts_well && placeholders == 1 && text != DIGEST {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a container name with {digest} or {user} in it once, like \"sshbox-{digest}\"")
        }
    }
}

/// Which images an account may name: a text in which `*` stands for any characters but `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ImagePattern(String);

impl ImagePattern {
    /// Whether an image of this name is allowed.
    #[must_use]
    pub fn matches(&self, image: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| image.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The first place for a part leaves the most to those that follow.
            match rest.split_once(part) {
                Some((skipped, after)) if !skipped.contains('/') => rest = after,
                _ => return false,
            }
        }
        rest.strip_suffix(last).is_some_and(|skipped| !skipped.contains('/'))
    }
}

impl FromStr for ImagePattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "expected the name of an image in which * may stand for any characters but /, like \"lab/*:*\"",
            )
        }
    }
}

deserialize_from_str!(ContainerName, ImagePattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_name_contains_the_login_name_or_a_digest() {
        for (text, digest) in [("sshbox-{digest}", true), ("sshbox-{user}", false), ("{user}.box", false)] {
            let name: ContainerName = text.parse().unwrap();
            assert_eq!((name.has_digest(), name.with_user().is_none()), (digest, digest), "{text}");
            assert_eq!(name.fill("Ada-L"), text.replace("{digest}", "Ada-L").replace("{user}", "Ada-L"));
        }
        for text in ["", "sshbox", "{digest}", "{user}{digest}", "-{user}", "a/{user}", "a {user}", "{uid}-x"]
        {
            assert!(text.parse::<ContainerName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_star_stands_for_any_characters_but_a_slash() {
        let matches = |pattern: &str, image: &str| pattern.parse::<ImagePattern>().unwrap().matches(image);
        for (pattern, image) in [
            ("sshbox-user:latest", "sshbox-user:latest"),
            ("sshbox-user:*", "sshbox-user:"),
            ("sshbox-user:*", "sshbox-user:trixie"),
            ("registry.example/lab/*", "registry.example/lab/r:4.4"),
            ("registry.example/*/*:1", "registry.example/lab/r:1:1"),
            ("*", "anything"),
            ("**", "anything"),
            ("a*b*c", "abbcbc"),
            ("*/a/*", "x/a/"),
        ] {
            assert!(matches(pattern, image), "{pattern} {image}");
        }
        for (pattern, image) in [
            ("sshbox-user:*", "sshbox-user"),
            ("sshbox-user:*", "other/sshbox-user:x"),
            ("sshbox-user:latest", "sshbox-user:latest2"),
            ("registry.example/lab/*", "registry.example/lab/other/r:4.4"),
            ("registry.example/*:1", "registry.example/lab/r:1"),
            ("*", "a/b"),
            ("a*a", "a"),
            ("a*b*c", "acb"),
            ("*/a/*", "a/b"),
            ("[ab]", "a"),
            ("a?", "ab"),
        ] {
            assert!(!matches(pattern, image), "{pattern} {image}");
        }
        // A hostile name takes no more time than its length.
        assert!(!matches(&"*a".repeat(100), &format!("{}b", "a".repeat(254))));
        for text in ["", "a b", "b\u{fc}cher:*", &"x".repeat(256)] {
            assert!(text.parse::<ImagePattern>().is_err(), "{text}");
        }
    }
}
