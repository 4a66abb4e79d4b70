//! What was loaded last: the file `network` in the runtime directory. Without it no box starts on a network of
//! sshbox. `/run` is empty after a boot, so the file never tells of rules that a boot has removed.

use serde::{Deserialize, Serialize};
use session::atomic;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Name of the file.
const FILE: &str = "network";

/// The rules that were loaded last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct LoadedRules {
    /// The input of nft(8).
    pub script: String,
    /// How nft(8) listed the rules for routed packets right after they were loaded.
    pub listing: String,
    /// The same for the rules within the bridges; empty if the kernel could not load them.
    pub bridge_listing: String,
    /// Whether the kernel could also load the rules within the bridges.
    pub within_bridges: bool,
    /// When they were missing or changed and were loaded again; since boot.
    pub mended: Option<Mended>,
}

/// Repairs since boot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Mended {
    /// How many.
    pub times: u32,
    /// The last one, in seconds since 1970.
    pub last: u64,
    /// What was found then.
    pub found: String,
}

impl LoadedRules {
    /// Reads the file. `None` if it is missing or not valid.
    #[must_use]
    pub fn read(run: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(run.join(FILE)).ok()?).ok()
    }

    /// Whether the rules were loaded since boot.
    #[must_use]
    pub fn exist(run: &Path) -> bool {
        run.join(FILE).exists()
    }

    /// Replaces the file. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write(&self, run: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        atomic::replace(atomic::directory(run)?, FILE, &text, 0o600, None)
    }

    /// Removes the file: from now on no box starts on a network of sshbox.
    ///
    /// # Errors
    /// The I/O error. A missing file is no error.
    pub fn remove(run: &Path) -> io::Result<()> {
        atomic::remove(&run.join(FILE))
    }
}

impl Mended {
    /// Another repair, now.
    #[must_use]
    pub fn again(before: Option<&Self>, found: &str) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let times = before.map_or(0, |mended| mended.times).saturating_add(1);
        Self { times, last: now.as_secs(), found: found.to_owned() }
    }

    /// The time of the last one.
    #[must_use]
    pub fn moment(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.last)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a13_what_is_written_is_read_and_what_is_removed_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!LoadedRules::exist(dir.path()));
        let mended = Mended::again(Some(&Mended::again(None, "missing")), "changed");
        assert_eq!((mended.times, &*mended.found), (2, "changed"));
        let rules = LoadedRules { script: "a\n\"b\"".to_owned(), mended: Some(mended), ..Default::default() };
        rules.write(dir.path()).unwrap();
        assert_eq!(LoadedRules::read(dir.path()), Some(rules));
        assert!(LoadedRules::exist(dir.path()));
        LoadedRules::remove(dir.path()).unwrap();
        LoadedRules::remove(dir.path()).unwrap();
        assert!(!LoadedRules::exist(dir.path()));
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(LoadedRules::read(dir.path()), None);
    }
}
