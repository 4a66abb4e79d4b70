//! Asks the web app whose key may log in: `sshbox-keys`.
//!
//! The one crate that links a web client and TLS; it links no container engine.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods,
        reason = "a test stops at the first surprise"
    )
)]

pub mod keys;
pub mod source;
