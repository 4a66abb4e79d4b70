//! The lines that `sshbox-keys --recheck` prints, one JSON object for each login name that it was given: what
//! the account source answers about the user now. The command `sshbox` reads them, so it links no web client.

use crate::account::Account;
use crate::cache::{AccountRecord, LookupOutcome};
use serde::{Deserialize, Serialize};
use session::authorized_key::AuthorizedKey;
use session::clock::Now;
use std::time::Duration;

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
    /// There is no valid answer.
    Nothing,
}

/// The reason of a refusal that a login has brought.
const REFUSED_AT_LOGIN: &str = "a login was refused";

impl RecheckAnswer {
    /// The answer that accepts the user with the keys of this account.
    #[must_use]
    pub fn accepted(account: &Account) -> Self {
        let keys = account.keys.iter().filter_map(|line| AuthorizedKey::parse(line).ok());
        Self::Accepted { fingerprints: keys.map(|key| key.fingerprint().to_owned()).collect() }
    }

    /// The last answer that is known without a question, from the record and the last lookup without an
    /// account that the cache has. A refusal removes the record, so one of the two is newer.
    #[must_use]
    pub fn last(
        record: Option<&AccountRecord>,
        last_outcome: Option<(LookupOutcome, Duration)>,
        now: &Now,
    ) -> Self {
        match (record, last_outcome) {
            (record, Some((LookupOutcome::Refused, refused)))
                if record
                    .is_none_or(|record| record.requested(now).is_none_or(|accepted| accepted < refused)) =>
            {
                Self::Refused { reason: REFUSED_AT_LOGIN.to_owned() }
            }
            (Some(record), _) => Self::accepted(&record.account),
            (None, _) => Self::Nothing,
        }
    }
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
    fn p14_the_last_answer_is_the_newer_one_of_record_and_refusal() {
        let at = |boot: &str, seconds| Now {
            boot_id: boot.to_owned(),
            boottime: Duration::from_secs(seconds),
            wall: Duration::from_secs(seconds),
        };
        let account: Account =
            serde_json::from_str("{\"user\":\"alice\",\"active\":true,\"keys\":[]}").unwrap();
        let now = at("a", 100);
        let asked = |boot, seconds| AccountRecord::new(account.clone(), &at(boot, seconds));
        let refused = |seconds| Some((LookupOutcome::Refused, Duration::from_secs(seconds)));
        let failed = Some((LookupOutcome::Failed, Duration::from_secs(90)));
        let is_refused = |answer: &RecheckAnswer| matches!(answer, RecheckAnswer::Refused { .. });
        let last =
            |record: Option<AccountRecord>, outcome| RecheckAnswer::last(record.as_ref(), outcome, &now);
        assert!(is_refused(&last(None, refused(50))));
        assert!(is_refused(&last(Some(asked("a", 40)), refused(50))));
        assert!(is_refused(&last(Some(asked("an earlier boot", 60)), refused(50))));
        let accepted = RecheckAnswer::Accepted { fingerprints: Vec::new() };
        assert_eq!(last(Some(asked("a", 60)), refused(50)), accepted);
        assert_eq!(last(Some(asked("a", 60)), failed), accepted);
        assert_eq!(last(None, failed), RecheckAnswer::Nothing);
        assert_eq!(last(None, None), RecheckAnswer::Nothing);
    }

    #[test]
    fn the_answers_about_a_group_fit_into_what_is_read() {
        let fingerprints = vec![format!("SHA256:{}", "x".repeat(43)); session::authorized_key::KEYS_MAX];
        let user = RecheckedUser { user: "x".repeat(64), answer: RecheckAnswer::Accepted { fingerprints } };
        assert!(serde_json::to_string(&user).unwrap().len() * GROUP < 1 << 20);
    }
}
