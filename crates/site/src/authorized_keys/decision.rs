//! What the cache alone decides about a login: use the cached account, refuse, or ask the account
//! source. Pure: the caller reads the cache and the clock.

use host::account::Account;
use host::cache::{AccountRecord, LookupOutcome};
use host::config::AccountsConfig;
use session::clock::Now;
use std::time::Duration;

// Reasons for the journal.
/// Also the reason by which the caller tells that the account source has refused the user.
pub const REFUSED_BEFORE: &str = "the account source has just refused this user";
/// Also the reason when the account source is asked and does not reply.
pub const NO_ANSWER: &str = "the account source gives no answer, and no cached answer serves";
const NO_TURN: &str = "other logins of this user still ask the account source, and no cached answer serves";

/// What the cache decides.
#[derive(Debug, PartialEq)]
pub enum CacheDecision {
    /// Use this cached account.
    Use(Box<Account>),
    /// Refuse the login; with a reason for the journal.
    Refuse(&'static str),
    /// Ask the account source. If it does not reply, use this cached account.
    Ask(Option<Box<Account>>),
}

/// Decide from the user's record and the outcome of the last lookup without an account.
///
/// sshd runs sshbox-keys once per offered key, and again to verify the signature. So a reply serves
/// without another request if this login requested it, and it is younger than `accounts.fresh`. The next
/// login asks again: a removed key is invalid at once. `may_ask` is false if another login of the user
/// holds the lookup lock.
pub fn decide(
    record: Option<AccountRecord>,
    last_outcome: Option<(LookupOutcome, Duration)>,
    now: &Now,
    login_started: Option<Duration>,
    config: &AccountsConfig,
    may_ask: bool,
) -> CacheDecision {
    let of_this_login = |requested: Duration| {
        let age = now.boottime.checked_sub(requested);
        // The kernel rounds the start time of a process down to hundredths of a second.
        let started = login_started.map(|started| started.saturating_add(Duration::from_millis(10)));
        started.is_some_and(|started| requested >= started) && age.is_some_and(|age| age <= config.fresh.0)
    };
    let requested = record.as_ref().and_then(|record| record.requested(now));
    let cached = record
        .filter(|record| record.serves(now, config.stale) || requested.is_some_and(of_this_login))
        .map(|record| Box::new(record.account));
    match last_outcome {
        Some((LookupOutcome::Refused, requested)) if of_this_login(requested) => {
            return CacheDecision::Refuse(REFUSED_BEFORE);
        }
        Some((LookupOutcome::Failed, requested)) if of_this_login(requested) => {
            return cached.map_or(CacheDecision::Refuse(NO_ANSWER), CacheDecision::Use);
        }
        _ => {}
    }
    match cached {
        Some(account) if requested.is_some_and(of_this_login) || !may_ask => CacheDecision::Use(account),
        None if !may_ask => CacheDecision::Refuse(NO_TURN),
        cached => CacheDecision::Ask(cached),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::account::SiteVariables;
    use host::config::{Config, TimeSpan};
    use host::limits::RequestedLimits;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Now {
        Now { boot_id: "a".to_owned(), boottime: SECOND * seconds, wall: SECOND * seconds }
    }

    fn alice() -> Account {
        Account {
            user: "alice".to_owned(),
            id: None,
            active: true,
            keys: vec!["k".to_owned()],
            limits: RequestedLimits::default(),
            idle_timeout: None,
            image: None,
            uid: None,
            internet: None,
            forward: None,
            env: SiteVariables::default(),
            directory: None,
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the function under test takes it")]
    fn record(asked: u32) -> Option<AccountRecord> {
        Some(AccountRecord::new(alice(), &at(asked)))
    }

    fn accounts() -> AccountsConfig {
        Config::default().accounts
    }

    fn allowed() -> CacheDecision {
        CacheDecision::Use(Box::new(alice()))
    }

    #[test]
    fn a5_one_login_asks_once() {
        let began = Some(SECOND * 100);
        assert_eq!(decide(None, None, &at(101), began, &accounts(), true), CacheDecision::Ask(None));
        assert_eq!(decide(record(101), None, &at(102), began, &accounts(), true), allowed());
        let refused = Some((LookupOutcome::Refused, SECOND * 101));
        assert_eq!(
            decide(None, refused, &at(102), began, &accounts(), true),
            CacheDecision::Refuse(REFUSED_BEFORE)
        );
    }

    #[test]
    fn p3_the_next_login_asks_again_at_once() {
        let began = Some(SECOND * 102);
        let ask = CacheDecision::Ask(Some(Box::new(alice())));
        assert_eq!(decide(record(101), None, &at(103), began, &accounts(), true), ask);
        let refused = Some((LookupOutcome::Refused, SECOND * 101));
        assert_eq!(decide(None, refused, &at(103), began, &accounts(), true), CacheDecision::Ask(None));
    }

    #[test]
    fn a_reply_to_a_slow_login_expires() {
        let began = Some(SECOND * 100);
        assert!(matches!(
            decide(record(101), None, &at(107), began, &accounts(), true),
            CacheDecision::Ask(Some(_))
        ));
    }

    #[test]
    fn without_a_start_time_of_the_login_no_reply_is_fresh() {
        assert!(matches!(
            decide(record(101), None, &at(101), None, &accounts(), true),
            CacheDecision::Ask(Some(_))
        ));
    }

    #[test]
    fn f29_after_one_failure_the_cache_is_used_at_once() {
        let (began, failed) = (Some(SECOND * 100), Some((LookupOutcome::Failed, SECOND * 101)));
        assert_eq!(decide(record(50), failed, &at(104), began, &accounts(), true), allowed());
        assert_eq!(
            decide(None, failed, &at(104), began, &accounts(), true),
            CacheDecision::Refuse(NO_ANSWER)
        );
        let none = AccountsConfig { stale: TimeSpan(Duration::ZERO), ..accounts() };
        assert_eq!(
            decide(record(50), failed, &at(104), began, &none, true),
            CacheDecision::Refuse(NO_ANSWER)
        );
    }

    #[test]
    fn p3_with_stale_zero_the_reply_to_this_login_still_serves() {
        let none = AccountsConfig { stale: TimeSpan(Duration::ZERO), ..accounts() };
        assert_eq!(decide(record(101), None, &at(102), Some(SECOND * 100), &none, true), allowed());
        assert_eq!(
            decide(record(99), None, &at(102), Some(SECOND * 100), &none, true),
            CacheDecision::Ask(None)
        );
    }

    #[test]
    fn f30_after_a_timeout_of_the_lock_the_cache_is_used() {
        let began = Some(SECOND * 100);
        assert_eq!(decide(record(50), None, &at(104), began, &accounts(), false), allowed());
        assert_eq!(decide(None, None, &at(104), began, &accounts(), false), CacheDecision::Refuse(NO_TURN));
    }
}
