//! The kernel's own files: cgroups and processes.

pub mod cgroup;
pub mod ssh_sessions;
