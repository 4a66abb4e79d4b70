//! The programs of the project with fakes; needs no services of the machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, its helpers too"
)]

mod differential;
mod documents;
mod engines;
mod fake_engine;
mod journal;
mod manuals;
mod many_boxes;
mod reaping;
mod structure;
mod watchdog;
