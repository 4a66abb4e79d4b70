//! The host keys of the SSH servers in boxes, kept by the host as one secret: a box's key follows from
//! it, the login name and the account. So nothing that happens to a box or a home changes a key, a later
//! account of the same name has another, and no box learns the key of another.

use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use session::atomic;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, PrivateKey};
use ssh_key::public::Ed25519PublicKey;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Where the secret is.
pub const PATH: &str = "/var/lib/sshbox/host-key-secret";

/// Length of the secret, and of what a key is made from, in bytes.
const LENGTH: usize = 32;

/// What the secret is for; another use of it would have another word.
const PURPOSE: &[u8] = b"sshbox host key 1";

/// The key of this box in the format of OpenSSH. Makes the secret at `path` if there is none.
///
/// # Errors
/// What the file system says; `InvalidData` when the secret is not one.
pub fn of(path: &Path, login: &str, account: &str) -> io::Result<String> {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret(path)?);
    let mut context = hmac::Context::with_key(&secret);
    // No login and no account holds a NUL, so no two boxes have the same words.
    for word in [PURPOSE, b"\0", login.as_bytes(), b"\0", account.as_bytes()] {
        context.update(word);
    }
    key(context.sign().as_ref())
}

fn key(seed: &[u8]) -> io::Result<String> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| io::ErrorKind::InvalidData)?;
    let public = Ed25519PublicKey::try_from(pair.public_key().as_ref()).map_err(io::Error::other)?;
    let private = Ed25519PrivateKey::try_from(seed).map_err(io::Error::other)?;
    let key = PrivateKey::from(Ed25519Keypair { public, private });
    Ok(key.to_openssh(ssh_key::LineEnding::LF).map_err(io::Error::other)?.to_string())
}

fn secret(path: &Path) -> io::Result<[u8; LENGTH]> {
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path)?;
            read(path)
        }
        other => other,
    }
}

fn read(path: &Path) -> io::Result<[u8; LENGTH]> {
    fs::read(path)?.try_into().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Creates the secret unless it exists. It is on the disk before a client sees a key that is derived
/// from it.
fn make(path: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut secret = [0; LENGTH];
    File::open("/dev/urandom").and_then(|mut random| io::Read::read_exact(&mut random, &mut secret))?;
    atomic::create(atomic::directory(folder)?, &name.to_string_lossy(), &secret, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

    #[test]
    fn a_box_has_the_same_key_each_time_and_no_other_box_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let alice = of(&path, "alice", "42").unwrap();
        let secret = fs::metadata(&path).unwrap();
        assert_eq!(
            (secret.mode() & 0o777, secret.len(), fs::read_dir(&dir).unwrap().count()),
            (0o600, 32, 1)
        );
        assert_eq!(of(&path, "alice", "42").unwrap(), alice);
        for (login, account) in [("bob", "42"), ("alice", "43"), ("alice", ""), ("alice4", "2")] {
            assert_ne!(of(&path, login, account).unwrap(), alice, "{login} {account}");
        }
        let other = tempfile::tempdir().unwrap();
        assert_ne!(of(&other.path().join("secret"), "alice", "42").unwrap(), alice);
    }

    #[test]
    fn a_key_is_what_ssh_keygen_takes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let text = of(&dir.path().join("secret"), "alice", "").unwrap();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        // It computes the public half from the private one in the file, and signs.
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

    #[test]
    fn of_two_that_make_the_secret_the_first_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        make(&path).unwrap();
        let first = read(&path).unwrap();
        make(&path).unwrap();
        assert_eq!(read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_that_is_torn_is_told_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "short").unwrap();
        assert_eq!(of(&path, "alice", "").unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }
}
