//! Constraints on the values of a configuration, beyond their types.

use super::sections::Config;
use identity::{UID_BASE, UID_MASK};
use session::deadlines;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::time::Duration;

/// The shortest `accounts.recheck`.
const RECHECK_MIN: Duration = Duration::from_secs(60);

/// Check the constraints. The error is a message that begins with the key of the invalid value.
pub(super) fn check(config: &Config) -> Result<(), &'static str> {
    let home = Path::new(config.container.home.as_str());
    if !home.is_absolute() || home.components().any(|part| part == Component::ParentDir) {
        return Err("box.home must be an absolute path without '..'");
    }
    let image = Path::new(config.disk.image.as_str());
    if !image.is_absolute() || image.components().any(|part| part == Component::ParentDir) {
        return Err("disk.image must be an absolute path without '..'");
    }
    if image == home {
        return Err("disk.image must be another path than box.home");
    }
    if !config.container.mount.is_absolute() || config.container.mount == Path::new("/") {
        return Err("box.mount must be an absolute path below /");
    }
    // It stands in /etc/passwd of the box.
    if config.container.mount.as_os_str().as_bytes().iter().any(|byte| b":\n".contains(byte)) {
        return Err("box.mount must not contain a colon or a line break");
    }
    if config.container.uids.overlaps(UID_BASE, UID_BASE | UID_MASK) {
        return Err("box.uids must not overlap 1879048192-2147483647: users have these uids on the host");
    }
    if config.accounts.timeout.0.is_zero() || config.accounts.timeout.0 > deadlines::ACCOUNTS_TIMEOUT_MAX {
        return Err("accounts.timeout must be between 1ms and 20s: sshd waits that long in each login");
    }
    if config.accounts.recheck.0 < RECHECK_MIN {
        return Err("accounts.recheck must be 1m at least: so often sshbox-recheck.timer starts the check");
    }
    if config.reap.grace.0 > deadlines::GRACE_MAX {
        return Err("reap.grace must be 30s at most: logins wait while a box is stopped");
    }
    if config.forward.wait.0.is_zero() || config.forward.wait.0 > deadlines::FORWARD_WAIT_MAX {
        return Err("forward.wait must be between 1ms and 20s: a login waits that long for its box");
    }
    if config.container.network == "host" || config.container.network.starts_with("container:") {
        return Err("box.network must be a separate network: with this one a box would join the host's");
    }
    if config.container.image.is_empty() || config.container.network.is_empty() {
        return Err("box.image and box.network must not be empty");
    }
    let in_range = |number: u32| (1..=1_000_000).contains(&number);
    if !in_range(config.network.connections) {
        return Err("network.connections must be between 1 and 1000000");
    }
    if !in_range(config.network.new_connections) {
        return Err("network.new_connections must be between 1 and 1000000");
    }
    Ok(())
}
