//! Durations in the configuration and in accounts, written like `30m` or `1h 30m`, and bounded so
//! that adding one to a current time cannot overflow.

use crate::serde_text::deserialize_from_str;
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration of at most ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeSpan(pub Duration);

impl TimeSpan {
    /// Ten years.
    pub const LONGEST: Self = Self::seconds(10 * 31_557_600);

    pub(super) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

/// Parses a duration of any length. One that does not fit into a `Duration` becomes the longest.
fn parse_unbounded(text: &str) -> Option<Duration> {
    match humantime::parse_duration(text) {
        Ok(duration) => Some(duration),
        Err(humantime::DurationError::NumberOverflow) => Some(Duration::MAX),
        Err(_) => None,
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for TimeSpan {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match parse_unbounded(text) {
            Some(duration) if duration <= Self::LONGEST.0 => Ok(Self(duration)),
            Some(_) => Err("the longest time is \"10years\""),
            None => Err("expected a time like \"5s\", \"30m\" or \"24h\""),
        }
    }
}

/// How long a container runs without a session. `None`, written `never`, means that it is never stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTimeout(pub Option<Duration>);

impl IdleTimeout {
    /// The longest timeout other than `never`.
    pub const LONGEST: TimeSpan = TimeSpan::LONGEST;

    const NEVER: &'static str = "never";

    /// Parses a timeout without an upper bound.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse_unbounded(text: &str) -> Result<Self, &'static str> {
        if text == Self::NEVER {
            return Ok(Self(None));
        }
        let duration = parse_unbounded(text);
        duration
            .map(|duration| Self(Some(duration)))
            .ok_or("expected a time like \"30m\" or \"24h\", or \"never\"")
    }

    /// The timeout, or [`Self::LONGEST`] if that is shorter. `never` stays.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self(self.0.map(|duration| duration.min(Self::LONGEST.0)))
    }
}

impl FromStr for IdleTimeout {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let timeout = Self::parse_unbounded(text)?;
        if timeout == timeout.bounded() {
            Ok(timeout)
        } else {
            Err("the longest time is \"10years\"; for a box that is not stopped write \"never\"")
        }
    }
}

impl Serialize for IdleTimeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(duration) => TimeSpan(duration).serialize(serializer),
            None => serializer.serialize_str(Self::NEVER),
        }
    }
}

deserialize_from_str!(TimeSpan, IdleTimeout);
