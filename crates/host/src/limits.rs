//! Resource limits of a container: what the configuration sets, what an account requests, and what
//! the container gets. Configuration, account, engine and `@status` share these types.
//!
//! Knows no engine and reads no file.

mod values;
mod weight;

pub use values::{Cpus, OpenFiles, Size, TmpfsSize};
pub use weight::Weight;

use serde::{Deserialize, Deserializer, Serialize};
use session::presence::{CONNECTIONS_DEFAULT, CONNECTIONS_MAX, SESSIONS_DEFAULT, SESSIONS_MAX};
use std::fmt;
use std::num::NonZeroU32;

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
    /// Sessions of a user that are open at once.
    pub sessions: u32,
    /// SSH connections of a user that are open at once.
    pub connections: u32,
    /// Size of `/dev/shm`. Its contents count as memory.
    pub shm: TmpfsSize,
    /// Size of `/tmp`, and of `/var/tmp`. Their contents count as memory.
    pub tmp: TmpfsSize,
    /// Share of CPU time while programs compete for it.
    pub cpu_weight: Weight,
    /// Share of disk time while programs compete for it.
    pub io_weight: Weight,
    /// Open files of each process.
    #[serde(rename = "nofile")]
    pub open_files: OpenFiles,
    /// Terminals.
    pub ptys: NonZeroU32,
    /// Size of the home, if a quota is in force.
    pub disk: Size,
}

impl Limits {
    /// `[box.ceilings]` without any key in the file.
    #[must_use]
    pub fn ceilings() -> Self {
        Self { disk: Size(100 << 30), ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpus: Cpus(2.0),
            memory: Size(8 << 30),
            pids: 512,
            sessions: SESSIONS_DEFAULT,
            connections: CONNECTIONS_DEFAULT,
            shm: TmpfsSize::PercentOfMemory(50),
            tmp: TmpfsSize::Bytes(Size(1 << 30)),
            cpu_weight: Weight::default(),
            io_weight: Weight::default(),
            open_files: OpenFiles { soft: 1024, hard: 65536 },
            ptys: PTYS,
            disk: Size(50 << 30),
        }
    }
}

/// The keys of `[box.ceilings]`: those of [`Limits`], but other defaults.
#[derive(Deserialize)]
#[serde(remote = "Limits", default = "Limits::ceilings", deny_unknown_fields)]
struct Ceilings {
    cpus: Cpus,
    memory: Size,
    pids: u32,
    sessions: u32,
    connections: u32,
    shm: TmpfsSize,
    tmp: TmpfsSize,
    cpu_weight: Weight,
    io_weight: Weight,
    #[serde(rename = "nofile")]
    open_files: OpenFiles,
    ptys: NonZeroU32,
    disk: Size,
}

/// Deserialize `[box.ceilings]`: a key that is missing has the default of a ceiling.
///
/// # Errors
/// As for [`Limits`].
pub fn deserialize_ceilings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
    Ceilings::deserialize(deserializer)
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
    /// SSH connections that are open at once.
    pub connections: Option<u32>,
    /// Size of `/dev/shm`.
    pub shm: Option<TmpfsSize>,
    /// Size of `/tmp`, and of `/var/tmp`.
    pub tmp: Option<TmpfsSize>,
    /// Share of CPU time while programs compete for it.
    pub cpu_weight: Option<Weight>,
    /// Share of disk time while programs compete for it.
    pub io_weight: Option<Weight>,
    /// Terminals.
    pub ptys: Option<NonZeroU32>,
    /// Size of the home.
    pub disk: Option<Size>,
}

impl RequestedLimits {
    /// How many sessions of the user may be open at once: what the account requests, or the default, up to the
    /// ceiling. At least one, and not more than there are slots.
    #[must_use]
    pub fn sessions(&self, defaults: &Limits, ceilings: &Limits) -> u32 {
        self.sessions.unwrap_or(defaults.sessions).min(ceilings.sessions).clamp(1, SESSIONS_MAX)
    }

    /// How many connections of the user may be open at once, by the same rule.
    #[must_use]
    pub fn connections(&self, defaults: &Limits, ceilings: &Limits) -> u32 {
        self.connections.unwrap_or(defaults.connections).min(ceilings.connections).clamp(1, CONNECTIONS_MAX)
    }
}

/// The limits that one container gets. Every value is absolute and above zero.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ContainerLimits {
    /// CPU time, memory, tasks and weights.
    pub cgroup: CgroupLimits,
    /// Size of `/dev/shm`.
    pub shm: Size,
    /// Size of `/tmp`, and of `/var/tmp`.
    pub tmp: Size,
    /// Open files of each process.
    pub open_files: OpenFiles,
    /// Terminals.
    pub ptys: u32,
    /// Size of the home, if a quota is in force.
    pub disk: Size,
}

impl ContainerLimits {
    /// The limits that can change while the container runs, as the note about those that were applied has them.
    #[must_use]
    pub fn changeable(&self) -> String {
        format!("{} disk {}", self.cgroup, self.disk.0)
    }

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
                cpu_weight: requested.cpu_weight.unwrap_or(defaults.cpu_weight).min(ceilings.cpu_weight),
                io_weight: requested.io_weight.unwrap_or(defaults.io_weight).min(ceilings.io_weight),
            },
            shm: tmpfs_size(requested.shm, defaults.shm, ceilings.shm),
            tmp: tmpfs_size(requested.tmp, defaults.tmp, ceilings.tmp),
            open_files: OpenFiles {
                soft: defaults.open_files.soft.min(ceilings.open_files.soft),
                hard: defaults.open_files.hard.min(ceilings.open_files.hard),
            },
            ptys: requested.ptys.unwrap_or(defaults.ptys).min(ceilings.ptys).min(PTYS_MAX).get(),
            disk: requested.disk.unwrap_or(defaults.disk).min(ceilings.disk),
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
    /// Share of CPU time while programs compete for it.
    pub cpu_weight: Weight,
    /// Share of disk time while programs compete for it.
    pub io_weight: Weight,
}

impl fmt::Display for CgroupLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpus, memory, pids, cpu_weight, io_weight } = self;
        write!(f, "cpus {} memory {} pids {pids} ", cpus.cores(), memory.0)?;
        write!(f, "cpu_weight {} io_weight {}", u16::from(*cpu_weight), u16::from(*io_weight))
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
            ..Self::default()
        }
    }

    /// The same limits with the weights as an engine reports them: CPU shares and a weight of block I/O. An
    /// engine reports zero for a weight that was not set, which is then the kernel's default.
    #[must_use]
    pub fn with_weights(self, cpu_shares: u64, block_io: u16) -> Self {
        Self {
            cpu_weight: Weight::from_cpu_shares(cpu_shares),
            io_weight: Weight::from_block_io(block_io),
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
