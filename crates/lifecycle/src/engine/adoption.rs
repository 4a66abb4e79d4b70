//! Calls that only `sshbox adopt` makes: they concern containers that sshbox did not create.

use super::docker::{foreign_container, no_restart};
use super::error::{EngineError, call};
use super::{CHANGE, Engine, LOOK};
use crate::container::ForeignContainer;
use bollard::models::ContainerUpdateBody;
use bollard::query_parameters::{ListContainersOptions, TopOptions};

impl Engine {
    /// The container with this name, even if sshbox did not create it.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn find_foreign(&self, name: &str) -> Result<Option<ForeignContainer>, EngineError> {
        match call("inspect", name, LOOK, self.docker.inspect_container(name, None)).await {
            Ok(container) => Ok(Some(foreign_container(container))),
            Err(EngineError::NotFound(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of all containers, sorted.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn names(&self) -> Result<Vec<String>, EngineError> {
        let options = ListContainersOptions { all: true, ..Default::default() };
        let list = call("list", "containers", LOOK, self.docker.list_containers(Some(options))).await?;
        let names = list.into_iter().filter_map(|container| container.names).flatten();
        // A name with a second slash is an alias that another container uses for this one.
        let mut names: Vec<String> = names
            .filter_map(|name| name.strip_prefix('/').map(str::to_owned))
            .filter(|name| !name.contains('/'))
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The command lines of all processes in a running container.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn processes(&self, id: &str) -> Result<Vec<String>, EngineError> {
        let options = TopOptions { ps_args: "-eo pid,args".to_owned() };
        let top = call("list processes of", id, LOOK, self.docker.top_processes(id, Some(options))).await?;
        Ok(top.processes.unwrap_or_default().into_iter().filter_map(|mut process| process.pop()).collect())
    }

    /// All paths in a container that differ from its image.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn changes(&self, id: &str) -> Result<Vec<String>, EngineError> {
        let changes = call("compare", id, CHANGE, self.docker.container_changes(id)).await?;
        Ok(changes.unwrap_or_default().into_iter().map(|change| change.path).collect())
    }

    /// Sets the restart policy of a container to `no`, so that the engine does not start it by itself.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn never_restart(&self, id: &str) -> Result<(), EngineError> {
        let update = ContainerUpdateBody { restart_policy: Some(no_restart()), ..Default::default() };
        call("update", id, LOOK, self.docker.update_container(id, update)).await
    }
}
