//! Arithmetic on times that cannot panic. The standard library panics when the sum of a moment and
//! a duration does not fit, and humantime when a moment lies outside its calendar; both come from
//! configuration, web app, engine and logs. Knows no clock: a moment is an argument.

use std::time::{Duration, Instant, SystemTime};

/// First second after the calendar of RFC 3339, which ends with the year 9999.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

/// The moment `by` after `from`; `from` itself if there is no such moment.
#[must_use]
pub fn later(from: Instant, by: Duration) -> Instant {
    from.checked_add(by).unwrap_or(from)
}

/// A moment as RFC 3339 writes it, to the second; `None` outside the years 1970 to 9999.
#[must_use]
pub fn rfc3339(moment: SystemTime) -> Option<String> {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    #[expect(clippy::disallowed_methods, reason = "the one place that has checked the range")]
    (since < YEAR_10000).then(|| humantime::format_rfc3339_seconds(moment).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
