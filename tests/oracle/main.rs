//! Plain sshd is the oracle: the same tests, with the same assertions, run once against a stock sshd
//! (`SUBJECT=plain`) and once against sshbox (`SUBJECT=sshbox`). A user must not be able to tell the two apart.
//!
//! `tests/oracle/both` runs both in one world. A field of `Subject` names each difference that is intended, and
//! the test states what plain sshd does instead.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, its helpers too"
)]

mod channels;
mod commands;
#[path = "../system/harness.rs"]
mod harness;
mod keys;
mod kills;
mod protocol;
mod screens;
mod statuses;
mod streams;
mod subject;
mod terminal;
