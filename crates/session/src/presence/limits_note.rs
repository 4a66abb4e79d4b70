//! The file `limits`: the limits that the running container has, as a text that its writer understands. The
//! program that starts the container or changes its limits writes it, so that whoever looks for a change of
//! the account need not ask the container engine.

use super::UserRuntimeDir;
use crate::atomic;
use std::fs;
use std::io;

/// Name of the file.
const FILE: &str = "limits";

impl UserRuntimeDir {
    /// The limits that were applied last; `None` if no program has recorded them since boot.
    #[must_use]
    pub fn applied_limits(&self) -> Option<String> {
        fs::read_to_string(self.host_dir.join(FILE)).ok()?.strip_suffix('\n').map(str::to_owned)
    }

    /// Records the limits of the container. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_applied_limits(&self, limits: &str) -> io::Result<()> {
        if self.applied_limits().as_deref() == Some(limits) {
            return Ok(());
        }
        let text = format!("{limits}\n");
        atomic::replace(atomic::directory(&self.host_dir)?, FILE, text.as_bytes(), 0o644, None)
    }
}

#[cfg(test)]
mod tests {
    use crate::presence::tests::prepared;
    use std::fs;

    #[test]
    fn f32_torn_limits_are_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        assert_eq!(runtime_dir.applied_limits(), None);
        runtime_dir.write_applied_limits("cpus 2").unwrap();
        assert_eq!(runtime_dir.applied_limits().as_deref(), Some("cpus 2"));
        fs::write(dir.path().join("users/alice/limits"), "cpus").unwrap();
        assert_eq!(runtime_dir.applied_limits(), None);
    }
}
