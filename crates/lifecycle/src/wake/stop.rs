//! Stops a box because its user or an admin wants that, whatever state it is in.

use super::{Done, engine_failed, foreign, no_room, transition};
use crate::engine::Engine;
use crate::spec::ContainerState;
use host::config::Config;
use identity::Login;
use session::clock::boottime;
use session::deadlines::STOP;
use session::exit::{ExitStatus, Failure};
use session::journal::Event;
use session::presence::{RUN, UserRuntimeDir};
use session::texts;
use session::wire::Fields;
use std::path::Path;

/// Stops the box; its sessions are told `reason`.
pub async fn stop(config: &Config, login: &Login, reason: &'static str) -> Result<Done, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let _transition = transition(&runtime_dir)?;
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let name = config.container.name.fill(login);
    let found = engine.find(&name).await.map_err(engine_failed)?;
    let Some(found) =
        found.filter(|found| !matches!(found.state, ContainerState::Stopped | ContainerState::Dead))
    else {
        return Ok(Done { answer: Fields::default().with("stopped", b"0"), event: None });
    };
    if found.labels.as_ref().is_none_or(|labels| labels.user != login.as_str()) {
        return Err(foreign(&name));
    }
    // Before the end, so that sessions find it when they end.
    runtime_dir.write_stop_record(boottime(), reason).map_err(no_room)?;
    let steps = async {
        if found.state == ContainerState::Paused {
            // A frozen one would not hear that it is to end.
            engine.unpause(&found.id).await?;
        }
        engine.stop(&found.id, config.reap.grace.0).await
    };
    let stopped = match tokio::time::timeout(STOP, steps).await {
        Ok(stopped) => stopped.map_err(engine_failed),
        Err(error) => Err(Failure::because(ExitStatus::TryAgain, texts::SLOW_ENGINE, &error)),
    };
    if let Err(failure) = stopped {
        let _ = runtime_dir.take_stop_record();
        return Err(failure);
    }
    Ok(Done { answer: Fields::default().with("stopped", b"1"), event: Some((Event::BoxStopped, reason)) })
}
