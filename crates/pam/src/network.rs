//! The network namespace of this process, and how it changes.

use nix::sched::{CloneFlags, setns, unshare};
use session::presence::{BoxNetwork, UserRuntimeDir};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;

/// The network namespace of this process.
const OWN: &str = "/proc/self/ns/net";

/// The namespace that the sshd was started in: the host's. It is never joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostNetwork(u64);

impl HostNetwork {
    /// That of this process. Called before the process moves.
    ///
    /// # Errors
    /// The error of the system call.
    pub(crate) fn current() -> io::Result<Self> {
        Ok(Self(fs::metadata(OWN)?.ino()))
    }

    /// Moves this process into the network of the running box, and returns the name servers there.
    ///
    /// # Errors
    /// `NotFound` if no box runs, or the error of the system call. The process is then where it was.
    pub(crate) fn join_box(self, runtime_dir: &UserRuntimeDir) -> io::Result<Vec<Ipv4Addr>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no network of a running box is recorded");
        let network = runtime_dir.box_network().ok_or_else(missing)?;
        self.join(&network)?;
        Ok(network.name_servers().to_vec())
    }

    fn join(self, network: &BoxNetwork) -> io::Result<()> {
        if network.inode() == self.0 {
            return Err(io::Error::other("the box has the network of the host"));
        }
        // The descriptor is closed on return: no program of the user inherits it.
        setns(network.open()?, CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }
}

/// Moves this process into a new network namespace, which has no network: its loopback interface is down.
///
/// # Errors
/// The error of the system call.
pub(crate) fn leave() -> io::Result<()> {
    Ok(unshare(CloneFlags::CLONE_NEWNET)?)
}
