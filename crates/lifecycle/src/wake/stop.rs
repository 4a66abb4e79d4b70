//! Stops a box at the request of its user or an admin, whatever state its container is in.

use super::{RequestOutcome, box_names, engine_failed, foreign, lock_state, network_note, no_runtime_dir};
use crate::container::ContainerState;
use crate::engine::Engine;
use crate::naming::find_box;
use host::config::Config;
use identity::Login;
use session::clock::boottime;
use session::deadlines::{STOP, TRANSITION};
use session::exit::{ExitStatus, Failure};
use session::journal::Event;
use session::presence::{RUN, UserRuntimeDir};
use session::texts;
use session::wire::Fields;
use std::path::Path;

/// Stops the box. Its open sessions, which end then, show `reason`.
pub async fn stop(config: &Config, login: &Login, reason: &'static str) -> Result<RequestOutcome, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let _state_lock = lock_state(&runtime_dir, TRANSITION)?;
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let container = find_box(&engine, &box_names(config)?, login).await.map_err(engine_failed)?;
    let is_stopped = |state| matches!(state, ContainerState::Stopped | ContainerState::Dead);
    let Some(container) = container.filter(|container| !is_stopped(container.state)) else {
        return Ok(RequestOutcome { reply: Fields::default().with("stopped", b"0"), event: None });
    };
    if !container.is_box_of(login.as_str()) {
        return Err(foreign(&container.name));
    }
    // Before the stop, because the sessions read the reason as soon as they end.
    runtime_dir.write_stop_record(boottime(), reason).map_err(no_runtime_dir)?;
    let steps = async {
        if container.state == ContainerState::Paused {
            // The processes of a paused container would not handle SIGTERM.
            engine.unpause(&container.id).await?;
        }
        engine.stop(&container.id, config.reap.grace.0).await
    };
    let stopped = match tokio::time::timeout(STOP, steps).await {
        Ok(stopped) => stopped.map_err(engine_failed),
        Err(error) => Err(Failure::because(ExitStatus::TryAgain, texts::SLOW_ENGINE, &error)),
    };
    if let Err(failure) = stopped {
        let _ = runtime_dir.take_stop_record();
        return Err(failure);
    }
    // A user who asks for the stop has a connection open for that.
    let own = usize::from([texts::BY_RESTART, texts::BY_ITS_USER].contains(&reason));
    network_note::removed(&runtime_dir, login, own);
    Ok(RequestOutcome {
        reply: Fields::default().with("stopped", b"1"),
        event: Some((Event::BoxStopped, reason)),
    })
}
