//! `sshbox-keys`, the `AuthorizedKeysCommand`: prints the one key that sshd asked for, if it
//! is the user's, and nothing else ever. Runs as `sshbox-keys` and never speaks to Docker.

mod check;
mod explain;

use crate::source::{self, SourceError};
use clap::{CommandFactory as _, Parser};
use explain::Question;
use host::account::{Account, Answer, Parsed};
use host::cache::{Cache, LookupOutcome, Record};
use host::config::{self, AccountsConfig};
use identity::Login;
use session::authorized_key::AuthorizedKey;
use session::clock::{self, Now};
use session::exit::{self, ExitStatus, chain};
use session::journal::{Event, Field, FieldValue, log};
use session::presence::{RUN, UserRuntimeDir, visitor_key};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const PROGRAM: &str = "sshbox-keys";

// Why a key opens no box, for the journal.
const NOT_THEIRS: &str = "the key is not one of this user's";
const REFUSED_BEFORE: &str = "the account source has just refused this user";
const NO_ANSWER: &str = "the account source gives no answer, and none that is kept serves";
const NO_DESCRIPTORS: &str = "there are no file descriptors left to read the kept answer";
const NO_TURN: &str = "other logins of this user still ask the account source, and no kept answer serves";

/// Prints the authorized key of a user whose fingerprint sshd asks for.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
struct Arguments {
    /// Configuration file
    #[arg(long, default_value = config::PATH)]
    config: PathBuf,
    /// Check configuration, token, CA file and group, then exit
    #[arg(long, conflicts_with = "explain")]
    check: bool,
    /// Print how the keys of the user would be decided now, and write nothing
    #[arg(long, requires = "json")]
    explain: bool,
    /// With --explain: print JSON
    #[arg(long, requires = "explain")]
    json: bool,
    /// With --explain: send no token
    #[arg(long, requires = "explain")]
    without_token: bool,
    /// Fingerprint of the offered key, `SHA256:…` (sshd's %f)
    #[arg(long, required_unless_present_any = ["check", "explain"])]
    fingerprint: Option<String>,
    /// Login name (sshd's %u)
    #[arg(required_unless_present = "check")]
    user: Option<OsString>,
}

/// All that may be typed, for the test that compares the manual with it.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    exit::on_panic(PROGRAM);
    // It will hold the token: no core, and nobody with the same uid looks into it.
    let _ = nix::sys::prctl::set_dumpable(false);
    let arguments: Arguments = match exit::arguments() {
        Ok(Arguments { check: true, config, .. }) => return check::run(&config),
        Ok(Arguments { explain: true, config, user, fingerprint, without_token, .. }) => {
            let user = user.unwrap_or_default();
            let fingerprint = fingerprint.as_deref();
            return explain::run(&Question { config: &config, user: &user, fingerprint, without_token });
        }
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    let user = arguments.user.unwrap_or_default();
    let fingerprint = arguments.fingerprint.unwrap_or_default();
    let refused = |reason: &str| {
        let sshd = nix::unistd::getppid().to_string();
        let fields: [FieldValue<'_>; 4] = [
            (Field::User, &user.as_bytes()),
            (Field::Fingerprint, &fingerprint),
            (Field::Reason, &reason),
            (Field::Sshd, &sshd),
        ];
        log(PROGRAM, Event::LoginRefused, &fields);
        ExitCode::SUCCESS
    };
    let login = match Login::parse(user.as_bytes()) {
        Ok(login) => login,
        Err(error) => return refused(&format!("the name is {error}")),
    };
    let config = match config::load(&arguments.config) {
        Ok(config) => match visitor_key(&login) {
            Some(file) => config.accounts.of_visitor(&file),
            None => config.accounts,
        },
        Err(error) => {
            log(PROGRAM, Event::ConfigurationRefused, &[(Field::Error, &chain(&error))]);
            return if error.is_shortage() { ExitStatus::TryAgain } else { ExitStatus::Config }.code().into();
        }
    };
    let cache = Cache::new(&config.cache);
    let began = Instant::now();
    // Held until the program ends. Who waits in vain goes on with what the cache has; who cannot wait
    // because nothing can be written asks, as the first one does.
    let flight = cache.queue(&login, config.timeout.0);
    let alone = flight.as_ref().err().is_none_or(|error| error.kind() != io::ErrorKind::TimedOut);
    let left = config.timeout.0.saturating_sub(began.elapsed());
    let account = match account(&config, &login, &cache, alone, left) {
        Ok(account) => account,
        // What the cache has could not be read either.
        Err(NO_ANSWER) if no_descriptors() => return failed(&login, NO_DESCRIPTORS),
        Err(reason) => return refused(reason),
    };
    let Some(key) = offered(&account, &fingerprint) else {
        return refused(NOT_THEIRS);
    };
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), &login);
    if let Err(untold) = runtime_dir.write_login_account(account.id.as_deref().unwrap_or_default()) {
        let error = untold.error.to_string();
        log(PROGRAM, Event::AccountNotTold, &[(Field::User, &login.as_str()), (Field::Error, &error)]);
        // Without a note sshbox-wake is asked, which knows. One of another account would let this one
        // into that one's box.
        if untold.stale {
            return ExitStatus::TryAgain.code().into();
        }
    }
    match writeln!(io::stdout(), "{}", key.authorized()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitStatus::TryAgain.code().into(),
    }
}

/// Whether this program may open no more files.
fn no_descriptors() -> bool {
    File::open("/dev/null").is_err()
}

fn failed(login: &Login, error: &str) -> ExitCode {
    log(PROGRAM, Event::AccountSourceFailed, &[(Field::User, &login.as_str()), (Field::Error, &error)]);
    ExitStatus::TryAgain.code().into()
}

fn offered(account: &Account, fingerprint: &str) -> Option<AuthorizedKey> {
    let keys = account.keys.iter().filter_map(|line| AuthorizedKey::parse(line).ok());
    keys.into_iter().find(|key| key.fingerprint() == fingerprint)
}

/// Who this user is, by the rules of docs/src/account.md: the answer of this login
/// if it was asked for already, else a new one, else the last one. Or why nobody is let in.
fn account(
    config: &AccountsConfig,
    login: &Login,
    cache: &Cache,
    alone: bool,
    left: Duration,
) -> Result<Account, &'static str> {
    let now = clock::now();
    let record = cache.read(login);
    let recent = cache.recent(login, &now);
    let known = next(record, recent, &now, clock::parent_start(), config, alone);
    match known {
        Known::Allowed(account) => Ok(*account),
        Known::Refused(reason) => Err(reason),
        Known::Ask(last) => settle(source::ask(config, login, left), login, cache, last, &now),
    }
}

/// What is known before anybody is asked.
#[derive(Debug, PartialEq)]
enum Known {
    Allowed(Box<Account>),
    Refused(&'static str),
    /// Has to be asked; if that fails, this serves.
    Ask(Option<Box<Account>>),
}

/// Decides from the cache. An answer serves without a question if it was asked for after
/// this login began (sshd runs us once per offered key and once more for the signature) and
/// is younger than `fresh`: so a key that was removed is dead at the very next login.
fn next(
    record: Option<Record>,
    recent: Option<(LookupOutcome, Duration)>,
    now: &Now,
    login_began: Option<Duration>,
    config: &AccountsConfig,
    alone: bool,
) -> Known {
    let of_this_login = |asked: Duration| {
        let age = now.boottime.checked_sub(asked);
        // The kernel tells the start of a process in hundredths of a second.
        let began = login_began.map(|began| began.saturating_add(Duration::from_millis(10)));
        began.is_some_and(|began| asked >= began) && age.is_some_and(|age| age <= config.fresh.0)
    };
    let asked = record.as_ref().and_then(|record| record.asked(now));
    let last = record
        .filter(|record| record.serves(now, config.stale) || asked.is_some_and(of_this_login))
        .map(|record| Box::new(record.account));
    match recent {
        Some((LookupOutcome::Refused, asked)) if of_this_login(asked) => {
            return Known::Refused(REFUSED_BEFORE);
        }
        Some((LookupOutcome::Failed, asked)) if of_this_login(asked) => {
            return last.map_or(Known::Refused(NO_ANSWER), Known::Allowed);
        }
        _ => {}
    }
    match last {
        Some(account) if asked.is_some_and(of_this_login) || !alone => Known::Allowed(account),
        None if !alone => Known::Refused(NO_TURN),
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
) -> Result<Account, &'static str> {
    let user = login.as_str();
    // Told once until the cache works again: each login would say the same.
    let not_kept = |result: io::Result<()>| {
        if let Err(error) = result
            && cache.fails_anew()
        {
            let error = error.to_string();
            log(PROGRAM, Event::CacheNotWritten, &[(Field::User, &user), (Field::Error, &error)]);
        }
    };
    match answered {
        Ok(parsed) => {
            for reason in &parsed.left_out {
                log(PROGRAM, Event::KeyLeftOut, &[(Field::User, &user), (Field::Reason, reason)]);
            }
            if let Some(reason) = &parsed.bounded {
                log(PROGRAM, Event::ValueBounded, &[(Field::User, &user), (Field::Reason, reason)]);
            }
            match parsed.answer {
                Answer::Known(account) => {
                    not_kept(cache.write(login, &Record::new(account.clone(), now)));
                    Ok(account)
                }
                Answer::Refused(reason) => {
                    not_kept(cache.forget(login, now));
                    not_kept(cache.note(login, LookupOutcome::Refused, now));
                    Err(reason)
                }
            }
        }
        Err(error) => {
            let serves = if last.is_some() { "the cached account" } else { "nothing" };
            let error = chain(&error);
            let fields: [FieldValue<'_>; 3] =
                [(Field::User, &user), (Field::Error, &error), (Field::Serves, &serves)];
            log(PROGRAM, Event::AccountSourceFailed, &fields);
            not_kept(cache.note(login, LookupOutcome::Failed, now));
            last.map(|account| *account).ok_or(NO_ANSWER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::account::RequestedLimits;
    use host::config::{Config, Span};

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
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the function under test takes it")]
    fn record(asked: u32) -> Option<Record> {
        Some(Record::new(alice(), &at(asked)))
    }

    fn accounts() -> AccountsConfig {
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
        let refused = Some((LookupOutcome::Refused, SECOND * 101));
        assert_eq!(next(None, refused, &at(102), began, &accounts(), true), Known::Refused(REFUSED_BEFORE));
    }

    #[test]
    fn p3_the_next_login_asks_again_at_once() {
        let began = Some(SECOND * 102);
        let ask = Known::Ask(Some(Box::new(alice())));
        assert_eq!(next(record(101), None, &at(103), began, &accounts(), true), ask);
        let refused = Some((LookupOutcome::Refused, SECOND * 101));
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
        let (began, failed) = (Some(SECOND * 100), Some((LookupOutcome::Failed, SECOND * 101)));
        assert_eq!(next(record(50), failed, &at(104), began, &accounts(), true), allowed());
        assert_eq!(next(None, failed, &at(104), began, &accounts(), true), Known::Refused(NO_ANSWER));
        let none = AccountsConfig { stale: Span(Duration::ZERO), ..accounts() };
        assert_eq!(next(record(50), failed, &at(104), began, &none, true), Known::Refused(NO_ANSWER));
    }

    #[test]
    fn p3_stale_zero_still_serves_the_answer_of_this_login() {
        let none = AccountsConfig { stale: Span(Duration::ZERO), ..accounts() };
        assert_eq!(next(record(101), None, &at(102), Some(SECOND * 100), &none, true), allowed());
        assert_eq!(next(record(99), None, &at(102), Some(SECOND * 100), &none, true), Known::Ask(None));
    }

    #[test]
    fn f30_who_waited_in_vain_takes_what_the_cache_has() {
        let began = Some(SECOND * 100);
        assert_eq!(next(record(50), None, &at(104), began, &accounts(), false), allowed());
        assert_eq!(next(None, None, &at(104), began, &accounts(), false), Known::Refused(NO_TURN));
    }
}
