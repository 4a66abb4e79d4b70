//! The temporary users that `sshbox doctor` creates, logs in as and removes. `sshbox-keys` does not ask
//! the web app about them: the public key of each is in a file that only root can create.

use identity::Login;
use std::path::{Path, PathBuf};

/// Prefix of the login name of every temporary user.
pub const TEMPORARY_USER_PREFIX: &str = "sshbox-doctor-";

/// Directory of the temporary users' keys. It survives a reboot, so that the next doctor finds the users
/// that a killed doctor did not remove.
pub const TEMPORARY_USER_KEYS: &str = "/var/lib/sshbox/doctor";

/// Whether nobody may log in with this name: only a temporary user that exists now has such a one.
#[must_use]
pub fn is_reserved(login: &Login) -> bool {
    login.as_str().starts_with(TEMPORARY_USER_PREFIX) && temporary_user_key(login).is_none()
}

/// The key file of this login, if it is a temporary user that exists now.
#[must_use]
pub fn temporary_user_key(login: &Login) -> Option<PathBuf> {
    let path = Path::new(TEMPORARY_USER_KEYS).join(login.as_str());
    (login.as_str().starts_with(TEMPORARY_USER_PREFIX) && path.exists()).then_some(path)
}
