//! What `sshbox-keys` leaves for `sshbox-shell`, which reads neither the cache nor the configuration: the id
//! of the account that logs in, what the account source answered last, and what the site gives to sessions.

use super::PROGRAM;
use super::lookup::NoAccount;
use host::account::Account;
use host::config::Config;
use identity::Login;
use session::authorized_key::AuthorizedKey;
use session::exit::ExitStatus;
use session::journal::{Event, Field, FieldValue, log};
use session::presence::{AccountNoteError, LoginAnswer, RUN, UserRuntimeDir};
use session::wire::SiteSettings;
use std::path::Path;
use std::process::ExitCode;

/// The notes about one login.
pub struct LoginNotes<'a> {
    /// The configuration, for the limits and for what may be forwarded.
    pub config: &'a Config,
    /// The login.
    pub login: &'a Login,
}

impl LoginNotes<'_> {
    /// Write all notes about a login with one of the keys of `account`.
    pub fn write(&self, account: &Account) -> Result<(), ExitCode> {
        // Without an id `sshbox-shell` asks sshbox-wake, which knows the account. But a stale id of another
        // account would let this user into the container of that account. A stale answer would refuse the
        // key of this login, or accept a removed one.
        let runtime_dir = self.runtime_dir();
        self.told(runtime_dir.write_login_account(account.id.as_deref().unwrap_or_default()))?;
        self.told(runtime_dir.write_login_answer(&self.accepted(account)))?;
        // After the answer: a session that has read these settings then finds the keys of the same account.
        self.told(runtime_dir.write_site_settings(&account.site_settings()))
    }

    /// Bring the last answer up to date. The caller holds the lookup lock: the answer is not older than the
    /// one that is replaced. Does nothing for a name that has not logged in since boot.
    pub fn update_answer(&self, found: &Result<Account, NoAccount>) {
        let runtime_dir = self.runtime_dir();
        let (answer, settings) = match found {
            Ok(account) => (self.accepted(account), account.site_settings()),
            Err(NoAccount::Refused(_)) => (LoginAnswer::Refused, SiteSettings::default()),
            Err(NoAccount::Unknown(_) | NoAccount::Unreachable) => return,
        };
        if runtime_dir.has_login_answer() {
            // An error is in the journal. Sessions begin as after the answer before.
            let _ = self.told(runtime_dir.write_login_answer(&answer));
            let _ = self.told(runtime_dir.write_site_settings(&settings));
        }
    }

    fn runtime_dir(&self) -> UserRuntimeDir {
        UserRuntimeDir::of(Path::new(RUN), self.login)
    }

    fn accepted(&self, account: &Account) -> LoginAnswer {
        let container = &self.config.container;
        LoginAnswer::Accepted {
            sessions: account.limits.sessions(&container.limits, &container.ceilings),
            connections: account.limits.connections(&container.limits, &container.ceilings),
            forward: self.config.forward.of(account.forward).ports.then_some(self.config.forward.wait.0),
            fingerprints: fingerprints(account),
        }
    }

    fn told(&self, written: Result<(), AccountNoteError>) -> Result<(), ExitCode> {
        let Err(failed) = written else { return Ok(()) };
        let error = failed.error.to_string();
        let fields: [FieldValue<'_>; 2] = [(Field::User, &self.login.as_str()), (Field::Error, &error)];
        log(PROGRAM, Event::AccountNotTold, &fields);
        if failed.stale { Err(ExitStatus::TryAgain.code().into()) } else { Ok(()) }
    }
}

/// The fingerprints of the keys of an account.
pub fn fingerprints(account: &Account) -> Vec<String> {
    let keys = account.keys.iter().filter_map(|line| AuthorizedKey::parse(line).ok());
    keys.map(|key| key.fingerprint().to_owned()).collect()
}
