//! `sshbox-keys --recheck`: asks the account source about users who are logged in. The answers go where those
//! of a login go, into the cache and the notes for `sshbox-shell`, and to standard output.
//!
//! A few requests run at once. If the account source gives no answer several times in a row, the others are
//! not asked: an outage costs as much as a few requests that time out.

use super::login_notes::{LoginNotes, fingerprints};
use super::lookup::{self, NoAccount};
use super::{account_source, load_config};
use host::cache::Cache;
use host::config::Config;
use host::recheck::{GROUP, RecheckAnswer, RecheckedUser};
use identity::Login;
use session::deadlines::RECHECK_GROUP;
use session::exit::ExitStatus;
use session::times::later;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// Requests at the same time.
const CONCURRENT: usize = 4;

/// After so many requests in a row without an answer, no other is sent.
const FAILURES: usize = 4;

/// Longest input, in bytes.
const INPUT_MAX: u64 = 64 * 1024;

/// The program, when it is run with `--recheck`.
pub fn run(config: &Path) -> ExitCode {
    let config = match load_config(config) {
        Ok(config) => config,
        Err(status) => return status,
    };
    let mut text = String::new();
    if io::stdin().lock().take(INPUT_MAX).read_to_string(&mut text).is_err() {
        return ExitStatus::Usage.code().into();
    }
    let logins: Vec<_> = text.lines().filter_map(|line| Login::parse(line.as_bytes()).ok()).collect();
    let print = |user: &RecheckedUser| {
        let line = serde_json::to_string(user).unwrap_or_default();
        // The reader counts a missing line as no answer.
        let _ = writeln!(io::stdout().lock(), "{line}");
    };
    ask_all(logins.into_iter().take(GROUP), |login| ask(&config, login), print);
    ExitCode::SUCCESS
}

/// Asks about all users, a few at a time, and calls `each` with the answers.
fn ask_all(
    logins: impl Iterator<Item = Login> + Send,
    ask: impl Fn(&Login) -> RecheckAnswer + Sync,
    each: impl Fn(&RecheckedUser) + Sync,
) {
    let (logins, failures) = (Mutex::new(logins), AtomicUsize::new(0));
    let end = later(Instant::now(), RECHECK_GROUP);
    let work = || {
        loop {
            let next = logins.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(login) = next else { break };
            let gives_up = failures.load(Ordering::Relaxed) >= FAILURES || Instant::now() >= end;
            let answer = if gives_up { RecheckAnswer::Nothing } else { ask(&login) };
            match answer {
                RecheckAnswer::Nothing => drop(failures.fetch_add(1, Ordering::Relaxed)),
                _ => failures.store(0, Ordering::Relaxed),
            }
            each(&RecheckedUser { user: login.to_string(), answer });
        }
    };
    thread::scope(|scope| {
        for _ in 1..CONCURRENT {
            // If no thread can start, this one does the work alone.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}

/// What the account source answers about this user now.
fn ask(config: &Config, login: &Login) -> RecheckAnswer {
    let accounts = account_source(config, login);
    let cache = Cache::new(&accounts.cache);
    // A login that asks at the same time brings everything up to date itself.
    let Ok(_lookup_lock) = cache.lock_lookup(login, accounts.timeout.0) else {
        return RecheckAnswer::Nothing;
    };
    let found = lookup::ask_now(&accounts, login, &cache, accounts.timeout.0);
    LoginNotes { config, login }.update_answer(&found);
    match found {
        Ok(account) => RecheckAnswer::Accepted { fingerprints: fingerprints(&account) },
        Err(NoAccount::Refused(reason)) => RecheckAnswer::Refused { reason: reason.to_owned() },
        Err(NoAccount::Unknown(_)) => RecheckAnswer::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(count: usize) -> impl Iterator<Item = Login> + Send {
        (0..count).map(|n| Login::parse(format!("user-{n}").as_bytes()).unwrap())
    }

    #[test]
    fn every_user_is_asked_about_once_and_few_at_a_time() {
        let (now, most, answers) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let ask = |login: &Login| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(std::time::Duration::from_millis(2));
            now.fetch_sub(1, Ordering::SeqCst);
            RecheckAnswer::Refused { reason: login.to_string() }
        };
        ask_all(logins(60), ask, |user| answers.lock().unwrap().push(user.clone()));
        let answers = answers.into_inner().unwrap();
        let mut names: Vec<_> = answers.iter().map(|user| user.user.clone()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((answers.len(), names.len()), (60, 60));
        assert!(answers.iter().all(|RecheckedUser { user, answer }| {
            *answer == RecheckAnswer::Refused { reason: user.clone() }
        }));
        assert!(most.into_inner() <= CONCURRENT);
    }

    #[test]
    fn p14_an_outage_costs_a_few_requests_and_refuses_no_one() {
        let (asked, answers) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let ask = |_: &Login| {
            asked.fetch_add(1, Ordering::SeqCst);
            thread::sleep(std::time::Duration::from_millis(2));
            RecheckAnswer::Nothing
        };
        ask_all(logins(60), ask, |user| answers.lock().unwrap().push(user.answer.clone()));
        assert_eq!(answers.into_inner().unwrap(), vec![RecheckAnswer::Nothing; 60]);
        assert!(asked.into_inner() < FAILURES + CONCURRENT);
    }
}
