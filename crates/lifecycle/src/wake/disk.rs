//! The disk of the home, before a box uses it: `sshbox-disk` mounts it or sets its quota. This program has a
//! mount namespace of its own, so the engine would not see what it mounts.

use host::config::Config;
use host::home::{self, KNOWN_HOMES};
use host::quota;
use identity::Login;
use session::disk_client;
use session::exit::{ExitStatus, Failure};
use session::presence::TEMPORARY_USER_PREFIX;
use session::texts;
use session::wire::DiskVerb;
use std::path::Path;

/// Makes the disk of the home ready, while `state.lock` is held. Asks nobody if homes have no limits here. Refuses if
/// the user has had a home that is not there: its file system may not be mounted.
pub fn prepare(config: &Config, login: &Login) -> Result<(), Failure> {
    let home = config.container.home.fill(login);
    let is_lost = home::is_lost(Path::new(KNOWN_HOMES), login, Path::new(&home));
    if is_lost && !quota::has_image(config, login) {
        let cause = format!(
            "{home} is missing; mount its file system, or remove {KNOWN_HOMES}/{login} to give the user an empty home"
        );
        return Err(Failure { cause, ..Failure::new(ExitStatus::Unavailable, texts::HOME_MISSING) });
    }
    if quota::concerns(config, login) { disk_client::ask(login, DiskVerb::Prepare).map(drop) } else { Ok(()) }
}

/// Remembers that the user has this home.
pub fn remember(login: &Login, home: &Path) {
    // The doctor's users are removed with their homes.
    if !login.as_str().starts_with(TEMPORARY_USER_PREFIX) {
        // The start does not depend on it: a full disk must not keep out users. The next start tries again.
        let _ = home::remember(Path::new(KNOWN_HOMES), login, home);
    }
}

/// Applies a changed limit of the home while its box may run, as far as that is possible now. What has to wait
/// for the next start is in the journal.
pub fn resize(config: &Config, login: &Login) -> Result<(), Failure> {
    if quota::concerns(config, login) { disk_client::ask(login, DiskVerb::Resize).map(drop) } else { Ok(()) }
}
