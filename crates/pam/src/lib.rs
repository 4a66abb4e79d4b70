//! `pam_sshbox.so`: moves each connection of sshbox's sshd out of the network of the host.
//!
//! sshd opens the PAM session as root, after the login and before it forks the process that serves the user. That
//! process inherits the network namespace: what the user forwards starts and ends in the user's box, or, if the box
//! does not run in time, in a network namespace without any network. It never reaches the network of the host,
//! whatever the configuration of sshd says.
//!
//! Only sshbox's sshd loads it, through a private `/etc/pam.d`. It reads no configuration: `sshbox-keys` has
//! written down what the account allows. Each wait has a deadline. A panic ends the connection.

mod connection;
#[allow(
    unsafe_code,
    reason = "libpam calls its modules through C pointers, and setns and the resolver are C"
)]
mod ffi;
mod network;

/// The name in log entries.
const PROGRAM: &str = "pam_sshbox";
