//! Makes the image of a new home: a sparse file with an ext4 file system.

use crate::error::DiskError;
use crate::images_dir::ImageFiles;
use crate::tools;
use host::quota::DiskLimit;
use session::deadlines::DISK_PROGRAM;
use std::path::{Path, PathBuf};

/// Smallest image. The journal alone takes 4 MiB.
pub const SMALLEST: u64 = 16 << 20;

/// Sizes are multiples of this, so that growing never has part of a block left.
const STEP: u64 = 1 << 20;

/// The size of the image for this limit.
pub fn size(limit: DiskLimit) -> u64 {
    limit.bytes.max(SMALLEST).next_multiple_of(STEP)
}

/// Makes the image. It gets its name once it is complete.
pub fn create(files: &ImageFiles, limit: DiskLimit) -> Result<(), DiskError> {
    make(files, limit)?;
    files.finish()
}

/// Makes an image under its temporary name, and returns that.
pub fn make(files: &ImageFiles, limit: DiskLimit) -> Result<PathBuf, DiskError> {
    let new = files.begin(size(limit))?;
    let made = make_file_system(&new, limit);
    if made.is_err() {
        // It may have filled the host's disk.
        files.give_up();
    }
    made.map(|()| new)
}

fn make_file_system(image: &Path, limit: DiskLimit) -> Result<(), DiskError> {
    let (path, count) = (image.to_string_lossy(), limit.files.to_string());
    let arguments = arguments(&count, &path);
    tools::run("mkfs.ext4", &arguments, Some(DISK_PROGRAM))?.must_succeed().map(drop)
}

/// No block is reserved for root, and the kernel writes the tables of inodes later: a first login stays quick
/// and the file small.
fn arguments<'a>(files: &'a str, path: &'a str) -> [&'a str; 11] {
    let options = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0";
    ["-q", "-F", "-b", "4096", "-m", "0", "-N", files, "-E", options, path]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::superblock::Superblock;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn an_image_is_sparse_and_has_the_size_and_the_files_of_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let files = ImageFiles::open(dir.path().join("alice.img")).unwrap();
        create(&files, DiskLimit::of_bytes(10 << 30)).unwrap();
        let image = files.file().unwrap();
        let found = Superblock::read(&image).unwrap().unwrap();
        assert_eq!((found.bytes, found.has_errors), (10 << 30, false));
        let blocks = image.metadata().unwrap().blocks();
        assert!(blocks * 512 < 8 << 20, "{blocks} blocks");
        let tune = tools::run("dumpe2fs", &["-h", files.path.to_str().unwrap()], None).unwrap();
        let tune = tune.must_succeed().unwrap();
        let field = |name: &str| {
            let line = tune.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
            line.parse::<u64>().unwrap()
        };
        assert_eq!(field("Reserved block count:"), 0);
        assert!(field("Inode count:") >= DiskLimit::of_bytes(10 << 30).files, "{tune}");
    }

    #[test]
    fn a_size_is_whole() {
        for (bytes, expected) in [(0, SMALLEST), (16 << 20, 16 << 20), ((50 << 30) + 1, (50 << 30) + STEP)] {
            assert_eq!(size(DiskLimit { bytes, files: 1 }), expected);
        }
    }
}
