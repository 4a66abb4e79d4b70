//! Gives a home and what is in it to another uid. Only an admin's command does that, while the box is stopped and
//! locked, but the tree may be hostile all the same: no link is followed, no mount is entered, and each
//! entry is opened once, inspected and changed by its descriptor.
//!
//! Only entries of the old owner change. The directory itself is the last: a walk that was cut short can be
//! repeated, and until then no login uses the home.

use super::error::HomeError;
use super::{DIRECTORY, HomePath};
use crate::config::{Template, UidGid};
use identity::Login;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use rustix::fs::{AtFlags, Dir, FileType, Gid, OFlags, ResolveFlags, Stat, Uid, chownat, fstat, openat2};
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// After how many entries the progress is reported.
const REPORT_EVERY: u64 = 1000;

/// How an entry is opened: below the directory, no link, no mount point.
const RESOLVE: ResolveFlags =
    ResolveFlags::NO_XDEV.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::BENEATH);

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerChange {
    /// Uid of the entries that change.
    pub from_uid: u32,
    /// Gid that changes with them. They keep every other one.
    pub from_gid: u32,
    /// The new owner.
    pub to: UidGid,
}

/// The number of entries in a home, itself included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryCount {
    /// Entries of the old owner.
    pub changed: u64,
    /// Entries that the new owner had before.
    pub unchanged: u64,
    /// Entries of others, mount points, and what is below those. They are left alone.
    pub foreign: u64,
}

impl EntryCount {
    /// All entries.
    #[must_use]
    pub fn total(self) -> u64 {
        self.changed.saturating_add(self.unchanged).saturating_add(self.foreign)
    }
}

/// Why a home was not given to another uid, or not all of it.
#[derive(Debug)]
pub enum ChangeOwnerError {
    /// The home cannot be opened.
    Home(HomeError),
    /// This entry cannot be opened, read or changed.
    Entry(PathBuf, Errno),
    /// A directory was moved during the walk.
    Moved(PathBuf),
}

impl fmt::Display for ChangeOwnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Home(error) => error.fmt(f),
            Self::Entry(path, _) => write!(f, "cannot change the owner of {}", path.display()),
            Self::Moved(path) => write!(f, "{} was moved meanwhile", path.display()),
        }
    }
}

impl std::error::Error for ChangeOwnerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Home(error) => error.source(),
            Self::Entry(_, errno) => Some(errno),
            Self::Moved(_) => None,
        }
    }
}

/// Counts the entries of the home of `login` that [`change`] would change. Changes nothing.
///
/// # Errors
/// [`ChangeOwnerError`]
pub fn count(
    template: &Template,
    login: &Login,
    change: OwnerChange,
) -> Result<EntryCount, ChangeOwnerError> {
    Walk::begin(template, login, change, false, &mut |_| ())?.run()
}

/// Gives the home of `login` to the new owner. Calls `report` with the number of entries so far, once in a
/// while. The caller keeps the box stopped and locked.
///
/// # Errors
/// [`ChangeOwnerError`]. The home itself still has its old owner, and the call can be repeated.
pub fn change(
    template: &Template,
    login: &Login,
    change: OwnerChange,
    report: &mut dyn FnMut(u64),
) -> Result<EntryCount, ChangeOwnerError> {
    Walk::begin(template, login, change, true, report)?.run()
}

/// A directory of the walk.
struct Level {
    /// Device and inode.
    identity: (u64, u64),
    /// Its name in the directory above.
    name: OsString,
    /// The directories in it that are still to be visited.
    pending: Vec<CString>,
}

struct Walk<'a> {
    home: PathBuf,
    /// The directory that is visited. The others are only known by name and inode: a tree of any depth needs
    /// one descriptor.
    current: OwnedFd,
    /// From the home to the directory that is visited.
    levels: Vec<Level>,
    change: OwnerChange,
    apply: bool,
    counted: EntryCount,
    report: &'a mut dyn FnMut(u64),
}

impl<'a> Walk<'a> {
    fn begin(
        template: &Template,
        login: &Login,
        change: OwnerChange,
        apply: bool,
        report: &'a mut dyn FnMut(u64),
    ) -> Result<Self, ChangeOwnerError> {
        let HomePath { home, name, base_fd, .. } =
            HomePath::open(template, login).map_err(ChangeOwnerError::Home)?;
        let current = openat(&base_fd, &*name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())
            .map_err(|errno| ChangeOwnerError::Home(HomeError::Open(home.clone(), errno)))?;
        let (levels, counted) = (Vec::new(), EntryCount::default());
        Ok(Self { home, current, levels, change, apply, counted, report })
    }

    fn run(mut self) -> Result<EntryCount, ChangeOwnerError> {
        self.visit(OsString::new())?;
        loop {
            match self.levels.last_mut().and_then(|level| level.pending.pop()) {
                Some(name) => self.descend(&name)?,
                None if self.levels.len() > 1 => self.ascend()?,
                None => break,
            }
        }
        let stat = self.stat(&self.current, OsStr::new(""))?;
        let home = openat(&self.current, ".", DIRECTORY | OFlag::O_PATH, Mode::empty())
            .map_err(|errno| ChangeOwnerError::Entry(self.home.clone(), errno))?;
        self.entry(&home, &stat, OsStr::new(""))?;
        Ok(self.counted)
    }

    /// Changes what is in the directory that is open, and notes the directories in it.
    fn visit(&mut self, name: OsString) -> Result<(), ChangeOwnerError> {
        let stat = self.stat(&self.current, &name)?;
        self.levels.push(Level { identity: (stat.st_dev, stat.st_ino), name, pending: Vec::new() });
        let entries = Dir::read_from(&self.current).map_err(|error| self.failed(OsStr::new(""), error))?;
        for entry in entries {
            let entry = entry.map_err(|error| self.failed(OsStr::new(""), error))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let shown = OsStr::from_bytes(name.to_bytes());
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match openat2(&self.current, name, flags, rustix::fs::Mode::empty(), RESOLVE_ENTRY) {
                Ok(opened) => opened,
                // Removed since the directory was read.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(rustix::io::Errno::XDEV) => {
                    self.count(|counted| &mut counted.foreign);
                    continue;
                }
                Err(error) => return Err(self.failed(shown, error)),
            };
            let stat = self.stat(&opened, shown)?;
            self.entry(&opened, &stat, shown)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && let Some(level) = self.levels.last_mut()
            {
                level.pending.push(name.to_owned());
            }
        }
        Ok(())
    }

    fn descend(&mut self, name: &CString) -> Result<(), ChangeOwnerError> {
        let shown = OsStr::from_bytes(name.to_bytes()).to_owned();
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat2(&self.current, name, flags, rustix::fs::Mode::empty(), RESOLVE) {
            Ok(opened) => {
                self.current = opened;
                self.visit(shown)
            }
            // Removed or replaced since: what is there now was not seen and is not changed.
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(()),
            Err(error) => Err(self.failed(&shown, error)),
        }
    }

    /// Returns to the directory above, if it is the one from which the walk came.
    fn ascend(&mut self) -> Result<(), ChangeOwnerError> {
        let above = openat(&self.current, "..", DIRECTORY, Mode::empty())
            .map_err(|errno| ChangeOwnerError::Entry(self.path(OsStr::new("")), errno))?;
        let stat = self.stat(&above, OsStr::new(".."))?;
        let here = self.path(OsStr::new(""));
        self.levels.pop();
        let expected = self.levels.last().map(|level| level.identity);
        if expected != Some((stat.st_dev, stat.st_ino)) {
            return Err(ChangeOwnerError::Moved(here));
        }
        self.current = above;
        Ok(())
    }

    /// Changes the owner of one entry, which is open, if it has the old one.
    fn entry(&mut self, opened: &OwnedFd, stat: &Stat, name: &OsStr) -> Result<(), ChangeOwnerError> {
        let OwnerChange { from_uid, from_gid, to } = self.change;
        if stat.st_uid == from_uid {
            if self.apply {
                let gid = (stat.st_gid == from_gid).then(|| Gid::from_raw(to.gid));
                chownat(opened, c"", Some(Uid::from_raw(to.uid)), gid, AtFlags::EMPTY_PATH)
                    .map_err(|error| self.failed(name, error))?;
            }
            self.count(|counted| &mut counted.changed);
        } else if stat.st_uid == to.uid {
            self.count(|counted| &mut counted.unchanged);
        } else {
            self.count(|counted| &mut counted.foreign);
        }
        Ok(())
    }

    fn count(&mut self, number: impl FnOnce(&mut EntryCount) -> &mut u64) {
        let number = number(&mut self.counted);
        *number = number.saturating_add(1);
        let total = self.counted.total();
        if total.is_multiple_of(REPORT_EVERY) {
            (self.report)(total);
        }
    }

    fn stat(&self, opened: impl AsFd, name: &OsStr) -> Result<Stat, ChangeOwnerError> {
        fstat(opened).map_err(|error| self.failed(name, error))
    }

    fn failed(&self, name: &OsStr, error: rustix::io::Errno) -> ChangeOwnerError {
        ChangeOwnerError::Entry(self.path(name), Errno::from_raw(error.raw_os_error()))
    }

    /// The path of an entry of the directory that is visited, for an error.
    fn path(&self, name: &OsStr) -> PathBuf {
        let mut path = self.home.clone();
        path.extend(self.levels.iter().skip(1).map(|level| &level.name));
        if !name.is_empty() {
            path.push(name);
        }
        path
    }
}

/// The same for an entry that may be a link, which is then opened itself.
const RESOLVE_ENTRY: ResolveFlags = ResolveFlags::NO_XDEV.union(ResolveFlags::BENEATH);

#[cfg(test)]
mod tests;
