//! Mounts an image at a home. The file system is put in order before it appears there, so no program ever
//! sees an incomplete one.

use crate::error::DiskError;
use crate::home_dir::HomeDir;
use crate::tools;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};
use session::deadlines::DISK_PROGRAM;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The directory in which e2fsck(8) keeps what it finds. It creates the directory when it needs it.
const LOST_AND_FOUND: &str = "lost+found";

/// Mounts `image` over the directory of the home.
pub fn mount(image: &Path, home: &HomeDir) -> Result<(), DiskError> {
    let device = attach(image)?;
    let mounted = detached(&device).and_then(|mount| {
        let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        put_in_order(&mount)?;
        Ok(move_mount(&mount, "", &home.base, &*home.name, empty)?)
    });
    // From now on the loop device goes with the mount. Without a mount it goes at once.
    let detach = tools::run("losetup", &["--detach", &device], Some(DISK_PROGRAM));
    mounted.map_err(DiskError::file("mount", &home.path))?;
    detach?.must_succeed().map(drop)
}

/// Unmounts the home. An image that is in use elsewhere stays attached: see [`is_attached`].
pub fn release(home: &HomeDir) -> Result<(), DiskError> {
    match unmount(&*home.path, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::BUSY) => Err(DiskError::InUse(home.path.clone())),
        Err(error) => Err(DiskError::file("unmount", &home.path)(error)),
    }
}

/// The loop device of an image: the one that it has, or a new one. Two devices would be two file systems in
/// one file, which would destroy it.
pub fn attach(image: &Path) -> Result<String, DiskError> {
    let path = image.to_string_lossy();
    let arguments = ["--find", "--show", "--nooverlap", &path];
    let output = tools::run("losetup", &arguments, Some(DISK_PROGRAM))?.must_succeed()?;
    Ok(output.trim().to_owned())
}

/// The loop device of an image, if it has one. Then the image is mounted somewhere, perhaps only in another
/// mount namespace, and no program may write to it.
pub fn attached(image: &Path) -> Result<Option<String>, DiskError> {
    let path = image.to_string_lossy();
    let arguments = ["--associated", &path, "--noheadings", "--output", "NAME"];
    let output = tools::run("losetup", &arguments, Some(DISK_PROGRAM))?.must_succeed()?;
    Ok(output.lines().next().map(|line| line.trim().to_owned()).filter(|name| !name.is_empty()))
}

/// A mount of the device that is not visible anywhere yet.
fn detached(device: &str) -> io::Result<OwnedFd> {
    let context = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", device)?;
    // Space that the user frees goes back to the host.
    fsconfig_set_flag(&context, "discard")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOATIME;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Removes an empty `lost+found`. Closes the root of a new file system, which `home::ensure` then hands over
/// like any home that is still root's.
fn put_in_order(mount: &OwnedFd) -> io::Result<()> {
    let found = fstatat(mount, LOST_AND_FOUND, AtFlags::AT_SYMLINK_NOFOLLOW);
    if found.is_ok_and(|found| found.st_uid == 0) {
        // It may have content, which stays.
        let _ = unlinkat(mount, LOST_AND_FOUND, UnlinkatFlags::RemoveDir);
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let root = openat(mount, ".", flags, Mode::empty())?;
    if fstat(&root)?.st_uid == 0 {
        fchmod(&root, Mode::S_IRWXU)?;
    }
    Ok(())
}
