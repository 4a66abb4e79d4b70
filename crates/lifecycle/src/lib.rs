//! Creates, starts, observes and stops boxes. Contains `sshbox-wake` and `sshbox-reap`.
//!
//! Links the client of the container engine and tokio, but no web client and no TLS.

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

// What a box is.
pub mod image_accounts;
pub mod oci;
pub mod spec;

// The life of containers, and what they do and use.
pub mod adoption;
pub mod container;
pub mod engine;
pub mod naming;
pub mod observe;

// How a session gets into a running container.
mod transport;

pub mod runtime;
