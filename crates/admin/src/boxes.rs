//! All that is known of boxes: from the engine, the locks, the cache and the kernel's
//! counters. For `list`, `status` and `top`.

use super::because;
use futures_util::StreamExt as _;
use futures_util::stream;
use host::account::Account;
use host::cache::Cache;
use host::config::Config;
use host::features::{self, HostFeatures};
use host::home;
use host::sys::cgroup;
use identity::Login;
use lifecycle::engine::{Engine, EngineError, Listed};
use lifecycle::observe;
use lifecycle::spec::{BoxSpec, Container};
use serde::Serialize;
use session::box_status::{BoxStatus, Usage};
use session::clock::boottime;
use session::exit::{self, Failure};
use session::presence::{RUN, UserRuntimeDir};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Questions to the engine at the same time.
const AT_ONCE: usize = 16;

/// Over how long the use of CPU time is measured by who looks once.
const SAMPLE: Duration = Duration::from_millis(200);

/// A box, as an admin sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Known {
    /// Whose it is: the label, which is a login name unless somebody else has set it.
    pub user: String,
    /// As its user sees it.
    #[serde(flatten)]
    pub status: BoxStatus,
    /// Id of the container; `None` when there is none.
    pub container: Option<String>,
    /// Id of the account by the last answer of the web app, if it tells ids.
    pub account: Option<String>,
    /// Id of the account that the container was made for.
    pub made_for: Option<String>,
    /// The home on the host.
    pub home: Option<PathBuf>,
    /// Whether the container is to be made anew at its next cold start; `None` if that is not
    /// known: there is no container, account or image.
    pub out_of_date: Option<bool>,
    /// Its init on the host.
    #[serde(skip)]
    pub init: Option<i32>,
}

/// What boxes have used at one moment, by the id of their container.
pub struct Reading {
    at: Instant,
    used: HashMap<String, Usage>,
}

/// What is needed to learn about boxes.
pub struct Looker<'a> {
    config: &'a Config,
    engine: Engine,
    host: HostFeatures,
    /// Ids of images, by name.
    images: HashMap<String, Option<String>>,
}

impl<'a> Looker<'a> {
    /// Connects to the engine.
    pub async fn new(config: &'a Config) -> Result<Self, Failure> {
        let engine = Engine::connect(&config.engine).await.map_err(|error| failed(&error))?;
        Ok(Self { config, engine, host: features::offers(), images: HashMap::new() })
    }

    /// All boxes, by name of their user; what they use is measured from now on.
    pub async fn all(&mut self) -> Result<Vec<Known>, Failure> {
        let listed = self.engine.boxes().await.map_err(|error| failed(&error))?;
        let engine = &self.engine;
        let found: Vec<_> = stream::iter(listed)
            .map(|one| async move { (engine.find(&one.id).await, one) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut boxes = Vec::new();
        for (found, one) in found {
            match found {
                Ok(Some(found)) => boxes.push(self.describe(&one.user, &found).await),
                // Removed meanwhile: not there any more.
                Ok(None) => {}
                // One that the engine has trouble with does not hide the others.
                Err(_) => boxes.push(unknown(one)),
            }
        }
        boxes.sort_by(|one, other| one.user.cmp(&other.user));
        Ok(boxes)
    }

    /// The box of one user; `None` when there is neither a container nor an account.
    pub async fn one(&mut self, login: &Login) -> Result<Option<Known>, Failure> {
        let name = self.config.container.name.fill(login);
        if let Some(found) = self.engine.find(&name).await.map_err(|error| failed(&error))? {
            if found.labels.as_ref().is_none_or(|labels| labels.user != login.as_str()) {
                let cause = format!("container {name} is not the box of {login}: it has not our labels");
                let advice = "rename or remove it, or see `sshbox adopt`";
                return Err(Failure { cause, ..Failure::new(exit::ExitStatus::Refused, advice) });
            }
            return Ok(Some(self.describe(login.as_str(), &found).await));
        }
        let Some(account) = self.account(login) else { return Ok(None) };
        let wanted = self.wanted(login, &account);
        let mut known = Known {
            user: login.to_string(),
            status: observe::status_of_missing(&wanted),
            home: Some(wanted.home),
            account: account.id.clone(),
            ..Known::default()
        };
        self.presence(&mut known.status, login, Some(&account));
        Ok(Some(known))
    }

    async fn describe(&mut self, user: &str, found: &Container) -> Known {
        let mut known = Known {
            user: user.to_owned(),
            status: observe::status_of(found),
            container: Some(found.id.clone()),
            made_for: found.labels.as_ref().map(|labels| labels.account.clone()).filter(|id| !id.is_empty()),
            init: found.pid.filter(|_| found.state.lives()),
            ..Known::default()
        };
        if found.state.lives() {
            known.status.runs_since(&found.started_at, SystemTime::now());
        }
        // Anybody who may use Docker can make a container with a label of ours.
        let Ok(login) = Login::parse(user.as_bytes()) else { return known };
        known.home = Some(self.config.container.home.fill(&login).into());
        let account = self.account(&login);
        self.presence(&mut known.status, &login, account.as_ref());
        if let Some(account) = account {
            known.account.clone_from(&account.id);
            let wanted = self.wanted(&login, &account);
            if let Some(image) = self.image_id(&wanted.image).await {
                let labels = found.labels.as_ref();
                known.out_of_date = labels.map(|labels| labels.spec != wanted.of_image(&image).hash());
            }
        }
        known
    }

    /// Fills in who is there, and what follows from that.
    fn presence(&self, status: &mut BoxStatus, login: &Login, account: Option<&Account>) {
        let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
        let timeout =
            account.and_then(|account| account.idle_timeout).unwrap_or(self.config.reap.idle_timeout);
        let now = boottime();
        let idle = runtime_dir.last_presence().ok().flatten().map(|seen| now.saturating_sub(seen));
        // Nobody was there since boot: no lock, no session.
        status.sessions = runtime_dir.sessions().unwrap_or_default();
        status.idle_for(idle, timeout.0, SystemTime::now());
        status.disk = home::disk(Path::new(&self.config.container.home.fill(login)));
        status.last_stop = runtime_dir.last_stop(now);
    }

    fn account(&self, login: &Login) -> Option<Account> {
        Cache::new(&self.config.accounts.cache).read(login).map(|record| record.account)
    }

    fn wanted(&self, login: &Login, account: &Account) -> BoxSpec {
        let config = &self.config.container;
        let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
        BoxSpec::new(config, login, account, config.home.fill(login).into(), runtime_dir.box_dir().to_owned())
            .on_host(self.host.clone())
    }

    /// The id of an image; `None` if it is not there, or if that cannot be told.
    async fn image_id(&mut self, name: &str) -> Option<String> {
        if let Some(id) = self.images.get(name) {
            return id.clone();
        }
        let id = self.engine.image_id(name).await.unwrap_or_default();
        self.images.insert(name.to_owned(), id.clone());
        id
    }
}

fn unknown(Listed { id, user }: Listed) -> Known {
    let status = BoxStatus { state: "unknown".to_owned(), ..BoxStatus::default() };
    Known { user, status, container: Some(id), ..Known::default() }
}

fn failed(error: &EngineError) -> Failure {
    because(exit::ExitStatus::Unavailable, "see whether Docker runs: systemctl status docker", error)
}

/// What these boxes have used until now.
pub fn read(boxes: &[Known]) -> Reading {
    let used = boxes.iter().filter_map(|one| Some((one.container.clone()?, cgroup::usage(one.init?)?)));
    Reading { used: used.collect(), at: Instant::now() }
}

/// Fills in what they used between two readings; what cannot be measured stays open.
pub fn measure(boxes: &mut [Known], before: &Reading, now: &Reading) {
    for one in boxes {
        let used = |reading: &Reading| reading.used.get(one.container.as_ref()?).cloned();
        if let (Some(before_it), Some(now_it)) = (used(before), used(now)) {
            one.status.measured(&before_it, &now_it, now.at.saturating_duration_since(before.at));
        }
    }
}

/// Measures by two looks of its own.
pub async fn measure_now(boxes: &mut [Known]) {
    let before = read(boxes);
    if !before.used.is_empty() {
        tokio::time::sleep(SAMPLE).await;
        measure(boxes, &before, &read(boxes));
    }
}
