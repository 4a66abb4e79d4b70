//! Why the container of a user was stopped last: the file `ended`, written by the process that
//! stopped it and emptied when its user has read the reason.

use super::UserRuntimeDir;
use super::locks::nofollow;
use crate::atomic;
use crate::box_status::LastStop;
use identity::GID;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// Name of the file.
const FILE: &str = "ended";

/// Longest record.
const LONGEST: u64 = 4096;

/// One stop of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRecord {
    /// When, since boot.
    pub moment: Duration,
    /// Why, as its user reads it.
    pub reason: String,
    /// Whether the container has been started again since.
    pub over: bool,
}

impl StopRecord {
    fn parse(text: &str) -> Option<Self> {
        let (moment, rest) = text.strip_suffix('\n')?.split_once(' ')?;
        let (over, reason) = rest.split_once(' ')?;
        let moment = Duration::from_millis(moment.parse().ok()?);
        Some(Self { moment, reason: reason.to_owned(), over: over == "past" })
    }
}

impl fmt::Display for StopRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = if self.over { "past" } else { "now" };
        writeln!(f, "{} {over} {}", self.moment.as_millis(), self.reason)
    }
}

impl UserRuntimeDir {
    /// Records why the container is being stopped, or was stopped. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write_stop_record(&self, moment: Duration, reason: &str) -> io::Result<()> {
        self.replace_stop_record(&StopRecord { moment, reason: reason.to_owned(), over: false })
    }

    /// Records that the container runs again after its last stop. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn mark_restarted(&self) -> io::Result<()> {
        match self.stop_record() {
            Some(stop) if !stop.over => self.replace_stop_record(&StopRecord { over: true, ..stop }),
            _ => Ok(()),
        }
    }

    /// The last stop; `None` once its user has read the reason.
    #[must_use]
    pub fn stop_record(&self) -> Option<StopRecord> {
        // The user's own program can write to it.
        let mut text = String::new();
        File::open(self.stop_file()).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        StopRecord::parse(&text)
    }

    /// The last stop, as `@status` shows it.
    #[must_use]
    pub fn last_stop(&self, now: Duration) -> Option<LastStop> {
        let StopRecord { moment, reason, .. } = self.stop_record()?;
        Some(LastStop { seconds_ago: now.saturating_sub(moment).as_secs(), reason })
    }

    /// Reads the last stop and empties the file, so that the user is told once.
    #[must_use]
    pub fn take_stop_record(&self) -> Option<StopRecord> {
        let stop = self.stop_record()?;
        // The file is the user's, the directory is root's: the user can empty it, not remove it.
        OpenOptions::new().write(true).truncate(true).custom_flags(nofollow()).open(self.stop_file()).ok()?;
        Some(stop)
    }

    fn replace_stop_record(&self, stop: &StopRecord) -> io::Result<()> {
        let owner = Some((self.uid, GID));
        atomic::replace(atomic::directory(&self.host_dir)?, FILE, stop.to_string().as_bytes(), 0o600, owner)
    }

    fn stop_file(&self) -> PathBuf {
        self.host_dir.join(FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::tests::prepared;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn f32_a_stop_record_is_whole_or_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        runtime_dir.write_stop_record(Duration::from_secs(7), "an admin stopped it").unwrap();
        runtime_dir.mark_restarted().unwrap();
        let stop = runtime_dir.stop_record().unwrap();
        assert_eq!(
            (stop.moment, &*stop.reason, stop.over),
            (Duration::from_secs(7), "an admin stopped it", true)
        );
        assert_eq!(fs::metadata(runtime_dir.stop_file()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(runtime_dir.take_stop_record(), Some(stop));
        assert_eq!(runtime_dir.stop_record(), None);
        for torn in ["", "7000 now an adm", "7000 now"] {
            fs::write(runtime_dir.stop_file(), torn).unwrap();
            assert_eq!(runtime_dir.stop_record(), None, "{torn}");
        }
    }
}
