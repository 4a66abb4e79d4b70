//! Names of the users' containers. By default a name contains a digest in place of the login name: every
//! container on a network can ask the engine's DNS resolver for the names of the others, and must not learn
//! from them who the users are. The digest is keyed with the secret of the host, so nobody can compute it
//! for a login name that he guesses.

use crate::config::ContainerName;
use crate::secret;
use identity::Login;
use ring::hmac;
use std::fmt::{self, Write as _};
use std::io;
use std::path::{Path, PathBuf};

/// Separates the digests from anything else that is derived from the secret.
const PURPOSE: &[u8] = b"sshbox container name 1";

/// Length of a digest, in bytes; it is written in twice as many hexadecimal digits.
const LENGTH: usize = 8;

/// The names that the configuration gives to containers.
#[derive(Clone, Debug)]
pub struct BoxNames {
    template: ContainerName,
    /// Key of the digests; `None` if the names have none.
    key: Option<hmac::Key>,
}

impl BoxNames {
    /// The names of this form. Reads the secret of the host if they have a digest, and creates it if there is
    /// none.
    ///
    /// # Errors
    /// [`NoBoxName`]
    pub fn load(template: &ContainerName) -> Result<Self, NoBoxName> {
        Self::with_secret(template, Path::new(secret::PATH))
    }

    /// The same, with the secret at this path.
    ///
    /// # Errors
    /// [`NoBoxName`]
    pub fn with_secret(template: &ContainerName, path: &Path) -> Result<Self, NoBoxName> {
        let key = template.has_digest().then(|| secret::read_or_create(path)).transpose();
        let key = key.map_err(|error| NoBoxName(path.to_owned(), error))?;
        Ok(Self { template: template.clone(), key })
    }

    /// Name of the container of this user.
    #[must_use]
    pub fn of(&self, login: &Login) -> String {
        let Some(key) = &self.key else { return self.template.fill(login.as_str()) };
        let tag = secret::derive(key, &[PURPOSE, b"\0", login.as_str().as_bytes()]);
        let digest = tag.as_ref().iter().take(LENGTH).fold(String::new(), |mut digest, byte| {
            // Writing to a String cannot fail.
            let _ = write!(digest, "{byte:02x}");
            digest
        });
        self.template.fill(&digest)
    }
}

/// The secret of the host, at this path, can be neither read nor created, so that no container has a name.
#[derive(Debug)]
pub struct NoBoxName(PathBuf, io::Error);

impl fmt::Display for NoBoxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read the secret in {}", self.0.display())
    }
}

impl std::error::Error for NoBoxName {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn login(name: &str) -> Login {
        Login::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn a9_a_name_is_stable_and_says_nothing_about_the_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let template = "sshbox-{digest}".parse().unwrap();
        let of = |name: &str| BoxNames::with_secret(&template, &path).unwrap().of(&login(name));
        let alice = of("alice");
        let digest = alice.strip_prefix("sshbox-").unwrap();
        assert!(digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{alice}");
        assert_eq!(of("alice"), alice);
        for other in ["bob", "Alice", "alice2"] {
            assert_ne!(of(other), alice);
        }
        // On another host, with another secret, the same user has another name.
        let elsewhere = BoxNames::with_secret(&template, &dir.path().join("other")).unwrap();
        assert_ne!(elsewhere.of(&login("alice")), alice);
        // The digest is no part of the host key, which the container has.
        let key = crate::host_key::derive(&path, "alice", "").unwrap();
        assert!(!key.contains(digest));
    }

    #[test]
    fn a_name_with_the_login_name_needs_no_secret() {
        let template = "box-of-{user}".parse().unwrap();
        let names = BoxNames::with_secret(&template, Path::new("/nonexistent/secret")).unwrap();
        assert_eq!(names.of(&login("Ada-L")), "box-of-Ada-L");
        let template = "sshbox-{digest}".parse().unwrap();
        assert!(BoxNames::with_secret(&template, Path::new("/nonexistent/secret")).is_err());
    }

    #[test]
    fn an_incomplete_secret_gives_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "short").unwrap();
        let error = BoxNames::with_secret(&"sshbox-{digest}".parse().unwrap(), &path).unwrap_err();
        assert_eq!(error.1.kind(), io::ErrorKind::InvalidData);
    }
}
