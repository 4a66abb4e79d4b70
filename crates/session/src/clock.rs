//! The kernel's clocks. Idle times and freshness are counted on the clock that nobody can
//! set and that goes on in sleep; wall time serves only across a reboot.

use nix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::{Duration, SystemTime};

/// A moment, on both clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Which boot of the machine this is.
    pub boot_id: String,
    /// Since boot, sleep included (`CLOCK_BOOTTIME`).
    pub boottime: Duration,
    /// Since 1970.
    pub wall: Duration,
}

/// The present moment.
#[must_use]
pub fn now() -> Now {
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Now {
        boot_id: boot_id.trim().to_owned(),
        boottime: boottime(),
        wall: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
    }
}

/// Time since boot, sleep included.
#[must_use]
pub fn boottime() -> Duration {
    // The clock exists since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// When the process that started us began, since boot; `None` when that cannot be read.
#[must_use]
pub fn parent_start() -> Option<Duration> {
    start_of(nix::unistd::getppid().as_raw())
}

/// When this process began, since boot; `None` when that cannot be read.
#[must_use]
pub fn start_of(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 22 of proc_pid_stat(5); the name in field 2 may hold spaces and parentheses.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(Duration::from_millis(ticks.saturating_mul(1000) / u64::try_from(per_second).ok()?.max(1)))
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
