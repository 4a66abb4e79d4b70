//! The socket in the container that leads to the client's SSH agent. It is made for one session, in a directory
//! that only the container's user may enter, and removed with the session. `sshbox-shell` gets the listening end
//! and accepts the connections; this program sees no byte of them.

use rustix::fs::{CWD, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where sshd makes such directories too: programs that look for an agent find it here.
pub const FOLDER: &str = "/tmp";

/// Connections that may wait for accept(2), as many as sshd has (`SSH_LISTEN_BACKLOG`).
const BACKLOG: i32 = 128;

/// A socket for the agent. Dropping it removes the file and its directory.
#[derive(Debug)]
pub struct AgentSocket {
    path: PathBuf,
}

impl AgentSocket {
    /// Makes a socket in a new directory below `folder`; returns its listening end as well.
    ///
    /// # Errors
    /// The error of the system call, for example when `/tmp` is full.
    pub fn listen(folder: &Path) -> io::Result<(Self, OwnedFd)> {
        let directory = nix::unistd::mkdtemp(&folder.join("ssh-XXXXXXXXXX"))?;
        // As sshd names it, with the pid of the program that made it.
        let made = Self { path: directory.join(format!("agent.{}", std::process::id())) };
        let listener = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::net::bind(&listener, &SocketAddrUnix::new(&made.path)?)?;
        // Nobody else could enter the directory in the meantime (mkdtemp(3)).
        rustix::fs::chmodat(CWD, &made.path, Mode::RUSR | Mode::WUSR, rustix::fs::AtFlags::empty())?;
        rustix::net::listen(&listener, BACKLOG)?;
        Ok((made, listener))
    }

    /// The value of `SSH_AUTH_SOCK`.
    pub fn path(&self) -> &OsStr {
        self.path.as_os_str()
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        // Programs of the user may have removed or replaced them: that is theirs to do.
        let _ = fs::remove_file(&self.path);
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::net::UnixStream;

    #[test]
    fn each_socket_is_its_users_alone_and_disappears() {
        let folder = tempfile::tempdir().unwrap();
        let (one, listener) = AgentSocket::listen(folder.path()).unwrap();
        let (other, _other) = AgentSocket::listen(folder.path()).unwrap();
        assert_ne!(one.path(), other.path());
        let path = PathBuf::from(one.path());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
        assert_eq!(fs::metadata(&path).unwrap().uid(), nix::unistd::geteuid().as_raw());
        UnixStream::connect(&path).unwrap();
        drop(listener);
        UnixStream::connect(&path).unwrap_err();
        drop((one, other));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_program_has_put_in_its_place_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, _listener) = AgentSocket::listen(folder.path()).unwrap();
        let path = PathBuf::from(socket.path());
        fs::write(path.with_file_name("other"), "").unwrap();
        drop(socket);
        assert!(!path.exists() && path.with_file_name("other").exists());
        AgentSocket::listen(&folder.path().join("none")).unwrap_err();
    }
}
