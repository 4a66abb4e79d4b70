//! Boxes as `list`, `status`, `top`, `start` and `stop` show and find them: what
//! `lifecycle::observe` reports, with advice for admins when it fails.

use host::config::Config;
use identity::Login;
use lifecycle::engine::advice;
use lifecycle::observe::{ObserveError, ObservedBox, Observer, measure_now};
use session::exit::{ExitStatus, Failure};
use std::slice;

/// Advice if the names of containers cannot be computed.
pub const UNREADABLE_SECRET: &str =
    "restore it, or remove it: then boxes are renamed and get other host keys";

/// Connects to the engine.
pub async fn observer(config: &Config) -> Result<Observer<'_>, Failure> {
    Observer::connect(config).await.map_err(failed)
}

/// All boxes, sorted by user, with what they use.
pub async fn all(config: &Config) -> Result<Vec<ObservedBox>, Failure> {
    let mut observer = observer(config).await?;
    let mut boxes = observer.all().await.map_err(failed)?;
    observer.compare(&mut boxes).await;
    measure_now(&mut boxes).await;
    Ok(boxes)
}

/// The box of one user, with what it uses; `None` if there is neither a container nor an account.
pub async fn one(config: &Config, login: &Login) -> Result<Option<ObservedBox>, Failure> {
    let mut observer = observer(config).await?;
    let mut found = observer.one(login).await.map_err(failed)?;
    if let Some(one) = &mut found {
        observer.compare(slice::from_mut(one)).await;
        measure_now(slice::from_mut(one)).await;
    }
    Ok(found)
}

/// Whether a user has a container.
pub async fn exists(config: &Config, login: &Login) -> Result<bool, Failure> {
    let found = observer(config).await?.one(login).await.map_err(failed)?;
    Ok(found.is_some_and(|one| one.container.is_some()))
}

pub fn failed(error: ObserveError) -> Failure {
    match error {
        ObserveError::Engine(error) => Failure::because(ExitStatus::Unavailable, advice::CHECK, &error),
        ObserveError::Name(error) => Failure::because(ExitStatus::Unavailable, UNREADABLE_SECRET, &error),
        ObserveError::Foreign { .. } => {
            Failure::because(ExitStatus::Refused, "rename or remove it, or see `sshbox adopt`", &error)
        }
    }
}
