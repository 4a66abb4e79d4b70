//! Replaces a file whole or not at all: written under a temporary name, flushed to the disk,
//! renamed, and the directory flushed. A reader sees the old file or the new one, whatever the
//! writer died of; after a power loss the same holds. Knows nothing of what is written.

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for another writer of the same file.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time between two attempts.
const RETRY: Duration = Duration::from_millis(5);

/// Opens the directory that holds a file to be replaced.
///
/// # Errors
/// What the file system says.
pub fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())?)
}

/// Replaces the file `name` in `dir`. The temporary file is `.NAME.new`: one that a killed writer
/// left is used again, and a lock on it lets one writer at a time use it. It belongs to `owner`
/// (uid and gid) if that is given.
///
/// # Errors
/// What the file system says, `TimedOut` if another writer does not end; the old file stays.
pub fn replace(
    dir: impl AsFd,
    name: &str,
    content: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    write_temporary(&dir, name, content, mode, owner, |temporary| {
        rustix::fs::renameat(&dir, temporary, &dir, name)
    })
}

/// Creates the file `name` in `dir` unless it exists: of two writers, the first one's content stays.
///
/// # Errors
/// As for [`replace`]. An existing file is no error.
pub fn create(dir: impl AsFd, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    write_temporary(&dir, name, content, mode, None, |temporary| {
        match rustix::fs::linkat(&dir, temporary, &dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => rustix::fs::unlinkat(&dir, temporary, AtFlags::empty()),
            Err(errno) => Err(errno),
        }
    })
}

/// Writes the temporary file, and calls `publish` with its name to give it the final one.
fn write_temporary(
    dir: impl AsFd,
    name: &str,
    content: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
    publish: impl Fn(&str) -> Result<(), Errno>,
) -> io::Result<()> {
    let temporary = format!(".{name}.new");
    let mut file = exclusive(&dir, &temporary)?;
    let mut write = || {
        file.set_len(0)?;
        file.write_all(content)?;
        // Not before it is complete, so that nobody else can open it; and while it is still ours, for
        // the reaper may not change what is not.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        if let Some((uid, gid)) = owner {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        file.sync_all()?;
        Ok::<_, io::Error>(publish(&temporary)?)
    };
    if let Err(error) = write() {
        let _ = rustix::fs::unlinkat(&dir, &temporary, AtFlags::empty());
        return Err(error);
    }
    flush(&dir)
}

/// Flushes the entries of a directory to the disk.
///
/// # Errors
/// What the file system says.
pub fn flush(dir: impl AsFd) -> io::Result<()> {
    match rustix::fs::fsync(dir) {
        // Some file systems cannot flush a directory; they have no stronger way.
        Err(Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// Opens the temporary file and locks it. The kernel takes the lock back from a dead writer.
fn exclusive(dir: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let began = Instant::now();
    loop {
        let file = File::from(rustix::fs::openat(&dir, name, flags, Mode::RUSR | Mode::WUSR)?);
        match file.try_lock() {
            Ok(()) => match owner_if_called(&dir, name, &file)? {
                Some(owner) if owner == rustix::process::geteuid().as_raw() => return Ok(file),
                // A dead writer had handed it over already.
                Some(_) => rustix::fs::unlinkat(&dir, name, AtFlags::empty())?,
                // The writer before us has renamed or removed it: open the next one.
                None => {}
            },
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => thread::sleep(RETRY),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Whom this open file belongs to, if `name` still leads to it.
fn owner_if_called(dir: impl AsFd, name: &str, file: &File) -> io::Result<Option<u32>> {
    let open = rustix::fs::fstat(file)?;
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(((found.st_dev, found.st_ino) == (open.st_dev, open.st_ino)).then_some(open.st_uid)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn replace_in(dir: &Path, content: &[u8]) -> io::Result<()> {
        replace(directory(dir)?, "note", content, 0o640, None)
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        replace_in(dir.path(), b"first, and longer").unwrap();
        replace_in(dir.path(), b"second").unwrap();
        assert_eq!(fs::read(dir.path().join("note")).unwrap(), b"second");
        assert_eq!(fs::metadata(dir.path().join("note")).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_exists_is_not_created_again() {
        let dir = tempfile::tempdir().unwrap();
        for content in [b"first", b"other"] {
            create(directory(dir.path()).unwrap(), "secret", content, 0o600).unwrap();
            assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"first");
        }
        assert_eq!(fs::metadata(dir.path().join("secret")).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn f32_what_a_killed_writer_left_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".note.new"), "half of something much longer than this").unwrap();
        replace_in(dir.path(), b"whole").unwrap();
        assert_eq!(fs::read(dir.path().join("note")).unwrap(), b"whole");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_place_of_the_temporary_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("other"), "kept").unwrap();
        symlink("other", dir.path().join(".note.new")).unwrap();
        replace_in(dir.path(), b"x").unwrap_err();
        assert_eq!(fs::read(dir.path().join("other")).unwrap(), b"kept");
    }

    #[test]
    fn writers_at_the_same_time_leave_one_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let content = |n: u8| vec![b'a' + n; 10_000 + usize::from(n)];
        let writers: Vec<_> = (0..8)
            .map(|n| {
                let dir = dir.path().to_owned();
                thread::spawn(move || {
                    for _ in 0..20 {
                        // One that waits for too long fails; none may tear the file.
                        let _ = replace_in(&dir, &content(n));
                        let seen = fs::read(dir.join("note")).unwrap_or_default();
                        assert!(seen.is_empty() || (0..8).any(|n| seen == content(n)), "{}", seen.len());
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        assert!((0..8).any(|n| fs::read(dir.path().join("note")).unwrap() == content(n)));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }
}
