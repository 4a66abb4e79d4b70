//! Creates a home under a temporary name, makes the user its owner, and renames it. So the final name never
//! leads to an incomplete home.

use super::DIRECTORY;
use crate::config::UidGid;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};
use session::atomic;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;

/// All permission bits of owner, group and others.
const ALL_PERMISSIONS: Mode = Mode::S_IRWXU.union(Mode::S_IRWXG).union(Mode::S_IRWXO);

/// The temporary name of a home.
pub fn temporary(name: &OsStr) -> String {
    format!(".{}.sshbox-new", name.to_string_lossy())
}

/// Create a home. A directory that an earlier call left under the temporary name is used.
pub fn create(base: &OwnedFd, name: &OsStr, owner: UidGid) -> Result<(), Errno> {
    let temporary = temporary(name);
    match mkdirat(base, &*temporary, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    let new = openat(base, &*temporary, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
    hand_over(&new, owner)?;
    let rename = |flags| rustix::fs::renameat_with(base, &*temporary, base, name, flags);
    let renamed = match rename(rustix::fs::RenameFlags::NOREPLACE) {
        // Some file systems do not support the flag. Without it rename(2) replaces an empty directory
        // at most.
        Err(rustix::io::Errno::INVAL) => rename(rustix::fs::RenameFlags::empty()),
        other => other,
    };
    renamed.map_err(errno)?;
    flush(base)
}

/// Make the user the owner of a home that an earlier version of sshbox created but did not finish: it belongs
/// to root, is closed to others and empty, and only root can write the directory above. No user can create
/// such a directory.
pub fn complete(base: &OwnedFd, home: &OwnedFd, owner: UidGid) -> Result<(), Errno> {
    let (base, found) = (fstat(base)?, fstat(home)?);
    let permissions = |mode| Mode::from_bits_truncate(mode & !SFlag::S_IFMT.bits());
    let base_is_roots =
        base.st_uid == 0 && !permissions(base.st_mode).intersects(Mode::S_IWGRP | Mode::S_IWOTH);
    let home_is_roots = found.st_uid == 0 && permissions(found.st_mode) & ALL_PERMISSIONS == Mode::S_IRWXU;
    if !base_is_roots || !home_is_roots {
        return Ok(());
    }
    let readable = openat(home, ".", DIRECTORY, Mode::empty())?;
    let mut entries = rustix::fs::Dir::read_from(&readable).map_err(errno)?;
    let is_empty =
        entries.all(|entry| entry.is_ok_and(|entry| matches!(entry.file_name().to_bytes(), b"." | b"..")));
    if is_empty { hand_over(&readable, owner) } else { Ok(()) }
}

/// Make the user the owner, in a way that survives a power loss.
fn hand_over(home: &OwnedFd, owner: UidGid) -> Result<(), Errno> {
    fchmod(home, Mode::S_IRWXU)?;
    fchown(home, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    flush(home)
}

fn flush(directory: &OwnedFd) -> Result<(), Errno> {
    atomic::flush(directory).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}
