//! The lines that `sshbox-keys --recheck` prints, one JSON object for each login name that it was given: what
//! the account source answers about the user now. The command `sshbox` reads them, so it links no web client.

use serde::{Deserialize, Serialize};

/// The most login names that one `sshbox-keys` is given. Its output stays below 1 MiB, even if each user has
/// a hundred keys.
pub const GROUP: usize = 100;

/// What the account source answers about one user.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RecheckedUser {
    /// The login name.
    pub user: String,
    /// The answer.
    #[serde(flatten)]
    pub answer: RecheckAnswer,
}

/// An answer of the account source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum RecheckAnswer {
    /// The user may log in.
    Accepted {
        /// Fingerprints of the keys that log in.
        fingerprints: Vec<String>,
    },
    /// The user may not log in.
    Refused {
        /// Why.
        reason: String,
    },
    /// There is no valid answer, or the account source was not asked because others had got none.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_is_written_and_a_torn_one_is_none() {
        for answer in [
            RecheckAnswer::Accepted { fingerprints: vec!["SHA256:a".to_owned()] },
            RecheckAnswer::Refused { reason: "HTTP 404".to_owned() },
            RecheckAnswer::Nothing,
        ] {
            let user = RecheckedUser { user: "alice".to_owned(), answer };
            let line = serde_json::to_string(&user).unwrap();
            assert_eq!(serde_json::from_str::<RecheckedUser>(&line).unwrap(), user);
            assert!(serde_json::from_str::<RecheckedUser>(&line[..line.len() - 1]).is_err());
        }
    }

    #[test]
    fn the_answers_about_a_group_fit_into_what_is_read() {
        let fingerprints = vec![format!("SHA256:{}", "x".repeat(43)); session::authorized_key::KEYS_MAX];
        let user = RecheckedUser { user: "x".repeat(64), answer: RecheckAnswer::Accepted { fingerprints } };
        assert!(serde_json::to_string(&user).unwrap().len() * GROUP < 1 << 20);
    }
}
