//! Starts a box, whatever state its container is in, and waits until it accepts sessions.

use super::progress::Progress;
use super::start_failures::{image_not_allowed, no_accounts, no_home, no_image, no_user};
use super::start_step::{StartStep, start_step};
use super::{
    PROGRAM, RequestOutcome, account, box_names, disk, engine_failed, foreign, lock_state, log_end,
    network_note, no_runtime_dir,
};
use crate::container::{Container, ContainerNetwork, ContainerState};
use crate::engine::{Engine, EngineError};
use crate::image_accounts::ImageAccounts;
use crate::naming::{ensure_name, find_box};
use crate::observe::{status_of_missing, why_stopped};
use crate::spec::{BoxSpec, HostSide};
use crate::transport::{BoxSockets, HandOver, InitState, accepts_sessions};
use host::box_names::BoxNames;
use host::box_user;
use host::config::{Config, UidGid};
use host::features::HostFeatures;
use host::home;
use host::host_key;
use host::limits::ContainerLimits;
use host::network_rules::LoadedRules;
use host::networks::is_filtered;
use host::secret;
use identity::Login;
use session::box_status::welcome_text;
use session::clock;
use session::deadlines::{NETWORK, START};
use session::exit::{ExitStatus, Failure};
use session::init::NO_FILTER;
use session::journal::{Event, Field, FieldValue, log};
use session::presence::{ETC_GROUP, ETC_PASSWD, RUN, UserRuntimeDir};
use session::texts;
use session::times::later;
use session::wire::Fields;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// How many steps to take before giving up because other processes keep changing the container.
const MAX_STEPS: u32 = 20;

/// Shortest time to wait while another process is changing the container.
const PAUSE: Duration = Duration::from_millis(200);

/// The values that all steps of a start need.
struct Start<'a> {
    engine: Engine,
    names: BoxNames,
    runtime_dir: &'a UserRuntimeDir,
    login: &'a Login,
    /// The user that the box runs as.
    user: UidGid,
    /// The home in the box.
    mount: &'a Path,
    /// Time between SIGTERM and SIGKILL when the box is stopped.
    grace: Duration,
    /// The text that the init shows at the first login.
    welcome_text: String,
    /// The limits of the account, as the note about them has them.
    limits: String,
    /// Reports each step to the caller when it begins.
    progress: &'a Progress<'a>,
}

/// Starts the box unless it accepts sessions already. Waits this long while another process starts or stops it. The
/// log entry says what was changed.
pub async fn start(
    config: &Config,
    login: &Login,
    patience: Duration,
    progress: &Progress<'_>,
) -> Result<RequestOutcome, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let _state_lock = lock_state(&runtime_dir, patience)?;
    let account = account(config, login)?;
    config.container.image_for(account.image.as_deref()).map_err(image_not_allowed)?;
    let names = box_names(config)?;
    let claims = Path::new(box_user::DIRECTORY);
    // Nothing is made for an account whose uid is not for boxes.
    box_user::look(&config.container, login, Some(&account), claims).map_err(|error| no_user(&error))?;
    // Before the claim: until an image is mounted, the home in it has no owner.
    disk::prepare(config, login)?;
    let user =
        box_user::claim(&config.container, login, &account, claims).map_err(|error| no_user(&error))?;
    let home = home::ensure(&config.container.home, login, account.id.as_deref(), user)
        .map_err(|error| no_home(&error, login))?;
    disk::remember(login, &home);
    let is_limited = home::disk_usage(&home).is_some_and(|disk| disk.limit.is_some());
    runtime_dir.write_home_limited(is_limited).map_err(no_runtime_dir)?;
    // Images of earlier releases look names up in this file.
    let mount = config.container.mount.display();
    runtime_dir
        .write_passwd_entry(&format!("{login}:x:{}:{}::{mount}:/bin/bash\n", user.uid, user.gid))
        .map_err(no_runtime_dir)?;
    let account_id = account.id.as_deref().unwrap_or_default();
    let host_key = host_key::derive(Path::new(secret::PATH), login.as_str(), account_id)
        .and_then(|key| runtime_dir.write_host_key(&key, user.uid, user.gid));
    if let Err(error) = host_key {
        // Only `@sshd` needs it, and reports that it is missing.
        let fields: [FieldValue<'_>; 2] =
            [(Field::User, &login.as_str()), (Field::Error, &error.to_string())];
        log(PROGRAM, Event::HostKeyMissing, &fields);
    }
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let name = names.of(login);
    let spec_with = |features: &HostFeatures| {
        let host = HostSide { name: &name, user, home: &home, run: runtime_dir.box_dir(), features };
        BoxSpec::new(&config.container, login, &account, host).on_runtime(config.engine.runtime)
    };
    let features = HostFeatures::detect();
    let spec = spec_with(&features);
    let limits =
        ContainerLimits::resolve(&account.limits, &config.container.limits, &config.container.ceilings);
    let without_lxcfs = (!features.lxcfs.is_empty())
        .then(|| spec_with(&HostFeatures { lxcfs: Vec::new(), ..features.clone() }));
    let idle_timeout = account.idle_timeout.unwrap_or(config.reap.idle_timeout);
    let start = Start {
        engine,
        names,
        runtime_dir: &runtime_dir,
        login,
        user,
        mount: &config.container.mount,
        grace: config.reap.grace.0,
        welcome_text: welcome_text(login.as_str(), &status_of_missing(&spec), idle_timeout.0),
        limits: limits.changeable(),
        progress,
    };
    let until = tokio::time::Instant::from_std(later(Instant::now(), START));
    let event = tokio::time::timeout_at(until, advance_or_without_lxcfs(&start, spec, without_lxcfs))
        .await
        .map_err(|error| Failure::because(ExitStatus::TryAgain, texts::TOO_SLOW, &error))??;
    runtime_dir.write_box_account(account_id).map_err(no_runtime_dir)?;
    let running = tokio::time::timeout_at(until, find_box(&start.engine, &start.names, login)).await;
    network_note::write(&runtime_dir, login, running.ok().and_then(Result::ok).flatten().as_ref());
    Ok(RequestOutcome { reply: Fields::default().with("running", b""), event })
}

/// Does [`advance`] with the first spec and, if that fails, with the one without the files of lxcfs. The
/// engine may run in another mount namespace that does not have them, and lxcfs may exit at any time.
async fn advance_or_without_lxcfs(
    start: &Start<'_>,
    spec: BoxSpec,
    without_lxcfs: Option<BoxSpec>,
) -> Result<Option<(Event, &'static str)>, Failure> {
    match (advance(start, spec).await, without_lxcfs) {
        (Err(failure), Some(spec)) if failure.status == ExitStatus::Unavailable => {
            let event = advance(start, spec).await?;
            Ok(event.map(|(event, _)| (event, "the container engine cannot mount the files of lxcfs")))
        }
        (event, _) => event,
    }
}

/// Takes one [`StartStep`] after the other until the box accepts sessions. Returns what was changed and why,
/// or `None` if nothing was changed.
async fn advance(start: &Start<'_>, spec: BoxSpec) -> Result<Option<(Event, &'static str)>, Failure> {
    let Start { engine, runtime_dir, progress, .. } = start;
    let (mut was_paused, mut why_created) = (false, "there was none");
    let image_id = engine.image_id(&spec.image).await.map_err(engine_failed)?;
    let spec = spec.of_image(image_id.as_deref().unwrap_or_default());
    for attempt in 0..MAX_STEPS {
        let container = find_box(engine, &start.names, start.login).await.map_err(engine_failed)?;
        if attempt == 0 {
            record_end(runtime_dir, start.login, container.as_ref());
        }
        if let Some(Container { id, name, .. }) = &container {
            match ensure_name(engine, PROGRAM, start.login, (id, name), &spec.name).await {
                // Another container has taken the name, or the container is being removed.
                Err(EngineError::Conflict(..) | EngineError::NotFound(..)) => {
                    pause(attempt).await;
                    continue;
                }
                renamed => renamed.map_err(engine_failed)?,
            }
        }
        let step = start_step(container.as_ref(), &spec);
        if matches!(step, StartStep::Create | StartStep::Start | StartStep::Unpause) {
            // A paused container keeps its network, whatever the box gets at its next start.
            let network = container.as_ref().map_or(&spec.network, |container| &container.network);
            require_rules(network)?;
        }
        match (step, container) {
            (StartStep::RefuseWithoutImage, _) => {
                return Err(no_image(&spec, ", and the container has another user or network"));
            }
            (StartStep::Refuse, _) => return Err(foreign(&spec.name)),
            (StartStep::Create, _) => match create(start, &spec).await? {
                Some(id) if run(start, &id).await? => return Ok(Some((Event::BoxCreated, why_created))),
                _ => pause(attempt).await,
            },
            (StartStep::Start, Some(container)) => {
                write_accounts(start, &spec).await?;
                if run(start, &container.id).await? {
                    return Ok(Some((Event::BoxStarted, "it was stopped")));
                }
                // For example its network was removed. The home is not in the container and stays.
                why_created = "something that it needs was gone";
                progress.tell(texts::REMOVING_CONTAINER);
                engine.remove(&container.id).await.map_err(engine_failed)?;
            }
            (StartStep::Probe, Some(_)) if accepts_sessions(runtime_dir) => {
                return Ok(was_paused.then_some((Event::BoxStarted, "it was paused")));
            }
            (StartStep::Probe, Some(container)) => {
                let sockets = BoxSockets::listen(runtime_dir).map_err(no_runtime_dir)?;
                progress.tell(texts::WAITING_FOR_INIT);
                engine.signal_init(&container.id).await.map_err(engine_failed)?;
                if hand_over(start, sockets, &container.id).await?.is_none() {
                    return Ok(Some((Event::BoxReconnected, "it did not accept sessions")));
                }
                // The init has exited: another process was stopping the box. The next step can start it.
            }
            (StartStep::Unpause, Some(container)) => {
                progress.tell(texts::UNPAUSING_CONTAINER);
                engine.unpause(&container.id).await.map_err(engine_failed)?;
                was_paused = true;
            }
            (StartStep::Recreate, Some(container)) => {
                why_created = match container.state {
                    ContainerState::Dead => "it was broken",
                    _ => "its account, image, limits or host have changed",
                };
                progress.tell(texts::REMOVING_CONTAINER);
                match engine.remove(&container.id).await {
                    // Another process is removing the container, or has started it.
                    Err(EngineError::Conflict(..)) => pause(attempt).await,
                    other => other.map_err(engine_failed)?,
                }
            }
            (_, _) => pause(attempt).await,
        }
    }
    Err(Failure::new(ExitStatus::TryAgain, texts::STATE_KEEPS_CHANGING))
}

/// Records why the box is stopped, unless the program that stopped it has recorded it.
fn record_end(runtime_dir: &UserRuntimeDir, login: &Login, container: Option<&Container>) {
    let recorded = runtime_dir.stop_record().is_some_and(|record| !record.over);
    // A box that has not run since boot was stopped with the host, or earlier.
    if recorded || !runtime_dir.has_run_since_boot() {
        return;
    }
    let now = clock::now();
    let Some(container) = container else {
        return write_end(runtime_dir, login, now.boottime, texts::REMOVED);
    };
    let Some(reason) = why_stopped(container) else { return };
    let finished = humantime::parse_rfc3339(&container.finished_at).ok();
    let ago = finished
        .and_then(|finished| finished.duration_since(SystemTime::UNIX_EPOCH).ok())
        .map(|finished| now.wall.saturating_sub(finished));
    write_end(runtime_dir, login, now.boottime.saturating_sub(ago.unwrap_or_default()), reason);
}

fn write_end(runtime_dir: &UserRuntimeDir, login: &Login, moment: Duration, reason: &str) {
    log_end(login, reason);
    network_note::removed(runtime_dir, login, 0);
    // The start does not depend on it. After an error the user is not told why the box stopped.
    let _ = runtime_dir.write_stop_record(moment, reason);
}

/// Creates the box and returns its id. `None` if another process has just created a container with its name.
async fn create(start: &Start<'_>, spec: &BoxSpec) -> Result<Option<String>, Failure> {
    if spec.image_id.is_empty() {
        return Err(no_image(spec, ""));
    }
    ensure_network(start, &spec.network).await?;
    start.progress.tell(texts::CREATING_CONTAINER);
    write_accounts(start, spec).await?;
    match start.engine.create(spec).await {
        Ok(id) => Ok(Some(id)),
        Err(EngineError::Conflict(..)) => Ok(None),
        Err(error) => Err(engine_failed(error)),
    }
}

/// Writes the files that are `/etc/passwd` and `/etc/group` in the box.
async fn write_accounts(start: &Start<'_>, spec: &BoxSpec) -> Result<(), Failure> {
    let Start { engine, runtime_dir, login, user, mount, .. } = start;
    let image = if spec.image_id.is_empty() {
        // The image was removed, but not the container that was created from it. Files of an earlier start stay.
        if [ETC_PASSWD, ETC_GROUP].iter().all(|name| runtime_dir.box_dir().join(name).exists()) {
            return Ok(());
        }
        ImageAccounts::default()
    } else {
        ImageAccounts::of(engine, &spec.image_id, Path::new(RUN)).await.map_err(no_accounts)?
    };
    let (passwd, group) = (image.passwd(login, *user, mount), image.group(login, *user));
    runtime_dir.write_etc(&passwd, &group).map_err(no_runtime_dir)
}

/// Starts the container and hands the listening socket over. Returns `false` if the container, or something
/// that it needs, no longer exists.
async fn run(start: &Start<'_>, id: &str) -> Result<bool, Failure> {
    let sockets = BoxSockets::listen(start.runtime_dir).map_err(no_runtime_dir)?;
    // The start does not depend on it. It is written at each start, and at no other time, so that the text
    // shows the limits with which the box was started.
    let _ = start.runtime_dir.write_welcome_text(&start.welcome_text);
    start.progress.tell(texts::STARTING_CONTAINER);
    match start.engine.start(id).await {
        Ok(()) => start.progress.tell(texts::WAITING_FOR_INIT),
        Err(EngineError::NotFound(..)) => return Ok(false),
        Err(error) => return Err(engine_failed(error)),
    }
    if let Some(code) = hand_over(start, sockets, id).await? {
        let cause = format!("the box exited at once with code {code}");
        let advice =
            if code == i64::from(NO_FILTER.code()) { texts::NO_FILTER } else { texts::ENDED_AT_ONCE };
        return Err(Failure { cause, ..Failure::new(ExitStatus::Unavailable, advice) });
    }
    // The start does not depend on it. After an error the user is told about the last stop once more.
    let _ = start.runtime_dir.mark_restarted();
    // If this fails, the next recheck compares the limits with those that the engine has. A box that was only
    // paused keeps its limits, and the note about them.
    let _ = start.runtime_dir.write_applied_limits(&start.limits);
    Ok(true)
}

/// Hands the listening socket over to the init. Returns `None`, or the exit code of the init if it has
/// exited.
async fn hand_over(start: &Start<'_>, sockets: BoxSockets<'_>, id: &str) -> Result<Option<i64>, Failure> {
    let init_state = async || {
        let container = start.engine.find(id).await.map_err(engine_failed)?;
        Ok(match container {
            Some(container) if container.state != ContainerState::Running => {
                InitState::Exited(container.exit_code)
            }
            container => InitState::Running(container.and_then(|container| container.pid)),
        })
    };
    match sockets.hand_over(start.grace, init_state).await? {
        HandOver::Ready => Ok(None),
        HandOver::Exited(code) => Ok(Some(code)),
        HandOver::TimedOut => Err(Failure::new(ExitStatus::TryAgain, texts::NO_ANSWER)),
    }
}

/// Creates the network unless it exists. Holds the host lock, because of two calls at the same time the
/// engine may create two networks with the same name.
async fn ensure_network(start: &Start<'_>, name: &str) -> Result<(), Failure> {
    let Start { engine, progress, .. } = start;
    if let Some(network) = engine.network(name).await.map_err(engine_failed)? {
        return require_bridge(name, &network);
    }
    progress.tell(texts::CREATING_NETWORK);
    let _host_lock = session::presence::host_lock(Path::new(RUN), NETWORK)
        .map_err(|error| Failure::because(ExitStatus::TryAgain, texts::NETWORK_BUSY, &error))?;
    if let Some(network) = engine.network(name).await.map_err(engine_failed)? {
        return require_bridge(name, &network);
    }
    engine.create_network(name).await.map_err(engine_failed)
}

/// Refuses a network with the name of one of sshbox whose bridge has another name: the rules for packets would
/// not apply to it.
fn require_bridge(name: &str, network: &ContainerNetwork) -> Result<(), Failure> {
    if !is_filtered(name) || network.bridge.as_deref() == Some(name) {
        return Ok(());
    }
    let cause = format!("the bridge of network {name} is not called {name}: its boxes would not be filtered");
    Err(Failure { cause, ..Failure::new(ExitStatus::Config, texts::NETWORK_NOT_FILTERED) })
}

/// Refuses to start a box on a network of sshbox before the rules for packets are loaded.
fn require_rules(network: &str) -> Result<(), Failure> {
    if !is_filtered(network) || LoadedRules::exist(Path::new(RUN)) {
        return Ok(());
    }
    let cause = format!("the rules for packets of network {network} were not loaded since boot");
    Err(Failure { cause, ..Failure::new(ExitStatus::Unavailable, texts::NO_NETWORK_RULES) })
}

/// Waits longer at each attempt. The time depends on the process id, so that processes do not keep pace.
async fn pause(attempt: u32) {
    let jitter = Duration::from_millis(u64::from(std::process::id() % 100));
    tokio::time::sleep(PAUSE.saturating_mul((attempt + 1).min(5)).saturating_add(jitter)).await;
}
