//! The secret of the host, from which the host keys for `@sshd` and the names of containers are derived.
//! Only root can read it. It is created when it is first needed.

use ring::hmac;
use session::atomic;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// The file with the secret. It is named after its first use.
pub const PATH: &str = "/var/lib/sshbox/host-key-secret";

/// Length of the secret, in bytes.
const LENGTH: usize = 32;

/// Returns the secret at `path`, as a key for [`derive`]. Creates it if there is none.
///
/// # Errors
/// `InvalidData` if the file does not hold a secret. Else as the file system reports.
pub fn read_or_create(path: &Path) -> io::Result<hmac::Key> {
    let secret = match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(path)?;
            read(path)?
        }
        other => other?,
    };
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &secret))
}

/// HMAC-SHA256 of these parts. The first part names the purpose.
#[must_use]
pub fn derive(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

fn read(path: &Path) -> io::Result<[u8; LENGTH]> {
    fs::read(path)?.try_into().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Create the secret unless another process creates one first. It is on disk before it is used, since a
/// power loss must not change what is derived from it.
fn create(path: &Path) -> io::Result<()> {
    let mut secret = [0; LENGTH];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut secret))?;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    atomic::create(atomic::directory(dir)?, name, &secret, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_processes_that_create_the_secret_the_first_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create(&path).unwrap();
        let first = read(&path).unwrap();
        create(&path).unwrap();
        assert_eq!(read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn an_incomplete_secret_is_an_error_and_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "short").unwrap();
        assert_eq!(read_or_create(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }
}
