//! Applies changed limits of an account to a running box, without a restart. Its sessions go on.

use super::{RequestOutcome, account, box_names, disk, engine_failed, foreign, no_runtime_dir};
use crate::container::{Container, ContainerState};
use crate::engine::{Engine, EngineError};
use crate::naming::find_box;
use host::config::Config;
use host::limits::{CgroupLimits, ContainerLimits};
use host::sys::cgroup::has_io_weight;
use identity::Login;
use session::exit::{ExitStatus, Failure};
use session::journal::Event;
use session::presence::{RUN, UserRuntimeDir};
use session::texts;
use session::wire::Fields;
use std::path::Path;

/// Gives the running box the limits of the cached account. A box that does not run gets them when it starts.
pub async fn update(config: &Config, login: &Login) -> Result<RequestOutcome, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let account = account(config, login)?;
    runtime_dir.prepare().map_err(no_runtime_dir)?;
    // A start or a stop in progress makes the update unnecessary, or the next one does it.
    let lock = runtime_dir.try_lock_state().map_err(no_runtime_dir)?;
    let _state_lock = lock.ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::BOX_BUSY))?;
    let limits =
        ContainerLimits::resolve(&account.limits, &config.container.limits, &config.container.ceilings);
    let wanted = limits.cgroup;
    disk::resize(config, login)?;
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let updated = match find_box(&engine, &box_names(config)?, login).await.map_err(engine_failed)? {
        Some(container) if !container.is_box_of(login.as_str()) => return Err(foreign(&container.name)),
        Some(container) if container.state == ContainerState::Running => {
            let io_weight = if has_io_weight() { wanted.io_weight } else { container.limits.io_weight };
            apply(&engine, &container, CgroupLimits { io_weight, ..wanted }).await
        }
        // It keeps its limits when it goes on. Without a new note, the next recheck asks again.
        Some(container) if container.state == ContainerState::Paused => return Ok(outcome(false)),
        _ => Ok(false),
    };
    // Also for a box that does not run, which gets these limits when it starts, and after a refusal: limits
    // that the kernel refuses once, such as less memory than the box uses, would be refused every minute.
    if !matches!(updated, Err(EngineError::Unreachable(..) | EngineError::Timeout(..))) {
        runtime_dir.write_applied_limits(&limits.changeable()).map_err(no_runtime_dir)?;
    }
    updated.map(outcome).map_err(engine_failed)
}

/// Changes the limits that differ. Memory comes last and alone, since the kernel can refuse it. Returns
/// whether any differed.
async fn apply(engine: &Engine, container: &Container, wanted: CgroupLimits) -> Result<bool, EngineError> {
    let memory = container.limits.memory;
    let rates = CgroupLimits { memory, ..wanted };
    let has_new_rates = rates != container.limits;
    if has_new_rates {
        engine.update(&container.id, rates, container.limits).await?;
    }
    if memory != wanted.memory {
        engine.update(&container.id, wanted, rates).await?;
    }
    Ok(has_new_rates || memory != wanted.memory)
}

fn outcome(updated: bool) -> RequestOutcome {
    RequestOutcome {
        reply: Fields::default().with("updated", if updated { b"1" } else { b"0" }),
        event: updated.then_some((Event::BoxUpdated, "its account has other limits")),
    }
}
