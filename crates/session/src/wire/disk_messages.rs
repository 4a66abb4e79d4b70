//! Messages on `disk.sock`: requests to `sshbox-disk`, which only root can send.

use super::fields::Fields;

/// What `sshbox-wake` and `sshbox chown` can request of `sshbox-disk`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskVerb {
    /// Make the home ready for a box that is about to start: create, mount, grow. Reply: `disk`, the
    /// backend of this home, and `note`, what could not be done, if anything.
    Prepare,
    /// Apply a changed limit to the home of a running box. The reply is the same.
    Resize,
}

impl DiskVerb {
    const ALL: [Self; 2] = [Self::Prepare, Self::Resize];

    fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Resize => "resize",
        }
    }

    /// The request for the home of `login`, with the reference of the caller's session.
    #[must_use]
    pub fn request(self, login: &str, reference: &str) -> Fields {
        Fields::default().with(self.name(), login.as_bytes()).with("ref", reference.as_bytes())
    }

    /// The verb of a request, and the name that came with it, unchecked.
    #[must_use]
    pub fn parse(fields: &Fields) -> Option<(Self, &[u8])> {
        let (name, login) = fields.iter().next()?;
        Some((Self::ALL.into_iter().find(|verb| verb.name().as_bytes() == name)?, login))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_survives_and_nothing_else_is_one() {
        for verb in DiskVerb::ALL {
            let request = verb.request("alice", "1a2b3c4d");
            assert_eq!(DiskVerb::parse(&request), Some((verb, &b"alice"[..])));
            assert_eq!(request.text("ref"), Some("1a2b3c4d"));
        }
        for other in [Fields::default(), Fields::default().with("wake", b"alice")] {
            assert_eq!(DiskVerb::parse(&other), None, "{other:?}");
        }
    }
}
