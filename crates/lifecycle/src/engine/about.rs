//! What the container engine reports about itself, for `sshbox doctor`.

use super::error::{EngineError, call};
use super::{Engine, LOOK};

/// What the engine reports about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Version of the engine.
    pub version: String,
    /// The newest version of the API that the engine supports.
    pub api: String,
    /// Whether containers continue to run while the engine is stopped or restarted.
    pub live_restore: bool,
    /// Version of control groups that the host uses: 1 or 2.
    pub cgroup_version: String,
    /// Names of the limits that the engine cannot set on this host.
    pub unsupported_limits: Vec<&'static str>,
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
        Ok(About {
            version: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
            live_restore: info.live_restore_enabled.unwrap_or_default(),
            cgroup_version: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
            unsupported_limits: limits
                .into_iter()
                .filter(|(_, supported)| *supported != Some(true))
                .map(|(name, _)| name)
                .collect(),
        })
    }
}
