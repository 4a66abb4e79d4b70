//! Asks the web app for a user's account, as a login does: by running `sshbox-keys`, the only program
//! that may read the token. An answer from before this question does not count.

use crate::explain::{KEYS_USER, sshbox_keys};
use crate::tool;
use host::account::Account;
use host::cache::{Cache, LookupOutcome};
use host::config::Config;
use identity::Login;
use session::clock::{self, Now};
use session::deadlines::SSHBOX_KEYS;
use std::path::Path;
use std::time::Duration;

/// The account that the web app has for `login` now. An error is a reason to change nothing.
pub fn ask(config_file: &Path, config: &Config, login: &Login) -> Result<Account, String> {
    let no_answer =
        || format!("the web app gave no account for {login}; see journalctl -t {KEYS_USER}, then try again");
    let asked_at = clock::now();
    let mut command = sshbox_keys(config_file).map_err(|_| no_answer())?;
    // No key has this fingerprint, so that no key is printed.
    command.args(["--fingerprint", "none", "--", login.as_str()]);
    if !tool::run(&mut command, "", SSHBOX_KEYS, None).is_ok_and(|ended| ended.succeeded()) {
        return Err(no_answer());
    }
    let cache = Cache::new(&config.accounts.cache);
    let now = clock::now();
    let record = cache.read(login).filter(|record| is_after(record.requested(&now), &asked_at));
    match (record, cache.last_outcome(login, &now)) {
        (Some(record), _) => Ok(record.account),
        (None, Some((LookupOutcome::Refused, at))) if is_after(Some(at), &asked_at) => {
            Err(format!("the web app refuses {login}: the user is missing, inactive or has no key"))
        }
        _ => Err(no_answer()),
    }
}

fn is_after(answered_at: Option<Duration>, asked_at: &Now) -> bool {
    // The cache stores whole milliseconds, rounded down.
    answered_at.is_some_and(|at| at.saturating_add(Duration::from_millis(1)) >= asked_at.boottime)
}
