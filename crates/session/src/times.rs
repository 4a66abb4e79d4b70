//! Arithmetic on times that cannot panic, and times as text. The standard library panics when a moment
//! plus a duration is out of range, humantime when a moment is outside its calendar; configuration, web
//! app, engine and logs can cause both. Knows no clock: a moment is an argument.

use std::time::{Duration, Instant, SystemTime};

/// First second after the calendar of RFC 3339, which ends with the year 9999.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

/// The moment `by` after `from`; `from` itself if there is no such moment.
#[must_use]
pub fn later(from: Instant, by: Duration) -> Instant {
    from.checked_add(by).unwrap_or(from)
}

/// A moment in RFC 3339, to the second; `None` outside the years 1970 to 9999.
#[must_use]
pub fn rfc3339(moment: SystemTime) -> Option<String> {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    #[expect(clippy::disallowed_methods, reason = "the one place that has checked the range")]
    (since < YEAR_10000).then(|| humantime::format_rfc3339_seconds(moment).to_string())
}

/// A duration for people, in its two largest units: `2h 5m`. The one format of durations in text;
/// the configuration has its own, which is exact.
#[must_use]
pub fn short_duration(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    let (hours, days) = (minutes / 60, minutes / (24 * 60));
    let two = |large: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => two(minutes, "m", seconds, "s"),
        (0, _, _) => two(hours, "h", minutes % 60, "m"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn f35_moments_outside_the_calendar_have_no_text() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(rfc3339(at(0)).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(at(253_402_300_799)).unwrap(), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(at(253_402_300_800)), None);
        assert_eq!(rfc3339(at(i64::MAX as u64)), None);
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH - Duration::from_nanos(1)), None);
    }

    #[test]
    fn f35_a_moment_that_does_not_exist_is_now() {
        let now = Instant::now();
        assert_eq!(later(now, Duration::from_secs(1)), now + Duration::from_secs(1));
        assert_eq!(later(now, Duration::MAX), now);
    }

    #[test]
    fn times_have_two_units_at_most() {
        let spans = [0, 59, 60, 1859, 3600, 86_399, 90_061, 40 * 86_400];
        assert_snapshot!(spans.map(|seconds| short_duration(Duration::from_secs(seconds))).join("\n"), @"
        0s
        59s
        1m
        30m 59s
        1h
        23h 59m
        1d 1h
        40d
        ");
    }
}
