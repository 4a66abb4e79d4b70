//! The programs that run as the user and in the container, and what all programs of sshbox share.
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

// Programs.
pub mod init;
pub mod shell;

// Messages and files that programs share.
pub mod atomic;
pub mod box_status;
pub mod disk_client;
pub mod journal;
pub mod presence;
pub mod proxies;
pub mod wake_client;
pub mod wire;

// The kernel and terminals.
pub mod clock;
pub mod held_signals;
pub mod process;
pub mod procfs;
pub mod tty;
pub mod waiting;

// Rules and texts: no clock, no I/O.
pub mod authorized_key;
pub mod deadlines;
pub mod escape;
pub mod exit;
pub mod texts;
pub mod times;
pub mod variables;

#[cfg(test)]
mod soon;
