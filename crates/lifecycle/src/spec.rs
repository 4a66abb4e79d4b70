//! The description of a box: user, mounts, limits, namespaces, environment, in the terms of the OCI
//! runtime specification. A function without side effects makes it. Knows no engine.
//!
//! The engine decides what is not described: its seccomp filter, the devices, the address, `/etc/hosts` and
//! `/etc/resolv.conf`; and the `AppArmor` profile, where the kernel does not have sshbox's own. An engine may mask more paths than listed here.

use crate::container::{LABEL_ACCOUNT, LABEL_USER};
use crate::oci::{
    BlockIo, Capabilities, Config, Cpu, Linux, Memory, Mount, Namespace, Pids, Process, Resources, Rlimit,
    Root, User,
};
use host::account::Account;
use host::config::{ContainerConfig, EngineRuntime, UidGid};
use host::features::HostFeatures;
use host::limits::{CgroupLimits, ContainerLimits, OpenFiles, Size};
use host::networks::CLOSED_NETWORK;
use host::sys::apparmor;
use identity::Login;
use serde::Serialize;
use session::presence::{ETC_GROUP, ETC_PASSWD};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Raise this if the translation for an engine changes, so that each box of an earlier release is created
/// again at its next cold start. A change of the description alone changes the hash without that.
const VERSION: u32 = 4;

/// Path on the host of the program that is PID 1 of a box. It is bind-mounted over a file that every
/// image must have for this.
pub const INIT: &str = "/usr/lib/sshbox/sshbox-init";

/// Mount points in the box: of the init, and of the directory with the boot socket.
const INIT_IN_BOX: &str = "/sbin/sshbox-init";
const RUN_IN_BOX: &str = "/run/sshbox";

/// Kernel parameter that switches IPv6 off on the loopback interface if it is 1.
const LOOPBACK_IPV6: &str = "net.ipv6.conf.lo.disable_ipv6";

/// Period of the CPU limit in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// One microsecond per period, in billionths of a core.
const NANO_PER_QUOTA: i64 = 10_000;

/// The file systems of the kernel that every container has: mount point, type, source, options.
const KERNEL_MOUNTS: [(&str, &str, &str, &str); 6] = [
    ("/proc", "proc", "proc", "nosuid,noexec,nodev"),
    ("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
    ("/sys/fs/cgroup", "cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
];

const NAMESPACES: [&str; 6] = ["pid", "network", "ipc", "uts", "mount", "cgroup"];

/// Paths that show properties of the host or give access to its devices.
const MASKED_PATHS: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// Paths through which the host's kernel is configured.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Everything that a box is created from: the container in the terms of the OCI runtime specification, and
/// what that specification does not cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BoxSpec {
    version: u32,
    /// Name of the container.
    pub name: String,
    /// Name of the image.
    pub image: String,
    /// Id of the image that has this name now; empty before the engine was asked for it.
    pub image_id: String,
    /// Name of the network.
    pub network: String,
    /// The engine's program that starts the container's processes.
    pub runtime: EngineRuntime,
    /// The container in the terms of the OCI runtime specification.
    pub config: Config,
}

/// What the host provides for one box.
#[derive(Clone, Copy, Debug)]
pub struct HostSide<'a> {
    /// The user that the box runs as.
    pub user: UidGid,
    /// Name of the container.
    pub name: &'a str,
    /// The user's home directory.
    pub home: &'a Path,
    /// The directory of the boot socket.
    pub run: &'a Path,
    /// Features of this host that every box gets.
    pub features: &'a HostFeatures,
}

impl BoxSpec {
    /// The description of the box of this user.
    #[must_use]
    pub fn new(config: &ContainerConfig, login: &Login, account: &Account, host: HostSide<'_>) -> Self {
        let limits = ContainerLimits::resolve(&account.limits, &config.limits, &config.ceilings);
        Self {
            version: VERSION,
            name: host.name.to_owned(),
            image: account.image.as_deref().unwrap_or(&config.image).to_owned(),
            image_id: String::new(),
            network: network(config, account).to_owned(),
            runtime: EngineRuntime::default(),
            config: Config {
                oci_version: "1.0.2".to_owned(),
                process: process(host, &limits),
                root: Root { path: "rootfs".into(), readonly: true },
                hostname: config.hostname.fill(login),
                mounts: mounts(config, &limits, host),
                annotations: BTreeMap::from([
                    (LABEL_USER.to_owned(), login.as_str().to_owned()),
                    (LABEL_ACCOUNT.to_owned(), account.id.clone().unwrap_or_default()),
                ]),
                linux: linux(&limits, host.features),
            },
        }
    }

    /// The same description, with this id of the image.
    #[must_use]
    pub fn of_image(self, image_id: &str) -> Self {
        Self { image_id: image_id.to_owned(), ..self }
    }

    /// The same description, with this program of the engine.
    #[must_use]
    pub fn on_runtime(self, runtime: EngineRuntime) -> Self {
        Self { runtime, ..self }
    }

    /// Login name of the user.
    #[must_use]
    pub fn user(&self) -> &str {
        self.config.annotations.get(LABEL_USER).map(String::as_str).unwrap_or_default()
    }

    /// Limits of its cgroup.
    #[must_use]
    pub fn limits(&self) -> CgroupLimits {
        let Resources { memory, cpu, pids, block_io } = self.config.linux.resources;
        let limits = CgroupLimits::from_engine(cpu.nano_cpus(), memory.limit, pids.limit);
        limits.with_weights(cpu.shares, block_io.map_or(0, |block_io| block_io.weight))
    }

    /// Hash of the description: the first half of a SHA-256, in hexadecimal digits. Two boxes with the same
    /// hash are created from the same description.
    #[must_use]
    pub fn hash(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        Sha256::digest(text).iter().take(16).fold(String::new(), |mut hash, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hash, "{byte:02x}");
            hash
        })
    }
}

impl Cpu {
    /// Billionths of a core.
    #[must_use]
    pub fn nano_cpus(self) -> i64 {
        self.quota.saturating_mul(NANO_PER_QUOTA)
    }
}

/// An account without internet is kept from it on any host: by the network that sshbox filters.
fn network<'a>(config: &'a ContainerConfig, account: &Account) -> &'a str {
    if account.internet == Some(false) { CLOSED_NETWORK } else { &config.network }
}

fn process(host: HostSide<'_>, limits: &ContainerLimits) -> Process {
    let OpenFiles { soft, hard } = limits.open_files;
    // With lxcfs, /proc/cpuinfo of a box shows only the processors that the box may use. But `nproc` and
    // OpenMP ask the scheduler, which counts the processors of the host, unless this variable is set.
    let cores = limits.cgroup.cpus.nano().saturating_add(999_999_999) / 1_000_000_000;
    let threads = (!host.features.lxcfs.is_empty()).then(|| format!("OMP_NUM_THREADS={}", cores.max(1)));
    Process {
        terminal: false,
        user: User { uid: host.user.uid, gid: host.user.gid },
        // The init sets the limit on open files of the programs itself. As an rlimit here, a value above the
        // engine's own limit would make the start fail. It reports the number of terminals when none is left.
        args: vec![INIT_IN_BOX.to_owned(), soft.to_string(), hard.to_string(), limits.ptys.to_string()],
        env: threads.into_iter().collect(),
        cwd: "/".into(),
        // No capabilities, even if the image requests some.
        capabilities: Capabilities::default(),
        // No core dumps: the kernel would write them to a place that the host has configured for its own.
        rlimits: vec![Rlimit { kind: "RLIMIT_CORE".to_owned(), soft: 0, hard: 0 }],
        no_new_privileges: true,
        apparmor_profile: host.features.apparmor.then(|| apparmor::PROFILE.to_owned()),
    }
}

/// The mounts of a box. Only the home and file systems in memory are writable.
fn mounts(config: &ContainerConfig, limits: &ContainerLimits, host: HostSide<'_>) -> Vec<Mount> {
    let kernel = KERNEL_MOUNTS.map(|(destination, kind, source, options)| {
        let options = match kind {
            "devpts" => format!("{options},max={}", limits.ptys),
            _ => options.to_owned(),
        };
        mount(destination.as_ref(), kind, source.as_ref(), &options)
    });
    let tmpfs = |destination: &str, options: &str, size: Size| {
        mount(destination.as_ref(), "tmpfs", "tmpfs".as_ref(), &format!("{options},size={}", size.0))
    };
    let scratch = "rw,nosuid,nodev,exec,mode=1777";
    let memory = [
        tmpfs("/dev/shm", "rw,nosuid,nodev,noexec,mode=1777", limits.shm),
        tmpfs("/tmp", scratch, limits.tmp),
        tmpfs("/var/tmp", scratch, limits.tmp),
        tmpfs("/run", "rw,nosuid,nodev,noexec,mode=0755", Size(16 << 20)),
    ];
    let bind = |source: &Path, destination: &Path, access: &str| {
        mount(destination, "bind", source, &format!("rbind,rprivate,{access}"))
    };
    let binds = [
        bind(host.home, &config.mount, "rw"),
        bind(INIT.as_ref(), INIT_IN_BOX.as_ref(), "ro"),
        bind(host.run, RUN_IN_BOX.as_ref(), "ro"),
        // So that its user has the login name in every image.
        bind(&host.run.join(ETC_PASSWD), "/etc/passwd".as_ref(), "ro"),
        bind(&host.run.join(ETC_GROUP), "/etc/group".as_ref(), "ro"),
    ];
    let lxcfs = host.features.lxcfs.iter().map(|(source, destination)| bind(source, destination, "ro"));
    kernel.into_iter().chain(memory).chain(binds).chain(lxcfs).collect()
}

fn mount(destination: &Path, kind: &str, source: &Path, options: &str) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: options.split(',').map(str::to_owned).collect(),
    }
}

/// The limit on memory and swap together of a container with this limit on memory: one page of swap. With none at all,
/// runc before 1.2 does not tell systemd, and the next `systemctl daemon-reload` would lift the limit on swap.
#[must_use]
pub fn with_swap(memory: i64) -> i64 {
    const PAGE: i64 = 4096;
    memory.saturating_add(PAGE)
}

fn linux(limits: &ContainerLimits, features: &HostFeatures) -> Linux {
    let memory = limits.cgroup.memory.signed();
    // Programs try ::1 first for `localhost`, and an engine may switch it off where the network has no
    // IPv6. A kernel without IPv6 does not know the parameter, and the box would not start.
    let sysctl = features.ipv6.then(|| (LOOPBACK_IPV6.to_owned(), "0".to_owned()));
    Linux {
        namespaces: NAMESPACES.map(|kind| Namespace { kind: kind.to_owned() }).into(),
        resources: Resources {
            memory: Memory { limit: memory, swap: with_swap(memory) },
            cpu: Cpu {
                shares: limits.cgroup.cpu_weight.cpu_shares(),
                quota: limits.cgroup.cpus.nano() / NANO_PER_QUOTA,
                period: CPU_PERIOD,
            },
            pids: Pids { limit: i64::from(limits.cgroup.pids) },
            // A box with a weight would not start on a host without the file that takes it.
            block_io: features.io_weight.then(|| BlockIo { weight: limits.cgroup.io_weight.block_io() }),
        },
        sysctl: sysctl.into_iter().collect(),
        masked_paths: MASKED_PATHS.map(Into::into).into(),
        readonly_paths: READONLY_PATHS.map(Into::into).into(),
    }
}

#[cfg(test)]
mod tests;
