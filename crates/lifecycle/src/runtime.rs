//! The asynchronous runtime that all programs of sshbox use.

use std::io;
use tokio::runtime::{Builder, Runtime};

/// A tokio runtime that uses only the calling thread.
///
/// # Errors
/// [`io::Error`] when the kernel has no file descriptors left for it.
pub fn on_this_thread() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
