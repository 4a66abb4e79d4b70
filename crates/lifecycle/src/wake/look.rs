//! Looks at a box without touching it: its status, why it stopped, and its user's keys. Takes no lock, so that
//! it answers while a start or a stop is under way or hangs.

use super::{Done, account, engine_failed, foreign, no_room, report_end};
use crate::engine::Engine;
use crate::observe::{status_of, status_of_missing, why_stopped};
use crate::spec::{BoxSpec, Container, ContainerState};
use host::config::Config;
use host::home;
use identity::Login;
use session::box_status::BoxStatus;
use session::clock;
use session::deadlines::ENDING;
use session::exit::Failure;
use session::presence::{RUN, UserRuntimeDir};
use session::texts;
use session::times::later;
use session::wire::Fields;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// Over how long the use of CPU time is measured.
const SAMPLE: Duration = Duration::from_millis(200);

/// Time between two looks at it.
const PAUSE: Duration = Duration::from_millis(50);

/// All that `@status` shows.
pub async fn status(config: &Config, login: &Login) -> Result<Done, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    // So that its user's next word can wait for its turn.
    runtime_dir.prepare().map_err(no_room)?;
    let account = account(config, login)?;
    let home = config.container.home.fill(login);
    let disk = home::disk(Path::new(&home));
    let idle_timeout = account.idle_timeout.unwrap_or(config.reap.idle_timeout).0;
    let wanted =
        BoxSpec::new(&config.container, login, &account, home.into(), runtime_dir.box_dir().to_owned());
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let found = engine.find(&wanted.name).await.map_err(engine_failed)?;
    if let Some(found) = &found
        && found.labels.as_ref().is_none_or(|labels| labels.user != login.as_str())
    {
        return Err(foreign(&wanted.name));
    }
    let mut status = found.as_ref().map_or_else(|| status_of_missing(&wanted), status_of);
    // Nobody was there since boot: no lock, no session.
    status.sessions = runtime_dir.sessions().unwrap_or_default();
    if let Some(found) = found.filter(|found| found.state.lives()) {
        measure(&engine, &found, &mut status).await;
        status.runs_since(&found.started_at, SystemTime::now());
    }
    let now = clock::boottime();
    let idle = runtime_dir.last_presence().ok().flatten().map(|seen| now.saturating_sub(seen));
    status.idle_for(idle, idle_timeout, SystemTime::now());
    status.disk = disk;
    status.last_stop = runtime_dir.last_stop(now);
    let json = serde_json::to_vec(&status).unwrap_or_default();
    Ok(Done { answer: Fields::default().with("box", &json), event: None })
}

/// Fills in what it uses; what cannot be measured stays open, for the rest is worth showing.
async fn measure(engine: &Engine, found: &Container, status: &mut BoxStatus) {
    let Ok(Some(before)) = engine.usage(&found.id).await else {
        return;
    };
    let began = Instant::now();
    tokio::time::sleep(SAMPLE).await;
    let Ok(Some(now)) = engine.usage(&found.id).await else {
        return;
    };
    status.measured(&before, &now, began.elapsed());
}

/// Why the box stopped just now, for a session that ended with it.
pub async fn why(config: &Config, login: &Login) -> Result<Done, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let answer = |reason: Option<&str>| {
        let fields = Fields::default();
        let fields = reason.map_or(fields.clone(), |reason| fields.with("why", reason.as_bytes()));
        Done { answer: fields, event: None }
    };
    let name = config.container.name.fill(login);
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let until = later(Instant::now(), ENDING);
    let reason = loop {
        if let Some(end) = runtime_dir.stop_record().filter(|end| !end.over) {
            return Ok(answer(Some(&end.reason)));
        }
        match engine.find(&name).await.map_err(engine_failed)? {
            None => break texts::REMOVED,
            Some(found) if found.state == ContainerState::Stopped => break why_stopped(&found),
            Some(_) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
            // It runs; why its init ended a session is not known here.
            Some(_) => return Ok(answer(None)),
        }
    };
    report_end(login, reason);
    // For the next login; that it is told there is worth no failure.
    let _ = runtime_dir.write_stop_record(clock::boottime(), reason);
    Ok(answer(Some(reason)))
}

/// Room that is kept free for what follows the keys in the answer, in bytes.
const REST: usize = 8192;

/// The keys of the account as its source gave them, and where they are managed. The caller reads
/// them: root need not parse what came from outside.
pub fn keys(config: &Config, login: &Login) -> Result<Done, Failure> {
    let account = account(config, login)?;
    let (mut answer, mut left_out) = (Fields::default(), 0_usize);
    for key in &account.keys {
        if answer.has_room(key.len() + REST) {
            answer = answer.with("key", key.as_bytes());
        } else {
            left_out += 1;
        }
    }
    let by_admin = config.accounts.url.scheme() == "file";
    let managed = texts::keys_managed(config.accounts.manage_url.fill(login).as_deref(), by_admin);
    let answer = answer.with("left_out", left_out.to_string().as_bytes()).with("managed", managed.as_bytes());
    Ok(Done { answer, event: None })
}
