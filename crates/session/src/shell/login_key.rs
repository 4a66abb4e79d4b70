//! The key that a user logged in with, as sshd's `ExposeAuthInfo` tells it.

use crate::authorized_key::AuthorizedKey;
use std::{env, fs};

/// The key of this login; `None` if sshd does not expose it.
pub(super) fn login_key() -> Option<AuthorizedKey> {
    AuthorizedKey::of_login(&fs::read_to_string(env::var_os("SSH_USER_AUTH")?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_login_is_taken_and_nothing_else() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";
        let line = |methods: &str| AuthorizedKey::of_login(methods).map(|key| key.line().to_owned());
        assert_eq!(line(&format!("publickey {key}\n")).as_deref(), Some(key));
        assert_eq!(line(&format!("password\npublickey {key}\n")).as_deref(), Some(key));
        assert_eq!(line("publickey command=\"x\" ssh-ed25519 AAAA\n"), None);
        assert_eq!(line(""), None);
    }
}
