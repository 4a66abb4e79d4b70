//! The data of sshbox on the host: configuration, accounts, account cache, homes, sessions, and the kernel's
//! counters.
//!
//! Nothing here links HTTP, TLS, tokio or a container engine: see `Cargo.toml`.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods,
        reason = "a test stops at the first surprise"
    )
)]

pub mod account;
pub mod box_names;
pub mod box_user;
pub mod cache;
pub mod config;
pub mod explanation;
pub mod features;
pub mod home;
pub mod host_key;
pub mod limits;
pub mod network_rules;
pub mod networks;
pub mod quota;
pub mod recheck;
pub mod secret;
mod serde_text;
pub mod sshd_limits;
pub mod sys;
pub mod trusted_file;
