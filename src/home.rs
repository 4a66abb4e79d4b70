//! Homes on the host. Root makes one and hands it over; it never walks into one, follows a
//! link there, or removes anything: what is in a home belongs to somebody who may be hostile.

use crate::config::{Owner, Template};
use crate::status::Disk;
use identity::Login;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Longest account id, in bytes.
const ID_MAX: u64 = 255;

/// Why there is no home.
#[derive(Debug)]
pub enum HomeError {
    /// The directory that holds the homes cannot be opened.
    Base(PathBuf, Errno),
    /// The home cannot be made or opened as a directory.
    Make(PathBuf, Errno),
    /// The home cannot be opened as a directory, or is not there.
    Look(PathBuf, Errno),
    /// The note of whose home it is cannot be read or written.
    Note(PathBuf, io::Error),
    /// It belongs to an earlier account of the same name.
    OtherAccount {
        /// The home.
        home: PathBuf,
        /// Account that it was made for.
        was: String,
        /// Account that asks now.
        now: String,
    },
}

impl fmt::Display for HomeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(path, _) => write!(f, "cannot open {}", path.display()),
            Self::Make(path, _) => write!(f, "cannot make the home {}", path.display()),
            Self::Look(path, _) => write!(f, "cannot open the home {} as a directory", path.display()),
            Self::Note(path, _) => write!(f, "cannot use {}", path.display()),
            Self::OtherAccount { home, was, now } => {
                write!(f, "home {} belongs to account {was}, not to account {now}", home.display())
            }
        }
    }
}

impl std::error::Error for HomeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Base(_, error) | Self::Make(_, error) | Self::Look(_, error) => Some(error),
            Self::Note(_, error) => Some(error),
            Self::OtherAccount { .. } => None,
        }
    }
}

/// Makes sure of the home of `login` and that it is this account's: who made it is noted
/// beside it, in `.NAME.sshbox-id`. No login begins with a dot, so no home is called that.
///
/// # Errors
/// [`HomeError`]; nothing that existed was changed then.
pub fn claim(
    template: &Template,
    login: &Login,
    account: Option<&str>,
    owner: Owner,
) -> Result<PathBuf, HomeError> {
    let Parts { home, base, name, base_fd } = parts(template, login)?;
    if let Some(account) = account {
        check_note(&base_fd, &note_of(&name), account, &base, &home)?;
    }
    let failed = |errno| HomeError::Make(home.clone(), errno);
    match mkdirat(&base_fd, &*name, Mode::S_IRWXU) {
        Ok(()) => {
            let new =
                openat(&base_fd, &*name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()).map_err(failed)?;
            fchmod(&new, Mode::S_IRWXU).map_err(failed)?;
            fchown(&new, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid))).map_err(failed)?;
        }
        Err(Errno::EEXIST) => {
            existing(&base_fd, &name).map_err(failed)?;
        }
        Err(errno) => return Err(failed(errno)),
    }
    Ok(home)
}

/// A home that is there, as it is seen from its door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Uid and gid that its top directory belongs to.
    pub owner: (u32, u32),
    /// The account that it was made for, if that is known.
    pub account: Option<String>,
}

/// Looks at the home of `login` and changes nothing.
///
/// # Errors
/// [`HomeError`]; it is none of ours to mend.
pub fn look(template: &Template, login: &Login) -> Result<Seen, HomeError> {
    let Parts { home, base, name, base_fd } = parts(template, login)?;
    let seen = existing(&base_fd, &name)
        .and_then(|fd| fstat(&fd))
        .map_err(|errno| HomeError::Look(home.clone(), errno))?;
    let note = note_of(&name);
    let account = read_note(&base_fd, &note).map_err(|error| HomeError::Note(base.join(&note), error))?;
    Ok(Seen { owner: (seen.st_uid, seen.st_gid), account })
}

/// How a directory is opened.
const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC).union(OFlag::O_RDONLY);

/// A home's path, and the directory that holds it, opened.
struct Parts {
    home: PathBuf,
    base: PathBuf,
    name: OsString,
    base_fd: OwnedFd,
}

fn parts(template: &Template, login: &Login) -> Result<Parts, HomeError> {
    let home = PathBuf::from(template.fill(login));
    let (Some(base), Some(name)) = (home.parent(), home.file_name()) else {
        return Err(HomeError::Base(home, Errno::EINVAL));
    };
    let (base, name) = (base.to_owned(), name.to_owned());
    let base_fd =
        open(&base, DIRECTORY, Mode::empty()).map_err(|errno| HomeError::Base(base.clone(), errno))?;
    Ok(Parts { home, base, name, base_fd })
}

fn existing(base: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(base, name, DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_PATH, Mode::empty())
}

fn note_of(name: &OsStr) -> String {
    format!(".{}.sshbox-id", name.to_string_lossy())
}

/// What the note says; `None` when there is none.
fn read_note(base: &OwnedFd, note: &str) -> io::Result<Option<String>> {
    match openat(base, note, NOTE | OFlag::O_RDONLY, Mode::empty()) {
        Ok(fd) => {
            let mut text = String::new();
            File::from(fd).take(ID_MAX).read_to_string(&mut text)?;
            Ok(Some(text.trim_end().to_owned()))
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// How a note is opened.
const NOTE: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK);

/// The file system that a home is on; before it is made, that of the directory above.
#[must_use]
pub fn disk(home: &Path) -> Option<Disk> {
    let found = home.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    Some(Disk {
        used: found.f_blocks.saturating_sub(found.f_bfree) * found.f_frsize,
        free: found.f_bavail * found.f_frsize,
    })
}

/// Compares the note with the account, or writes it if there is none yet.
fn check_note(base: &OwnedFd, note: &str, account: &str, path: &Path, home: &Path) -> Result<(), HomeError> {
    let failed = |error: io::Error| HomeError::Note(path.join(note), error);
    match read_note(base, note).map_err(failed)? {
        Some(was) if was == account => Ok(()),
        Some(was) => Err(HomeError::OtherAccount { home: home.to_owned(), was, now: account.to_owned() }),
        None => {
            // One start of a box at a time, so nobody else writes this note. A note that is
            // torn by a full disk would lock the user out: it goes as a whole or not at all.
            let new = format!("{note}.new");
            let create = NOTE | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            let fd = openat(base, new.as_str(), create, mode).map_err(|errno| failed(errno.into()))?;
            let mut file = File::from(fd);
            file.write_all(format!("{account}\n").as_bytes()).map_err(failed)?;
            nix::fcntl::renameat(base, new.as_str(), base, note).map_err(|errno| failed(errno.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn alice() -> Login {
        Login::parse(b"alice").unwrap()
    }

    /// The test's own user, who can always chown to themselves.
    fn me() -> Owner {
        Owner { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }

    fn template(dir: &Path) -> Template {
        format!("{}/{{user}}", dir.display()).parse().unwrap()
    }

    #[test]
    fn a_home_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let home = claim(&template(dir.path()), &alice(), Some("42"), me()).unwrap();
        assert_eq!(fs::metadata(&home).unwrap().mode() & 0o777, 0o700);
        fs::write(home.join("thesis"), "x").unwrap();
        assert_eq!(claim(&template(dir.path()), &alice(), Some("42"), me()).unwrap(), home);
        // A source that tells no id, such as a forge, has nothing to compare.
        claim(&template(dir.path()), &alice(), None, me()).unwrap();
        assert!(home.join("thesis").exists());
    }

    #[test]
    fn a18_a_later_account_of_the_same_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        claim(&template(dir.path()), &alice(), Some("42"), me()).unwrap();
        let error = claim(&template(dir.path()), &alice(), Some("43"), me()).unwrap_err();
        assert!(error.to_string().ends_with("belongs to account 42, not to account 43"), "{error}");
    }

    #[test]
    fn a11_links_and_files_in_place_of_a_home_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("alice");
        symlink("/etc", &home).unwrap();
        assert!(matches!(claim(&template(dir.path()), &alice(), None, me()), Err(HomeError::Make(..))));
        fs::remove_file(&home).unwrap();
        fs::write(&home, "").unwrap();
        assert!(matches!(claim(&template(dir.path()), &alice(), None, me()), Err(HomeError::Make(..))));
        symlink("/etc/passwd", dir.path().join(".alice.sshbox-id")).unwrap();
        assert!(matches!(claim(&template(dir.path()), &alice(), Some("1"), me()), Err(HomeError::Note(..))));
    }

    #[test]
    fn a_look_tells_owner_and_account_and_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let template = template(dir.path());
        assert!(matches!(look(&template, &alice()), Err(HomeError::Look(_, Errno::ENOENT))));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::create_dir(dir.path().join("alice")).unwrap();
        let owner = (me().uid, me().gid);
        assert_eq!(look(&template, &alice()).unwrap(), Seen { owner, account: None });
        claim(&template, &alice(), Some("42"), me()).unwrap();
        assert_eq!(look(&template, &alice()).unwrap(), Seen { owner, account: Some("42".to_owned()) });
        fs::remove_dir(dir.path().join("alice")).unwrap();
        symlink("/etc", dir.path().join("alice")).unwrap();
        assert!(matches!(look(&template, &alice()), Err(HomeError::Look(_, Errno::ENOTDIR))));
    }

    #[test]
    fn a_missing_base_is_told() {
        let template = "/nonexistent/homes/{user}".parse().unwrap();
        let error = claim(&template, &alice(), None, me()).unwrap_err();
        assert_eq!(error.to_string(), "cannot open /nonexistent/homes");
    }
}
