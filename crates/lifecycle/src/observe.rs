//! What a box is doing and uses: the engine's view of it, as its user and admins see it.

use crate::spec::{BoxSpec, Container};
use session::box_status::BoxStatus;
use session::texts;

/// The status of a box that exists.
#[must_use]
pub fn status_of(found: &Container) -> BoxStatus {
    BoxStatus::with_limits(&found.name, found.state.name(), &found.image, found.limits)
}

/// The status of a box that does not exist, as it would be created.
#[must_use]
pub fn status_of_missing(spec: &BoxSpec) -> BoxStatus {
    let limits = (spec.nano_cpus, spec.memory, spec.pids);
    BoxStatus::with_limits(&spec.name, "missing", &spec.image, limits)
}

/// Why a box that nobody said anything about has stopped.
///
/// Its init ends with 0 when the host has sent it SIGTERM. Nobody but the host can end it by a
/// signal, and the engine writes that as 128 + signal.
#[must_use]
pub fn why_stopped(found: &Container) -> &'static str {
    match found.exit_code {
        _ if found.out_of_memory => texts::OUT_OF_MEMORY,
        0 | 128.. => texts::FROM_OUTSIDE,
        _ => texts::BY_ITSELF,
    }
}
