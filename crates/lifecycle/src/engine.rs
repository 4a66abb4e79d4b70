//! The Docker engine. The one file that names `bollard`, and the one that knows how a box is
//! described to Docker. Each call has a deadline: an engine that hangs costs seconds, not for ever.

use crate::adoption::{ForeignContainer, Mounted};
use crate::spec::{BoxLabels, BoxSpec, Container, ContainerState};
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerUpdateBody, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountPoint, MountType, NetworkCreateRequest,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, ListContainersOptions, RemoveContainerOptions,
    RenameContainerOptions, StatsOptions, StopContainerOptions, TopOptions,
};
use futures_util::StreamExt as _;
use host::config;
use session::box_status::Usage;
use session::deadlines::{ENGINE_CHANGE as LARGE, ENGINE_LOOK as SMALL, GRACE_MAX};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

/// Our init on the host; bound over the one file that every image has for it.
pub const INIT: &str = "/usr/lib/sshbox/sshbox-init";

/// Where the box sees init, and the boot socket's directory.
const INIT_IN_BOX: &str = "/sbin/sshbox-init";
const RUN_IN_BOX: &str = "/run/sshbox";

/// Switch of the kernel: whether the loopback interface is without IPv6.
const LOOPBACK_IPV6: &str = "net.ipv6.conf.lo.disable_ipv6";

/// Option of a bridge: whether its containers see each other.
const APART: &str = "com.docker.network.bridge.enable_icc";

const LABEL_USER: &str = "sshbox.user";
const LABEL_ID: &str = "sshbox.id";
const LABEL_SPEC: &str = "sshbox.spec";

/// What went wrong with the engine, and with what.
#[derive(Debug)]
pub enum EngineError {
    /// It cannot be reached.
    Unreachable(PathBuf, Error),
    /// It did not answer in time.
    Timeout(&'static str, String),
    /// It knows no such thing, or misses something else for it.
    NotFound(&'static str, String, Error),
    /// Somebody else was faster.
    Conflict(&'static str, String, Error),
    /// It refused or failed.
    Failed(&'static str, String, Error),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(path, _) => write!(f, "cannot reach the engine at {}", path.display()),
            Self::Timeout(what, name) => write!(f, "the engine did not {what} {name} in time"),
            Self::NotFound(what, name, _) | Self::Conflict(what, name, _) | Self::Failed(what, name, _) => {
                write!(f, "the engine cannot {what} {name}")
            }
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(_, error)
            | Self::NotFound(_, _, error)
            | Self::Conflict(_, _, error)
            | Self::Failed(_, _, error) => Some(error),
            Self::Timeout(..) => None,
        }
    }
}

/// A connection to the engine.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
}

/// A box as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The engine's id.
    pub id: String,
    /// `sshbox.user`, as it stands there.
    pub user: String,
}

/// The engine itself, as it describes itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its version.
    pub version: String,
    /// The newest version of the API that it speaks.
    pub api: String,
    /// Its parts, `runc` and `containerd` among them, with their versions.
    pub components: Vec<(String, String)>,
    /// Whether containers outlive it.
    pub live_restore: bool,
    /// Where the output of other containers goes.
    pub log_driver: String,
    /// Version of the kernel's control groups.
    pub cgroups: String,
    /// Limits that it cannot set here.
    pub no_limits: Vec<&'static str>,
    /// What confines containers, such as `name=apparmor`.
    pub security: Vec<String>,
    /// Where it keeps images and containers.
    pub root: PathBuf,
}

impl Engine {
    /// Connects.
    ///
    /// No version of the API is agreed on: bollard's requests go out without one, so the engine
    /// takes them as its own. Asking it would cost more than all other small calls together, and
    /// should a later bollard send a version, the oldest engine of the tests refuses it at once.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] or [`EngineError::Timeout`].
    pub async fn connect(config: &config::EngineConfig) -> Result<Self, EngineError> {
        let unreachable = |error| EngineError::Unreachable(config.socket.clone(), error);
        let path = config.socket.to_string_lossy();
        // Never the defaults of the library: they read the environment. Each call has a deadline of
        // its own; the library's is that of the longest, a stop.
        let longest = GRACE_MAX.saturating_add(LARGE).as_secs();
        let docker =
            Docker::connect_with_unix(&path, longest, bollard::API_DEFAULT_VERSION).map_err(unreachable)?;
        match tokio::time::timeout(SMALL, docker.ping()).await {
            Ok(Ok(_)) => Ok(Self { docker }),
            Ok(Err(error)) => Err(unreachable(error)),
            Err(_) => Err(EngineError::Timeout("answer at", path.into_owned())),
        }
    }

    /// The container of this name or id, if there is one.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn find(&self, name: &str) -> Result<Option<Container>, EngineError> {
        match call("inspect", name, SMALL, self.docker.inspect_container(name, None)).await {
            Ok(container) => Ok(Some(found(container))),
            Err(EngineError::NotFound(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The id of the image of this name, if it is there.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn image_id(&self, name: &str) -> Result<Option<String>, EngineError> {
        match call("inspect image", name, SMALL, self.docker.inspect_image(name)).await {
            Ok(image) => Ok(image.id),
            Err(EngineError::NotFound(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a box and returns its id.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when the name is taken, [`EngineError::NotFound`] when the
    /// image or the network is not there.
    pub async fn create(&self, spec: &BoxSpec) -> Result<String, EngineError> {
        let options = CreateContainerOptions { name: Some(spec.name.clone()), ..Default::default() };
        let made =
            call("make", &spec.name, LARGE, self.docker.create_container(Some(options), body(spec))).await?;
        Ok(made.id)
    }

    /// Starts a container. That it was accepted is no proof of life.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn start(&self, id: &str) -> Result<(), EngineError> {
        call("start", id, LARGE, self.docker.start_container(id, None)).await
    }

    /// Thaws a container.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn unpause(&self, id: &str) -> Result<(), EngineError> {
        call("unpause", id, LARGE, self.docker.unpause_container(id)).await
    }

    /// Asks the init of a running box to fetch its socket anew.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn wake_init(&self, id: &str) -> Result<(), EngineError> {
        let options = KillContainerOptions { signal: "SIGUSR1".to_owned() };
        call("signal", id, SMALL, self.docker.kill_container(id, Some(options))).await
    }

    /// Stops a container: SIGTERM, and SIGKILL after `grace`.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptions { t: Some(seconds), ..Default::default() };
        call("stop", id, grace.saturating_add(LARGE), self.docker.stop_container(id, Some(options))).await
    }

    /// Removes a container that does not run, with its writable layer. Homes are not in it.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions { v: true, force: false, link: false };
        match call("remove", id, LARGE, self.docker.remove_container(id, Some(options))).await {
            Err(EngineError::NotFound(..)) => Ok(()),
            other => other,
        }
    }

    /// What a running box uses now; `None` when it does not run any more.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn usage(&self, id: &str) -> Result<Option<Usage>, EngineError> {
        let options = StatsOptions { stream: false, one_shot: true };
        let mut answers = self.docker.stats(id, Some(options));
        let next = async { answers.next().await.transpose() };
        let Some(stats) = call("measure", id, SMALL, next).await? else {
            return Ok(None);
        };
        let memory = stats.memory_stats.unwrap_or_default();
        let details = memory.stats.unwrap_or_default();
        // What the kernel could drop at once is not counted, under either version of cgroups.
        let droppable = ["inactive_file", "total_inactive_file"].iter().find_map(|name| details.get(*name));
        let cpu = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage).and_then(|usage| usage.total_usage);
        Ok(memory.usage.zip(cpu).map(|(memory, cpu)| Usage {
            cpu: Duration::from_nanos(cpu),
            memory: memory.saturating_sub(droppable.copied().unwrap_or_default()),
            processes: stats.pids_stats.and_then(|pids| pids.current).unwrap_or_default(),
        }))
    }

    /// All boxes that run.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn running(&self) -> Result<Vec<Listed>, EngineError> {
        self.list(Some("running")).await
    }

    /// All boxes, whatever they do.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn boxes(&self) -> Result<Vec<Listed>, EngineError> {
        self.list(None).await
    }

    async fn list(&self, status: Option<&str>) -> Result<Vec<Listed>, EngineError> {
        let mut filters = HashMap::from([("label".to_owned(), vec![LABEL_USER.to_owned()])]);
        if let Some(status) = status {
            filters.insert("status".to_owned(), vec![status.to_owned()]);
        }
        let options =
            ListContainersOptions { all: status.is_none(), filters: Some(filters), ..Default::default() };
        let list = call("list", "boxes", SMALL, self.docker.list_containers(Some(options))).await?;
        let listed = list.into_iter().filter_map(|container| {
            let user = container.labels?.remove(LABEL_USER)?;
            Some(Listed { id: container.id?, user })
        });
        Ok(listed.collect())
    }

    /// Whether there is a network of this name.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        match call("inspect network", name, SMALL, self.docker.inspect_network(name, None)).await {
            Ok(_) => Ok(true),
            Err(EngineError::NotFound(..)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether traffic between the containers of this network is off; `None` when there is no such
    /// network.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn keeps_apart(&self, name: &str) -> Result<Option<bool>, EngineError> {
        match call("inspect network", name, SMALL, self.docker.inspect_network(name, None)).await {
            Ok(network) => {
                let options = network.options.unwrap_or_default();
                Ok(Some(options.get(APART).is_some_and(|value| value == "false")))
            }
            Err(EngineError::NotFound(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the output of this container goes.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn log_driver(&self, name: &str) -> Result<String, EngineError> {
        let container = call("inspect", name, SMALL, self.docker.inspect_container(name, None)).await?;
        let log = container.host_config.and_then(|host| host.log_config);
        Ok(log.and_then(|log| log.typ).unwrap_or_default())
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn about(&self) -> Result<About, EngineError> {
        let version = call("tell", "its version", SMALL, self.docker.version()).await?;
        let info = call("tell", "about itself", SMALL, self.docker.info()).await?;
        let limits = [
            ("memory", info.memory_limit),
            ("swap", info.swap_limit),
            ("cpus", info.cpu_cfs_quota),
            ("pids", info.pids_limit),
        ];
        let components = version.components.unwrap_or_default();
        Ok(About {
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
            components: components.into_iter().map(|part| (part.name, part.version)).collect(),
            live_restore: info.live_restore_enabled.unwrap_or_default(),
            log_driver: info.logging_driver.unwrap_or_default(),
            cgroups: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
            no_limits: limits
                .into_iter()
                .filter(|(_, set)| *set != Some(true))
                .map(|(name, _)| name)
                .collect(),
            security: info.security_options.unwrap_or_default(),
            root: info.docker_root_dir.unwrap_or_default().into(),
        })
    }

    /// Makes a bridge on which boxes do not see each other.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn make_network(&self, name: &str) -> Result<(), EngineError> {
        let apart = (APART.to_owned(), "false".to_owned());
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from([apart])),
            ..Default::default()
        };
        call("make network", name, LARGE, self.docker.create_network(request)).await.map(drop)
    }
}

/// What only an adoption needs to know and to do: it deals with containers that are not ours.
impl Engine {
    /// The container of this name, whoever made it.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn stranger(&self, name: &str) -> Result<Option<ForeignContainer>, EngineError> {
        match call("inspect", name, SMALL, self.docker.inspect_container(name, None)).await {
            Ok(container) => Ok(Some(stranger(container))),
            Err(EngineError::NotFound(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of all containers, in order.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn names(&self) -> Result<Vec<String>, EngineError> {
        let options = ListContainersOptions { all: true, ..Default::default() };
        let list = call("list", "containers", SMALL, self.docker.list_containers(Some(options))).await?;
        let names = list.into_iter().filter_map(|container| container.names).flatten();
        // A name with another slash is that of a link.
        let mut names: Vec<String> = names
            .filter_map(|name| name.strip_prefix('/').map(str::to_owned))
            .filter(|name| !name.contains('/'))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The command lines of all processes in a container that runs.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn processes(&self, id: &str) -> Result<Vec<String>, EngineError> {
        let options = TopOptions { ps_args: "-eo pid,args".to_owned() };
        let top = call("list processes of", id, SMALL, self.docker.top_processes(id, Some(options))).await?;
        Ok(top.processes.unwrap_or_default().into_iter().filter_map(|mut process| process.pop()).collect())
    }

    /// All paths in a container that differ from its image.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn changes(&self, id: &str) -> Result<Vec<String>, EngineError> {
        let changes = call("compare", id, LARGE, self.docker.container_changes(id)).await?;
        Ok(changes.unwrap_or_default().into_iter().map(|change| change.path).collect())
    }

    /// From now on a container starts only when somebody starts it.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn never_restart(&self, id: &str) -> Result<(), EngineError> {
        let restart_policy = Some(no_restart());
        let update = ContainerUpdateBody { restart_policy, ..Default::default() };
        call("update", id, SMALL, self.docker.update_container(id, update)).await
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when the name is taken.
    pub async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        let options = RenameContainerOptions { name: name.to_owned() };
        call("rename", id, SMALL, self.docker.rename_container(id, options)).await
    }
}

/// One call within its deadline, with the engine's answer sorted.
async fn call<T>(
    what: &'static str,
    name: &str,
    deadline: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    let name = name.to_owned();
    let error = match tokio::time::timeout(deadline, call).await {
        Err(_) | Ok(Err(Error::RequestTimeoutError)) => return Err(EngineError::Timeout(what, name)),
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => error,
    };
    Err(match &error {
        Error::DockerResponseServerError { status_code: 404, .. } => EngineError::NotFound(what, name, error),
        Error::DockerResponseServerError { status_code: 409, .. } => EngineError::Conflict(what, name, error),
        // Older engines say so with status 400 or 500.
        Error::DockerResponseServerError { message, .. } if message.contains("already in use") => {
            EngineError::Conflict(what, name, error)
        }
        _ => EngineError::Failed(what, name, error),
    })
}

fn stranger(mut container: ContainerInspectResponse) -> ForeignContainer {
    let mounts = container.mounts.take().unwrap_or_default();
    let host = container.host_config.clone().unwrap_or_default();
    let restart = host.restart_policy.and_then(|policy| policy.name);
    let Container { id, state, labels, image, .. } = found(container);
    ForeignContainer {
        id,
        state,
        ours: labels.is_some(),
        image,
        restart: match restart {
            None | Some(RestartPolicyNameEnum::EMPTY) => RestartPolicyNameEnum::NO.to_string(),
            Some(restart) => restart.to_string(),
        },
        removed_at_end: host.auto_remove.unwrap_or_default(),
        mounts: mounts.into_iter().filter_map(mounted).collect(),
    }
}

/// `None` for memory, which ends with the container.
fn mounted(point: MountPoint) -> Option<Mounted> {
    let kind = point.typ?;
    let source = if kind == "volume" { point.name } else { point.source };
    let mounted = Mounted {
        source: source.unwrap_or_default().into(),
        target: point.destination.unwrap_or_default().into(),
        writable: point.rw.unwrap_or(true),
        kind,
    };
    (mounted.kind != "tmpfs").then_some(mounted)
}

fn no_restart() -> RestartPolicy {
    RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }
}

fn found(container: ContainerInspectResponse) -> Container {
    let state = container.state.unwrap_or_default();
    let host = container.host_config.unwrap_or_default();
    let config = container.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    Container {
        id: container.id.unwrap_or_default(),
        name: container.name.unwrap_or_default().trim_start_matches('/').to_owned(),
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
            account: labels.get(LABEL_ID).cloned().unwrap_or_default(),
            spec: labels.get(LABEL_SPEC).cloned().unwrap_or_default(),
        }),
        exit_code: state.exit_code.unwrap_or_default(),
        out_of_memory: state.oom_killed.unwrap_or_default(),
        started_at: state.started_at.unwrap_or_default(),
        finished_at: state.finished_at.unwrap_or_default(),
        image: config.image.unwrap_or_default(),
        limits: (
            host.nano_cpus.unwrap_or_default(),
            host.memory.unwrap_or_default(),
            host.pids_limit.unwrap_or_default(),
        ),
    }
}

/// A box in Docker's words. A change here needs a new `VERSION` in `spec.rs`.
fn body(spec: &BoxSpec) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: Some(spec.hostname.clone()),
        user: Some(spec.owner.clone()),
        image: Some(spec.image.clone()),
        entrypoint: Some(vec![INIT_IN_BOX.to_owned()]),
        // Not an option of the engine: it fails where its own limit is lower, and init does not.
        cmd: Some(vec![spec.nofile.soft.to_string(), spec.nofile.hard.to_string()]),
        working_dir: Some("/".to_owned()),
        env: Some(environment(spec)),
        labels: Some(HashMap::from([
            (LABEL_USER.to_owned(), spec.user.clone()),
            (LABEL_ID.to_owned(), spec.account.clone().unwrap_or_default()),
            (LABEL_SPEC.to_owned(), spec.hash()),
        ])),
        host_config: Some(host_config(spec)),
        ..Default::default()
    }
}

/// With lxcfs a box shows its own processors. `nproc` and OpenMP count those that the scheduler may
/// use, which are the host's, unless this variable says otherwise.
fn environment(spec: &BoxSpec) -> Vec<String> {
    let cores = spec.nano_cpus.saturating_add(999_999_999) / 1_000_000_000;
    if spec.host.lxcfs.is_empty() { Vec::new() } else { vec![format!("OMP_NUM_THREADS={}", cores.max(1))] }
}

fn host_config(spec: &BoxSpec) -> HostConfig {
    // The only places that can be written to: the home, and memory.
    let mut mounts = vec![
        bind(&spec.home.to_string_lossy(), &spec.mount.to_string_lossy(), false),
        bind(INIT, INIT_IN_BOX, true),
        bind(&spec.run.to_string_lossy(), RUN_IN_BOX, true),
    ];
    let lxcfs = spec.host.lxcfs.iter();
    mounts.extend(lxcfs.map(|(here, inside)| bind(&here.to_string_lossy(), &inside.to_string_lossy(), true)));
    let tmp = format!("rw,nosuid,nodev,exec,mode=1777,size={}", spec.tmp);
    HostConfig {
        // No privilege, whatever the image brings along.
        privileged: Some(false),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        // Limits. Memory and swap together equal memory: no swap.
        nano_cpus: Some(spec.nano_cpus),
        memory: Some(spec.memory),
        memory_swap: Some(spec.memory),
        pids_limit: Some(spec.pids),
        // A core goes where the host's kernel is told to put it, which is no place for a user.
        ulimits: Some(vec![ulimit("core", (0, 0))]),
        shm_size: Some(spec.shm),
        mounts: Some(mounts),
        tmpfs: Some(HashMap::from([
            ("/tmp".to_owned(), tmp.clone()),
            ("/var/tmp".to_owned(), tmp),
            ("/run".to_owned(), "rw,nosuid,nodev,noexec,mode=0755,size=16m".to_owned()),
        ])),
        // What PID 1 would print goes nowhere, or a user could fill the host's disk with it.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        // Boxes start when their user comes.
        restart_policy: Some(no_restart()),
        network_mode: Some(spec.network.clone()),
        // `localhost` is ::1 first, and Docker switches that off where the network has no IPv6. A
        // kernel without IPv6 does not know the name, and the box would not start.
        sysctls: spec.host.ipv6.then(|| HashMap::from([(LOOPBACK_IPV6.to_owned(), "0".to_owned())])),
        init: Some(false),
        ..Default::default()
    }
}

fn ulimit(name: &str, (soft, hard): (i64, i64)) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(soft), hard: Some(hard) }
}

fn bind(source: &str, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Default::default()
    }
}
