//! Containers and sessions of this host, as the kernel reports them.

pub mod apparmor;
pub mod cgroup;
pub mod lxcfs;
pub mod ssh_sessions;
