//! `sshbox-keys`, the `AuthorizedKeysCommand` of sshd: prints the offered key if it is one of the
//! user's keys, and nothing else. Runs as user `sshbox-keys`; never uses the container engine.

mod decision;
mod explain;
mod login_notes;
mod lookup;
mod recheck;
mod self_check;

use clap::{CommandFactory as _, Parser};
use decision::NO_ANSWER;
use explain::ExplainRequest;
use host::cache::Cache;
use host::config::{self, AccountsConfig, Config};
use identity::Login;
use login_notes::LoginNotes;
use lookup::NoAccount;
use session::authorized_key::AuthorizedKey;
use session::exit::{self, ExitStatus, chain};
use session::journal::{Event, Field, FieldValue, log};
use session::presence::temporary_user_key;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const PROGRAM: &str = "sshbox-keys";

// Reasons for the journal.
const NOT_THEIRS: &str = "the key is not one of this user's";
const NO_DESCRIPTORS: &str = "no file descriptor is left to read the cached answer";

/// Prints the authorized key of a user whose fingerprint sshd asks for.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line")]
#[command(name = PROGRAM, version)]
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
    /// Ask the account source about each login name on standard input, store the answers, and print them
    #[arg(long, conflicts_with_all = ["check", "explain", "fingerprint", "user"])]
    recheck: bool,
    /// With --explain: send no token
    #[arg(long, requires = "explain")]
    without_token: bool,
    /// Fingerprint of the offered key, `SHA256:…` (sshd's %f)
    #[arg(long, required_unless_present_any = ["check", "explain", "recheck"])]
    fingerprint: Option<String>,
    /// Login name (sshd's %u)
    #[arg(required_unless_present_any = ["check", "recheck"])]
    user: Option<OsString>,
}

/// The command line, for the test that compares it with the manual.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    // The token will be in memory: no core dump, and no ptrace by another process of this user.
    let _ = nix::sys::prctl::set_dumpable(false);
    exit::program(PROGRAM, perform)
}

fn perform(arguments: Arguments) -> ExitCode {
    let Arguments { config, check, explain, recheck, without_token, fingerprint, user, .. } = arguments;
    let user = user.unwrap_or_default();
    if check {
        return self_check::run(&config);
    }
    if recheck {
        return recheck::run(&config);
    }
    if explain {
        let fingerprint = fingerprint.as_deref();
        return explain::run(&ExplainRequest { config: &config, user: &user, fingerprint, without_token });
    }
    KeyRequest { user, fingerprint: fingerprint.unwrap_or_default() }.print(&config)
}

/// What sshd asks: whether this user may log in with the key of this fingerprint.
struct KeyRequest {
    user: OsString,
    fingerprint: String,
}

impl KeyRequest {
    /// Print the key if the user may log in with it.
    fn print(&self, config: &Path) -> ExitCode {
        let login = match Login::parse(self.user.as_bytes()) {
            Ok(login) => login,
            Err(error) => return self.refuse(&format!("the name is {error}")),
        };
        let config = match load_config(config) {
            Ok(config) => config,
            Err(status) => return status,
        };
        let accounts = account_source(&config, &login);
        let cache = Cache::new(&accounts.cache);
        let started = Instant::now();
        // Held until the program ends. After a timeout only the cache decides. On any other error, which
        // means that no lock file can be opened, the account source is asked without a lock.
        let lookup_lock = cache.lock_lookup(&login, accounts.timeout.0);
        let may_ask = !lookup_lock.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        let timeout = accounts.timeout.0.saturating_sub(started.elapsed());
        let found = lookup::account(&accounts, &login, &cache, may_ask, timeout);
        let notes = LoginNotes { config: &config, login: &login };
        if lookup_lock.is_ok() {
            notes.update_answer(&found);
        }
        let account = match found {
            Ok(account) => account,
            // Then the cached account may exist, too.
            Err(NoAccount::Unknown(NO_ANSWER) | NoAccount::Unreachable) if no_descriptors() => {
                let fields: [FieldValue<'_>; 2] =
                    [(Field::User, &login.as_str()), (Field::Error, &NO_DESCRIPTORS)];
                log(PROGRAM, Event::AccountSourceFailed, &fields);
                return ExitStatus::TryAgain.code().into();
            }
            Err(none) => return self.refuse(none.reason()),
        };
        let keys = account.keys.iter().filter_map(|line| AuthorizedKey::parse(line).ok());
        let Some(key) = keys.into_iter().find(|key| key.fingerprint() == self.fingerprint) else {
            return self.refuse(NOT_THEIRS);
        };
        if let Err(status) = notes.write(&account) {
            return status;
        }
        match writeln!(io::stdout(), "{}", key.authorized(config.forward.of(account.forward))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitStatus::TryAgain.code().into(),
        }
    }

    /// Log the refusal. sshd takes success without output as "no such key".
    fn refuse(&self, reason: &str) -> ExitCode {
        let sshd = nix::unistd::getppid().to_string();
        let fields: [FieldValue<'_>; 4] = [
            (Field::User, &self.user.as_bytes()),
            (Field::Fingerprint, &self.fingerprint),
            (Field::Reason, &reason),
            (Field::Sshd, &sshd),
        ];
        log(PROGRAM, Event::LoginRefused, &fields);
        ExitCode::SUCCESS
    }
}

fn load_config(path: &Path) -> Result<Config, ExitCode> {
    config::load(path).map_err(|error| {
        log(PROGRAM, Event::ConfigurationRefused, &[(Field::Error, &chain(&error))]);
        if error.is_shortage() { ExitStatus::TryAgain } else { ExitStatus::Config }.code().into()
    })
}

/// The account source of this login: that of the configuration, or the key file of a temporary user
/// of `sshbox doctor`.
fn account_source(config: &Config, login: &Login) -> AccountsConfig {
    let accounts = config.accounts.clone();
    match temporary_user_key(login) {
        Some(key_file) => accounts.for_doctor(&key_file),
        None => accounts,
    }
}

fn no_descriptors() -> bool {
    File::open("/dev/null").is_err()
}
