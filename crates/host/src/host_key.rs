//! Host keys of the SSH servers in containers, for `@sshd`. Each is derived from one secret of the host,
//! the login name and the account id. So a container that is created again keeps its key, a later account
//! of the same name gets another, and no container learns the key of another.

use crate::secret;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, PrivateKey};
use ssh_key::public::Ed25519PublicKey;
use std::io;
use std::path::Path;

/// Separates the keys from anything else that is derived from the secret.
const PURPOSE: &[u8] = b"sshbox host key 1";

/// The private host key of this login and account, in OpenSSH format. Creates the secret at `path` if
/// there is none.
///
/// # Errors
/// `InvalidData` if the file does not hold a secret. Else as the file system reports.
pub fn derive(path: &Path, login: &str, account: &str) -> io::Result<String> {
    let key = secret::read_or_create(path)?;
    // Logins and account ids contain no NUL, so different pairs give different input.
    let parts = [PURPOSE, b"\0", login.as_bytes(), b"\0", account.as_bytes()];
    openssh_key(secret::derive(&key, &parts).as_ref())
}

fn openssh_key(seed: &[u8]) -> io::Result<String> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| io::ErrorKind::InvalidData)?;
    let public = Ed25519PublicKey::try_from(pair.public_key().as_ref()).map_err(io::Error::other)?;
    let private = Ed25519PrivateKey::try_from(seed).map_err(io::Error::other)?;
    let key = PrivateKey::from(Ed25519Keypair { public, private });
    Ok(key.to_openssh(ssh_key::LineEnding::LF).map_err(io::Error::other)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File, OpenOptions};
    use std::io::Write as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    #[test]
    fn a_box_has_the_same_key_each_time_and_no_other_box_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let alice = derive(&path, "alice", "42").unwrap();
        let secret = fs::metadata(&path).unwrap();
        assert_eq!(
            (secret.mode() & 0o777, secret.len(), fs::read_dir(&dir).unwrap().count()),
            (0o600, 32, 1)
        );
        assert_eq!(derive(&path, "alice", "42").unwrap(), alice);
        for (login, account) in [("bob", "42"), ("alice", "43"), ("alice", ""), ("alice4", "2")] {
            assert_ne!(derive(&path, login, account).unwrap(), alice, "{login} {account}");
        }
        let other = tempfile::tempdir().unwrap();
        assert_ne!(derive(&other.path().join("secret"), "alice", "42").unwrap(), alice);
    }

    #[test]
    fn ssh_keygen_accepts_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let text = derive(&dir.path().join("secret"), "alice", "").unwrap();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        // ssh-keygen reads the private key, computes the public key, and signs.
        let output = std::process::Command::new("ssh-keygen").arg("-yf").arg(&path).output().unwrap();
        let public = PrivateKey::from_openssh(&text).unwrap().public_key().to_openssh().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), public);
        let message = dir.path().join("message");
        fs::write(&message, "x").unwrap();
        let sign = ["-Y", "sign", "-q", "-n", "test", "-f"];
        let signed =
            std::process::Command::new("ssh-keygen").args(sign).arg(&path).arg(&message).status().unwrap();
        assert!(signed.success());
        let check = ["-Y", "check-novalidate", "-n", "test", "-s"];
        let checked = std::process::Command::new("ssh-keygen")
            .args(check)
            .arg(message.with_extension("sig"))
            .stdin(File::open(&message).unwrap())
            .status()
            .unwrap();
        assert!(checked.success());
    }
}
