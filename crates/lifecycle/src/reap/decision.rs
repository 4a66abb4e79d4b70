//! Whether an idle box is stopped, and why. A function without side effects; the times are on the
//! clock that counts from boot.

use session::times::short_duration;
use std::fmt;
use std::time::Duration;

/// What the reaper must do with one box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReapDecision {
    /// Leave it running.
    Keep(KeepReason),
    /// Stop it: it has had no session for too long.
    Stop(Idle),
}

/// Why a box is left running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepReason {
    /// Another process holds `state.lock`.
    Changing,
    /// A session holds `live.lock`.
    InUse,
    /// A connection without a session holds it.
    Connected,
    /// Its idle timeout is `never`.
    NeverStops,
    /// It has no session, but its last one is more recent than this timeout.
    IdleForLess(Duration),
    /// It stopped after it was listed.
    NotRunning,
}

/// How long a box has had no session, and its idle timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Time since the last session.
    pub time: Duration,
    /// Its idle timeout.
    pub timeout: Duration,
}

/// Decides about a running box without a session, whose idle timeout is not `never`. `last_presence` is
/// when the box last had a session; `None` if that is unknown.
#[must_use]
pub fn decide(last_presence: Option<Duration>, now: Duration, timeout: Duration) -> ReapDecision {
    // An unknown time, or one in the future, counts as now.
    match last_presence.and_then(|last| now.checked_sub(last)) {
        Some(time) if time >= timeout => ReapDecision::Stop(Idle { time, timeout }),
        _ => ReapDecision::Keep(KeepReason::IdleForLess(timeout)),
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changing => f.write_str("it is being started or stopped"),
            Self::InUse => f.write_str("a session is open"),
            Self::Connected => f.write_str("a connection is open"),
            Self::NeverStops => f.write_str("its idle timeout is never"),
            Self::IdleForLess(timeout) => {
                write!(f, "idle for less than {}", short_duration(*timeout))
            }
            Self::NotRunning => f.write_str("it is not running any more"),
        }
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "idle for {}, allowed are {}", short_duration(self.time), short_duration(self.timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn minutes(count: u32) -> Duration {
        MINUTE * count
    }

    #[test]
    fn a_box_is_stopped_when_it_had_no_session_for_its_timeout() {
        let decide = |now, timeout| decide(Some(minutes(100)), minutes(now), timeout);
        let ReapDecision::Keep(reason) = decide(129, minutes(30)) else { panic!("stopped") };
        assert_eq!(reason.to_string(), "idle for less than 30m");
        let ReapDecision::Stop(idle) = decide(131, minutes(30)) else { panic!("kept") };
        assert_eq!(idle.to_string(), "idle for 31m, allowed are 30m");
        assert!(matches!(decide(100, Duration::ZERO), ReapDecision::Stop(_)));
    }

    #[test]
    fn f16_f26_unknown_and_future_moments_count_as_present() {
        let kept = ReapDecision::Keep(KeepReason::IdleForLess(MINUTE));
        assert_eq!(decide(None, minutes(1000), MINUTE), kept);
        assert_eq!(decide(Some(minutes(1001)), minutes(1000), MINUTE), kept);
    }

    #[test]
    fn times_are_shown_in_two_units() {
        let idle = Idle { time: Duration::from_secs(90_061), timeout: Duration::from_secs(90) };
        assert_eq!(idle.to_string(), "idle for 1d 1h, allowed are 1m 30s");
        assert_eq!(KeepReason::IdleForLess(idle.timeout).to_string(), "idle for less than 1m 30s");
    }
}
