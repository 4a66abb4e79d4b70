//! Boxes made, started, watched and stopped: `sshbox-wake` and `sshbox-reap`.
//!
//! The one crate that links a container engine's client and tokio; it links no web client and no TLS.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::disallowed_methods,
        reason = "a test stops at the first surprise"
    )
)]

// Programs.
pub mod reap;
pub mod wake;

// The engine, and what a box is.
pub mod adoption;
pub mod engine;
pub mod observe;
pub mod spec;
