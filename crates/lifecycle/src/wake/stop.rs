//! Stops a box because its user or an admin wants that, whatever state it is in.

use super::{Done, engine_failed, foreign, no_room, transition};
use crate::engine::Engine;
use crate::spec::State;
use host::config::Config;
use identity::Login;
use session::clock::boottime;
use session::deadlines::STOP;
use session::exit::{Failure, Status};
use session::journal::Event;
use session::presence::{Place, RUN};
use session::texts;
use session::wire::Fields;
use std::path::Path;

/// Stops the box; its sessions are told `reason`.
pub async fn stop(config: &Config, login: &Login, reason: &'static str) -> Result<Done, Failure> {
    let place = Place::of(Path::new(RUN), login);
    let _transition = transition(&place)?;
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let name = config.a_box.name.fill(login);
    let found = engine.find(&name).await.map_err(engine_failed)?;
    let Some(found) = found.filter(|found| !matches!(found.state, State::Stopped | State::Dead)) else {
        return Ok(Done { answer: Fields::default().with("stopped", b"0"), event: None });
    };
    if found.labels.as_ref().is_none_or(|labels| labels.user != login.as_str()) {
        return Err(foreign(&name));
    }
    // Before the end, so that sessions find it when they end.
    place.note_end(boottime(), reason).map_err(no_room)?;
    let steps = async {
        if found.state == State::Paused {
            // A frozen one would not hear that it is to end.
            engine.unpause(&found.id).await?;
        }
        engine.stop(&found.id, config.reap.grace.0).await
    };
    let stopped = match tokio::time::timeout(STOP, steps).await {
        Ok(stopped) => stopped.map_err(engine_failed),
        Err(error) => Err(Failure::because(Status::TryAgain, texts::SLOW_ENGINE, &error)),
    };
    if let Err(failure) = stopped {
        let _ = place.take_end();
        return Err(failure);
    }
    Ok(Done { answer: Fields::default().with("stopped", b"1"), event: Some((Event::BoxStopped, reason)) })
}
