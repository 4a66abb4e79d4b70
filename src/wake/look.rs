//! Looks at a box without touching it: its status, and why it stopped. Takes no lock, so that
//! it answers while a start or a stop is under way or hangs.

use super::{Done, account, engine_failed, foreign, no_room, report_end};
use crate::clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::exit::Failure;
use crate::presence::{Place, RUN};
use crate::spec::{Found, Spec, State};
use crate::status::{Amount, Cpu, Disk, LastStop, Status, why_stopped};
use crate::texts;
use crate::wire::Fields;
use identity::Login;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// Over how long the use of CPU time is measured.
const SAMPLE: Duration = Duration::from_millis(200);

/// How long a box that ends may still count as running for the engine.
const ENDING: Duration = Duration::from_secs(1);

/// Time between two looks at it.
const PAUSE: Duration = Duration::from_millis(50);

/// All that `@status` shows.
pub async fn status(config: &Config, login: &Login) -> Result<Done, Failure> {
    let place = Place::of(Path::new(RUN), login);
    // So that its user's next word can wait for its turn.
    place.prepare().map_err(no_room)?;
    let account = account(config, login)?;
    let home = config.a_box.home.fill(login);
    let disk = disk(Path::new(&home));
    let idle_timeout = account.idle_timeout.unwrap_or(config.reap.idle_timeout).0;
    let wanted = Spec::new(&config.a_box, login, &account, home.into(), place.seen_by_box().to_owned());
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let found = engine.find(&wanted.name).await.map_err(engine_failed)?;
    if let Some(found) = &found
        && found.labels.as_ref().is_none_or(|labels| labels.user != login.as_str())
    {
        return Err(foreign(&wanted.name));
    }
    let mut status = describe(&wanted, found.as_ref());
    if let Some(found) = found.filter(|found| matches!(found.state, State::Running | State::Paused)) {
        measure(&engine, &found, &mut status).await;
        place_in_time(&found, &place, idle_timeout, &mut status);
    }
    // Nobody was there since boot: no lock, no session.
    status.sessions = place.sessions().unwrap_or_default();
    if status.sessions > 0 {
        status.stops_at = None;
    }
    status.disk = disk;
    status.idle_timeout_seconds = idle_timeout.as_secs();
    status.last_stop = place.end().map(|end| LastStop {
        seconds_ago: clock::boottime().saturating_sub(end.moment).as_secs(),
        reason: end.reason,
    });
    let json = serde_json::to_vec(&status).unwrap_or_default();
    Ok(Done { answer: Fields::default().with("box", &json), event: None })
}

/// What a container is, or would be.
fn describe(wanted: &Spec, found: Option<&Found>) -> Status {
    let state = match found.map(|found| found.state) {
        None => "missing",
        Some(State::Running) => "running",
        Some(State::Paused) => "paused",
        Some(State::Stopped) => "stopped",
        Some(State::Busy) => "changing",
        Some(State::Dead) => "broken",
    };
    let (image, (cpus, memory, pids)) = match found {
        Some(found) => (&found.image, found.limits),
        None => (&wanted.image, (wanted.nano_cpus, wanted.memory, wanted.pids)),
    };
    let amount = |limit: i64| Amount { limit: u64::try_from(limit).unwrap_or_default(), used: None };
    let nanos = u64::try_from(cpus).unwrap_or_default();
    Status {
        name: wanted.name.clone(),
        state: state.to_owned(),
        image: image.clone(),
        cpu: Cpu { limit: Duration::from_nanos(nanos).as_secs_f64(), used: None },
        memory: amount(memory),
        processes: amount(pids),
        ..Status::default()
    }
}

/// Fills in what it uses; what cannot be measured stays open, for the rest is worth showing.
async fn measure(engine: &Engine, found: &Found, status: &mut Status) {
    let Ok(Some(before)) = engine.usage(&found.id).await else {
        return;
    };
    let began = Instant::now();
    tokio::time::sleep(SAMPLE).await;
    let Ok(Some(now)) = engine.usage(&found.id).await else {
        return;
    };
    let spent = now.cpu.saturating_sub(before.cpu).as_secs_f64();
    let cores = spent / began.elapsed().as_secs_f64();
    status.cpu.used = Some((cores * 100.0).round() / 100.0);
    status.memory.used = Some(now.memory);
    status.processes.used = Some(now.processes);
}

/// Fills in since when it runs, and until when if nobody comes.
fn place_in_time(found: &Found, place: &Place, idle_timeout: Duration, status: &mut Status) {
    let text = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let now = SystemTime::now();
    if let Ok(started) = humantime::parse_rfc3339(&found.started_at) {
        status.started_at = Some(text(started));
        status.up_seconds = now.duration_since(started).ok().map(|up| up.as_secs());
    }
    // Who was last there is unknown: the reaper counts from its next look on.
    if let Ok(Some(seen)) = place.last_seen() {
        let left = idle_timeout.saturating_sub(clock::boottime().saturating_sub(seen));
        status.stops_at = Some(text(now + left));
    }
}

/// The file system of the home; before the first login, of the directory above.
fn disk(home: &Path) -> Option<Disk> {
    let found = home.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    Some(Disk {
        used: found.f_blocks.saturating_sub(found.f_bfree) * found.f_frsize,
        free: found.f_bavail * found.f_frsize,
    })
}

/// Why the box stopped just now, for a session that ended with it.
pub async fn why(config: &Config, login: &Login) -> Result<Done, Failure> {
    let place = Place::of(Path::new(RUN), login);
    let answer = |reason: Option<&str>| {
        let fields = Fields::default();
        let fields = reason.map_or(fields.clone(), |reason| fields.with("why", reason.as_bytes()));
        Done { answer: fields, event: None }
    };
    let name = config.a_box.name.fill(login);
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let until = Instant::now() + ENDING;
    let reason = loop {
        if let Some(end) = place.end().filter(|end| !end.over) {
            return Ok(answer(Some(&end.reason)));
        }
        match engine.find(&name).await.map_err(engine_failed)? {
            None => break texts::REMOVED,
            Some(found) if found.state == State::Stopped => break why_stopped(found.out_of_memory),
            Some(_) if Instant::now() < until => tokio::time::sleep(PAUSE).await,
            // It runs; why its init ended a session is not known here.
            Some(_) => return Ok(answer(None)),
        }
    };
    report_end(login, reason);
    // For the next login; that it is told there is worth no failure.
    let _ = place.note_end(clock::boottime(), reason);
    Ok(answer(Some(reason)))
}
