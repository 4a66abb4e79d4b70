//! How full the home is, told at a login with a terminal. Only if the host says that the home has a limit of
//! its own: a user cannot help it that a disk which all share is full.

use crate::texts;
use std::path::Path;

/// The file by which the host says that the home has a limit of its own.
pub const LIMITED: &str = "/run/sshbox/home-limited";

/// From this percentage on the user is told.
const NOTICE: u64 = 80;

/// What the user is told, if the home has a limit and is nearly full.
pub fn notice(limited: &Path, home: &Path) -> Option<String> {
    limited.symlink_metadata().ok()?;
    let found = rustix::fs::statvfs(home).ok()?;
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    let space = Space { used, most: used.saturating_add(found.f_bavail) };
    let files = Space { used: found.f_files.saturating_sub(found.f_ffree), most: found.f_files };
    describe(space, files, found.f_frsize)
}

/// A use and its maximum, in blocks or files.
#[derive(Clone, Copy, Debug)]
struct Space {
    used: u64,
    most: u64,
}

impl Space {
    /// In percent, rounded down; 0 without a maximum.
    fn percent(self) -> u64 {
        self.used.saturating_mul(100).checked_div(self.most).unwrap_or_default()
    }
}

fn describe(space: Space, files: Space, block: u64) -> Option<String> {
    let bytes = |blocks: u64| blocks.saturating_mul(block);
    if space.percent() >= NOTICE && space.percent() >= files.percent() {
        Some(texts::home_fills(space.percent(), bytes(space.used), bytes(space.most)))
    } else if files.percent() >= NOTICE {
        Some(texts::home_has_many_files(files.percent(), files.used, files.most))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_told_of_from_80_percent_on() {
        let text =
            |used, files| describe(Space { used, most: 1000 }, Space { used: files, most: 1000 }, 1 << 20);
        assert_eq!(text(799, 799), None);
        assert_eq!(text(0, 0), None);
        assert_eq!(describe(Space { used: 0, most: 0 }, Space { used: 0, most: 0 }, 4096), None);
        assert!(text(800, 0).unwrap().contains("80 % full"));
        assert!(text(949, 0).unwrap().contains("94 % full"));
        let clearly = text(950, 949).unwrap();
        assert!(clearly.contains("95 % full") && clearly.contains("delete"), "{clearly}");
        assert!(text(900, 1000).unwrap().contains("1000 of 1000 files"));
    }

    #[test]
    fn only_a_home_with_a_limit_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(notice(&dir.path().join("none"), Path::new("/proc")), None);
        std::fs::write(dir.path().join("limited"), "").unwrap();
        assert_eq!(notice(&dir.path().join("limited"), &dir.path().join("none")), None);
    }
}
