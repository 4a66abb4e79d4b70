//! Asks the web app for a user's account, as a login does: by running `sshbox-keys`, the only program
//! that may read the token. An answer from before this question does not count.

use host::cache::{Cache, LookupOutcome};
use host::config::Config;
use identity::Login;
use nix::unistd::User;
use session::clock::{self, Now};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const KEYS_PROGRAM: &str = "/usr/lib/sshbox/sshbox-keys";
const KEYS_USER: &str = "sshbox-keys";

/// The id of the account that the web app has for `login` now, or `None` if it tells no ids. An error is
/// a reason against the adoption.
pub fn ask(config_file: &Path, config: &Config, login: &Login) -> Result<Option<String>, String> {
    let no_answer =
        || format!("the web app gave no account for {login}; see journalctl -t {KEYS_USER}, then try again");
    let asked_at = clock::now();
    let user = User::from_name(KEYS_USER).ok().flatten().ok_or_else(no_answer)?;
    let status = Command::new(KEYS_PROGRAM)
        .arg("--config")
        .arg(config_file)
        // No key has this fingerprint, so that no key is printed.
        .args(["--fingerprint", "none", "--", login.as_str()])
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if !status.is_ok_and(|status| status.success()) {
        return Err(no_answer());
    }
    let cache = Cache::new(&config.accounts.cache);
    let now = clock::now();
    let record = cache.read(login).filter(|record| is_after(record.requested(&now), &asked_at));
    match (record, cache.last_outcome(login, &now)) {
        (Some(record), _) => Ok(record.account.id),
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
