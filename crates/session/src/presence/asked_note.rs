//! The file `asked`: when the account source was last asked about a user with an open connection, whether it
//! answered or not. `sshbox recheck` writes it and asks first about those for whom that is longest ago, so
//! users about whom there is never an answer do not keep the others waiting.

use super::UserRuntimeDir;
use crate::atomic;
use std::fs;
use std::io;
use std::time::Duration;

/// Name of the file.
const FILE: &str = "asked";

impl UserRuntimeDir {
    /// When the account source was last asked, since boot; `None` if that is not known.
    #[must_use]
    pub fn asked(&self) -> Option<Duration> {
        let text = fs::read_to_string(self.host_dir.join(FILE)).ok()?;
        Some(Duration::from_millis(text.strip_suffix('\n')?.parse().ok()?))
    }

    /// Records that the account source was asked at `moment`, since boot. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_asked(&self, moment: Duration) -> io::Result<()> {
        let text = format!("{}\n", moment.as_millis());
        atomic::replace(atomic::directory(&self.host_dir)?, FILE, text.as_bytes(), 0o644, None)
    }
}

#[cfg(test)]
mod tests {
    use crate::presence::tests::prepared;
    use std::fs;
    use std::time::Duration;

    #[test]
    fn f32_a_torn_time_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        assert_eq!(runtime_dir.asked(), None);
        runtime_dir.write_asked(Duration::from_millis(70)).unwrap();
        assert_eq!(runtime_dir.asked(), Some(Duration::from_millis(70)));
        for torn in ["", "7", "x\n", "-1\n"] {
            fs::write(dir.path().join("users/alice/asked"), torn).unwrap();
            assert_eq!(runtime_dir.asked(), None, "{torn}");
        }
    }
}
