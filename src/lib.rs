//! sshbox: stock sshd puts the users of a web app into containers of their own.
//!
//! A table of contents. Arrows point down only: an app may use edges and rules, an edge
//! only rules, and no app or edge knows another. `tests/it/structure.rs` holds that.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods,
        reason = "a test stops at the first surprise"
    )
)]

// Apps: one per program, each a short story told by its `run`.
pub mod admin;
pub mod init;
pub mod keys;
pub mod reap;
pub mod shell;
pub mod wake;

// Edges: one file per outside party.
pub mod atomic;
pub mod cache;
pub mod cgroup;
pub mod clock;
pub mod engine;
pub mod home;
pub mod host;
pub mod host_key;
pub mod journal;
pub mod presence;
pub mod process;
pub mod sessions;
pub mod source;
pub mod tty;
pub mod waiting;
pub mod wire;

// Rules: values in, verdicts out; no clock and no I/O, except that `config` reads its file.
pub mod account;
pub mod adoption;
pub mod authorized_key;
pub mod config;
pub mod deadlines;
pub mod escape;
pub mod exit;
pub mod spec;
pub mod status;
pub mod texts;
pub mod times;
pub mod variables;
