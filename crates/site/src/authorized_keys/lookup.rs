//! Looks up the account of a login in the cache and the account source, and stores what the source
//! replies. The rules are in docs/src/account.md.

use super::PROGRAM;
use super::decision::{CacheDecision, NO_ANSWER, decide};
use crate::source::{self, SourceError};
use host::account::{Account, AccountReply, ParsedReply, TOO_LONG};
use host::cache::{AccountRecord, Cache, LookupOutcome};
use host::config::AccountsConfig;
use identity::Login;
use session::clock::{self, Now};
use session::exit::chain;
use session::journal::{Event, Field, FieldValue, log};
use std::io;
use std::time::Duration;

/// In the log entry about an answer that is too long.
const ANSWER_TOO_LONG: &str =
    "it is longer than 256 KiB; the user is refused until the web app sends a shorter one";

/// The account with which `login` may log in, or the reason to refuse it.
///
/// `may_ask` is whether this process holds the lookup lock; a request may take `timeout`.
pub fn account(
    config: &AccountsConfig,
    login: &Login,
    cache: &Cache,
    may_ask: bool,
    timeout: Duration,
) -> Result<Account, &'static str> {
    let now = clock::now();
    let record = cache.read(login);
    let last_outcome = cache.last_outcome(login, &now);
    match decide(record, last_outcome, &now, clock::parent_start(), config, may_ask) {
        CacheDecision::Use(account) => Ok(*account),
        CacheDecision::Refuse(reason) => Err(reason),
        CacheDecision::Ask(cached) => {
            let reply = source::request(config, login, timeout).account;
            store(reply, login, cache, cached, &now)
        }
    }
}

/// Store a reply, or that there was none, and return the account to use.
fn store(
    reply: Result<ParsedReply, SourceError>,
    login: &Login,
    cache: &Cache,
    cached: Option<Box<Account>>,
    requested: &Now,
) -> Result<Account, &'static str> {
    let parsed = match reply {
        Ok(parsed) => parsed,
        Err(error) => {
            let serves = if cached.is_some() { "the cached account" } else { "nothing" };
            let error = chain(&error);
            let fields: [FieldValue<'_>; 3] =
                [(Field::User, &login.as_str()), (Field::Error, &error), (Field::Serves, &serves)];
            log(PROGRAM, Event::AccountSourceFailed, &fields);
            log_failed_write(cache, login, cache.store_outcome(login, LookupOutcome::Failed, requested));
            return cached.map(|account| *account).ok_or(NO_ANSWER);
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
            let written = cache.write(login, &AccountRecord::new(account.clone(), requested));
            log_failed_write(cache, login, written);
            Ok(account)
        }
        AccountReply::Refused(reason) => {
            if reason == TOO_LONG {
                report(Event::AnswerTooLong, ANSWER_TOO_LONG);
            }
            log_failed_write(cache, login, cache.revoke(login, requested));
            log_failed_write(cache, login, cache.store_outcome(login, LookupOutcome::Refused, requested));
            Err(reason)
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
