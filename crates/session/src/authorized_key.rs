//! Public keys as they come from outside, and as they go to sshd: parsed, weighed, encoded
//! again. Nothing of what came in is ever printed, so no option, certificate marker or
//! second line can travel along. Knows no network and no file.

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};
use std::fmt;

/// Keys a user may have; what is beyond is not looked at.
pub const KEYS_MAX: usize = 100;

/// Shortest RSA modulus that counts as safe, in bits (NIST SP 800-57 part 1, table 2).
const RSA_BITS_MIN: usize = 2048;

/// Longest RSA modulus, in bits: OpenSSH's own limit (`sshkey.h`).
const RSA_BITS_MAX: usize = 16384;

/// Longest line that can be a key: an RSA key of the largest size and a comment.
const LINE_MAX: usize = 8192;

/// One key that may open a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedKey {
    line: String,
    fingerprint: String,
    comment: String,
}

/// Why a line is no key that we let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidKey {
    /// Control characters, non-ASCII text or a line that is too long.
    Text,
    /// Not `type base64 [comment]`; options are not taken.
    Format,
    /// A type that is not in the list, DSA and certificates among them.
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
        // A comment may hold any language's letters, but nothing that could be a line end.
        if line.len() > LINE_MAX || line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(InvalidKey::Text);
        }
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
            return Err(InvalidKey::Format);
        };
        let key = PublicKey::from_openssh(&format!("{kind} {blob}")).map_err(|_| InvalidKey::Format)?;
        check(key.key_data())?;
        let encoded = key.to_openssh().map_err(|_| InvalidKey::Format)?;
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let comment = words.collect::<Vec<_>>().join(" ");
        Ok(Self { line: encoded.trim_end().to_owned(), fingerprint, comment })
    }

    /// `type base64`, encoded by us.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// `type`, as OpenSSH names it.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The text after the key, which is only for people; untrusted.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// `type base64 comment`, for the cache: its owner wants to see which key is which.
    #[must_use]
    pub fn with_comment(&self) -> String {
        format!("{} {}", self.line, self.comment).trim_end().to_owned()
    }

    /// As it is printed for sshd: it opens a terminal or runs a command, and nothing else.
    #[must_use]
    pub fn authorized(&self) -> String {
        format!("restrict,pty {}", self.line)
    }

    /// `SHA256:…`, as sshd writes it for `%f`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// Types by an allow-list, so that a type which a later library learns stays out.
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
