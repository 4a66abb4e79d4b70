//! The table `.void` of the fallback directory. An entry revokes records in the cache directory that could
//! not be removed: all records of a user that were requested up to some time. It also revokes those of
//! the users who share the slot, for each of whom the account source must be asked again.

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

/// Whether this record is revoked. The table is on a tmpfs, so every revocation is of this boot; a record
/// of an earlier boot is older than any revocation.
pub fn covers(dir: &Path, login: &Login, record: &AccountRecord) -> bool {
    let Ok(slot @ [boot, milliseconds]) = slots::read(&dir.join(TABLE), login) else {
        return false;
    };
    let is_newer =
        boot == slots::hash(&[&record.boot_id]) && record.boottime.as_millis() > u128::from(milliseconds);
    slot != [0; 2] && !is_newer
}
