//! Changes the size of an image. A mounted file system grows if this program may do that; else an unmounted
//! one grows before it is mounted. It shrinks only unmounted, and only for an admin: that moves the user's data.

use crate::error::DiskError;
use crate::images_dir::ImageFiles;
use crate::mounting;
use crate::superblock::Superblock;
use crate::tools;
use rustix::thread::{CapabilitySet, capabilities};
use session::deadlines::DISK_PROGRAM;
use std::time::Duration;

/// What has to be done about the size of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeChange {
    /// Nothing.
    None,
    /// The file system becomes as large as wanted.
    Grow,
    /// It is larger than wanted.
    Shrink,
}

/// Compares the sizes of file, file system and limit, in bytes.
pub fn change(file: u64, file_system: u64, wanted: u64) -> SizeChange {
    // The file is larger than the file system if an earlier growth was interrupted.
    if file_system < wanted || file_system < file && file <= wanted {
        SizeChange::Grow
    } else if file_system > wanted {
        SizeChange::Shrink
    } else {
        SizeChange::None
    }
}

/// The change that the image needs for this size.
pub fn needed(files: &ImageFiles, wanted: u64) -> Result<SizeChange, DiskError> {
    let image = files.file()?;
    let failed = || DiskError::file("read", &files.path);
    let length = image.metadata().map_err(failed())?.len();
    let found = Superblock::read(&image).map_err(failed())?;
    let found = found.ok_or_else(|| DiskError::Damaged(files.path.clone()))?;
    Ok(change(length, found.bytes, wanted))
}

/// Whether this process may grow a mounted file system: see ext4(5) and capabilities(7).
pub fn is_possible_mounted() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE))
}

/// Grows the mounted file system to `wanted` bytes. Writes to it go on meanwhile.
pub fn grow_mounted(files: &ImageFiles, wanted: u64) -> Result<(), DiskError> {
    extend(files, wanted)?;
    let device = mounting::attached(&files.path)?.ok_or_else(|| DiskError::InUse(files.path.clone()))?;
    tools::run("losetup", &["--set-capacity", &device], Some(DISK_PROGRAM))?.must_succeed()?;
    tools::run("resize2fs", &[&device], Some(DISK_PROGRAM))?.must_succeed().map(drop)
}

/// Grows the file system, which is not mounted, to `wanted` bytes.
pub fn grow_unmounted(files: &ImageFiles, wanted: u64, deadline: Option<Duration>) -> Result<(), DiskError> {
    not_attached(files)?;
    extend(files, wanted)?;
    check_all(files, deadline)?;
    // It writes the new tables only, and must not be killed while it does.
    tools::run("resize2fs", &[&files.path.to_string_lossy()], None)?.must_succeed().map(drop)
}

/// Shrinks the file system, which is not mounted, to `wanted` bytes, if what is in it fits.
pub fn shrink(files: &ImageFiles, wanted: u64) -> Result<(), DiskError> {
    not_attached(files)?;
    check_all(files, None)?;
    let kibibytes = format!("{}K", wanted / 1024);
    tools::run("resize2fs", &[&files.path.to_string_lossy(), &kibibytes], None)?.must_succeed()?;
    if needed(files, wanted)? == SizeChange::None {
        let failed = DiskError::file("shorten", &files.path);
        files.file()?.set_len(wanted).map_err(failed)?;
    }
    Ok(())
}

/// Repairs a file system in which the kernel has found errors, as far as that is safe.
pub fn repair(files: &ImageFiles, deadline: Option<Duration>) -> Result<(), DiskError> {
    let found = Superblock::read(&files.file()?).map_err(DiskError::file("read", &files.path))?;
    match found {
        None => Err(DiskError::Damaged(files.path.clone())),
        Some(found) if found.has_errors => {
            not_attached(files)?;
            check_all(files, deadline).map_err(|error| repair_failed(error, files))
        }
        Some(_) => Ok(()),
    }
}

/// Tells the admin what to run if the repair took too long.
fn repair_failed(error: DiskError, files: &ImageFiles) -> DiskError {
    match error {
        DiskError::Timeout(..) => DiskError::RepairTooLong(files.path.clone()),
        other => other,
    }
}

fn extend(files: &ImageFiles, wanted: u64) -> Result<(), DiskError> {
    let image = files.file()?;
    let length = image.metadata().map_err(DiskError::file("look at", &files.path))?.len();
    if length < wanted {
        image.set_len(wanted).map_err(DiskError::file("extend", &files.path))?;
    }
    Ok(())
}

fn not_attached(files: &ImageFiles) -> Result<(), DiskError> {
    match mounting::attached(&files.path)? {
        None => Ok(()),
        Some(_) => Err(DiskError::InUse(files.path.clone())),
    }
}

/// Checks all of the file system, as resize2fs(8) requires, and repairs what is safe to repair.
fn check_all(files: &ImageFiles, deadline: Option<Duration>) -> Result<(), DiskError> {
    let ended = tools::run("e2fsck", &["-f", "-p", &files.path.to_string_lossy()], deadline)?;
    match ended.code() {
        // Nothing wrong, or repaired: e2fsck(8).
        Some(0..=2) => Ok(()),
        // Errors that are left, or no file system at all.
        Some(4..=15) => Err(DiskError::Damaged(files.path.clone())),
        _ => Err(ended.error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image;
    use host::quota::DiskLimit;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn sizes_are_compared() {
        for (file, file_system, wanted, expected) in [
            (64, 64, 64, SizeChange::None),
            (64, 64, 128, SizeChange::Grow),
            // Interrupted between the file and the file system.
            (128, 64, 128, SizeChange::Grow),
            (128, 64, 256, SizeChange::Grow),
            (128, 128, 64, SizeChange::Shrink),
            // The limit went up and down again.
            (128, 64, 64, SizeChange::None),
            // Interrupted after the file system was shrunk.
            (128, 64, 32, SizeChange::Shrink),
        ] {
            assert_eq!(change(file, file_system, wanted), expected, "{file} {file_system} {wanted}");
        }
    }

    fn image_of(mebibytes: u64) -> (tempfile::TempDir, ImageFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = ImageFiles::open(dir.path().join("alice.img")).unwrap();
        image::create(&files, DiskLimit::of_bytes(mebibytes << 20)).unwrap();
        (dir, files)
    }

    #[test]
    fn an_image_grows_and_shrinks_and_a_half_done_growth_is_completed() {
        let (_dir, files) = image_of(64);
        let bytes = || Superblock::read(&files.file().unwrap()).unwrap().unwrap().bytes;
        grow_unmounted(&files, 128 << 20, None).unwrap();
        assert_eq!((bytes(), needed(&files, 128 << 20).unwrap()), (128 << 20, SizeChange::None));
        // Killed after the file was extended.
        files.file().unwrap().set_len(256 << 20).unwrap();
        assert_eq!(needed(&files, 256 << 20).unwrap(), SizeChange::Grow);
        grow_unmounted(&files, 256 << 20, None).unwrap();
        assert_eq!(bytes(), 256 << 20);
        shrink(&files, 64 << 20).unwrap();
        assert_eq!((bytes(), files.file().unwrap().metadata().unwrap().len()), (64 << 20, 64 << 20));
        assert!(shrink(&files, 1 << 20).is_err(), "what is in it does not fit");
        assert_eq!(bytes(), 64 << 20);
    }

    #[test]
    fn errors_are_repaired_and_no_file_system_is_damage() {
        let (_dir, files) = image_of(64);
        repair(&files, None).unwrap();
        let image = files.file().unwrap();
        // As the kernel notes an error: clean, with errors.
        let path = files.path.to_str().unwrap();
        let debugfs = ["-w", "-R", "set_super_value state 3", path];
        tools::run("debugfs", &debugfs, None).unwrap().must_succeed().unwrap();
        assert!(Superblock::read(&image).unwrap().unwrap().has_errors);
        let timeout = DiskError::Timeout("e2fsck", Duration::ZERO);
        assert!(repair_failed(timeout, &files).failure().advice.contains("sshbox quota"));
        repair(&files, None).unwrap();
        assert!(!Superblock::read(&image).unwrap().unwrap().has_errors);
        image.write_all_at(&[0; 4096], 0).unwrap();
        assert!(matches!(repair(&files, None), Err(DiskError::Damaged(_))));
        assert!(matches!(needed(&files, 64 << 20), Err(DiskError::Damaged(_))));
    }
}
