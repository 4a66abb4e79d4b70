//! Files of an image. The engine only gives out files of containers, so one is created from the image, never
//! started, and removed at once.

use super::error::{EngineError, call};
use super::{CHANGE, Engine, LOOK};
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    CreateContainerOptions, DownloadFromContainerOptions, ListContainersOptions, RemoveContainerOptions,
};
use futures_util::StreamExt as _;
use std::collections::HashMap;

/// Label of such a container. A process that is killed leaves its container, and the next one removes it.
const LABEL_FILES: &str = "sshbox.image-files";

impl Engine {
    /// Archives of these files of an image, in tar format; `None` for a file that it does not have or whose
    /// archive is longer than `longest` bytes. The caller holds the host lock: of two calls at the same time, one would remove the
    /// container of the other.
    ///
    /// # Errors
    /// [`EngineError`]
    pub async fn files_of_image<const N: usize>(
        &self,
        image_id: &str,
        paths: [&str; N],
        longest: usize,
    ) -> Result<[Option<Vec<u8>>; N], EngineError> {
        self.remove_leftovers().await?;
        let body = ContainerCreateBody {
            image: Some(image_id.to_owned()),
            labels: Some(HashMap::from([(LABEL_FILES.to_owned(), String::new())])),
            // It is not run, but an image without a command cannot be used without one.
            entrypoint: Some(vec!["/never-started".to_owned()]),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = None::<CreateContainerOptions>;
        let created =
            call("read files of", image_id, CHANGE, self.docker.create_container(options, body)).await?;
        let mut files = [const { None }; N];
        let mut failed = None;
        for (file, path) in files.iter_mut().zip(paths) {
            match call("read a file of", image_id, LOOK, download(&self.docker, &created.id, path, longest))
                .await
            {
                Ok(archive) => *file = archive,
                Err(EngineError::NotFound(..)) => {}
                Err(error) => failed = Some(error),
            }
        }
        self.remove_unstarted(&created.id).await?;
        failed.map_or(Ok(files), Err)
    }

    async fn remove_leftovers(&self) -> Result<(), EngineError> {
        let filters = HashMap::from([("label".to_owned(), vec![LABEL_FILES.to_owned()])]);
        let options = ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let list = call("list", "containers", LOOK, self.docker.list_containers(Some(options))).await?;
        for id in list.into_iter().filter_map(|container| container.id) {
            self.remove_unstarted(&id).await?;
        }
        Ok(())
    }

    async fn remove_unstarted(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions { v: true, force: false, link: false };
        match call("remove", id, CHANGE, self.docker.remove_container(id, Some(options))).await {
            // Another process has removed it, or is just doing so.
            Err(EngineError::NotFound(..) | EngineError::Conflict(..)) => Ok(()),
            other => other,
        }
    }
}

/// An archive of one file; `None` if it is too long.
async fn download(docker: &Docker, id: &str, path: &str, longest: usize) -> Result<Option<Vec<u8>>, Error> {
    let options = DownloadFromContainerOptions { path: path.to_owned() };
    let mut stream = Box::pin(docker.download_from_container(id, Some(options)));
    let mut archive = Vec::new();
    while let Some(part) = stream.next().await {
        archive.extend_from_slice(&part?);
        if archive.len() > longest {
            return Ok(None);
        }
    }
    Ok(Some(archive))
}
