//! The disk of the home, before a box uses it: `sshbox-disk` mounts it or sets its quota. This program has a
//! mount namespace of its own, so the engine would not see what it mounts.

use host::config::Config;
use host::quota;
use identity::Login;
use session::disk_client;
use session::exit::Failure;
use session::wire::DiskVerb;

/// Makes the disk of the home ready, while `state.lock` is held. Does nothing if homes have no limits here.
pub fn prepare(config: &Config, login: &Login) -> Result<(), Failure> {
    if quota::concerns(config, login) { disk_client::ask(login, DiskVerb::Prepare).map(drop) } else { Ok(()) }
}

/// Applies a changed limit of the home while its box may run, as far as that is possible now. What has to wait
/// for the next start is in the journal.
pub fn resize(config: &Config, login: &Login) -> Result<(), Failure> {
    if quota::concerns(config, login) { disk_client::ask(login, DiskVerb::Resize).map(drop) } else { Ok(()) }
}
