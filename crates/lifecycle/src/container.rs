//! A container on this host, in the values that all engines report. Knows no engine.

use host::limits::CgroupLimits;
use std::path::PathBuf;

/// What sshbox needs to know about a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    /// Id that the engine gave it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Process id of its init on the host, while it runs.
    pub pid: Option<i32>,
    /// Whether it runs.
    pub state: ContainerState,
    /// The labels that sshbox sets; `None` if sshbox did not create the container.
    pub labels: Option<BoxLabels>,
    /// Exit code of its init at the last stop.
    pub exit_code: i64,
    /// Whether the kernel killed its init because memory ran out (OOM).
    pub out_of_memory: bool,
    /// Last start, in RFC 3339 as the engine writes it. The year 1 means that it has never started.
    pub started_at: String,
    /// Last stop, in the same form as `started_at`.
    pub finished_at: String,
    /// Name of its image.
    pub image: String,
    /// Limits of its cgroup.
    pub limits: CgroupLimits,
    /// Uid and gid of its processes, as in `uid:gid`.
    pub user: String,
    /// Name of its network.
    pub network: String,
    /// Where the engine has bound its network namespace, while it runs. Only root can change what is there.
    pub network_namespace: Option<PathBuf>,
    /// The file on the host that is its `/etc/resolv.conf`.
    pub resolv_conf: Option<PathBuf>,
}

impl Container {
    /// Whether sshbox created it for the user of this login name.
    #[must_use]
    pub fn is_box_of(&self, user: &str) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.user == user)
    }

    /// The same, for a container that does not have the name of a box: it also has the label with the hash,
    /// which no other program sets.
    #[must_use]
    pub fn is_complete_box_of(&self, user: &str) -> bool {
        self.is_box_of(user) && self.labels.as_ref().is_some_and(|labels| !labels.spec.is_empty())
    }
}

/// A network of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerNetwork {
    /// Whether the engine keeps its containers from reaching each other.
    pub keeps_containers_apart: bool,
    /// The name of its bridge, if the network prescribes one.
    pub bridge: Option<String>,
}

/// A container that has the name of a box, but that another program may have created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignContainer {
    /// Id that the engine gave it.
    pub id: String,
    /// Whether it runs.
    pub state: ContainerState,
    /// Whether sshbox created it.
    pub is_box: bool,
    /// Name of its image.
    pub image: String,
    /// Its restart policy; `no` if the engine never starts it by itself.
    pub restart: String,
    /// Whether the engine removes it when it stops.
    pub auto_remove: bool,
    /// Its mounts, without tmpfs.
    pub mounts: Vec<ForeignMount>,
}

/// A mount of a foreign container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignMount {
    /// `bind`, `volume` …
    pub kind: String,
    /// The path on the host; for a volume, its name.
    pub source: PathBuf,
    /// Mount point in the container.
    pub target: PathBuf,
    /// Whether it is mounted read-write.
    pub writable: bool,
}

/// Label with the login name of the user.
pub const LABEL_USER: &str = "sshbox.user";
/// Label with the id of the account.
pub const LABEL_ACCOUNT: &str = "sshbox.id";
/// Label with the hash of the `BoxSpec`.
pub const LABEL_SPEC: &str = "sshbox.spec";
/// Label of the volume that holds a container's terminals while it runs.
pub const LABEL_TERMINALS: &str = "sshbox.terminals";

/// Labels of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxLabels {
    /// [`LABEL_USER`]
    pub user: String,
    /// [`LABEL_ACCOUNT`]; empty if the accounts have no ids.
    pub account: String,
    /// [`LABEL_SPEC`]
    pub spec: String,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// Created and never started, or exited.
    #[default]
    Stopped,
    /// Running.
    Running,
    /// Paused: its processes are frozen.
    Paused,
    /// Being restarted or removed.
    Busy,
    /// Broken: the engine cannot start it any more.
    Dead,
}

impl ContainerState {
    /// The word for the state in texts and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Busy => "changing",
            Self::Dead => "broken",
        }
    }

    /// Whether it has processes.
    #[must_use]
    pub fn has_processes(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}
