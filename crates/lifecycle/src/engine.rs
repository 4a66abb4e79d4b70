//! Finds, creates, starts, stops, removes and lists containers, by calls to the container engine. The
//! engine is Docker; only this file and `engine/` depend on that. Each call has a deadline, so that an
//! engine that hangs delays a login by seconds only.

mod about;
mod adoption;
pub mod advice;
mod docker;
mod error;
mod image_files;

pub use about::About;
pub use docker::ENGINE_INIT;
pub use error::EngineError;

use crate::container::{Container, ContainerNetwork, LABEL_USER};
use crate::spec::BoxSpec;
use bollard::Docker;
use bollard::query_parameters::{
    CreateContainerOptions, KillContainerOptions, ListContainersOptions, RemoveContainerOptions,
    RenameContainerOptions, StopContainerOptions,
};
use error::call;
use host::config::EngineConfig;
use host::limits::CgroupLimits;
use identity::Login;
use session::deadlines::{ENGINE_CHANGE as CHANGE, ENGINE_LOOK as LOOK, GRACE_MAX};
use std::collections::HashMap;
use std::time::Duration;

/// A connection to the engine.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
}

/// A box as the engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBox {
    /// Id of the container.
    pub id: String,
    /// The user that the container's label names. Not checked: everyone who may use the engine can create
    /// a container with any label.
    pub user: String,
    /// Name of the container.
    pub name: String,
    /// Names of the networks that it is on.
    pub networks: Vec<String>,
}

impl Engine {
    /// Connects to the engine.
    ///
    /// No version of the API is negotiated, which would take longer than all other small calls together:
    /// bollard's requests name no version, so the engine uses its own. If a later bollard sent a version,
    /// the tests with the oldest engine would fail.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] or [`EngineError::Timeout`].
    pub async fn connect(config: &EngineConfig) -> Result<Self, EngineError> {
        let unreachable = |error| EngineError::Unreachable(config.socket.clone(), error);
        let path = config.socket.to_string_lossy();
        // Not bollard's defaults, which read the environment. `call` sets a deadline for each call; bollard's
        // own is that of the longest call, a stop.
        let longest = GRACE_MAX.saturating_add(CHANGE).as_secs();
        let docker =
            Docker::connect_with_unix(&path, longest, bollard::API_DEFAULT_VERSION).map_err(unreachable)?;
        match tokio::time::timeout(LOOK, docker.ping()).await {
            Ok(Ok(_)) => Ok(Self { docker }),
            Ok(Err(error)) => Err(unreachable(error)),
            Err(_) => Err(EngineError::Timeout("answer at", path.into_owned())),
        }
    }

    /// The container with this name or id, if there is one.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn find(&self, name: &str) -> Result<Option<Container>, EngineError> {
        match call("inspect", name, LOOK, self.docker.inspect_container(name, None)).await {
            Ok(container) => Ok(Some(docker::container(container))),
            Err(EngineError::NotFound(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The id of the image with this name, if there is one.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn image_id(&self, name: &str) -> Result<Option<String>, EngineError> {
        match call("inspect image", name, LOOK, self.docker.inspect_image(name)).await {
            Ok(image) => Ok(image.id),
            Err(EngineError::NotFound(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a box and returns the id of its container.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when the name is taken, [`EngineError::NotFound`] when the
    /// image or the network does not exist.
    pub async fn create(&self, spec: &BoxSpec) -> Result<String, EngineError> {
        let options = CreateContainerOptions { name: Some(spec.name.clone()), ..Default::default() };
        let body = docker::create_body(spec);
        let created =
            call("create", &spec.name, CHANGE, self.docker.create_container(Some(options), body)).await?;
        Ok(created.id)
    }

    /// Starts a container. Success does not prove that it is running: the engine also accepts the
    /// start of one that is about to exit.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn start(&self, id: &str) -> Result<(), EngineError> {
        call("start", id, CHANGE, self.docker.start_container(id, None)).await
    }

    /// Changes those limits of a running container that differ between `wanted` and `current`.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn update(
        &self,
        id: &str,
        wanted: CgroupLimits,
        current: CgroupLimits,
    ) -> Result<(), EngineError> {
        let request = docker::update_body(wanted, current);
        call("update", id, CHANGE, self.docker.update_container(id, request)).await
    }

    /// Unpauses a container.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn unpause(&self, id: &str) -> Result<(), EngineError> {
        call("unpause", id, CHANGE, self.docker.unpause_container(id)).await
    }

    /// Signals the init of a running box, which then connects to the boot socket again and receives a new
    /// listening socket.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn signal_init(&self, id: &str) -> Result<(), EngineError> {
        let options = KillContainerOptions { signal: "SIGUSR1".to_owned() };
        call("signal", id, LOOK, self.docker.kill_container(id, Some(options))).await
    }

    /// Stops a container: SIGTERM, and SIGKILL after `grace`.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptions { t: Some(seconds), ..Default::default() };
        call("stop", id, grace.saturating_add(CHANGE), self.docker.stop_container(id, Some(options))).await
    }

    /// Removes a container that is not running, with its writable layer. The home is a bind mount and stays.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions { v: true, force: false, link: false };
        match call("remove", id, CHANGE, self.docker.remove_container(id, Some(options))).await {
            Err(EngineError::NotFound(..)) => Ok(()),
            other => other,
        }
    }

    /// Renames a container.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when the name is taken.
    pub async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        let options = RenameContainerOptions { name: name.to_owned() };
        call("rename", id, LOOK, self.docker.rename_container(id, options)).await
    }

    /// All running boxes.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn running_boxes(&self) -> Result<Vec<ListedBox>, EngineError> {
        self.list(LABEL_USER.to_owned(), Some("running")).await
    }

    /// All boxes, running or not.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn boxes(&self) -> Result<Vec<ListedBox>, EngineError> {
        self.list(LABEL_USER.to_owned(), None).await
    }

    /// All boxes of this user, running or not: those with the user's label.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn boxes_of(&self, user: &Login) -> Result<Vec<ListedBox>, EngineError> {
        self.list(format!("{LABEL_USER}={user}"), None).await
    }

    async fn list(&self, label: String, state: Option<&str>) -> Result<Vec<ListedBox>, EngineError> {
        let mut filters = HashMap::from([("label".to_owned(), vec![label])]);
        if let Some(state) = state {
            filters.insert("status".to_owned(), vec![state.to_owned()]);
        }
        let options =
            ListContainersOptions { all: state.is_none(), filters: Some(filters), ..Default::default() };
        let list = call("list", "boxes", LOOK, self.docker.list_containers(Some(options))).await?;
        let listed = list.into_iter().filter_map(|container| {
            let user = container.labels?.remove(LABEL_USER)?;
            // A name with a second slash is an alias that another container uses for this one.
            let names = container.names.unwrap_or_default();
            let mut names = names.iter().filter_map(|name| name.strip_prefix('/'));
            let name = names.find(|name| !name.contains('/')).unwrap_or_default().to_owned();
            let networks = container.network_settings.and_then(|settings| settings.networks);
            let networks = networks.unwrap_or_default().into_keys().collect();
            Some(ListedBox { id: container.id?, user, name, networks })
        });
        Ok(listed.collect())
    }

    /// The network with this name, if there is one.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn network(&self, name: &str) -> Result<Option<ContainerNetwork>, EngineError> {
        match call("inspect network", name, LOOK, self.docker.inspect_network(name, None)).await {
            Ok(network) => Ok(Some(docker::network(network))),
            Err(EngineError::NotFound(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a network on which boxes cannot reach each other. The caller holds the host lock: of two
    /// calls at the same time the engine would create two networks of the same name.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn create_network(&self, name: &str) -> Result<(), EngineError> {
        let request = docker::network_request(name);
        call("create network", name, CHANGE, self.docker.create_network(request)).await.map(drop)
    }
}
