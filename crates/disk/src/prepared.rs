//! The outcome of preparing the disk of a home.

use host::quota::Backend;

/// The disk of a home after it was prepared.
#[derive(Debug, PartialEq, Eq)]
pub struct Prepared {
    /// What enforces its limit.
    pub backend: Backend,
    /// What could not be done, for the journal and the admin.
    pub note: Option<String>,
}

impl Prepared {
    /// Everything is done.
    pub(crate) fn done(backend: Backend) -> Self {
        Self { backend, note: None }
    }
}
