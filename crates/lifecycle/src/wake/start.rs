//! Brings a box up: from whatever its container is now to one that takes sessions.

use super::handover::{Doors, Handed, answers};
use super::progress::Progress;
use super::{Done, PROGRAM, account, engine_failed, foreign, no_room, report_end, transition};
use crate::engine::{Engine, EngineError};
use crate::observe::{status_of_missing, why_stopped};
use crate::spec::{BoxSpec, Container, ContainerState, StartStep, start_step};
use host::config::Config;
use host::features;
use host::home::{self, HomeError};
use host::host_key;
use identity::Login;
use session::box_status::welcome_text;
use session::clock;
use session::deadlines::{NETWORK, START};
use session::exit::{ExitStatus, Failure};
use session::journal::{Event, Field, FieldValue, log};
use session::presence::{RUN, UserRuntimeDir};
use session::texts;
use session::wire::Fields;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How often the state of a box may change under our hands before we give up.
const ATTEMPTS: u32 = 20;

/// Time between two looks at a box that is on its way elsewhere.
const PAUSE: Duration = Duration::from_millis(200);

/// What a box is told when it starts.
struct ToldAtStart {
    /// Time between SIGTERM and SIGKILL when it is stopped.
    grace: Duration,
    /// What its init shows at the first login.
    words: String,
}

/// Starts or wakes the box, and says what that took.
pub async fn start(config: &Config, login: &Login, progress: &Progress<'_>) -> Result<Done, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let _transition = transition(&runtime_dir)?;
    let account = account(config, login)?;
    let home = home::claim(&config.container.home, login, account.id.as_deref(), config.container.user)
        .map_err(no_home)?;
    // So that `~alice` is her home in there too, if the image looks for it.
    let (owner, mount) = (config.container.user, config.container.mount.display());
    runtime_dir
        .write_passwd_entry(&format!("{login}:x:{}:{}::{mount}:/bin/bash\n", owner.uid, owner.gid))
        .map_err(no_room)?;
    let account_id = account.id.as_deref().unwrap_or_default();
    let host_key = host_key::of(Path::new(host_key::PATH), login.as_str(), account_id)
        .and_then(|key| runtime_dir.give_host_key(&key, owner.uid, owner.gid));
    if let Err(error) = host_key {
        // Only `@sshd` needs it, and says that it is missing.
        let fields: [FieldValue<'_>; 2] =
            [(Field::User, &login.as_str()), (Field::Error, &error.to_string())];
        log(PROGRAM, Event::HostKeyMissing, &fields);
    }
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let spec = BoxSpec::new(&config.container, login, &account, home, runtime_dir.box_dir().to_owned())
        .on_host(features::offers());
    let idle_timeout = account.idle_timeout.unwrap_or(config.reap.idle_timeout);
    let told = ToldAtStart {
        grace: config.reap.grace.0,
        words: welcome_text(&spec.user, &status_of_missing(&spec), idle_timeout.0),
    };
    let steps = advance_at_any_rate(&engine, &runtime_dir, login, spec, &told, progress);
    let event = tokio::time::timeout(START, steps)
        .await
        .map_err(|error| Failure::because(ExitStatus::TryAgain, texts::TOO_SLOW, &error))??;
    runtime_dir.write_box_account(account_id).map_err(no_room)?;
    Ok(Done { answer: Fields::default().with("running", b""), event })
}

/// As [`advance`], without the files of lxcfs if that fails with them: Docker may not see what is
/// mounted here, and lxcfs may end at any moment.
async fn advance_at_any_rate(
    engine: &Engine,
    runtime_dir: &UserRuntimeDir,
    login: &Login,
    spec: BoxSpec,
    told: &ToldAtStart,
    progress: &Progress<'_>,
) -> Result<Option<(Event, &'static str)>, Failure> {
    match advance(engine, runtime_dir, login, spec.clone(), told, progress).await {
        Err(failure) if failure.status == ExitStatus::Unavailable && !spec.host.lxcfs.is_empty() => {
            let done = advance(engine, runtime_dir, login, spec.without_lxcfs(), told, progress).await?;
            Ok(done.map(|(event, _)| (event, "the container engine cannot mount the files of lxcfs")))
        }
        done => done,
    }
}

/// Goes from whatever there is to a box that answers, one step after the other. What that was
/// and why, if anything had to be done.
async fn advance(
    engine: &Engine,
    runtime_dir: &UserRuntimeDir,
    login: &Login,
    spec: BoxSpec,
    told: &ToldAtStart,
    progress: &Progress<'_>,
) -> Result<Option<(Event, &'static str)>, Failure> {
    let mut looked = false;
    let (mut thawed, mut why_new) = (false, "there was none");
    let image_id = engine.image_id(&spec.image).await.map_err(engine_failed)?;
    let spec = spec.of_image(image_id.as_deref().unwrap_or_default());
    for attempt in 0..ATTEMPTS {
        let found = engine.find(&spec.name).await.map_err(engine_failed)?;
        if !std::mem::replace(&mut looked, true) {
            remember_end(runtime_dir, login, found.as_ref());
        }
        match step(found.as_ref(), &spec, image_id.is_some()) {
            (StartStep::Refuse, _) => return Err(foreign(&spec.name)),
            (StartStep::Create, _) => match create(engine, &spec, progress).await? {
                Some(id) if run(engine, runtime_dir, &id, told, progress).await? => {
                    return Ok(Some((Event::BoxCreated, why_new)));
                }
                _ => pause(attempt).await,
            },
            (StartStep::Start, Some(found)) => {
                if run(engine, runtime_dir, &found.id, told, progress).await? {
                    return Ok(Some((Event::BoxStarted, "it was stopped")));
                }
                why_new = "something that it needs was gone";
                // What it was made with is gone, its network for one. The home stays.
                progress.tell(texts::REMOVING_CONTAINER);
                engine.remove(&found.id).await.map_err(engine_failed)?;
            }
            (StartStep::Ask, Some(_)) if answers(runtime_dir) => {
                return Ok(thawed.then_some((Event::BoxStarted, "it was paused")));
            }
            (StartStep::Ask, Some(found)) => {
                let doors = Doors::open(runtime_dir)?;
                progress.tell(texts::WAITING_FOR_INIT);
                engine.wake_init(&found.id).await.map_err(engine_failed)?;
                if doors.hand_over(engine, &found.id, told.grace).await? == Handed::Over {
                    return Ok(Some((Event::BoxReconnected, "it took no sessions")));
                }
                // It was being stopped; from the next look on it is one that can be started.
            }
            (StartStep::Unpause, Some(found)) => {
                progress.tell(texts::UNPAUSING_CONTAINER);
                engine.unpause(&found.id).await.map_err(engine_failed)?;
                thawed = true;
            }
            (StartStep::Recreate, Some(found)) => {
                why_new = match found.state {
                    ContainerState::Dead => "it was broken",
                    _ => "its account, image, limits or host have changed",
                };
                progress.tell(texts::REMOVING_CONTAINER);
                match engine.remove(&found.id).await {
                    // It is being removed already, or was started by somebody else.
                    Err(EngineError::Conflict(..)) => pause(attempt).await,
                    other => other.map_err(engine_failed)?,
                }
            }
            (_, _) => pause(attempt).await,
        }
    }
    Err(Failure::new(ExitStatus::TryAgain, texts::STATE_KEEPS_CHANGING))
}

/// Writes down why the box does not run, unless who stopped it has said so.
fn remember_end(runtime_dir: &UserRuntimeDir, login: &Login, found: Option<&Container>) {
    let said = runtime_dir.stop_record().is_some_and(|end| !end.over);
    // Of what happened before the host started, nothing is known for certain.
    if said || !runtime_dir.has_run_since_boot() {
        return;
    }
    let now = clock::now();
    let (moment, reason) = match found {
        None => (now.boottime, texts::REMOVED),
        Some(found) if found.state == ContainerState::Stopped => {
            let finished = humantime::parse_rfc3339(&found.finished_at).ok();
            let ago = finished
                .and_then(|finished| finished.duration_since(SystemTime::UNIX_EPOCH).ok())
                .map(|finished| now.wall.saturating_sub(finished));
            (now.boottime.saturating_sub(ago.unwrap_or_default()), why_stopped(found))
        }
        Some(_) => return,
    };
    report_end(login, reason);
    // That its user is told is worth no failure.
    let _ = runtime_dir.write_stop_record(moment, reason);
}

/// The next step, as far as it can be taken without the image: a box that exists starts.
fn step<'a>(found: Option<&'a Container>, spec: &BoxSpec, image: bool) -> (StartStep, Option<&'a Container>) {
    match start_step(found, spec) {
        StartStep::Recreate
            if !image && found.is_some_and(|found| found.state == ContainerState::Stopped) =>
        {
            (StartStep::Start, found)
        }
        step => (step, found),
    }
}

/// Makes the box; `None` when somebody else made one of this name meanwhile.
async fn create(engine: &Engine, spec: &BoxSpec, progress: &Progress<'_>) -> Result<Option<String>, Failure> {
    if spec.image_id.is_empty() {
        let cause = format!("image {} is not on this host", spec.image);
        return Err(Failure { cause, ..Failure::new(ExitStatus::Unavailable, texts::NO_IMAGE) });
    }
    ensure_network(engine, &spec.network, progress).await?;
    progress.tell(texts::CREATING_CONTAINER);
    match engine.create(spec).await {
        Ok(id) => Ok(Some(id)),
        Err(EngineError::Conflict(..)) => Ok(None),
        Err(error) => Err(engine_failed(error)),
    }
}

/// Starts the box and hands over; `false` when it has gone, or something that it needs.
async fn run(
    engine: &Engine,
    runtime_dir: &UserRuntimeDir,
    id: &str,
    told: &ToldAtStart,
    progress: &Progress<'_>,
) -> Result<bool, Failure> {
    let doors = Doors::open(runtime_dir)?;
    // Worth no failure. Only here, so that it says what the box was started with.
    let _ = runtime_dir.write_welcome_text(&told.words);
    progress.tell(texts::STARTING_CONTAINER);
    match engine.start(id).await {
        Ok(()) => progress.tell(texts::WAITING_FOR_INIT),
        Err(EngineError::NotFound(..)) => return Ok(false),
        Err(error) => return Err(engine_failed(error)),
    }
    match doors.hand_over(engine, id, told.grace).await? {
        Handed::Over => {
            // That its user is told of the last end is worth no failure.
            let _ = runtime_dir.mark_restarted();
            Ok(true)
        }
        Handed::Gone(code) => {
            let cause = format!("the box ended at once with exit code {code}");
            Err(Failure { cause, ..Failure::new(ExitStatus::Unavailable, texts::ENDED_AT_ONCE) })
        }
    }
}

/// Docker would make two networks of one name, so one of us at a time makes it.
async fn ensure_network(engine: &Engine, name: &str, progress: &Progress<'_>) -> Result<(), Failure> {
    if engine.has_network(name).await.map_err(engine_failed)? {
        return Ok(());
    }
    progress.tell(texts::CREATING_NETWORK);
    let _turn = session::presence::host_lock(Path::new(RUN), NETWORK)
        .map_err(|error| Failure::because(ExitStatus::TryAgain, texts::NETWORK_BUSY, &error))?;
    if engine.has_network(name).await.map_err(engine_failed)? {
        return Ok(());
    }
    engine.make_network(name).await.map_err(engine_failed)
}

/// A little longer each time, and not the same for all who wait.
async fn pause(attempt: u32) {
    let jitter = Duration::from_millis(u64::from(std::process::id() % 100));
    tokio::time::sleep(PAUSE.saturating_mul((attempt + 1).min(5)).saturating_add(jitter)).await;
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn no_home(error: HomeError) -> Failure {
    match error {
        HomeError::OtherAccount { .. } => Failure::because(ExitStatus::Refused, texts::OTHER_ACCOUNT, &error),
        _ => Failure::because(ExitStatus::Unavailable, texts::NO_HOME, &error),
    }
}
