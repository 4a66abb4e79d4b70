//! The one way in which sshbox's programs run asynchronous code.

use std::io;
use tokio::runtime::{Builder, Runtime};

/// A tokio runtime on the calling thread alone.
///
/// # Errors
/// [`io::Error`] when the kernel has no file descriptors left for it.
pub fn on_this_thread() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
