//! The image of a home and the files beside it: `NAME.img`, which is complete; `.NAME.img.new`, which is being
//! made; `.NAME.img.copied`, a complete copy of a home that is still in use; and the lock. Only root can
//! change the directory, so a path in it stays what it was.

use crate::error::DiskError;
use host::quota::copy_name;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::fs::RenameFlags;
use session::atomic;
use session::times::later;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Time between two attempts to lock a home.
const RETRY: Duration = Duration::from_millis(10);

/// What an image is called while it is made.
const NEW: &str = "new";

/// The files of one image.
#[derive(Debug)]
pub struct ImageFiles {
    /// The complete image.
    pub path: PathBuf,
    name: String,
    dir: OwnedFd,
    dir_path: PathBuf,
}

impl ImageFiles {
    /// Opens the directory of the image, which must be root's.
    pub fn open(path: PathBuf) -> Result<Self, DiskError> {
        let (Some(dir_path), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
        else {
            return Err(DiskError::file("use", path)(Errno::EINVAL));
        };
        let (dir_path, name) = (dir_path.to_owned(), name.to_owned());
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
        let dir = open(&dir_path, flags, Mode::empty()).map_err(DiskError::file("open", &dir_path))?;
        let stat = fstat(&dir).map_err(DiskError::file("look at", &dir_path))?;
        if stat.st_uid != nix::unistd::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            return Err(DiskError::Untrusted(dir_path));
        }
        Ok(Self { path, name, dir, dir_path })
    }

    /// How many bytes are free for images.
    pub fn free_bytes(&self) -> Result<u64, DiskError> {
        let found = rustix::fs::fstatvfs(&self.dir).map_err(DiskError::file("look at", &self.dir_path))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Takes the lock on this home. Programs that this one starts inherit it, so the next one waits until
    /// they have ended, even if this one is killed.
    pub fn lock(&self, patience: Duration) -> Result<File, DiskError> {
        let name = format!(".{}.lock", self.name);
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW;
        let lock = openat(&self.dir, &*name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(DiskError::file("open", self.dir_path.join(&name)))?;
        let (lock, until) = (File::from(lock), later(Instant::now(), patience));
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(RETRY),
                Err(TryLockError::WouldBlock) => return Err(DiskError::Busy(self.path.clone())),
                Err(TryLockError::Error(error)) => return Err(DiskError::file("lock", &self.path)(error)),
            }
        }
    }

    /// Whether the image exists. Something else in its place is an error.
    pub fn exists(&self) -> Result<bool, DiskError> {
        self.is_file(&self.name)
    }

    /// Whether there is a complete copy of a home.
    pub fn copy_exists(&self) -> Result<bool, DiskError> {
        self.is_file(&copy_name(&self.name))
    }

    fn is_file(&self, name: &str) -> Result<bool, DiskError> {
        match fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => {
                let is_regular = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
                let is_ours = found.st_uid == nix::unistd::geteuid().as_raw() && found.st_nlink == 1;
                let path = self.dir_path.join(name);
                if is_regular && is_ours { Ok(true) } else { Err(DiskError::NoImage(path)) }
            }
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(DiskError::file("look at", self.dir_path.join(name))(errno)),
        }
    }

    /// Opens the image.
    pub fn file(&self) -> Result<File, DiskError> {
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, &*self.name, flags, Mode::empty());
        file.map(File::from).map_err(DiskError::file("open", &self.path))
    }

    /// Creates the file of a new image, empty and of this size, and returns its path. What an earlier call
    /// left is removed: no home has ever been in it.
    pub fn begin(&self, bytes: u64) -> Result<PathBuf, DiskError> {
        self.remove(&self.beside(NEW))?;
        let path = self.dir_path.join(self.beside(NEW));
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, &*self.beside(NEW), flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(DiskError::file("create", &path))?;
        File::from(file).set_len(bytes).map_err(DiskError::file("extend", &path))?;
        Ok(path)
    }

    /// Gives up an image that [`Self::begin`] created.
    pub fn give_up(&self) {
        // The next begin would remove it, too.
        let _ = self.remove(&self.beside(NEW));
    }

    /// The new image is complete and becomes the image.
    pub fn finish(&self) -> Result<(), DiskError> {
        self.rename(&self.beside(NEW), &self.name)
    }

    /// The new image is a complete copy of a home.
    pub fn finish_copy(&self) -> Result<(), DiskError> {
        self.remove(&copy_name(&self.name))?;
        self.rename(&self.beside(NEW), &copy_name(&self.name))
    }

    /// The home that was copied has been moved aside: the copy becomes the image.
    pub fn use_copy(&self) -> Result<(), DiskError> {
        self.rename(&copy_name(&self.name), &self.name)
    }

    /// Removes the copy of a home that is still in use. Nothing is lost: the home itself is there.
    pub fn discard_copy(&self) -> Result<(), DiskError> {
        self.remove(&copy_name(&self.name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let path = self.dir_path.join(from);
        let file = File::open(&path).map_err(DiskError::file("open", &path))?;
        file.sync_all().map_err(DiskError::file("write", &path))?;
        let renamed = match rustix::fs::renameat_with(&self.dir, from, &self.dir, to, RenameFlags::NOREPLACE)
        {
            // Some file systems do not support the flag. The lock keeps others from creating the image.
            Err(rustix::io::Errno::INVAL) if !self.is_file(to)? => {
                rustix::fs::renameat(&self.dir, from, &self.dir, to)
            }
            other => other,
        };
        renamed
            .map_err(io::Error::from)
            .and_then(|()| atomic::flush(&self.dir))
            .map_err(DiskError::file("rename", path))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(DiskError::file("remove", self.dir_path.join(name))(errno)),
        }
    }

    fn beside(&self, stage: &str) -> String {
        format!(".{}.{stage}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn files() -> (tempfile::TempDir, ImageFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = ImageFiles::open(dir.path().join("alice.img")).unwrap();
        (dir, files)
    }

    #[test]
    fn an_image_exists_once_it_is_complete() {
        let (dir, files) = files();
        fs::write(dir.path().join(".alice.img.new"), "left by a killed program").unwrap();
        let new = files.begin(1 << 20).unwrap();
        assert_eq!(fs::metadata(&new).unwrap().len(), 1 << 20);
        assert!(!files.exists().unwrap());
        files.finish().unwrap();
        assert!(files.exists().unwrap() && !new.exists());
        // A second one does not replace it.
        files.begin(1).unwrap();
        assert!(files.finish().is_err());
        assert_eq!(fs::metadata(&files.path).unwrap().len(), 1 << 20);
        files.give_up();
        assert!(!new.exists());
    }

    #[test]
    fn a_copy_becomes_the_image_or_goes() {
        let (_dir, files) = files();
        for discard in [true, false] {
            files.begin(1 << 20).unwrap();
            files.finish_copy().unwrap();
            assert!(files.copy_exists().unwrap() && !files.exists().unwrap());
            if discard {
                files.discard_copy().unwrap();
            } else {
                files.use_copy().unwrap();
            }
            assert!(!files.copy_exists().unwrap());
            assert_eq!(files.exists().unwrap(), !discard);
        }
    }

    #[test]
    fn p5_a_link_or_another_file_in_place_of_an_image_is_refused() {
        let (dir, files) = files();
        let image = dir.path().join("alice.img");
        symlink("/etc/shadow", &image).unwrap();
        assert!(matches!(files.exists(), Err(DiskError::NoImage(_))));
        assert!(files.file().is_err());
        fs::remove_file(&image).unwrap();
        nix::unistd::mkfifo(&image, Mode::S_IRWXU).unwrap();
        assert!(files.exists().is_err());
        fs::remove_file(&image).unwrap();
        fs::write(&image, "").unwrap();
        fs::hard_link(&image, dir.path().join("second")).unwrap();
        assert!(files.exists().is_err(), "a second name");
        fs::remove_file(dir.path().join("second")).unwrap();
        assert!(files.exists().unwrap());
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(ImageFiles::open(dir.path().join("x.img")), Err(DiskError::Untrusted(_))));
    }

    #[test]
    fn one_at_a_time_and_a_program_that_was_started_counts() {
        let (_dir, files) = files();
        let lock = files.lock(Duration::ZERO).unwrap();
        assert!(matches!(files.lock(Duration::from_millis(20)), Err(DiskError::Busy(_))));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        drop(lock);
        assert!(matches!(files.lock(Duration::ZERO), Err(DiskError::Busy(_))));
        child.kill().unwrap();
        child.wait().unwrap();
        files.lock(Duration::from_secs(20)).unwrap();
    }
}
