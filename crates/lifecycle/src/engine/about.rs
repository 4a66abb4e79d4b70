//! What the engine reports of itself, for `sshbox doctor`.

use super::docker::NO_TRAFFIC_BETWEEN_CONTAINERS;
use super::error::{EngineError, call};
use super::{Engine, LOOK};
use std::path::PathBuf;

/// The engine itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its version.
    pub version: String,
    /// The newest version of its API.
    pub api: String,
    /// Its components, `runc` and `containerd` among them, with their versions.
    pub components: Vec<(String, String)>,
    /// Whether containers outlive it.
    pub live_restore: bool,
    /// Log driver of containers that name none.
    pub log_driver: String,
    /// Version of the kernel's control groups.
    pub cgroups: String,
    /// Limits that it cannot set on this host.
    pub no_limits: Vec<&'static str>,
    /// Security modules that confine containers, such as `name=apparmor`.
    pub security: Vec<String>,
    /// Directory of images and containers.
    pub root: PathBuf,
}

impl Engine {
    /// Asks the engine about itself.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn about(&self) -> Result<About, EngineError> {
        let version = call("tell", "its version", LOOK, self.docker.version()).await?;
        let info = call("tell", "about itself", LOOK, self.docker.info()).await?;
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
                .filter(|(_, supported)| *supported != Some(true))
                .map(|(name, _)| name)
                .collect(),
            security: info.security_options.unwrap_or_default(),
            root: info.docker_root_dir.unwrap_or_default().into(),
        })
    }

    /// Whether the containers of this network cannot reach each other; `None` if there is no such
    /// network.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn isolates_containers(&self, network: &str) -> Result<Option<bool>, EngineError> {
        match call("inspect network", network, LOOK, self.docker.inspect_network(network, None)).await {
            Ok(network) => {
                let options = network.options.unwrap_or_default();
                let (name, value) = NO_TRAFFIC_BETWEEN_CONTAINERS;
                Ok(Some(options.get(name).is_some_and(|set| set == value)))
            }
            Err(EngineError::NotFound(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The log driver of a container.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn log_driver(&self, name: &str) -> Result<String, EngineError> {
        let container = call("inspect", name, LOOK, self.docker.inspect_container(name, None)).await?;
        let log = container.host_config.and_then(|host| host.log_config);
        Ok(log.and_then(|log| log.typ).unwrap_or_default())
    }
}
