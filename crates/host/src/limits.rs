//! Resource limits of a container: what the configuration sets, what an account requests, and what
//! the container gets. Configuration, account, engine and `@status` share these types.
//!
//! Knows no engine and reads no file.

mod values;

pub use values::{Cpus, OpenFiles, Size, TmpfsSize};

use serde::{Deserialize, Serialize};
use session::presence::{SESSIONS_DEFAULT, SESSIONS_MAX};
use std::fmt;

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
    /// Sessions of a user that are open at once.
    pub sessions: u32,
    /// Size of `/dev/shm`. Its contents count as memory.
    pub shm: TmpfsSize,
    /// Size of `/tmp`, and of `/var/tmp`. Their contents count as memory.
    pub tmp: TmpfsSize,
    /// Open files of each process.
    #[serde(rename = "nofile")]
    pub open_files: OpenFiles,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpus: Cpus(2.0),
            memory: Size(8 << 30),
            pids: 512,
            sessions: SESSIONS_DEFAULT,
            shm: TmpfsSize::PercentOfMemory(50),
            tmp: TmpfsSize::Bytes(Size(1 << 30)),
            open_files: OpenFiles { soft: 1024, hard: 65536 },
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
    /// Sessions that are open at once.
    pub sessions: Option<u32>,
    /// Size of `/dev/shm`.
    pub shm: Option<TmpfsSize>,
    /// Size of `/tmp`, and of `/var/tmp`.
    pub tmp: Option<TmpfsSize>,
}

impl RequestedLimits {
    /// How many sessions of the user may be open at once: what the account requests, or the default, up to the
    /// ceiling. At least one, and not more than there are slots.
    #[must_use]
    pub fn sessions(&self, defaults: &Limits, ceilings: &Limits) -> u32 {
        self.sessions.unwrap_or(defaults.sessions).min(ceilings.sessions).clamp(1, SESSIONS_MAX)
    }
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
                cpus: requested.cpus.unwrap_or(defaults.cpus).min(ceilings.cpus).in_whole_quotas(),
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

impl fmt::Display for CgroupLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpus, memory, pids } = self;
        write!(f, "cpus {} memory {} pids {pids}", cpus.cores(), memory.0)
    }
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
        assert_eq!(resolve(r#"{"cpus":1.2345678}"#).cgroup.cpus.nano(), 1_234_560_000);
        assert_eq!(resolve(r#"{"pids":0}"#).cgroup.pids, 1);
        assert_eq!(limits.cgroup.to_string(), "cpus 1.5 memory 1073741824 pids 100");
        let ceilings = Limits { sessions: 60, ..Limits::default() };
        let sessions = |json: &str| request(json).sessions(&Limits::default(), &ceilings);
        assert_eq!([r"{}", r#"{"sessions":7}"#].map(sessions), [50, 7]);
        assert_eq!([r#"{"sessions":61}"#, r#"{"sessions":0}"#].map(sessions), [60, 1]);
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
        for name in ["pids", "sessions"] {
            all(name, true, &["0", "1", "512", "4294967295"]);
            all(name, false, &["-1", "4294967296", "512.0", "true", "\"512\""]);
        }
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
