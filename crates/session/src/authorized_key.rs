//! Public keys from outside: parsed, checked, and encoded anew for sshd. The original text is never
//! printed, so no option, certificate marker or second line can pass. Knows no network and no file.

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};
use std::fmt;

/// Most keys of one user; further ones are ignored.
pub const KEYS_MAX: usize = 100;

/// Shortest RSA modulus, in bits (NIST SP 800-57 part 1, table 2).
const RSA_BITS_MIN: usize = 2048;

/// Longest RSA modulus, in bits: OpenSSH's own limit (`sshkey.h`).
const RSA_BITS_MAX: usize = 16384;

/// Longest line, in bytes: an RSA key of the largest size and a comment.
const LINE_MAX: usize = 8192;

/// A key that sshbox accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedKey {
    line: String,
    fingerprint: String,
    comment: String,
}

/// What a key may forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// TCP ports.
    pub ports: bool,
    /// The user's SSH agent.
    pub agent: bool,
}

/// Why a line is not an accepted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidKey {
    /// Control characters, non-ASCII text or a line that is too long.
    Text,
    /// Not `type base64 [comment]`; options are not accepted.
    Format,
    /// A type that is not accepted, such as DSA or a certificate.
    Type,
    /// RSA outside 2048 to 16384 bits.
    Size,
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "not one line of printable text",
            Self::Format => "not 'type base64 [comment]' (options are not taken)",
            Self::Type => "a key type that is not allowed",
            Self::Size => "an RSA key outside 2048 to 16384 bits",
        })
    }
}

impl std::error::Error for InvalidKey {}

impl AuthorizedKey {
    /// Parses one line of the form `type base64 [comment]`.
    ///
    /// # Errors
    /// [`InvalidKey`] says which rule the line breaks.
    pub fn parse(line: &str) -> Result<Self, InvalidKey> {
        let line = line.trim_matches([' ', '\t', '\r']);
        // A comment may hold letters of any language, but no character that could end a line.
        if line.len() > LINE_MAX || line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(InvalidKey::Text);
        }
        let mut parts = line.split([' ', '\t']).filter(|part| !part.is_empty());
        let (Some(kind), Some(blob)) = (parts.next(), parts.next()) else {
            return Err(InvalidKey::Format);
        };
        let key = PublicKey::from_openssh(&format!("{kind} {blob}")).map_err(|_| InvalidKey::Format)?;
        check(key.key_data())?;
        let encoded = key.to_openssh().map_err(|_| InvalidKey::Format)?;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let comment = parts.collect::<Vec<_>>().join(" ");
        Ok(Self { line: encoded.trim_end().to_owned(), fingerprint, comment })
    }

    /// The key of a login, from the methods that succeeded as sshd exposes them: one line `method details` for
    /// each. `None` if there is none.
    #[must_use]
    pub fn of_login(methods: &str) -> Option<Self> {
        let line = methods.lines().find_map(|line| line.strip_prefix("publickey "))?;
        Self::parse(line).ok()
    }

    /// `type base64`, encoded anew.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// `type`, as OpenSSH names it.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The text after the key, for people; untrusted.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// `type base64 comment`, for the cache: users tell their keys by the comment.
    #[must_use]
    pub fn with_comment(&self) -> String {
        format!("{} {}", self.line, self.comment).trim_end().to_owned()
    }

    /// The line for sshd: the key may open a terminal, run a command and, if allowed, forward ports and the
    /// agent, and nothing else.
    #[must_use]
    pub fn authorized(&self, forwarding: Forwarding) -> String {
        let ports = if forwarding.ports { ",port-forwarding" } else { "" };
        let agent = if forwarding.agent { ",agent-forwarding" } else { "" };
        format!("restrict,pty{ports}{agent} {}", self.line)
    }

    /// `SHA256:…`, as sshd writes it for `%f`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// An allow-list: a type that a later version of the library supports is not accepted by itself.
fn check(key: &KeyData) -> Result<(), InvalidKey> {
    match key {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) | KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {
            Ok(())
        }
        KeyData::Rsa(rsa) => {
            let modulus = rsa.n.as_positive_bytes().ok_or(InvalidKey::Format)?;
            let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
            let bits = modulus.len() * 8 - leading;
            if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) { Ok(()) } else { Err(InvalidKey::Size) }
        }
        _ => Err(InvalidKey::Type),
    }
}
