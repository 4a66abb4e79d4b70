//! The table `.void` of the fallback directory: records that no longer count but could not be removed.
//! Users who share a slot lose older records too, which costs a request each.

use super::record::AccountRecord;
use super::slots;
use identity::Login;
use session::clock::Now;
use std::io;
use std::path::Path;

const TABLE: &str = ".void";

/// Revoke all records of this user that were requested up to `requested`.
pub fn add(dir: &Path, login: &Login, requested: &Now) -> io::Result<()> {
    let milliseconds = u64::try_from(requested.boottime.as_millis()).unwrap_or(u64::MAX);
    slots::write(dir, TABLE, login, [slots::hash(&[&requested.boot_id]), milliseconds])
}

/// Whether this record is revoked. A record of an earlier boot is older than any revocation, since
/// the table is on a tmpfs.
pub fn covers(dir: &Path, login: &Login, record: &AccountRecord) -> bool {
    let Ok(slot @ [boot, milliseconds]) = slots::read(&dir.join(TABLE), login) else {
        return false;
    };
    let is_newer =
        boot == slots::hash(&[&record.boot_id]) && record.boottime.as_millis() > u128::from(milliseconds);
    slot != [0; 2] && !is_newer
}
