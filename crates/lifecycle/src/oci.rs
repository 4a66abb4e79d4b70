//! A container in the terms of the OCI runtime specification 1.0: the part of its `config.json`
//! that a box needs. Plain values with the names of the specification. Knows no engine.
//!
//! Not the crate `oci-spec`, whose fields are private and optional, and most of whose types would be
//! unused. The translation for an engine destructures these types field by field, so that a field which it
//! does not translate is a compile error.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A container: the content of `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Version of the specification.
    pub oci_version: String,
    /// The process that becomes PID 1.
    pub process: Process,
    /// The root file system.
    pub root: Root,
    /// Host name in the container.
    pub hostname: String,
    /// All mounts, in the order in which they are made.
    pub mounts: Vec<Mount>,
    /// Labels.
    pub annotations: BTreeMap<String, String>,
    /// The part of the configuration that is specific to Linux.
    pub linux: Linux,
}

/// `process`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether standard input, output and error are a terminal.
    pub terminal: bool,
    /// User and group.
    pub user: User,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Environment variables, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Capabilities.
    pub capabilities: Capabilities,
    /// Resource limits, `setrlimit(2)`.
    pub rlimits: Vec<Rlimit>,
    /// Whether the setuid bit and file capabilities of programs have no effect (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
    /// Name of the `AppArmor` profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
}

/// `process.user`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// `process.capabilities`: the five sets of `capabilities(7)`, by name, such as `CAP_CHOWN`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Bounding set.
    pub bounding: Vec<String>,
    /// Effective set.
    pub effective: Vec<String>,
    /// Inheritable set.
    pub inheritable: Vec<String>,
    /// Permitted set.
    pub permitted: Vec<String>,
    /// Ambient set.
    pub ambient: Vec<String>,
}

/// `process.rlimits[]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rlimit {
    /// Name, such as `RLIMIT_CORE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// `root`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Root {
    /// Where the engine unpacks the image, relative to the bundle.
    pub path: PathBuf,
    /// Whether it is mounted read-only.
    pub readonly: bool,
}

/// `mounts[]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Mount point in the container.
    pub destination: PathBuf,
    /// Type of the file system; `bind` for a bind mount.
    #[serde(rename = "type")]
    pub kind: String,
    /// Path on the host; a name for a file system without a source.
    pub source: PathBuf,
    /// Mount options.
    pub options: Vec<String>,
}

/// `linux`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// The namespaces that are created for the container.
    pub namespaces: Vec<Namespace>,
    /// Limits of its cgroup.
    pub resources: Resources,
    /// Kernel parameters of its namespaces.
    pub sysctl: BTreeMap<String, String>,
    /// Paths that cannot be read.
    pub masked_paths: Vec<PathBuf>,
    /// Paths that cannot be written.
    pub readonly_paths: Vec<PathBuf>,
}

/// `linux.namespaces[]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// `pid`, `network`, `ipc`, `uts`, `mount` or `cgroup`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// `linux.resources`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Memory.
    pub memory: Memory,
    /// CPU time.
    pub cpu: Cpu,
    /// Tasks: processes and threads.
    pub pids: Pids,
    /// Disk time. `None` where the host does not share it by weight.
    #[serde(rename = "blockIO", skip_serializing_if = "Option::is_none")]
    pub block_io: Option<BlockIo>,
}

/// `linux.resources.memory`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Memory.
    pub limit: i64,
    /// Memory and swap together.
    pub swap: i64,
}

/// `linux.resources.cpu`, times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// Weight among the containers that compete for CPU time; 1024 is the kernel's default.
    pub shares: u64,
    /// CPU time per period, over all cores.
    pub quota: i64,
    /// Length of a period.
    pub period: u64,
}

/// `linux.resources.pids`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pids {
    /// The largest number of tasks.
    pub limit: i64,
}

/// `linux.resources.blockIO`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BlockIo {
    /// Weight among the containers that compete for a disk, 10 to 1000.
    pub weight: u16,
}
