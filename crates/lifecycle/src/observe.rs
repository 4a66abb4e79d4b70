//! Collects the state and the resource usage of boxes, for `@status` and for `sshbox list`, `status` and
//! `top`, from the engine, the locks, the account cache and the kernel's counters.

mod usage;

pub use usage::{UsageReading, measure, measure_now};

use crate::container::{Container, ContainerState};
use crate::engine::{Engine, EngineError, ListedBox};
use crate::naming::find_box;
use crate::spec::{BoxSpec, HostSide};
use futures_util::StreamExt as _;
use futures_util::stream;
use host::account::Account;
use host::box_names::{BoxNames, NoBoxName};
use host::box_user;
use host::cache::Cache;
use host::config::{Config, UidGid};
use host::features::HostFeatures;
use host::home;
use host::limits::CgroupLimits;
use identity::Login;
use serde::Serialize;
use session::box_status::{Amount, BoxStatus, Cpu};
use session::clock::boottime;
use session::presence::{RUN, UserRuntimeDir};
use session::texts;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Concurrent calls to the engine.
const CONCURRENT_CALLS: usize = 16;

/// A box at one moment. Admins see all fields; the user of the box sees `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ObservedBox {
    /// The user that the container's label names. It need not be a login name: everyone who may use the
    /// engine can create a container with any label.
    pub user: String,
    /// The part that the user of the box sees.
    #[serde(flatten)]
    pub status: BoxStatus,
    /// Id of the container; `None` if there is none.
    pub container: Option<String>,
    /// Id of the account in the web app's last reply, if the web app has ids.
    pub account: Option<String>,
    /// Id of the account that the container was created for.
    pub made_for: Option<String>,
    /// The home on the host.
    pub home: Option<PathBuf>,
    /// Whether the next cold start creates the container again, because its description has changed.
    /// `None` if that is unknown: there is no container, account or image, or [`Observer::compare`] was
    /// not called.
    pub out_of_date: Option<bool>,
    /// Process id of its init on the host, while it has processes.
    #[serde(skip)]
    pub init: Option<i32>,
    /// Hash of the spec that the container was created from.
    #[serde(skip)]
    pub spec: Option<String>,
    /// The account in the cache, for a box that has a container.
    #[serde(skip)]
    pub cached: Option<Account>,
}

/// Why a box cannot be observed.
#[derive(Debug)]
pub enum ObserveError {
    /// The engine does not reply.
    Engine(EngineError),
    /// The name of the box cannot be computed.
    Name(NoBoxName),
    /// The container with the name of the box was created by another program, or for another user.
    Foreign {
        /// The name.
        name: String,
        /// The user.
        user: Login,
    },
}

impl fmt::Display for ObserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(_) => f.write_str("cannot observe boxes"),
            Self::Name(_) => f.write_str("cannot compute the name of the box"),
            Self::Foreign { name, user } => {
                write!(f, "container {name} is not the box of {user}: it lacks the labels of sshbox")
            }
        }
    }
}

impl std::error::Error for ObserveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Engine(error) => Some(error),
            Self::Name(error) => Some(error),
            Self::Foreign { .. } => None,
        }
    }
}

impl From<NoBoxName> for ObserveError {
    fn from(error: NoBoxName) -> Self {
        Self::Name(error)
    }
}

impl From<EngineError> for ObserveError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// Observes boxes of this host. Takes no lock, so it also works while a box starts or stops.
pub struct Observer<'a> {
    config: &'a Config,
    engine: Engine,
    features: OnceCell<HostFeatures>,
    /// Ids of images, by name.
    images: HashMap<String, Option<String>>,
}

impl<'a> Observer<'a> {
    /// Connects to the engine.
    ///
    /// # Errors
    /// [`ObserveError::Engine`]
    pub async fn connect(config: &'a Config) -> Result<Self, ObserveError> {
        let engine = Engine::connect(&config.engine).await?;
        Ok(Self { config, engine, features: OnceCell::new(), images: HashMap::new() })
    }

    /// All boxes, sorted by user, without their resource usage.
    ///
    /// # Errors
    /// [`ObserveError::Engine`] if the engine does not list them.
    pub async fn all(&self) -> Result<Vec<ObservedBox>, ObserveError> {
        let engine = &self.engine;
        let found: Vec<_> = stream::iter(engine.boxes().await?)
            .map(|listed| async move { (engine.find(&listed.id).await, listed) })
            .buffer_unordered(CONCURRENT_CALLS)
            .collect()
            .await;
        let observed = found.into_iter().filter_map(|(found, listed)| match found {
            Ok(Some(container)) => Some(self.existing(&listed.user, &container)),
            // The container has been removed since it was listed.
            Ok(None) => None,
            // An error with one box must not hide the others.
            Err(_) => Some(unknown(listed)),
        });
        let mut boxes: Vec<_> = observed.collect();
        boxes.sort_by(|one, other| one.user.cmp(&other.user));
        Ok(boxes)
    }

    /// The box of one user, without its resource usage. `None` if there is neither a container nor an
    /// account in the cache.
    ///
    /// # Errors
    /// [`ObserveError`]
    pub async fn one(&self, login: &Login) -> Result<Option<ObservedBox>, ObserveError> {
        let names = BoxNames::load(&self.config.container.name)?;
        match find_box(&self.engine, &names, login).await? {
            Some(container) if container.is_box_of(login.as_str()) => {
                Ok(Some(self.existing(login.as_str(), &container)))
            }
            Some(container) => Err(ObserveError::Foreign { name: container.name, user: login.clone() }),
            None => Ok(self.account(login).map(|account| self.missing(&names.of(login), login, &account))),
        }
    }

    /// Fills in whether each box is out of date.
    pub async fn compare(&mut self, boxes: &mut [ObservedBox]) {
        for one in boxes {
            one.out_of_date = self.is_out_of_date(one).await;
        }
    }

    async fn is_out_of_date(&mut self, one: &ObservedBox) -> Option<bool> {
        let created_from = one.spec.as_ref()?;
        let login = Login::parse(one.user.as_bytes()).ok()?;
        let account = one.cached.as_ref()?;
        // An account without a valid uid gets no box at all.
        let user = self.user(&login, account)?;
        let name = BoxNames::load(&self.config.container.name).ok()?.of(&login);
        let spec = self.spec(&name, &login, account, user, self.features.get_or_init(HostFeatures::detect));
        let image = self.image_id(&spec.image).await?;
        Some(*created_from != spec.of_image(&image).hash())
    }

    /// A box that has a container.
    fn existing(&self, user: &str, container: &Container) -> ObservedBox {
        let labels = container.labels.as_ref();
        let mut observed = ObservedBox {
            user: user.to_owned(),
            status: status_of(container),
            container: Some(container.id.clone()),
            made_for: labels.map(|labels| labels.account.clone()).filter(|account| !account.is_empty()),
            spec: labels.map(|labels| labels.spec.clone()),
            ..ObservedBox::default()
        };
        if container.state.has_processes() {
            observed.init = container.pid;
            observed.status.runs_since(&container.started_at, SystemTime::now());
        }
        // Everyone who may use the engine can create a container with any label.
        let Ok(login) = Login::parse(user.as_bytes()) else { return observed };
        let account = self.account(&login);
        self.add_presence(&mut observed, &login, account.as_ref());
        observed.cached = account;
        observed
    }

    /// The box of a user who has no container, as it would be created.
    fn missing(&self, name: &str, login: &Login, account: &Account) -> ObservedBox {
        // Nothing of the status depends on the user.
        let user = UidGid { uid: 0, gid: 0 };
        let spec = self.spec(name, login, account, user, &HostFeatures::default());
        let mut observed = ObservedBox {
            user: login.to_string(),
            status: status_of_missing(&spec),
            ..ObservedBox::default()
        };
        self.add_presence(&mut observed, login, Some(account));
        observed
    }

    /// Fills in the home, the account and the sessions, and the values that depend on them.
    fn add_presence(&self, observed: &mut ObservedBox, login: &Login, account: Option<&Account>) {
        let home = PathBuf::from(self.config.container.home.fill(login));
        let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
        let timeout =
            account.and_then(|account| account.idle_timeout).unwrap_or(self.config.reap.idle_timeout);
        let now = boottime();
        let idle = runtime_dir.last_presence().ok().flatten().map(|last| now.saturating_sub(last));
        let status = &mut observed.status;
        // An error means that the user has no runtime directory, so there was no session since boot.
        status.sessions = runtime_dir.open_sessions().unwrap_or_default();
        let (limits, ceilings) = (&self.config.container.limits, &self.config.container.ceilings);
        status.sessions_limit = account.map(|account| account.limits.sessions(limits, ceilings));
        status.connections = runtime_dir.open_connections().unwrap_or_default();
        status.connections_limit = account.map(|account| account.limits.connections(limits, ceilings));
        status.idle_for(idle, timeout.0, SystemTime::now());
        status.disk = home::disk_usage(&home);
        status.last_stop = runtime_dir.last_stop(now);
        observed.home = Some(home);
        observed.account = account.and_then(|account| account.id.clone());
    }

    fn account(&self, login: &Login) -> Option<Account> {
        Cache::new(&self.config.accounts.cache).read(login).map(|record| record.account)
    }

    /// The user that the box runs as after its next cold start, if that is known.
    fn user(&self, login: &Login, account: &Account) -> Option<UidGid> {
        let claims = Path::new(box_user::DIRECTORY);
        box_user::look(&self.config.container, login, Some(account), claims).ok().flatten()
    }

    fn spec(
        &self,
        name: &str,
        login: &Login,
        account: &Account,
        user: UidGid,
        features: &HostFeatures,
    ) -> BoxSpec {
        let config = &self.config.container;
        let home = PathBuf::from(config.home.fill(login));
        let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
        let host = HostSide { name, user, home: &home, run: runtime_dir.box_dir(), features };
        BoxSpec::new(config, login, account, host).on_runtime(self.config.engine.runtime)
    }

    /// The id of an image; `None` if it does not exist or the engine does not reply.
    async fn image_id(&mut self, name: &str) -> Option<String> {
        if let Some(id) = self.images.get(name) {
            return id.clone();
        }
        let id = self.engine.image_id(name).await.unwrap_or_default();
        self.images.insert(name.to_owned(), id.clone());
        id
    }
}

fn unknown(ListedBox { id, user, name, networks: _ }: ListedBox) -> ObservedBox {
    let status = BoxStatus { name, state: "unknown".to_owned(), ..BoxStatus::default() };
    ObservedBox { user, status, container: Some(id), ..ObservedBox::default() }
}

/// The status of a box that has a container.
fn status_of(container: &Container) -> BoxStatus {
    status(&container.name, container.state.name(), &container.image, container.limits)
}

/// The status of a box that has no container, as it would be created.
#[must_use]
pub fn status_of_missing(spec: &BoxSpec) -> BoxStatus {
    status(&spec.name, "missing", &spec.image, spec.limits())
}

fn status(name: &str, state: &str, image: &str, limits: CgroupLimits) -> BoxStatus {
    BoxStatus {
        name: name.to_owned(),
        state: state.to_owned(),
        image: image.to_owned(),
        cpu: Cpu { limit: limits.cpus.cores(), used: None },
        memory: Amount { limit: limits.memory.0, used: None },
        processes: Amount { limit: limits.pids.into(), used: None },
        ..BoxStatus::default()
    }
}

/// Why a container is stopped, if no program of sshbox recorded a reason. `None` if it is not stopped.
///
/// Its init exits with 0 when the host sends it SIGTERM. Only the host can end it by a signal, and
/// the engine reports that as 128 + signal.
#[must_use]
pub fn why_stopped(container: &Container) -> Option<&'static str> {
    match container.exit_code {
        _ if container.state != ContainerState::Stopped => None,
        _ if container.out_of_memory => Some(texts::OUT_OF_MEMORY),
        0 | 128.. => Some(texts::FROM_OUTSIDE),
        _ => Some(texts::BY_ITSELF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_container_is_stopped() {
        let stopped = |exit_code, out_of_memory| {
            why_stopped(&Container { exit_code, out_of_memory, ..Container::default() })
        };
        assert_eq!(stopped(0, false), Some(texts::FROM_OUTSIDE));
        assert_eq!(stopped(137, false), Some(texts::FROM_OUTSIDE));
        assert_eq!(stopped(137, true), Some(texts::OUT_OF_MEMORY));
        assert_eq!(stopped(1, false), Some(texts::BY_ITSELF));
        let running = Container { state: ContainerState::Running, ..Container::default() };
        assert_eq!(why_stopped(&running), None);
    }
}
