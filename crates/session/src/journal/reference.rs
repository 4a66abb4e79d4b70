//! References: the search term that ties what a user saw to the entries of the journal.

use std::fmt;
use std::process;
use std::sync::OnceLock;

/// Eight hexadecimal digits that a user sees in a message and an admin finds in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference(String);

/// The reference of this process.
static OURS: OnceLock<Reference> = OnceLock::new();

impl Reference {
    /// The reference of this process: of its session, its request or its run.
    #[must_use]
    pub fn ours() -> Self {
        OURS.get_or_init(Self::random).clone()
    }

    /// Uses the reference of the caller from now on. Call this before anything is logged: the first
    /// reference of a process stays.
    pub fn adopt(reference: Self) {
        let _ = OURS.set(reference);
    }

    /// A new random reference.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 4];
        // The pid serves when there is no randomness: a reference is a search term, not a secret.
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
        let number = if filled == Ok(bytes.len()) { u32::from_ne_bytes(bytes) } else { process::id() };
        Self(format!("{number:08x}"))
    }

    /// Parses a reference from outside.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 8 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_parsed_not_trusted() {
        let reference = Reference::ours();
        assert_eq!(Reference::parse(&reference.to_string()), Some(reference));
        for bad in ["", "0123456", "0123456g", "012345678", "0123456A", "\x1b[31m..."] {
            assert_eq!(Reference::parse(bad), None);
        }
    }
}
