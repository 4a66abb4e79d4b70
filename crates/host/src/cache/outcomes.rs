//! The table `.recent`: for each user, the last lookup that found no account, and when it was made.
//! sshd runs a lookup for every key that a client offers; with this entry, one login asks the
//! account source once. Callers decide how long an entry counts.

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
    /// The account source replied that this user may not log in.
    Refused,
    /// The account source gave no valid reply.
    Failed,
}

/// The last entry for this user, with its time on the clock that counts from boot. `None` if there is
/// no entry, or if it is of another user or an earlier boot. `now` gives the boot, not an age.
pub fn read(dir: &Path, login: &Login, now: &Now) -> Option<(LookupOutcome, Duration)> {
    let [user, milliseconds, outcome] = slots::read(&dir.join(TABLE), login).ok()?;
    let outcome = match outcome {
        1 => LookupOutcome::Refused,
        2 => LookupOutcome::Failed,
        _ => return None,
    };
    (user == user_and_boot(login, now)).then_some((outcome, Duration::from_millis(milliseconds)))
}

/// Stores the outcome of the lookup that was made at the time `requested`.
pub fn write(dir: &Path, login: &Login, outcome: LookupOutcome, requested: &Now) -> io::Result<()> {
    let milliseconds = u64::try_from(requested.boottime.as_millis()).unwrap_or(u64::MAX);
    let outcome = match outcome {
        LookupOutcome::Refused => 1,
        LookupOutcome::Failed => 2,
    };
    slots::write(dir, TABLE, login, [user_and_boot(login, requested), milliseconds, outcome])
}

/// A hash of login name and boot, so that an entry of an earlier boot does not match.
fn user_and_boot(login: &Login, now: &Now) -> u64 {
    slots::hash(&[&now.boot_id, login.as_str()])
}
