//! The claims: one symbolic link for each uid, in a directory that only root can change.

use super::BoxUserError;
use super::host_users::HostOwner;
use crate::config::{Template, UidRange};
use crate::home;
use identity::Login;
use session::escape::printable;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

/// The directory of the claims.
pub const DIRECTORY: &str = "/var/lib/sshbox/uids";

/// How many uids that the host has are skipped in search of a free one.
const MAX_SKIPPED: usize = 16;

/// The claims in a directory, beside the homes that they are for.
pub struct Claims<'a> {
    pub dir: &'a Path,
    pub homes: &'a Template,
    pub host_owner: HostOwner,
}

impl Claims<'_> {
    /// Claims `uid` for `login`, unless that was done before.
    pub fn claim(&self, uid: u32, login: &Login) -> Result<(), BoxUserError> {
        let path = self.dir.join(uid.to_string());
        let taken = |by| BoxUserError::Taken { uid, by, claim: path.clone() };
        loop {
            match fs::read_link(&path) {
                Ok(target) if target.as_os_str() == login.as_str() => return Ok(()),
                Ok(target) => return Err(taken(printable(target.as_os_str().as_bytes()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(BoxUserError::Io(path, error)),
            }
            let mut owners = self.owners()?.into_iter();
            if let Some((other, _)) = owners.find(|(other, owner)| *owner == uid && other != login) {
                return Err(taken(other.to_string()));
            }
            if let Some(owner) = self.host_owner(uid)? {
                return Err(BoxUserError::OfHost(uid, printable(owner.as_bytes())));
            }
            if self.link(login, &path)? {
                return Ok(());
            }
            // Another process has just claimed it: find out for whom.
        }
    }

    /// The uid that `login` has claimed.
    pub fn of(&self, login: &Login, range: UidRange) -> Result<Option<u32>, BoxUserError> {
        let uids = links_to(self.dir, login).map_err(|error| self.failed(error))?;
        Ok(uids.into_iter().filter(|uid| range.contains(*uid)).max())
    }

    /// Claims the highest uid of `range` that is free.
    pub fn allocate(&self, login: &Login, range: UidRange) -> Result<u32, BoxUserError> {
        let mut taken: HashSet<u32> = self.owners()?.into_iter().map(|(_, owner)| owner).collect();
        let names = entries(self.dir).map_err(|error| self.failed(error))?;
        taken.extend(names.iter().filter_map(|path| uid_of(path)));
        let mut skipped = 0;
        for uid in (range.first..=range.last).rev().filter(|uid| !taken.contains(uid)) {
            if let Some(owner) = self.host_owner(uid)? {
                skipped += 1;
                if skipped > MAX_SKIPPED {
                    return Err(BoxUserError::OfHost(uid, printable(owner.as_bytes())));
                }
                continue;
            }
            if self.link(login, &self.dir.join(uid.to_string()))? {
                return Ok(uid);
            }
        }
        Err(BoxUserError::NoneLeft(range))
    }

    /// Removes all claims of `login` in `dir`.
    pub fn release(dir: &Path, login: &Login) -> io::Result<()> {
        links_to(dir, login)?.into_iter().try_for_each(|uid| fs::remove_file(dir.join(uid.to_string())))
    }

    /// Creates the link. `false` if it exists.
    fn link(&self, login: &Login, path: &Path) -> Result<bool, BoxUserError> {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(self.dir);
        match made.and_then(|()| symlink(login.as_str(), path)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(BoxUserError::Io(path.to_owned(), error)),
        }
    }

    fn owners(&self) -> Result<Vec<(Login, u32)>, BoxUserError> {
        home::owners(self.homes).map_err(|error| BoxUserError::Io(self.homes.as_str().into(), error))
    }

    fn host_owner(&self, uid: u32) -> Result<Option<String>, BoxUserError> {
        (self.host_owner)(uid).map_err(|error| BoxUserError::NoNameService(uid, error))
    }

    fn failed(&self, error: io::Error) -> BoxUserError {
        BoxUserError::Io(self.dir.to_owned(), error)
    }
}

/// The uids that are claimed.
///
/// # Errors
/// The I/O error.
pub fn claimed(dir: &Path) -> io::Result<Vec<u32>> {
    Ok(entries(dir)?.iter().filter_map(|path| uid_of(path)).collect())
}

/// The paths of all claims; none if the directory does not exist.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

fn links_to(dir: &Path, login: &Login) -> io::Result<Vec<u32>> {
    let is_theirs =
        |path: &PathBuf| fs::read_link(path).is_ok_and(|target| target.as_os_str() == login.as_str());
    Ok(entries(dir)?.into_iter().filter(is_theirs).filter_map(|path| uid_of(&path)).collect())
}

fn uid_of(path: &Path) -> Option<u32> {
    path.file_name().and_then(OsStr::to_str)?.parse().ok()
}
