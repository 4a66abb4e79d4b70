//! Resource limits of a container: what the configuration sets, what an account requests, and what
//! the container gets. Configuration, account, engine and `@status` share these types.
//!
//! Knows no engine and reads no file.

use crate::serde_text::deserialize_from_str;
use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::num::NonZeroU32;
use std::str::FromStr;

/// Terminals of a container, unless another number is set.
const PTYS: NonZeroU32 = NonZeroU32::MIN.saturating_add(255);

/// Most terminals that the kernel accepts as a limit of one file system (`NR_UNIX98_PTY_MAX`).
const PTYS_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add((1 << 20) - 1);

/// `[box.limits]` and `[box.ceilings]` of the configuration.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// CPU time, in cores.
    pub cpus: Cpus,
    /// Memory. The container gets no swap.
    pub memory: Size,
    /// Tasks: processes and threads.
    pub pids: u32,
    /// Size of `/dev/shm`. Its contents count as memory.
    pub shm: TmpfsSize,
    /// Size of `/tmp`, and of `/var/tmp`. Their contents count as memory.
    pub tmp: TmpfsSize,
    /// Open files of each process.
    #[serde(rename = "nofile")]
    pub open_files: OpenFiles,
    /// Terminals.
    pub ptys: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpus: Cpus(2.0),
            memory: Size(8 << 30),
            pids: 512,
            shm: TmpfsSize::PercentOfMemory(50),
            tmp: TmpfsSize::Bytes(Size(1 << 30)),
            open_files: OpenFiles { soft: 1024, hard: 65536 },
            ptys: PTYS,
        }
    }
}

/// `limits` of an account: what the web app requests for a user.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RequestedLimits {
    /// CPU time, in cores.
    pub cpus: Option<Cpus>,
    /// Memory.
    pub memory: Option<Size>,
    /// Tasks: processes and threads.
    pub pids: Option<u32>,
    /// Size of `/dev/shm`.
    pub shm: Option<TmpfsSize>,
    /// Size of `/tmp`, and of `/var/tmp`.
    pub tmp: Option<TmpfsSize>,
    /// Terminals.
    pub ptys: Option<NonZeroU32>,
}

/// The limits that one container gets. Every value is absolute and above zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContainerLimits {
    /// CPU time, memory and tasks.
    pub cgroup: CgroupLimits,
    /// Size of `/dev/shm`.
    pub shm: Size,
    /// Size of `/tmp`, and of `/var/tmp`.
    pub tmp: Size,
    /// Open files of each process.
    pub open_files: OpenFiles,
    /// Terminals.
    pub ptys: u32,
}

impl ContainerLimits {
    /// Take what the account requests, or the default where it requests nothing, up to the ceiling.
    #[must_use]
    pub fn resolve(requested: &RequestedLimits, defaults: &Limits, ceilings: &Limits) -> Self {
        let memory = requested.memory.unwrap_or(defaults.memory).min(ceilings.memory);
        // A percentage is of the container's own memory, in a ceiling too.
        let tmpfs_size = |requested: Option<TmpfsSize>, default: TmpfsSize, ceiling: TmpfsSize| {
            requested.unwrap_or(default).in_bytes(memory).min(ceiling.in_bytes(memory))
        };
        Self {
            cgroup: CgroupLimits {
                cpus: requested.cpus.unwrap_or(defaults.cpus).min(ceilings.cpus),
                memory,
                // An engine reads 0 as "unlimited".
                pids: requested.pids.unwrap_or(defaults.pids).clamp(1, ceilings.pids.max(1)),
            },
            shm: tmpfs_size(requested.shm, defaults.shm, ceilings.shm),
            tmp: tmpfs_size(requested.tmp, defaults.tmp, ceilings.tmp),
            open_files: OpenFiles {
                soft: defaults.open_files.soft.min(ceilings.open_files.soft),
                hard: defaults.open_files.hard.min(ceilings.open_files.hard),
            },
            ptys: requested.ptys.unwrap_or(defaults.ptys).min(ceilings.ptys).min(PTYS_MAX).get(),
        }
    }
}

/// The limits that the kernel enforces through the cgroup of a container. Zero means "unlimited", which only
/// a container that another program created can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CgroupLimits {
    /// CPU time, in cores.
    pub cpus: Cpus,
    /// Memory.
    pub memory: Size,
    /// Tasks: processes and threads.
    pub pids: u32,
}

impl CgroupLimits {
    /// The limits as an engine reports them: billionths of a core, bytes, tasks. An engine reports
    /// zero or a negative number for "unlimited".
    #[must_use]
    pub fn from_engine(nano_cpus: i64, memory: i64, pids: i64) -> Self {
        Self {
            cpus: Cpus::from_nano(nano_cpus),
            memory: Size(u64::try_from(memory).unwrap_or_default()),
            pids: u32::try_from(pids.max(0)).unwrap_or(u32::MAX),
        }
    }
}

/// A number of CPU cores, with fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Cpus(f64);

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

    fn from_nano(nano: i64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which is 9 million cores")]
        let nano = nano.max(0) as f64;
        Self(nano / 1e9)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tmpfs_size_is_absolute_or_a_percentage() {
        let of = |text: &str| text.parse::<TmpfsSize>().map(|size| size.in_bytes(Size(1000)).0);
        assert_eq!((of("64MiB"), of("50%"), of("100 %")), (Ok(64 << 20), Ok(500), Ok(1000)));
        assert_eq!("1%".parse::<TmpfsSize>().unwrap().in_bytes(Size(1)), Size(1));
        for text in ["0", "0%", "101%", "-1%", "50", "%", "half"] {
            assert_eq!(of(text).is_ok(), text == "50", "{text}");
        }
    }

    #[test]
    fn a_request_counts_up_to_the_ceiling_and_a_default_fills_the_gaps() {
        let request = |json: &str| serde_json::from_str::<RequestedLimits>(json).unwrap();
        let resolve = |json: &str| {
            let ceilings = Limits { pids: 100, ..Limits::default() };
            ContainerLimits::resolve(&request(json), &Limits::default(), &ceilings)
        };
        let limits = resolve(r#"{"cpus":1.5,"memory":"1GiB"}"#);
        assert_eq!((limits.cgroup.cpus.nano(), limits.cgroup.memory), (1_500_000_000, Size(1 << 30)));
        assert_eq!((limits.cgroup.pids, limits.shm, limits.tmp), (100, Size(512 << 20), Size(1 << 30)));
        assert_eq!(limits.open_files, OpenFiles { soft: 1024, hard: 65536 });
        assert_eq!(resolve(r#"{"pids":0}"#).cgroup.pids, 1);
        assert_eq!([r"{}", r#"{"ptys":1}"#, r#"{"ptys":999}"#].map(|json| resolve(json).ptys), [256, 1, 256]);
        let most = Limits { ptys: NonZeroU32::MAX, ..Limits::default() };
        assert_eq!(ContainerLimits::resolve(&RequestedLimits::default(), &most, &most).ptys, 1 << 20);
        assert_eq!(resolve(r#"{"memory":"1TiB","shm":"1TiB"}"#).shm, Size(4 << 30));
    }

    /// `django/tests/test_limits.py` has the same values: django-sshbox leaves out what is rejected here.
    #[test]
    fn a_request_has_valid_numbers_sizes_and_percentages() {
        let accepted = |name: &str, values: &[&str]| -> Vec<bool> {
            let request =
                |value: &&str| serde_json::from_str::<RequestedLimits>(&format!("{{{name:?}:{value}}}"));
            values.iter().map(|value| request(value).is_ok()).collect()
        };
        let all = |name: &str, expected: bool, values: &[&str]| {
            let results = accepted(name, values);
            assert_eq!(results, vec![expected; values.len()], "{name}: {values:?}");
        };
        all("cpus", true, &["2", "0.01", "1.5", "4096"]);
        all("cpus", false, &["0", "0.001", "-1", "4097", "true", "\"2\"", "[2]", "1e400"]);
        all("pids", true, &["0", "1", "512", "4294967295"]);
        all("pids", false, &["-1", "4294967296", "512.0", "true", "\"512\""]);
        all("ptys", true, &["1", "256", "4294967295"]);
        all("ptys", false, &["0", "-1", "4294967296", "256.0", "true", "\"256\""]);
        let sizes = ["8GiB", "512MiB", "512 mib", "1.5G", "1k", "1Ki", "1.GiB", ".5GiB", "50", "7EiB", "1B"];
        let no_sizes = [
            "",
            "0",
            "0B",
            "0.4B",
            "-1",
            "lots",
            "8 GiBs",
            "8i",
            "8,5GiB",
            "GiB",
            "1.2.3K",
            ".",
            "9223372036854775808",
            "16EiB",
            "1e3",
            "\u{663}GiB",
            "8\u{212a}",
        ];
        for text in sizes {
            assert!(text.parse::<Size>().is_ok() && text.parse::<TmpfsSize>().is_ok(), "{text}");
        }
        for text in no_sizes {
            assert!(text.parse::<Size>().is_err() && text.parse::<TmpfsSize>().is_err(), "{text}");
        }
        all("memory", false, &["8", "true", "\"50%\"", "\"1\\n\""]);
        for name in ["shm", "tmp"] {
            all(name, true, &["\"1%\"", "\"50%\"", "\"100 %\"", "\"007%\""]);
            all(name, false, &["\"0%\"", "\"101%\"", "\"-1%\"", "\"%\"", "\"half\"", "\"1.5%\"", "50"]);
        }
    }

    #[test]
    fn limits_reported_by_an_engine_equal_those_it_was_given() {
        let ours = ContainerLimits::resolve(
            &RequestedLimits { cpus: Some(Cpus(0.07)), ..RequestedLimits::default() },
            &Limits::default(),
            &Limits::default(),
        );
        let CgroupLimits { cpus, memory, pids } = ours.cgroup;
        assert_eq!(CgroupLimits::from_engine(cpus.nano(), memory.signed(), i64::from(pids)), ours.cgroup);
        assert_eq!(CgroupLimits::from_engine(0, 0, -1), CgroupLimits::default());
    }
}
