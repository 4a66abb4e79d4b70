//! The kernel's clocks. Idle times and the age of a cached answer are measured on the clock that nobody
//! can set and that does not stop during suspend; wall time serves across a reboot only.

use crate::procfs::{self, Stat};
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};

/// A moment, on both clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Id of this boot.
    pub boot_id: String,
    /// Since boot, suspend included (`CLOCK_BOOTTIME`).
    pub boottime: Duration,
    /// Since 1970.
    pub wall: Duration,
}

/// The present moment.
#[must_use]
pub fn now() -> Now {
    Now {
        boot_id: procfs::boot_id(),
        boottime: boottime(),
        wall: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
    }
}

/// Time since boot, suspend included.
#[must_use]
pub fn boottime() -> Duration {
    // The clock exists since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// When the parent of this process started, since boot; `None` when that cannot be read.
#[must_use]
pub fn parent_start() -> Option<Duration> {
    Stat::of(nix::unistd::getppid().as_raw())?.start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_our_parent_is_older() {
        let first = now();
        assert!(!first.boot_id.is_empty());
        assert!(boottime() >= first.boottime);
        assert!(parent_start().unwrap() <= first.boottime);
    }
}
