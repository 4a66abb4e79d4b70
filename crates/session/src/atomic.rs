//! Writes a file whole or not at all: under a temporary name, flushed to the disk, then given its name,
//! and the directory flushed. A reader sees the old file or the new one, even if the writer is killed or
//! the power fails. Knows nothing about the content.

use crate::deadlines::WRITER;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Time between two attempts to lock the temporary file.
const RETRY: Duration = Duration::from_millis(5);

/// Opens the directory that holds a file to be replaced.
///
/// # Errors
/// The I/O error.
pub fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())?)
}

/// Replaces the file `name` in `dir`, which belongs to `owner` (uid and gid) if that is given. The
/// temporary file is `.NAME.new`: one that a killed writer has left is used again, and a lock on it lets
/// one writer at a time use it.
///
/// # Errors
/// The I/O error; `TimedOut` if another writer holds the lock. The old file stays.
pub fn replace(
    dir: impl AsFd,
    name: &str,
    content: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    replace_with(dir, name, |file| write(file, content, mode, owner))
}

/// Replaces the file `name` in `dir`, as [`replace`] does. Its owner may read and write it; the user `reader`
/// may read it, and nobody else. So a program without privileges passes something secret to another user.
///
/// # Errors
/// As for [`replace`], and the error of a file system without access control lists.
pub fn replace_for_reader(dir: impl AsFd, name: &str, content: &[u8], reader: u32) -> io::Result<()> {
    replace_with(dir, name, |file| {
        write(file, content, 0o600, None)?;
        Ok(rustix::fs::fsetxattr(&*file, ACCESS_LIST, &access_list(reader), XattrFlags::empty())?)
    })
}

/// The extended attribute with the access control list of a file, see acl(5).
const ACCESS_LIST: &str = "system.posix_acl_access";

/// The access control list of [`replace_for_reader`], in the format of `linux/posix_acl_xattr.h`: version 2,
/// then tag, permissions and id of each entry.
pub(crate) fn access_list(reader: u32) -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    // The owner, a user, the group, the mask and others.
    let entries: [(u16, u16, u32); 5] =
        [(0x01, 6, NO_ID), (0x02, 4, reader), (0x04, 0, NO_ID), (0x10, 4, NO_ID), (0x20, 0, NO_ID)];
    let entries = entries
        .map(|(tag, may, id)| [&tag.to_le_bytes()[..], &may.to_le_bytes(), &id.to_le_bytes()].concat());
    [&2_u32.to_le_bytes()[..], &entries.concat()].concat()
}

fn replace_with(
    dir: impl AsFd,
    name: &str,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = format!(".{name}.new");
    let mut file = lock_temporary(&dir, &temporary)?;
    let written = write(&mut file).and_then(|()| Ok(rustix::fs::renameat(&dir, &temporary, &dir, name)?));
    if let Err(error) = written {
        let _ = rustix::fs::unlinkat(&dir, &temporary, AtFlags::empty());
        return Err(error);
    }
    flush(&dir)
}

/// Creates the file `name` in `dir` unless it exists: of several writers the first one wins. Returns once
/// the file of the winner is on the disk.
///
/// # Errors
/// The I/O error; `TimedOut` if another writer holds the lock.
pub fn create(dir: impl AsFd, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = format!(".{name}.new");
    let mut file = lock_temporary(&dir, &temporary)?;
    // Checked under the lock: a killed writer may have left the temporary name as a second name of the
    // file, and writing to it would change the file.
    let created = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => write(&mut file, content, mode, None)
            .and_then(|()| Ok(rustix::fs::linkat(&dir, &temporary, &dir, name, AtFlags::empty())?)),
        Err(error) => Err(error.into()),
    };
    let _ = rustix::fs::unlinkat(&dir, &temporary, AtFlags::empty());
    created?;
    flush(&dir)
}

fn write(file: &mut File, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(content)?;
    // Opened to others only when it is complete. Before fchown(2), because the reaper has no right to
    // change the mode of another user's file.
    rustix::fs::fchmod(&*file, Mode::from_raw_mode(mode))?;
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(&*file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    file.sync_all()
}

/// Removes a file, if it is there. Flushes nothing.
///
/// # Errors
/// The I/O error. A missing file is none.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Flushes the entries of a directory to the disk.
///
/// # Errors
/// The I/O error.
pub fn flush(dir: impl AsFd) -> io::Result<()> {
    match rustix::fs::fsync(dir) {
        // Some file systems cannot flush a directory, and offer nothing else.
        Err(Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

/// Opens the temporary file and locks it. The kernel releases the lock of a killed writer.
fn lock_temporary(dir: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let began = Instant::now();
    loop {
        let file = File::from(rustix::fs::openat(&dir, name, flags, Mode::RUSR | Mode::WUSR)?);
        match file.try_lock() {
            Ok(()) => match owner_if_named(&dir, name, &file)? {
                Some(owner) if owner == rustix::process::geteuid().as_raw() => return Ok(file),
                // A killed writer had already given it to the new owner.
                Some(_) => rustix::fs::unlinkat(&dir, name, AtFlags::empty())?,
                // The previous writer has renamed or removed it: open the next one.
                None => {}
            },
            Err(TryLockError::WouldBlock) if began.elapsed() < WRITER => thread::sleep(RETRY),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// The owner of this open file, if `name` still leads to it.
fn owner_if_named(dir: impl AsFd, name: &str, file: &File) -> io::Result<Option<u32>> {
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
    fn a_file_is_created_once_with_its_mode_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b"first"[..], b"second"] {
            create(directory(dir.path()).unwrap(), "note", content, 0o600).unwrap();
            assert_eq!(fs::read(dir.path().join("note")).unwrap(), b"first");
            assert_eq!(fs::metadata(dir.path().join("note")).unwrap().mode() & 0o7777, 0o600);
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        }
    }

    #[test]
    fn f32_a_writer_killed_before_or_after_the_link_tears_no_created_file() {
        let dir = tempfile::tempdir().unwrap();
        let (note, temporary) = (dir.path().join("note"), dir.path().join(".note.new"));
        fs::write(&temporary, "half of something much longer than this").unwrap();
        create(directory(dir.path()).unwrap(), "note", b"whole", 0o600).unwrap();
        // Both names lead to one file.
        fs::hard_link(&note, &temporary).unwrap();
        create(directory(dir.path()).unwrap(), "note", b"other", 0o600).unwrap();
        assert_eq!(fs::read(&note).unwrap(), b"whole");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_removed_if_it_is_there_and_only_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("note");
        fs::write(&note, "x").unwrap();
        remove(&note).unwrap();
        assert!(!note.exists());
        remove(&note).unwrap();
        remove(&dir.path().join("nowhere/note")).unwrap();
        remove(dir.path()).unwrap_err();
        assert!(dir.path().exists());
    }

    #[test]
    fn of_writers_that_create_a_file_at_the_same_time_the_first_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        thread::scope(|scope| {
            for n in 0..8_u8 {
                scope.spawn(move || {
                    create(directory(path).unwrap(), "note", &[b'a' + n; 10_000], 0o600).unwrap();
                    fs::read(path.join("note")).unwrap()
                });
            }
        });
        let found = fs::read(path.join("note")).unwrap();
        assert!(found.len() == 10_000 && found.iter().all(|byte| *byte == found[0]));
        assert_eq!(fs::read_dir(path).unwrap().count(), 1);
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
                        // A writer may time out; none may tear the file.
                        let _ = replace_in(&dir, &content(n));
                        let found = fs::read(dir.join("note")).unwrap_or_default();
                        assert!(found.is_empty() || (0..8).any(|n| found == content(n)), "{}", found.len());
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
