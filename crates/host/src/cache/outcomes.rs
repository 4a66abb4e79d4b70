//! The table `.recent`: the outcome of the last lookup that found no account, for a few seconds. So
//! a login that offers several keys asks the account source once.

use super::slots;
use identity::Login;
use session::clock::Now;
use std::io;
use std::path::Path;
use std::time::Duration;

const TABLE: &str = ".recent";

/// Why a lookup found no account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupOutcome {
    /// The account source refused the user.
    Refused,
    /// The account source did not reply.
    Failed,
}

/// The outcome for this user, and when it was requested, since boot. `None` if the slot belongs to
/// another user or is from an earlier boot.
pub fn read(dir: &Path, login: &Login, now: &Now) -> Option<(LookupOutcome, Duration)> {
    let [user, milliseconds, outcome] = slots::read(&dir.join(TABLE), login).ok()?;
    let outcome = match outcome {
        1 => LookupOutcome::Refused,
        2 => LookupOutcome::Failed,
        _ => return None,
    };
    (user == fingerprint(login, now)).then_some((outcome, Duration::from_millis(milliseconds)))
}

/// Store the outcome of a lookup of time `requested`.
pub fn write(dir: &Path, login: &Login, outcome: LookupOutcome, requested: &Now) -> io::Result<()> {
    let milliseconds = u64::try_from(requested.boottime.as_millis()).unwrap_or(u64::MAX);
    let outcome = match outcome {
        LookupOutcome::Refused => 1,
        LookupOutcome::Failed => 2,
    };
    slots::write(dir, TABLE, login, [fingerprint(login, requested), milliseconds, outcome])
}

/// Identifies the user and the boot: times of an earlier boot must not match.
fn fingerprint(login: &Login, now: &Now) -> u64 {
    slots::hash(&[&now.boot_id, login.as_str()])
}
