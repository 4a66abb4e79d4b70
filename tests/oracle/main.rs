//! Plain sshd is the oracle: the same cases, with the same assertions, run once with `SUBJECT=plain` against a
//! stock sshd and once with `SUBJECT=sshbox`; whoever logs in must not be able to tell which of them answered.
//!
//! `tests/oracle/both` runs both in one world. Where sshbox is meant to be better than plain sshd, the subject
//! says so, and the case says what plain sshd does instead.
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
mod ends;
#[path = "../system/harness.rs"]
mod harness;
mod keys;
mod protocol;
mod screens;
mod statuses;
mod streams;
mod subject;
mod terminal;
