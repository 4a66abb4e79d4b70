//! Looks up the account of a login in the cache and the account source, and stores what the source
//! replies. The rules are in docs/src/account.md.

use super::PROGRAM;
use super::decision::{CacheDecision, NO_ANSWER, REFUSED_BEFORE, decide};
use crate::source;
use host::account::{Account, AccountReply, TOO_LONG};
use host::cache::{AccountRecord, Cache, LookupOutcome};
use host::config::AccountsConfig;
use identity::Login;
use session::clock::{self, Now};
use session::exit::chain;
use session::journal::{Event, Field, FieldValue, log};
use std::io;
use std::time::Duration;

/// Why a lookup has no account; with a reason for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAccount {
    /// The account source refuses the user.
    Refused(&'static str),
    /// There is no answer that serves.
    Unknown(&'static str),
    /// The same, since the account source cannot be reached.
    Unreachable,
}

impl NoAccount {
    /// The reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Refused(reason) | Self::Unknown(reason) => reason,
            Self::Unreachable => NO_ANSWER,
        }
    }
}

/// In the log entry about an answer that is too long.
const ANSWER_TOO_LONG: &str =
    "it is longer than 256 KiB; the user is refused until the web app sends a shorter one";

/// The account with which `login` may log in.
///
/// `may_ask` is whether this process holds the lookup lock; a request may take `timeout`.
pub fn account(
    config: &AccountsConfig,
    login: &Login,
    cache: &Cache,
    may_ask: bool,
    timeout: Duration,
) -> Result<Account, NoAccount> {
    let now = clock::now();
    let record = cache.read(login);
    let last_outcome = cache.last_outcome(login, &now);
    match decide(record, last_outcome, &now, clock::parent_start(), config, may_ask) {
        CacheDecision::Use(account) => Ok(*account),
        CacheDecision::Refuse(REFUSED_BEFORE) => Err(NoAccount::Refused(REFUSED_BEFORE)),
        CacheDecision::Refuse(reason) => Err(NoAccount::Unknown(reason)),
        CacheDecision::Ask(cached) => {
            let serves = if cached.is_some() { "the cached account" } else { "nothing" };
            match (ask(config, login, cache, timeout, &now, serves), cached) {
                (Err(NoAccount::Unknown(_) | NoAccount::Unreachable), Some(cached)) => Ok(*cached),
                (answer, _) => answer,
            }
        }
    }
}

/// What the account source answers now, within `timeout`. Stores the answer, or that there was none.
pub fn ask_now(
    config: &AccountsConfig,
    login: &Login,
    cache: &Cache,
    timeout: Duration,
) -> Result<Account, NoAccount> {
    ask(config, login, cache, timeout, &clock::now(), "the last answer")
}

/// Ask, and store the answer, or that there was none. `serves` is what is used in place of a missing answer.
fn ask(
    config: &AccountsConfig,
    login: &Login,
    cache: &Cache,
    timeout: Duration,
    requested: &Now,
    serves: &str,
) -> Result<Account, NoAccount> {
    let reply = source::request(config, login, timeout).account;
    let parsed = match reply {
        Ok(parsed) => parsed,
        Err(error) => {
            let none = if error.is_outage() { NoAccount::Unreachable } else { NoAccount::Unknown(NO_ANSWER) };
            let error = chain(&error);
            let fields: [FieldValue<'_>; 3] =
                [(Field::User, &login.as_str()), (Field::Error, &error), (Field::Serves, &serves)];
            log(PROGRAM, Event::AccountSourceFailed, &fields);
            log_failed_write(cache, login, cache.store_outcome(login, LookupOutcome::Failed, requested));
            return Err(none);
        }
    };
    let report = |event, reason: &str| {
        log(PROGRAM, event, &[(Field::User, &login.as_str()), (Field::Reason, &reason)]);
    };
    parsed.left_out.iter().for_each(|reason| report(Event::KeyLeftOut, reason));
    parsed.ignored.iter().for_each(|reason| report(Event::ValueLeftOut, reason));
    parsed.bounded.iter().for_each(|reason| report(Event::ValueBounded, reason));
    match parsed.reply {
        AccountReply::Known(account) => {
            let record = AccountRecord::new(account.clone(), requested);
            let written = cache.write_at_login(login, &record, requested, config.stale);
            log_failed_write(cache, login, written);
            Ok(account)
        }
        AccountReply::Refused(reason) => {
            if reason == TOO_LONG {
                report(Event::AnswerTooLong, ANSWER_TOO_LONG);
            }
            log_failed_write(cache, login, cache.revoke(login, requested));
            log_failed_write(cache, login, cache.store_outcome(login, LookupOutcome::Refused, requested));
            Err(NoAccount::Refused(reason))
        }
    }
}

/// Log a failed write once, not for each login until the cache works again.
fn log_failed_write(cache: &Cache, login: &Login, written: io::Result<()>) {
    if let Err(error) = written
        && cache.mark_first_failure()
    {
        let error = error.to_string();
        log(PROGRAM, Event::CacheNotWritten, &[(Field::User, &login.as_str()), (Field::Error, &error)]);
    }
}
