//! What the kernel shows of containers and sessions on this host.

pub mod cgroup;
pub mod lxcfs;
pub mod ssh_sessions;
