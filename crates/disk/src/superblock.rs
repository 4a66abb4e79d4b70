//! The few fields of an ext4 superblock that say how large the file system is and whether it has errors. The
//! kernel alone writes them: a user of the home cannot.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Where the superblock begins, and how long it is, in bytes.
const START: u64 = 1024;
const LENGTH: usize = 1024;

const MAGIC: u16 = 0xef53;

/// Flag of the state: the kernel has found errors.
const ERRORS: u16 = 2;

/// What the superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Size of the file system in bytes.
    pub bytes: u64,
    /// Whether the kernel has found errors in it.
    pub has_errors: bool,
}

impl Superblock {
    /// Reads the superblock of an image; `None` if it is no ext4 file system.
    ///
    /// # Errors
    /// The I/O error.
    pub fn read(image: &File) -> io::Result<Option<Self>> {
        let mut block = [0; LENGTH];
        match image.read_exact_at(&mut block, START) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            other => other.map(|()| Self::parse(&block)),
        }
    }

    fn parse(block: &[u8]) -> Option<Self> {
        let short = |at: usize| Some(u16::from_le_bytes(block.get(at..)?.first_chunk().copied()?));
        let long = |at: usize| Some(u32::from_le_bytes(block.get(at..)?.first_chunk().copied()?));
        if short(0x38)? != MAGIC {
            return None;
        }
        let blocks = u64::from(long(0x150)?) << 32 | u64::from(long(0x4)?);
        // Sizes of blocks are 1 KiB to 64 KiB.
        let block_size = 1024_u64.checked_shl(long(0x18)?).filter(|size| *size <= 64 << 10)?;
        Some(Self { bytes: blocks.checked_mul(block_size)?, has_errors: short(0x3a)? & ERRORS != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools;
    use std::io::Write as _;

    #[test]
    fn it_agrees_with_mke2fs() {
        let mut image = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Superblock::read(image.as_file()).unwrap(), None, "empty");
        image.write_all(&[0; 4096]).unwrap();
        assert_eq!(Superblock::read(image.as_file()).unwrap(), None, "zeros");
        for (size, block) in [(32 << 20, "1024"), (64 << 20, "4096"), (9 << 30, "4096")] {
            image.as_file().set_len(size).unwrap();
            let path = image.path().to_str().unwrap();
            tools::run("mkfs.ext4", &["-q", "-F", "-b", block, path], None).unwrap().must_succeed().unwrap();
            let expected = Superblock { bytes: size, has_errors: false };
            assert_eq!(Superblock::read(image.as_file()).unwrap(), Some(expected));
        }
        let mut state = [0; 2];
        image.as_file().read_exact_at(&mut state, START + 0x3a).unwrap();
        image.as_file().write_all_at(&[state[0] | 2, state[1]], START + 0x3a).unwrap();
        assert!(Superblock::read(image.as_file()).unwrap().unwrap().has_errors);
        // A size that no file system has.
        image.as_file().write_all_at(&[200, 0, 0, 0], START + 0x18).unwrap();
        assert_eq!(Superblock::read(image.as_file()).unwrap(), None);
    }
}
