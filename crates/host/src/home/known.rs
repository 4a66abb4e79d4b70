//! Which users have had a home, and where: the file `NAME` in `/var/lib/sshbox/known-homes` contains its path. The
//! file system of the homes may not be mounted, and then an empty home on another one must not take its place.

use identity::Login;
use session::atomic;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// The directory of the files.
pub const KNOWN_HOMES: &str = "/var/lib/sshbox/known-homes";

/// Whether `login` has had a home at `home`, and nothing is there. `known` is [`KNOWN_HOMES`].
#[must_use]
pub fn is_lost(known: &Path, login: &Login, home: &Path) -> bool {
    home.symlink_metadata().is_err() && !matches!(is_known(known, login, home), Ok(false))
}

/// Remember that `login` has a home at `home`. Writes only if that is new.
///
/// # Errors
/// The I/O error.
pub fn remember(known: &Path, login: &Login, home: &Path) -> io::Result<()> {
    if is_known(known, login, home)? {
        return Ok(());
    }
    DirBuilder::new().mode(0o700).recursive(true).create(known)?;
    atomic::replace(atomic::directory(known)?, login.as_str(), home.as_os_str().as_bytes(), 0o600, None)
}

fn is_known(known: &Path, login: &Login, home: &Path) -> io::Result<bool> {
    match fs::read(known.join(login.as_str())) {
        Ok(path) => Ok(path == home.as_os_str().as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p5_a_home_that_was_there_is_missed_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (known, home) = (dir.path().join("known"), dir.path().join("homes/alice"));
        let [alice, bob] = [&b"alice"[..], b"bob"].map(|name| Login::parse(name).unwrap());
        // A first login, also if an earlier start failed before there was a home.
        assert!(!is_lost(&known, &alice, &home));
        fs::create_dir_all(&home).unwrap();
        for _ in 0..2 {
            remember(&known, &alice, &home).unwrap();
            assert!(!is_lost(&known, &alice, &home));
        }
        // Its file system is not mounted, or the directory is gone.
        fs::remove_dir_all(dir.path().join("homes")).unwrap();
        assert!(is_lost(&known, &alice, &home));
        assert!(!is_lost(&known, &bob, &home.with_file_name("bob")));
        // The admin has set another place for homes.
        assert!(!is_lost(&known, &alice, &dir.path().join("elsewhere/alice")));
        // The admin lets the user start anew.
        fs::remove_file(known.join("alice")).unwrap();
        assert!(!is_lost(&known, &alice, &home));
        // What cannot be read decides nothing.
        fs::create_dir(known.join("alice")).unwrap();
        assert!(is_lost(&known, &alice, &home));
    }
}
