//! Homes on the host. Root makes one and hands it over; it never walks into one, follows a
//! link there, or removes anything: what is in a home belongs to somebody who may be hostile.
//! A home gets its name only when it is complete, and so does the note of whose it is.

use crate::config::{Owner, Template};
use identity::Login;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};
use session::atomic;
use session::box_status::Disk;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
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
    let done = match existing(&base_fd, &name) {
        Ok(found) => mend(&base_fd, &found, owner),
        Err(Errno::ENOENT) => make(&base_fd, &name, owner),
        Err(errno) => return Err(HomeError::Make(home, errno)),
    };
    match done {
        Ok(()) => Ok(home),
        // A file or a link has the temporary name: who looks at the home finds nothing.
        Err(Errno::ENOTDIR) => Err(HomeError::Make(base.join(new_of(&name)), Errno::ENOTDIR)),
        Err(errno) => Err(HomeError::Make(home, errno)),
    }
}

/// Makes a home under a temporary name, `.NAME.sshbox-new`, and renames it when it is complete.
/// What an earlier call left under that name is used. For one call at a time.
fn make(base: &OwnedFd, name: &OsStr, owner: Owner) -> Result<(), Errno> {
    let temporary = new_of(name);
    match mkdirat(base, &*temporary, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    let new = openat(base, &*temporary, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty())?;
    give(&new, owner)?;
    let rename = |flags| rustix::fs::renameat_with(base, &*temporary, base, name, flags);
    let renamed = match rename(rustix::fs::RenameFlags::NOREPLACE) {
        // Not every file system knows the flag. Without it an empty directory at most is replaced.
        Err(rustix::io::Errno::INVAL) => rename(rustix::fs::RenameFlags::empty()),
        other => other,
    };
    renamed.map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    flush(base)
}

/// Completes a home that an earlier version of sshbox made and did not hand over: root's, closed and
/// empty, in a directory that only root can change. No user can make one like that.
fn mend(base: &OwnedFd, found: &OwnedFd, owner: Owner) -> Result<(), Errno> {
    let (base, home) = (fstat(base)?, fstat(found)?);
    let permissions = |mode| Mode::from_bits_truncate(mode & !SFlag::S_IFMT.bits());
    let roots_alone =
        base.st_uid == 0 && !permissions(base.st_mode).intersects(Mode::S_IWGRP | Mode::S_IWOTH);
    if !roots_alone || home.st_uid != 0 || permissions(home.st_mode) & ACCESS != Mode::S_IRWXU {
        return Ok(());
    }
    let open = openat(found, ".", DIRECTORY, Mode::empty())?;
    let mut entries =
        rustix::fs::Dir::read_from(&open).map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    let empty =
        entries.all(|entry| entry.is_ok_and(|entry| matches!(entry.file_name().to_bytes(), b"." | b"..")));
    if empty { give(&open, owner) } else { Ok(()) }
}

/// Hands a directory over to its user, and makes sure that a power loss does not undo that.
fn give(home: &OwnedFd, owner: Owner) -> Result<(), Errno> {
    fchmod(home, Mode::S_IRWXU)?;
    fchown(home, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    flush(home)
}

fn flush(directory: &OwnedFd) -> Result<(), Errno> {
    atomic::flush(directory).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
}

/// Permissions of all.
const ACCESS: Mode = Mode::S_IRWXU.union(Mode::S_IRWXG).union(Mode::S_IRWXO);

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

fn new_of(name: &OsStr) -> String {
    format!(".{}.sshbox-new", name.to_string_lossy())
}

fn note_of(name: &OsStr) -> String {
    format!(".{}.sshbox-id", name.to_string_lossy())
}

/// What the note says; `None` when there is none. One that is empty or does not end with its line
/// was torn by a power loss under an earlier version: it names nobody, and is replaced.
fn read_note(base: &OwnedFd, note: &str) -> io::Result<Option<String>> {
    match openat(base, note, NOTE, Mode::empty()) {
        Ok(fd) => {
            let mut text = Vec::new();
            File::from(fd).take(ID_MAX + 1).read_to_end(&mut text)?;
            let id =
                text.strip_suffix(b"\n").filter(|id| !id.is_empty() && id.iter().all(u8::is_ascii_graphic));
            Ok(id.map(|id| String::from_utf8_lossy(id).into_owned()))
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// How a note is opened.
const NOTE: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK);

/// The file system that a home is on; before it is made, that of the directory above.
#[must_use]
pub fn disk(home: &Path) -> Option<Disk> {
    let found = home.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    Some(Disk {
        used: found.f_blocks.saturating_sub(found.f_bfree).saturating_mul(found.f_frsize),
        free: found.f_bavail.saturating_mul(found.f_frsize),
    })
}

/// Compares the note with the account, or writes it if there is none yet.
fn check_note(base: &OwnedFd, note: &str, account: &str, path: &Path, home: &Path) -> Result<(), HomeError> {
    let failed = |error: io::Error| HomeError::Note(path.join(note), error);
    match read_note(base, note).map_err(failed)? {
        Some(was) if was == account => Ok(()),
        Some(was) => Err(HomeError::OtherAccount { home: home.to_owned(), was, now: account.to_owned() }),
        None => atomic::replace(base, note, format!("{account}\n").as_bytes(), 0o600, None).map_err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

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
    fn f32_a_torn_note_is_nobodys_and_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join(".alice.sshbox-id");
        for torn in ["", "\n", "4", "7-of-another", "\0\0\0", "42 \n", "\u{fffd}\n"] {
            fs::write(&note, torn).unwrap();
            claim(&template(dir.path()), &alice(), Some("42"), me()).unwrap();
            assert_eq!(fs::read_to_string(&note).unwrap(), "42\n", "{torn:?}");
        }
        assert!(claim(&template(dir.path()), &alice(), Some("43"), me()).is_err());
        // The longest id is whole, too.
        let long = "x".repeat(255);
        fs::remove_file(&note).unwrap();
        claim(&template(dir.path()), &alice(), Some(&long), me()).unwrap();
        assert_eq!(look(&template(dir.path()), &alice()).unwrap().account, Some(long));
    }

    /// A user other than root if the test may give a directory away.
    fn other() -> Owner {
        if me().uid == 0 { Owner { uid: 1000, gid: 1000 } } else { me() }
    }

    fn owner_of(path: &Path) -> Owner {
        let found = fs::metadata(path).unwrap();
        Owner { uid: found.uid(), gid: found.gid() }
    }

    #[test]
    fn f32_what_was_left_half_made_becomes_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (home, temporary) = (dir.path().join("alice"), dir.path().join(".alice.sshbox-new"));
        // Killed between making it and renaming it.
        fs::create_dir(&temporary).unwrap();
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).unwrap();
        claim(&template(dir.path()), &alice(), None, other()).unwrap();
        assert_eq!((owner_of(&home), fs::metadata(&home).unwrap().mode() & 0o777), (other(), 0o700));
        assert!(!temporary.exists());
        // As earlier versions left it.
        fs::remove_dir(&home).unwrap();
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        claim(&template(dir.path()), &alice(), None, other()).unwrap();
        assert_eq!(owner_of(&home), other());
    }

    #[test]
    fn what_is_no_half_made_home_keeps_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("alice");
        fs::create_dir(&home).unwrap();
        // Open to others, so an admin has made it; not empty; in a place that others can change.
        for (of_home, of_base, file) in [(0o755, 0o700, false), (0o700, 0o700, true), (0o700, 0o777, false)] {
            fs::set_permissions(&home, fs::Permissions::from_mode(of_home)).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(of_base)).unwrap();
            if file {
                fs::write(home.join("thesis"), "x").unwrap();
            }
            claim(&template(dir.path()), &alice(), None, other()).unwrap();
            assert_eq!(owner_of(&home), me(), "{of_home:o} {of_base:o}");
            let _ = fs::remove_file(home.join("thesis"));
        }
    }

    #[test]
    fn a11_links_and_files_in_place_of_a_home_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("alice");
        symlink("/etc", &home).unwrap();
        assert!(matches!(claim(&template(dir.path()), &alice(), None, me()), Err(HomeError::Make(..))));
        fs::remove_file(&home).unwrap();
        symlink("/etc", dir.path().join(".alice.sshbox-new")).unwrap();
        let error = claim(&template(dir.path()), &alice(), None, me()).unwrap_err();
        assert!(error.to_string().ends_with("/.alice.sshbox-new"), "{error}");
        fs::remove_file(dir.path().join(".alice.sshbox-new")).unwrap();
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
