//! Messages on `wake.sock`: requests to `sshbox-wake`, and the progress before its reply.

use super::fields::Fields;

/// What a caller can request of `sshbox-wake`: a user for their own box, root for any box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start the box if it does not run. Reply: `running`.
    Wake,
    /// Stop the box. Reply: `stopped`, `1` if it ran, else `0`.
    Stop,
    /// The same; the caller sends [`Verb::Wake`] next.
    Restart,
    /// Describe the box. Reply: `box`, as JSON.
    Status,
    /// Say why the box has just stopped. Reply: `why`, or no field if that is not known.
    StopReason,
    /// List the keys of the user's account. Reply: one `key` each, `left_out` with the number that
    /// did not fit, `managed` with where the user manages them.
    Keys,
    /// Give the running box the limits of its account. Reply: `updated`, `1` if any differed, else `0`.
    Update,
}

impl Verb {
    const ALL: [Self; 7] =
        [Self::Wake, Self::Stop, Self::Restart, Self::Status, Self::StopReason, Self::Keys, Self::Update];

    fn name(self) -> &'static str {
        match self {
            Self::Wake => "wake",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Status => "status",
            Self::StopReason => "why",
            Self::Keys => "keys",
            Self::Update => "update",
        }
    }

    /// The request for the box of `login`, with the reference of the caller's session.
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

impl Fields {
    /// Asks for progress before the reply.
    #[must_use]
    pub fn with_progress(self) -> Self {
        self.with("progress", b"1")
    }

    /// Whether the caller that sent this request reads progress.
    #[must_use]
    pub fn wants_progress(&self) -> bool {
        self.get("progress") == Some(b"1")
    }

    /// Says that root asks because the user logs in.
    #[must_use]
    pub fn for_login(self) -> Self {
        self.with("for", b"login")
    }

    /// Whether root asks because the user logs in.
    #[must_use]
    pub fn is_for_login(&self) -> bool {
        self.get("for") == Some(b"login")
    }

    /// The step that `sshbox-wake` has reached, if this is progress and not yet the reply.
    #[must_use]
    pub fn progress_step(&self) -> Option<&[u8]> {
        self.iter().next().filter(|(name, _)| *name == b"waiting").map(|(_, step)| step)
    }
}

/// Progress: the step that `sshbox-wake` has reached, sent before the reply if the caller wants it.
#[must_use]
pub fn progress(step: &str) -> Fields {
    Fields::default().with("waiting", step.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_survives_and_nothing_else_is_one() {
        for verb in Verb::ALL {
            let request = verb.request("alice", "1a2b3c4d");
            assert_eq!(Verb::parse(&request), Some((verb, &b"alice"[..])));
            assert_eq!(request.text("ref"), Some("1a2b3c4d"));
            assert!(!request.is_for_login() && request.clone().for_login().is_for_login());
            assert_eq!(Verb::parse(&request.with_progress()), Some((verb, &b"alice"[..])));
        }
        for other in [Fields::default(), Fields::default().with("Wake", b"alice"), progress("wake")] {
            assert_eq!(Verb::parse(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_reply_is_no_progress() {
        assert_eq!(progress("a").progress_step(), Some(&b"a"[..]));
        for reply in ["running", "failed", "stopped"] {
            let reply = Fields::default().with(reply, b"1").with("waiting", b"x");
            assert_eq!(reply.progress_step(), None, "{reply:?}");
        }
    }
}
