//! Translates a `BoxSpec` to the request of the Docker API that creates a container, and the API's
//! description of containers to sshbox's types. If the same `BoxSpec` gives a different request after a
//! change, raise `VERSION` in `spec.rs`.

mod terminals;

use crate::container::{
    BoxLabels, Container, ContainerNetwork, ContainerState, ForeignContainer, ForeignMount, LABEL_ACCOUNT,
    LABEL_SPEC, LABEL_USER,
};
use crate::oci;
use crate::spec::BoxSpec;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerUpdateBody, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountPoint, MountType, NetworkCreateRequest,
    NetworkInspect, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use host::limits::CgroupLimits;
use host::networks::is_filtered;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use terminals::terminals;

/// Option of a bridge network, and the value with which its containers cannot reach each other.
pub const NO_TRAFFIC_BETWEEN_CONTAINERS: (&str, &str) = ("com.docker.network.bridge.enable_icc", "false");

/// Option of a bridge network: the name of the bridge.
pub const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

/// Where the engine puts an init of its own into a container.
pub const ENGINE_INIT: [&str; 2] = ["/sbin/docker-init", "/usr/sbin/docker-init"];

/// Docker accepts only a size for this mount; its options are fixed.
const SHM: &str = "/dev/shm";

/// The request that creates a box. The patterns name every field of the description: the compiler
/// reports a field that is not translated.
pub fn create_body(spec: &BoxSpec) -> ContainerCreateBody {
    let oci::Config { oci_version: _, process, root, hostname, mounts, annotations, linux } = &spec.config;
    let oci::Process {
        terminal,
        user,
        args,
        env,
        cwd,
        capabilities,
        rlimits,
        no_new_privileges,
        apparmor_profile,
    } = process;
    // Docker adds a capability to all five sets, so one list stands for all.
    let oci::Capabilities { bounding, effective: _, inheritable: _, permitted: _, ambient: _ } = capabilities;
    // Docker chooses the path of the root file system in its own bundle.
    let oci::Root { path: _, readonly } = root;
    // Docker creates these namespaces by default, and masks at least these paths. A list in the request would
    // replace Docker's list, which is longer in later versions.
    let oci::Linux { namespaces: _, resources, sysctl, masked_paths: _, readonly_paths: _ } = linux;
    let oci::Resources { memory, cpu, pids, block_io } = resources;
    let security = no_new_privileges.then(|| "no-new-privileges".to_owned());
    let apparmor = apparmor_profile.iter().map(|profile| format!("apparmor={profile}"));
    let mut labels: HashMap<_, _> = annotations.clone().into_iter().collect();
    labels.insert(LABEL_SPEC.to_owned(), spec.hash());
    ContainerCreateBody {
        hostname: Some(hostname.clone()),
        user: Some(user.to_string()),
        image: Some(spec.image.clone()),
        tty: Some(*terminal),
        entrypoint: Some(args.iter().take(1).cloned().collect()),
        cmd: Some(args.iter().skip(1).cloned().collect()),
        working_dir: Some(cwd.to_string_lossy().into_owned()),
        env: Some(env.clone()),
        labels: Some(labels),
        host_config: Some(HostConfig {
            privileged: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(bounding.clone()),
            security_opt: Some(security.into_iter().chain(apparmor).collect()),
            readonly_rootfs: Some(*readonly),
            ipc_mode: Some("private".to_owned()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
            nano_cpus: Some(cpu.nano_cpus()),
            cpu_shares: i64::try_from(cpu.shares).ok(),
            blkio_weight: block_io.map(|block_io| block_io.weight),
            memory: Some(memory.limit),
            memory_swap: Some(memory.swap),
            pids_limit: Some(pids.limit),
            ulimits: Some(rlimits.iter().map(ulimit).collect()),
            shm_size: mounts.iter().find(|mount| mount.destination.as_os_str() == SHM).and_then(tmpfs_size),
            mounts: Some(
                mounts.iter().filter_map(|mount| bind_mount(mount).or_else(|| terminals(mount))).collect(),
            ),
            tmpfs: Some(mounts.iter().filter_map(tmpfs).collect()),
            // Docker would write the output of PID 1 to a file on the host, without a limit.
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            // Only sshbox-wake starts boxes, at a login.
            restart_policy: Some(no_restart()),
            network_mode: Some(spec.network.clone()),
            sysctls: some_map(sysctl),
            init: Some(false),
            runtime: spec.runtime.name().map(str::to_owned),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The request that changes the limits that differ. Docker leaves alone what a request does not name.
pub fn update_body(wanted: CgroupLimits, current: CgroupLimits) -> ContainerUpdateBody {
    let CgroupLimits { cpus, memory, pids, cpu_weight, io_weight } = wanted;
    // No swap, as at the creation.
    let memory = (memory != current.memory).then(|| memory.signed());
    ContainerUpdateBody {
        nano_cpus: (cpus != current.cpus).then(|| cpus.nano()),
        memory,
        memory_swap: memory,
        pids_limit: (pids != current.pids).then(|| i64::from(pids)),
        cpu_shares: (cpu_weight != current.cpu_weight)
            .then(|| i64::try_from(cpu_weight.cpu_shares()).unwrap_or(i64::MAX)),
        blkio_weight: (io_weight != current.io_weight).then(|| io_weight.block_io()),
        ..Default::default()
    }
}

fn ulimit(oci::Rlimit { kind, soft, hard }: &oci::Rlimit) -> ResourcesUlimits {
    let limit = |limit: u64| Some(i64::try_from(limit).unwrap_or(i64::MAX));
    let name = kind.trim_start_matches("RLIMIT_").to_lowercase();
    ResourcesUlimits { name: Some(name), soft: limit(*soft), hard: limit(*hard) }
}

/// This mount, if it is a bind mount. It is a `Mount`, not one text of the form `source:target`, which Docker
/// splits at colons: a path can contain some. `rbind` and `rprivate` are Docker's defaults.
fn bind_mount(oci::Mount { destination, kind, source, options }: &oci::Mount) -> Option<Mount> {
    (kind == "bind").then(|| Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(destination.to_string_lossy().into_owned()),
        read_only: Some(options.iter().any(|option| option == "ro")),
        ..Default::default()
    })
}

/// Mount point and options of this mount, if it is a tmpfs and not below `/dev`. Docker itself mounts those
/// below `/dev`, and the file systems of the kernel.
fn tmpfs(oci::Mount { destination, kind, source: _, options }: &oci::Mount) -> Option<(String, String)> {
    let wanted = kind == "tmpfs" && !destination.starts_with("/dev");
    wanted.then(|| (destination.to_string_lossy().into_owned(), options.join(",")))
}

fn tmpfs_size(mount: &oci::Mount) -> Option<i64> {
    mount.options.iter().find_map(|option| option.strip_prefix("size=")?.parse().ok())
}

fn some_map(map: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!map.is_empty()).then(|| map.clone().into_iter().collect())
}

pub fn no_restart() -> RestartPolicy {
    RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }
}

/// The request that creates a bridge whose containers cannot reach each other. The bridge of a network of sshbox
/// has its name, by which the rules for packets know it.
pub fn network_request(name: &str) -> NetworkCreateRequest {
    let (option, value) = NO_TRAFFIC_BETWEEN_CONTAINERS;
    let mut options = HashMap::from([(option.to_owned(), value.to_owned())]);
    if is_filtered(name) {
        options.insert(BRIDGE_NAME.to_owned(), name.to_owned());
    }
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(options),
        ..Default::default()
    }
}

/// The network that this reply describes.
pub fn network(reply: NetworkInspect) -> ContainerNetwork {
    let options = reply.options.unwrap_or_default();
    let (option, value) = NO_TRAFFIC_BETWEEN_CONTAINERS;
    ContainerNetwork {
        keeps_containers_apart: options.get(option).is_some_and(|set| set == value),
        bridge: options.get(BRIDGE_NAME).cloned(),
    }
}

/// The container that this reply describes.
pub fn container(reply: ContainerInspectResponse) -> Container {
    let state = reply.state.unwrap_or_default();
    let host = reply.host_config.unwrap_or_default();
    let config = reply.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    Container {
        id: reply.id.unwrap_or_default(),
        name: reply.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        pid: state.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0),
        state: match state.status {
            Some(ContainerStateStatusEnum::RUNNING) => ContainerState::Running,
            Some(ContainerStateStatusEnum::PAUSED) => ContainerState::Paused,
            Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EXITED) => {
                ContainerState::Stopped
            }
            Some(ContainerStateStatusEnum::DEAD) => ContainerState::Dead,
            _ => ContainerState::Busy,
        },
        labels: labels.get(LABEL_USER).map(|user| BoxLabels {
            user: user.clone(),
            account: labels.get(LABEL_ACCOUNT).cloned().unwrap_or_default(),
            spec: labels.get(LABEL_SPEC).cloned().unwrap_or_default(),
        }),
        exit_code: state.exit_code.unwrap_or_default(),
        out_of_memory: state.oom_killed.unwrap_or_default(),
        started_at: state.started_at.unwrap_or_default(),
        finished_at: state.finished_at.unwrap_or_default(),
        image: config.image.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        network: host.network_mode.unwrap_or_default(),
        network_namespace: reply
            .network_settings
            .and_then(|settings| settings.sandbox_key)
            .and_then(absolute),
        resolv_conf: reply.resolv_conf_path.and_then(absolute),
        limits: CgroupLimits::from_engine(
            host.nano_cpus.unwrap_or_default(),
            host.memory.unwrap_or_default(),
            host.pids_limit.unwrap_or_default(),
        )
        .with_weights(
            u64::try_from(host.cpu_shares.unwrap_or_default()).unwrap_or_default(),
            host.blkio_weight.unwrap_or_default(),
        ),
    }
}

/// This path, if it is one. Docker sends an empty text for a container that does not run.
fn absolute(path: String) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|path| path.is_absolute())
}

/// The container that this reply describes, even if sshbox did not create it.
pub fn foreign_container(mut reply: ContainerInspectResponse) -> ForeignContainer {
    let mounts = reply.mounts.take().unwrap_or_default();
    let host = reply.host_config.clone().unwrap_or_default();
    let restart = host.restart_policy.and_then(|policy| policy.name);
    let Container { id, state, labels, image, .. } = container(reply);
    ForeignContainer {
        id,
        state,
        is_box: labels.is_some(),
        image,
        restart: match restart {
            None | Some(RestartPolicyNameEnum::EMPTY) => RestartPolicyNameEnum::NO.to_string(),
            Some(restart) => restart.to_string(),
        },
        auto_remove: host.auto_remove.unwrap_or_default(),
        mounts: mounts.into_iter().filter_map(foreign_mount).collect(),
    }
}

/// The mount that this entry describes. `None` for a tmpfs, whose content is lost with the container anyway.
fn foreign_mount(point: MountPoint) -> Option<ForeignMount> {
    let kind = point.typ?;
    let source = if kind == "volume" { point.name } else { point.source };
    let mount = ForeignMount {
        source: source.unwrap_or_default().into(),
        target: point.destination.unwrap_or_default().into(),
        writable: point.rw.unwrap_or(true),
        kind,
    };
    (mount.kind != "tmpfs").then_some(mount)
}

#[cfg(test)]
mod tests;
