//! `sshbox-keys --recheck`: asks the account source about users who are logged in. The answers go where those
//! of a login go, into the cache and the notes for `sshbox-shell`, and to standard output.
//!
//! A few requests run at once. If the account source cannot be reached several times in a row, the others are
//! not asked about: an outage costs as much as a few requests that time out. A reply that is no answer, such
//! as HTTP 500, is about one user, and must not keep the others waiting.

use super::login_notes::LoginNotes;
use super::lookup::{self, NoAccount};
use super::{account_source, load_config};
use host::cache::{AccountRecord, Cache, LookupOutcome};
use host::config::{AccountsConfig, Config};
use host::recheck::{GROUP, RecheckAnswer, RecheckedUser};
use identity::Login;
use session::clock::{self, Now};
use session::deadlines::RECHECK_GROUP;
use session::exit::ExitStatus;
use session::times::later;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Requests at the same time.
const CONCURRENT: usize = 4;

/// After so many requests in a row that do not reach the account source, no other is sent.
const FAILURES: usize = 4;

/// Longest input, in bytes.
const INPUT_MAX: u64 = 64 * 1024;

/// What a question about one user brought.
enum Reply {
    /// The account source replied.
    Source(RecheckAnswer),
    /// The account source was not reached.
    Outage,
    /// It was not asked: a login of this user is doing that. This is what is known.
    Known(RecheckAnswer),
}

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
        // A missing line means that nobody was asked.
        let _ = writeln!(io::stdout().lock(), "{line}");
    };
    ask_all(logins.into_iter().take(GROUP), |login| ask(&config, login), print);
    ExitCode::SUCCESS
}

/// Asks about the users, a few at a time, and calls `each` with the answers. After an outage or a long time it
/// leaves the others out.
fn ask_all(
    logins: impl Iterator<Item = Login> + Send,
    ask: impl Fn(&Login) -> Reply + Sync,
    each: impl Fn(&RecheckedUser) + Sync,
) {
    let (logins, failures) = (Mutex::new(logins), AtomicUsize::new(0));
    let end = later(Instant::now(), RECHECK_GROUP);
    let work = || {
        loop {
            let next = logins.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(login) = next else { break };
            if failures.load(Ordering::Relaxed) >= FAILURES || Instant::now() >= end {
                break;
            }
            let answer = match ask(&login) {
                Reply::Source(answer) => {
                    failures.store(0, Ordering::Relaxed);
                    answer
                }
                Reply::Outage => {
                    failures.fetch_add(1, Ordering::Relaxed);
                    RecheckAnswer::Nothing
                }
                Reply::Known(answer) => answer,
            };
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
fn ask(config: &Config, login: &Login) -> Reply {
    let accounts = account_source(config, login);
    let cache = Cache::new(&accounts.cache);
    let lookup_lock = match cache.lock_lookup(login, accounts.timeout.0) {
        // Logins of the user ask all the time. Anyone can begin such a login.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let now = clock::now();
            let record = cache.read(login);
            return Reply::Known(known(record.as_ref(), cache.last_outcome(login, &now), &now, &accounts));
        }
        // If no lock file can be opened, the account source is asked without a lock, as at a login.
        lookup_lock => lookup_lock,
    };
    let found = lookup::ask_now(&accounts, login, &cache, accounts.timeout.0);
    if lookup_lock.is_ok() {
        LoginNotes { config, login }.update_answer(&found);
    }
    match found {
        Ok(account) => Reply::Source(RecheckAnswer::accepted(&account)),
        Err(NoAccount::Refused(reason)) => {
            Reply::Source(RecheckAnswer::Refused { reason: reason.to_owned() })
        }
        Err(NoAccount::Unknown(_)) => Reply::Source(RecheckAnswer::Nothing),
        Err(NoAccount::Unreachable) => Reply::Outage,
    }
}

/// What the answers that logins have brought say of a user: a refusal, or an account that is young enough.
fn known(
    record: Option<&AccountRecord>,
    last_outcome: Option<(LookupOutcome, Duration)>,
    now: &Now,
    accounts: &AccountsConfig,
) -> RecheckAnswer {
    let is_old = record.is_some_and(|record| record.age(now).is_none_or(|age| age >= accounts.recheck.0));
    match RecheckAnswer::last(record, last_outcome, now) {
        RecheckAnswer::Accepted { .. } if is_old => RecheckAnswer::Nothing,
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(count: usize) -> impl Iterator<Item = Login> + Send {
        (0..count).map(|n| Login::parse(format!("user-{n}").as_bytes()).unwrap())
    }

    /// Asks about 60 users. Returns the answers, and the most questions at the same time.
    fn replies(reply: impl Fn(&Login) -> Reply + Sync) -> (Vec<RecheckedUser>, usize) {
        let (now, most, answers) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let ask = |login: &Login| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(2));
            now.fetch_sub(1, Ordering::SeqCst);
            reply(login)
        };
        ask_all(logins(60), ask, |user| answers.lock().unwrap().push(user.clone()));
        (answers.into_inner().unwrap(), most.into_inner())
    }

    fn refused(login: &Login) -> RecheckAnswer {
        RecheckAnswer::Refused { reason: login.to_string() }
    }

    #[test]
    fn every_user_is_asked_about_once_and_few_at_a_time() {
        let (answers, most) = replies(|login| Reply::Source(refused(login)));
        let mut names: Vec<_> = answers.iter().map(|user| user.user.clone()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!((answers.len(), names.len()), (60, 60));
        assert!(answers.iter().all(|RecheckedUser { user, answer }| {
            *answer == RecheckAnswer::Refused { reason: user.clone() }
        }));
        assert!(most <= CONCURRENT);
    }

    #[test]
    fn p14_an_outage_costs_a_few_requests_and_refuses_no_one() {
        let (answers, _) = replies(|_| Reply::Outage);
        assert!((FAILURES..FAILURES + CONCURRENT).contains(&answers.len()), "{answers:?}");
        assert!(answers.iter().all(|user| user.answer == RecheckAnswer::Nothing));
    }

    #[test]
    fn p14_users_without_an_answer_of_their_own_do_not_end_the_questions_about_others() {
        for unlucky in [|| Reply::Source(RecheckAnswer::Nothing), || Reply::Known(RecheckAnswer::Nothing)] {
            let is_unlucky = |login: &Login| login.as_str().len() < "user-10".len();
            let reply =
                |login: &Login| if is_unlucky(login) { unlucky() } else { Reply::Source(refused(login)) };
            let (answers, _) = replies(reply);
            let known = answers.iter().filter(|user| user.answer != RecheckAnswer::Nothing).count();
            assert_eq!((answers.len(), known), (60, 50));
        }
    }

    #[test]
    fn p14_while_logins_hold_the_lock_their_answers_count() {
        let at = |seconds| Now {
            boot_id: "a".to_owned(),
            boottime: Duration::from_secs(seconds),
            wall: Duration::from_secs(seconds),
        };
        let accounts = Config::default().accounts;
        let account: host::account::Account =
            serde_json::from_str("{\"user\":\"alice\",\"active\":true,\"keys\":[]}").unwrap();
        let record = AccountRecord::new(account, &at(1000));
        let refused = Some((LookupOutcome::Refused, Duration::from_secs(1001)));
        let recheck = accounts.recheck.0.as_secs();
        let (young, old) = (at(1000 + recheck - 1), at(1000 + recheck));
        assert!(matches!(known(Some(&record), None, &young, &accounts), RecheckAnswer::Accepted { .. }));
        assert_eq!(known(Some(&record), None, &old, &accounts), RecheckAnswer::Nothing);
        assert_eq!(known(None, None, &old, &accounts), RecheckAnswer::Nothing);
        for record in [None, Some(&record)] {
            let answer = known(record, refused, &old, &accounts);
            assert!(matches!(answer, RecheckAnswer::Refused { .. }), "{answer:?}");
        }
    }
}
