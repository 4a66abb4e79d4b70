//! Life and death, with numbers: sessions killed by the hundred, logins against the reaper,
//! many at once, many in a row, boxes that lie and hosts that fail under a session. Needs a
//! world as `tests/system` does and speaks its language; `CONTRIBUTING.md` has the variables
//! that set the lengths.
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
mod numbers;
mod outages;
mod race;
mod silence;
mod storm;
