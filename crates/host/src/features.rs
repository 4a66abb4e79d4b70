//! Optional features of this host that change how a container is created.

use crate::sys::{apparmor, lxcfs};
use serde::Serialize;
use session::procfs;
use std::path::PathBuf;

/// Optional features of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostFeatures {
    /// Whether the kernel supports IPv6.
    pub ipv6: bool,
    /// Files of lxcfs that replace files of the kernel: each with its path on the host and in a container.
    pub lxcfs: Vec<(PathBuf, PathBuf)>,
    /// Whether the kernel has sshbox's `AppArmor` profile for containers.
    pub apparmor: bool,
}

impl HostFeatures {
    /// The features that this host has now.
    #[must_use]
    pub fn detect() -> Self {
        Self { ipv6: procfs::kernel_has_ipv6(), lxcfs: lxcfs::files(), apparmor: apparmor::is_loaded() }
    }
}
