//! Common SSH clients, unchanged from Debian or the Python package index, against sshbox in a world of
//! its own. Where it makes sense, the same test also runs against plain sshd. Each test writes a row of
//! the table that `tests/run` prints and docs/src/clients.md shows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, its helpers too"
)]

#[path = "../system/harness.rs"]
mod harness;

mod client;
mod connections;
mod editors;
mod files;
mod python;
mod remote_editors;
mod terminals;
mod trees;
