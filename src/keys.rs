//! `sshbox-keys`, the `AuthorizedKeysCommand`: prints the one key that sshd asked for, if it
//! is the user's, and nothing else ever. Runs as `sshbox-keys` and never speaks to Docker.

use crate::account::{Account, Answer, Parsed};
use crate::authorized_key::AuthorizedKey;
use crate::cache::{Cache, Outcome, Record};
use crate::clock::{self, Now};
use crate::config::{self, Accounts};
use crate::exit::{self, Status, chain};
use crate::journal::{Level, Reference, log};
use crate::presence::{Place, RUN, invitation};
use crate::source::{self, SourceError};
use clap::Parser;
use identity::Login;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const PROGRAM: &str = "sshbox-keys";

/// Prints the authorized key of a user whose fingerprint sshd asks for.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
struct Arguments {
    /// Configuration file
    #[arg(long, default_value = config::PATH)]
    config: PathBuf,
    /// Fingerprint of the offered key, `SHA256:…` (sshd's %f)
    #[arg(long)]
    fingerprint: String,
    /// Login name (sshd's %u)
    user: OsString,
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Arguments = match exit::arguments() {
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    let Ok(login) = Login::parse(arguments.user.as_bytes()) else {
        return ExitCode::SUCCESS;
    };
    let config = match config::load(&arguments.config) {
        Ok(config) => match invitation(&login) {
            Some(file) => config.accounts.of_visitor(&file),
            None => config.accounts,
        },
        Err(error) => {
            log(PROGRAM, Level::Error, "configuration refused", &[("error", &chain(&error))]);
            return Status::Config.code().into();
        }
    };
    let cache = Cache::new(&config.cache);
    let began = Instant::now();
    // Held until the program ends. Who waits in vain goes on with what the cache has.
    let flight = cache.queue(&login, config.timeout.0);
    let left = config.timeout.0.saturating_sub(began.elapsed());
    let Some(account) = account(&config, &login, &cache, flight.is_ok(), left) else {
        return ExitCode::SUCCESS;
    };
    let Some(key) = offered(&account, &arguments.fingerprint) else {
        return ExitCode::SUCCESS;
    };
    let place = Place::of(Path::new(RUN), &login);
    if let Err(error) = place.tell_account(account.id.as_deref().unwrap_or_default()) {
        // Then sshbox-wake is asked, which knows.
        let fields = [("user", login.as_str()), ("error", &error.to_string())];
        log(PROGRAM, Level::Warning, "account not told", &fields);
    }
    match writeln!(io::stdout(), "restrict,pty {}", key.line()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => Status::TryAgain.code().into(),
    }
}

fn offered(account: &Account, fingerprint: &str) -> Option<AuthorizedKey> {
    let keys = account.keys.iter().filter_map(|line| AuthorizedKey::parse(line).ok());
    keys.into_iter().find(|key| key.fingerprint() == fingerprint)
}

/// Who this user is, by the rules of "Account" in ARCHITECTURE.md: the answer of this login
/// if it was asked for already, else a new one, else the last one.
fn account(config: &Accounts, login: &Login, cache: &Cache, alone: bool, left: Duration) -> Option<Account> {
    let now = clock::now();
    let record = cache.read(login);
    let recent = cache.recent(login, &now);
    let known = next(record, recent, &now, clock::parent_start(), config, alone);
    match known {
        Known::Allowed(account) => Some(*account),
        Known::Refused => None,
        Known::Ask(last) => settle(source::ask(config, login, left), login, cache, last, &now),
    }
}

/// What is known before anybody is asked.
#[derive(Debug, PartialEq)]
enum Known {
    Allowed(Box<Account>),
    Refused,
    /// Has to be asked; if that fails, this serves.
    Ask(Option<Box<Account>>),
}

/// Decides from the cache. An answer serves without a question if it was asked for after
/// this login began (sshd runs us once per offered key and once more for the signature) and
/// is younger than `fresh`: so a key that was removed is dead at the very next login.
fn next(
    record: Option<Record>,
    recent: Option<(Outcome, Duration)>,
    now: &Now,
    login_began: Option<Duration>,
    config: &Accounts,
    alone: bool,
) -> Known {
    let of_this_login = |asked: Duration| {
        let age = now.boottime.checked_sub(asked);
        // The kernel tells the start of a process in hundredths of a second.
        let began = login_began.map(|began| began + Duration::from_millis(10));
        began.is_some_and(|began| asked >= began) && age.is_some_and(|age| age <= config.fresh.0)
    };
    let asked = record.as_ref().and_then(|record| record.asked(now));
    let last = record
        .filter(|record| record.serves(now, config.stale) || asked.is_some_and(of_this_login))
        .map(|record| Box::new(record.account));
    match recent {
        Some((Outcome::Refused, asked)) if of_this_login(asked) => return Known::Refused,
        Some((Outcome::Failed, asked)) if of_this_login(asked) => {
            return last.map_or(Known::Refused, Known::Allowed);
        }
        _ => {}
    }
    match last {
        Some(account) if asked.is_some_and(of_this_login) || !alone => Known::Allowed(account),
        None if !alone => Known::Refused,
        last => Known::Ask(last),
    }
}

/// Takes what came of a question, remembers it, and says who the user is.
fn settle(
    answered: Result<Parsed, SourceError>,
    login: &Login,
    cache: &Cache,
    last: Option<Box<Account>>,
    now: &Now,
) -> Option<Account> {
    let reference = Reference::random().to_string();
    let user = ("user", login.as_str());
    let not_kept = |result: io::Result<()>| {
        if let Err(error) = result {
            let fields = [user, ("error", &error.to_string()), ("ref", &reference)];
            log(PROGRAM, Level::Warning, "cache not written", &fields);
        }
    };
    match answered {
        Ok(parsed) => {
            for reason in &parsed.left_out {
                log(
                    PROGRAM,
                    Level::Warning,
                    "key left out",
                    &[user, ("reason", reason), ("ref", &reference)],
                );
            }
            match parsed.answer {
                Answer::Known(account) => {
                    not_kept(cache.write(login, &Record::new(account.clone(), now)));
                    Some(account)
                }
                Answer::Refused(reason) => {
                    let fields = [user, ("reason", reason), ("ref", &reference)];
                    log(PROGRAM, Level::Info, "account refused", &fields);
                    not_kept(cache.forget(login));
                    not_kept(cache.note(login, Outcome::Refused, now));
                    None
                }
            }
        }
        Err(error) => {
            let serves = if last.is_some() { "the cached account" } else { "nothing" };
            let fields = [user, ("error", &chain(&error)), ("serves", serves), ("ref", &reference)];
            log(PROGRAM, Level::Warning, "account source failed", &fields);
            not_kept(cache.note(login, Outcome::Failed, now));
            last.map(|account| *account)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Wanted;
    use crate::config::{Config, Span};

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
            limits: Wanted::default(),
            idle_timeout: None,
            image: None,
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the function under test takes it")]
    fn record(asked: u32) -> Option<Record> {
        Some(Record::new(alice(), &at(asked)))
    }

    fn accounts() -> Accounts {
        Config::default().accounts
    }

    fn allowed() -> Known {
        Known::Allowed(Box::new(alice()))
    }

    #[test]
    fn a5_one_login_asks_once() {
        let began = Some(SECOND * 100);
        assert_eq!(next(None, None, &at(101), began, &accounts(), true), Known::Ask(None));
        assert_eq!(next(record(101), None, &at(102), began, &accounts(), true), allowed());
        let refused = Some((Outcome::Refused, SECOND * 101));
        assert_eq!(next(None, refused, &at(102), began, &accounts(), true), Known::Refused);
    }

    #[test]
    fn p3_the_next_login_asks_again_at_once() {
        let began = Some(SECOND * 102);
        let ask = Known::Ask(Some(Box::new(alice())));
        assert_eq!(next(record(101), None, &at(103), began, &accounts(), true), ask);
        let refused = Some((Outcome::Refused, SECOND * 101));
        assert_eq!(next(None, refused, &at(103), began, &accounts(), true), Known::Ask(None));
    }

    #[test]
    fn an_answer_of_a_slow_login_grows_old() {
        let began = Some(SECOND * 100);
        assert!(matches!(next(record(101), None, &at(107), began, &accounts(), true), Known::Ask(Some(_))));
    }

    #[test]
    fn without_knowing_when_the_login_began_nothing_is_fresh() {
        assert!(matches!(next(record(101), None, &at(101), None, &accounts(), true), Known::Ask(Some(_))));
    }

    #[test]
    fn f29_after_one_failure_the_cache_serves_at_once() {
        let (began, failed) = (Some(SECOND * 100), Some((Outcome::Failed, SECOND * 101)));
        assert_eq!(next(record(50), failed, &at(104), began, &accounts(), true), allowed());
        assert_eq!(next(None, failed, &at(104), began, &accounts(), true), Known::Refused);
        let none = Accounts { stale: Span(Duration::ZERO), ..accounts() };
        assert_eq!(next(record(50), failed, &at(104), began, &none, true), Known::Refused);
    }

    #[test]
    fn p3_stale_zero_still_serves_the_answer_of_this_login() {
        let none = Accounts { stale: Span(Duration::ZERO), ..accounts() };
        assert_eq!(next(record(101), None, &at(102), Some(SECOND * 100), &none, true), allowed());
        assert_eq!(next(record(99), None, &at(102), Some(SECOND * 100), &none, true), Known::Ask(None));
    }

    #[test]
    fn f30_who_waited_in_vain_takes_what_the_cache_has() {
        let began = Some(SECOND * 100);
        assert_eq!(next(record(50), None, &at(104), began, &accounts(), false), allowed());
        assert_eq!(next(None, None, &at(104), began, &accounts(), false), Known::Refused);
    }
}
