//! Load and failure tests, with figures: hundreds of killed sessions, logins during reaper runs,
//! many sessions at once and many in a row, hostile boxes and users, and outages during a session. Needs a
//! world and uses the harness of `tests/system`. `CONTRIBUTING.md` lists the variables that set
//! the number of repetitions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, its helpers too"
)]

mod crowd;
mod flat;
#[path = "../system/harness.rs"]
mod harness;
mod hostile;
mod memory;
mod neighbours;
mod numbers;
mod outages;
mod proxied;
mod race;
mod silence;
mod storm;
