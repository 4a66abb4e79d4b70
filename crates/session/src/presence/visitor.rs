//! Visitors: the throw-away users that `sshbox doctor` logs in as. Their keys are files that only root
//! can create, so `sshbox-keys` does not ask the web app about them.

use identity::Login;
use std::path::{Path, PathBuf};

/// Prefix of the login name of every visitor.
pub const VISITOR_PREFIX: &str = "sshbox-doctor-";

/// Directory of the visitors' keys. It survives a reboot: the next doctor finds by it what a killed
/// one has left.
pub const VISITOR_KEYS: &str = "/var/lib/sshbox/doctor";

/// The key file of this login, if it is a visitor that exists now.
#[must_use]
pub fn visitor_key(login: &Login) -> Option<PathBuf> {
    let path = Path::new(VISITOR_KEYS).join(login.as_str());
    (login.as_str().starts_with(VISITOR_PREFIX) && path.exists()).then_some(path)
}
