//! Calls to the engine, each with a deadline, and their errors.

use bollard::errors::Error;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

/// Why a call to the engine failed. `&'static str` is the verb of the error text, `String` its object, such
/// as "inspect network" and the name.
#[derive(Debug)]
pub enum EngineError {
    /// No process listens at the engine's socket.
    Unreachable(PathBuf, Error),
    /// The engine did not reply before the deadline.
    Timeout(&'static str, String),
    /// The object, or something that it needs, does not exist.
    NotFound(&'static str, String, Error),
    /// The name is in use, or another process is changing the same object.
    Conflict(&'static str, String, Error),
    /// Any other error.
    Failed(&'static str, String, Error),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(path, _) => write!(f, "cannot reach the engine at {}", path.display()),
            Self::Timeout(verb, object) => write!(f, "the engine did not {verb} {object} in time"),
            Self::NotFound(verb, object, _)
            | Self::Conflict(verb, object, _)
            | Self::Failed(verb, object, _) => write!(f, "the engine cannot {verb} {object}"),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(_, error)
            | Self::NotFound(_, _, error)
            | Self::Conflict(_, _, error)
            | Self::Failed(_, _, error) => Some(error),
            Self::Timeout(..) => None,
        }
    }
}

/// Waits for the reply to one call, until `deadline`.
pub async fn call<T>(
    verb: &'static str,
    object: &str,
    deadline: Duration,
    reply: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    let object = object.to_owned();
    let error = match tokio::time::timeout(deadline, reply).await {
        Err(_) | Ok(Err(Error::RequestTimeoutError)) => return Err(EngineError::Timeout(verb, object)),
        Ok(Ok(reply)) => return Ok(reply),
        Ok(Err(error)) => error,
    };
    Err(match &error {
        Error::DockerResponseServerError { status_code: 404, .. } => {
            EngineError::NotFound(verb, object, error)
        }
        Error::DockerResponseServerError { status_code: 409, .. } => {
            EngineError::Conflict(verb, object, error)
        }
        // Older engines reply with status 400 or 500.
        Error::DockerResponseServerError { message, .. } if message.contains("already in use") => {
            EngineError::Conflict(verb, object, error)
        }
        _ => EngineError::Failed(verb, object, error),
    })
}
