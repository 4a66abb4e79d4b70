//! `sshbox-keys`, which asks the web app for the keys of a user.
//!
//! The only crate that links a web client and TLS. It links no container engine.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods,
        reason = "a test stops at the first surprise"
    )
)]

pub mod authorized_keys;
pub mod source;
