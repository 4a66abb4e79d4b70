//! The values of limits, each with its text form: cores, sizes, sizes of file systems in memory, open files.

use crate::serde_text::deserialize_from_str;
use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::str::FromStr;

/// A number of CPU cores, with fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Cpus(pub(super) f64);

impl Cpus {
    /// In cores.
    #[must_use]
    pub fn cores(self) -> f64 {
        self.0
    }

    /// In billionths of a core, as engines count.
    #[must_use]
    pub fn nano(self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 4096 cores, so it fits")]
        let nano = (self.0 * 1e9).round() as i64;
        nano
    }

    pub(super) fn from_nano(nano: i64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which is 9 million cores")]
        let nano = nano.max(0) as f64;
        Self(nano / 1e9)
    }

    /// The same, rounded down to what the kernel can tell apart: a microsecond of its period of 100 ms.
    pub(super) fn in_whole_quotas(self) -> Self {
        const NANO_PER_MICROSECOND: i64 = 10_000;
        Self::from_nano(self.nano() / NANO_PER_MICROSECOND * NANO_PER_MICROSECOND)
    }

    /// The smaller of the two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }
}

impl TryFrom<f64> for Cpus {
    type Error = &'static str;

    fn try_from(cores: f64) -> Result<Self, Self::Error> {
        // Container engines accept no less, and no user needs less.
        if (0.01..=4096.0).contains(&cores) { Ok(Self(cores)) } else { Err("expected 0.01 to 4096 cores") }
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A number of bytes, written like `8GiB` or `512MiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// The number as engines take it.
    #[must_use]
    pub fn signed(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let exact = units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        let (unit, name) = exact.unwrap_or((1, "B"));
        serializer.collect_str(&format_args!("{}{name}", self.0 / unit))
    }
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<ByteSize>() {
            Ok(size) if size.0 > 0 && i64::try_from(size.0).is_ok() => Ok(Self(size.0)),
            _ => Err("expected a size like \"8GiB\" or \"512MiB\""),
        }
    }
}

/// The size of a file system in memory: `512MiB`, or `50%` of the container's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TmpfsSize {
    /// An absolute size.
    Bytes(Size),
    /// A percentage of the container's memory, 1 to 100.
    PercentOfMemory(u8),
}

impl TmpfsSize {
    /// The size in a container with this much memory.
    #[must_use]
    pub fn in_bytes(self, memory: Size) -> Size {
        match self {
            Self::Bytes(size) => size,
            Self::PercentOfMemory(percent) => {
                let share = u128::from(memory.0) * u128::from(percent) / 100;
                // tmpfs(5) takes size=0 for "unlimited".
                Size(u64::try_from(share).unwrap_or(u64::MAX).max(1))
            }
        }
    }
}

impl Serialize for TmpfsSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(size) => size.serialize(serializer),
            Self::PercentOfMemory(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

impl FromStr for TmpfsSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected a size like \"512MiB\", or a percentage of the box's memory like \"50%\"";
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().map(Self::Bytes).map_err(|_| EXPECTED);
        };
        match percent.trim_end().parse() {
            Ok(percent @ 1..=100) => Ok(Self::PercentOfMemory(percent)),
            _ => Err(EXPECTED),
        }
    }
}

/// Soft and hard limit on open files, written like `1024:65536`; see setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// The limit that a process starts with.
    pub soft: u32,
    /// The limit up to which a process may raise its own.
    pub hard: u32,
}

impl Serialize for OpenFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}:{}", self.soft, self.hard))
    }
}

impl FromStr for OpenFiles {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (soft, hard) = text.split_once(':')?;
            Some(Self { soft: soft.parse().ok()?, hard: hard.parse().ok()? })
        };
        parse()
            .filter(|limits| limits.soft > 0 && limits.soft <= limits.hard)
            .ok_or("expected \"soft:hard\" like \"1024:65536\"")
    }
}

deserialize_from_str!(Size, TmpfsSize, OpenFiles);
