//! How fast the sessions of one user may begin: [`BURST`] at once, and then one every [`INTERVAL`]. A session
//! beyond that waits for its turn, so a user whose programs flood sshd slows those programs down and not the
//! logins of others. The file `pace` has the time at which the user's next turn would come if no burst were
//! allowed (the generic cell rate algorithm).

use super::UserRuntimeDir;
use super::locks::{open_users_lock, retry};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// Sessions that may begin at once.
const BURST: u64 = 300;

/// Time from one session to the next after that, in milliseconds.
const INTERVAL: u64 = 50;

/// The longest turn that is given out, in milliseconds.
const LONGEST: u64 = 20_000;

/// How long to wait for another session that takes its turn, which takes microseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// The turn of a session to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// After this time.
    After(Duration),
    /// So many sessions wait already that this one must try again later.
    Never,
}

impl UserRuntimeDir {
    /// Takes the turn to begin a session at `now`, since boot.
    ///
    /// # Errors
    /// The I/O error. `NotFound` means that the user has had no container since boot.
    pub fn turn_to_begin(&self, now: Duration) -> io::Result<Turn> {
        let file = open_users_lock(&self.pace_file())?;
        retry(PATIENCE, || file.try_lock())?;
        let mut text = [0; 21];
        let read = file.read_at(&mut text, 0)?;
        let text = std::str::from_utf8(text.get(..read).unwrap_or_default()).unwrap_or_default();
        let next = text.trim_end().parse().unwrap_or_default();
        let (next, turn) = decide(next, u64::try_from(now.as_millis()).unwrap_or_default());
        if turn != Turn::Never {
            file.write_all_at(format!("{next:020}\n").as_bytes(), 0)?;
        }
        Ok(turn)
    }

    pub(super) fn pace_file(&self) -> PathBuf {
        self.host_dir.join("pace")
    }
}

/// The turn of a session at `now`, and the new content of the file, both in milliseconds since boot.
fn decide(next: u64, now: u64) -> (u64, Turn) {
    let burst = BURST * INTERVAL;
    // No value that this function returns lies further ahead: another one is invalid and counts as none.
    let valid = (now..=now.saturating_add(burst + LONGEST)).contains(&next);
    let next = if valid { next } else { now }.saturating_add(INTERVAL);
    let wait = next.saturating_sub(now.saturating_add(burst));
    let turn = if wait > LONGEST { Turn::Never } else { Turn::After(Duration::from_millis(wait)) };
    (next, turn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::tests::prepared;
    use std::fs;

    /// Sessions that begin one after the other, each taking this long in milliseconds at least. Returns the
    /// time that all of them waited.
    fn in_a_row(count: u32, each: u64) -> Duration {
        let (mut next, mut now, mut waited) = (0, 1_000_000, Duration::ZERO);
        for _ in 0..count {
            let (after, turn) = decide(next, now);
            let Turn::After(wait) = turn else { panic!("it has no turn") };
            (next, waited) = (after, waited + wait);
            now += each + u64::try_from(wait.as_millis()).unwrap();
        }
        waited
    }

    #[test]
    fn a17_a_loop_over_one_connection_does_not_wait_and_a_flood_does() {
        // A session over an open connection takes 25 ms here, so a playbook of 500 commands takes 12 s.
        assert_eq!(in_a_row(500, 25), Duration::ZERO);
        // Logins with a handshake each cannot be faster than this at all.
        assert_eq!(in_a_row(100_000, 50), Duration::ZERO);
        assert!(in_a_row(1000, 0) > Duration::from_secs(30));
    }

    #[test]
    fn a17_sessions_at_once_are_spread_and_then_refused() {
        let (mut next, now) = (0, 5_000_000);
        let turns: Vec<Turn> = (0..1000)
            .map(|_| {
                let (after, turn) = decide(next, now);
                if turn != Turn::Never {
                    next = after;
                }
                turn
            })
            .collect();
        let at_once = turns.iter().filter(|turn| **turn == Turn::After(Duration::ZERO)).count();
        let refused = turns.iter().filter(|turn| **turn == Turn::Never).count();
        assert_eq!((at_once, refused), (300, 300));
        assert_eq!(turns[300], Turn::After(Duration::from_millis(50)));
        assert_eq!(turns[699], Turn::After(Duration::from_secs(20)));
    }

    #[test]
    fn f26_an_invalid_file_delays_no_one() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = prepared(dir.path());
        for invalid in ["", "x", "99999999999999999999\n", "18446744073709551615\n", "-1\n"] {
            fs::write(runtime_dir.pace_file(), invalid).unwrap();
            for _ in 0..2 {
                let turn = runtime_dir.turn_to_begin(Duration::from_secs(7)).unwrap();
                assert_eq!(turn, Turn::After(Duration::ZERO), "{invalid}");
            }
        }
        assert_eq!(fs::read_to_string(runtime_dir.pace_file()).unwrap(), "00000000000000007100\n");
    }
}
