//! Requests that do not change a box: its status, why it stopped, and its user's keys. They take no lock,
//! so they also work while a start or a stop is in progress or hangs.

use super::{RequestOutcome, account, box_names, engine_failed, log_end, no_runtime_dir, observe_failed};
use crate::engine::Engine;
use crate::naming::find_box;
use crate::observe::{Observer, measure_now, why_stopped};
use host::config::Config;
use identity::Login;
use session::clock;
use session::deadlines::ENDING;
use session::exit::{ExitStatus, Failure};
use session::presence::{RUN, UserRuntimeDir};
use session::texts;
use session::times::later;
use session::wire::Fields;
use std::path::Path;
use std::slice;
use std::time::{Duration, Instant};

/// Time between two checks whether the container has stopped.
const PAUSE: Duration = Duration::from_millis(50);

/// The status of the box, for `@status`.
pub async fn status(config: &Config, login: &Login) -> Result<RequestOutcome, Failure> {
    // It has the lock with which the user's sessions send such requests one after the other.
    UserRuntimeDir::of(Path::new(RUN), login).prepare().map_err(no_runtime_dir)?;
    account(config, login)?;
    let observer = Observer::connect(config).await.map_err(observe_failed)?;
    let found = observer.one(login).await.map_err(observe_failed)?;
    // `None` only if the account has been removed from the cache since.
    let mut found = found.ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::NO_ACCOUNT))?;
    measure_now(slice::from_mut(&mut found)).await;
    let json = serde_json::to_vec(&found.status).unwrap_or_default();
    Ok(RequestOutcome { reply: Fields::default().with("box", &json), event: None })
}

/// Why the box has just stopped, for a session that ended because of that.
pub async fn stop_reason(config: &Config, login: &Login) -> Result<RequestOutcome, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let done = |reason: Option<&str>| {
        let fields = Fields::default();
        let fields = reason.map_or(fields.clone(), |reason| fields.with("why", reason.as_bytes()));
        RequestOutcome { reply: fields, event: None }
    };
    let names = box_names(config)?;
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let deadline = later(Instant::now(), ENDING);
    let reason = loop {
        if let Some(record) = runtime_dir.stop_record().filter(|record| !record.over) {
            return Ok(done(Some(&record.reason)));
        }
        let Some(container) = find_box(&engine, &names, login).await.map_err(engine_failed)? else {
            break texts::REMOVED;
        };
        match why_stopped(&container) {
            Some(reason) => break reason,
            None if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            // The box is running, so it is unknown why its init ended the session.
            None => return Ok(done(None)),
        }
    };
    log_end(login, reason);
    // For the next login, which shows the reason. The reply does not depend on it.
    let _ = runtime_dir.write_stop_record(clock::boottime(), reason);
    Ok(done(Some(reason)))
}

/// Bytes of the reply that are kept free for the fields after the keys.
const RESERVED: usize = 8192;

/// The keys of the account as the web app sent them, and where the user can manage them. The caller parses
/// the keys, so that no root process parses untrusted data.
pub fn keys(config: &Config, login: &Login) -> Result<RequestOutcome, Failure> {
    let account = account(config, login)?;
    let (mut reply, mut left_out) = (Fields::default(), 0_usize);
    for key in &account.keys {
        if reply.has_room(key.len() + RESERVED) {
            reply = reply.with("key", key.as_bytes());
        } else {
            left_out += 1;
        }
    }
    let by_admin = config.accounts.url.scheme() == "file";
    let managed = texts::keys_managed(config.accounts.manage_url.fill(login).as_deref(), by_admin);
    let reply = reply.with("left_out", left_out.to_string().as_bytes()).with("managed", managed.as_bytes());
    Ok(RequestOutcome { reply, event: None })
}
