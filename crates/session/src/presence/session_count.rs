//! How many sessions of a user are open. The kernel counts them, so no crash can make the number wrong.

use super::UserRuntimeDir;
use crate::procfs;
use std::fs;
use std::io;

impl UserRuntimeDir {
    /// The number of open sessions: the shared holders of `live.lock`.
    ///
    /// # Errors
    /// The I/O error.
    pub fn open_sessions(&self) -> io::Result<usize> {
        procfs::shared_flocks(&fs::metadata(self.live_lock())?)
    }
}

#[cfg(test)]
mod tests {
    use crate::presence::tests::{locked_by_reaper, prepared};
    use std::time::Duration;

    #[test]
    fn each_shared_lock_is_one_session() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        assert_eq!(runtime_dir.open_sessions().unwrap(), 0);
        let sessions = [(); 3].map(|()| runtime_dir.lock_live_shared(Duration::ZERO).unwrap());
        assert_eq!(runtime_dir.open_sessions().unwrap(), 3);
        drop(sessions);
        let _reaper = locked_by_reaper(&runtime_dir);
        assert_eq!(runtime_dir.open_sessions().unwrap(), 0, "an exclusive lock is no session");
    }
}
