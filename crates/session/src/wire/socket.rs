//! Unix sockets of type `SOCK_SEQPACKET`: one packet is one message, and file descriptors travel
//! beside it. Knows no message.

use super::fields::Fields;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Longest packet, in bytes; the kernel's default send buffer (`net.core.wmem_default`) holds it.
pub const PACKET_MAX: usize = 200_000;

/// Most file descriptors beside one packet.
const FDS_MAX: usize = 3;

/// Connections that may wait for accept(2).
const BACKLOG: i32 = 1024;

/// One end of a connection, or a listening socket.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// A listening socket at `path`, which must not exist.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let socket = open()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self(socket))
    }

    /// Connects to `path`. This call and every later one time out after `patience`.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` when nobody listens, `WouldBlock` when the backlog is full.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        let socket = Self(open()?);
        socket.set_patience(patience)?;
        retry_on_intr(|| rustix::net::connect(&socket.0, &SocketAddrUnix::new(path)?))?;
        Ok(socket)
    }

    /// Wraps a file descriptor that another process sent or opened.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Accepts one connection.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn accept(&self) -> io::Result<Self> {
        Ok(Self(retry_on_intr(|| rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC))?))
    }

    /// Sets the timeout of each later call.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, Some(patience))?;
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Send, Some(patience))?;
        Ok(())
    }

    /// The uid of the process at the other end, attested by the kernel.
    ///
    /// # Errors
    /// The error of the system call.
    pub fn peer_uid(&self) -> io::Result<u32> {
        Ok(sockopt::socket_peercred(&self.0)?.uid.as_raw())
    }

    /// The pid of the process at the other end, attested by the kernel: the one that called
    /// connect(2) or listen(2).
    ///
    /// # Errors
    /// The error of the system call.
    pub fn peer_pid(&self) -> io::Result<i32> {
        Ok(sockopt::socket_peercred(&self.0)?.pid.as_raw_nonzero().get())
    }

    /// Sends one packet.
    ///
    /// # Errors
    /// The error of the system call; `InvalidInput` when the packet is too long.
    pub fn send(&self, fields: &Fields, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if fields.bytes().len() > PACKET_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many file descriptors"));
        }
        let packet = [IoSlice::new(fields.bytes())];
        retry_on_intr(|| rustix::net::sendmsg(&self.0, &packet, &mut control, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// Sends one packet if that does not block.
    ///
    /// # Errors
    /// `WouldBlock` when the other end does not read, or the error of the system call.
    pub fn try_send(&self, fields: &Fields) -> io::Result<()> {
        retry_on_intr(|| {
            rustix::net::send(&self.0, fields.bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        })?;
        Ok(())
    }

    /// Receives one packet with its file descriptors; `None` at the end of the connection.
    ///
    /// # Errors
    /// The error of the system call; `InvalidData` when the packet is longer than [`PACKET_MAX`].
    pub fn receive(&self) -> io::Result<Option<(Fields, Vec<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let fields = self.read(&mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                fds.extend(some);
            }
        }
        Ok(fields.map(|fields| (fields, fds)))
    }

    /// Reads the next packet and leaves it in the queue. Its file descriptors are neither received
    /// nor closed: closing the last copy of a socket can block for as long as its sender chose
    /// (`SO_LINGER`, socket(7)).
    ///
    /// # Errors
    /// As [`Socket::receive`].
    pub fn peek(&self) -> io::Result<Option<Fields>> {
        self.read(&mut RecvAncillaryBuffer::default(), RecvFlags::PEEK)
    }

    fn read(&self, control: &mut RecvAncillaryBuffer<'_>, flags: RecvFlags) -> io::Result<Option<Fields>> {
        let mut packet = vec![0; PACKET_MAX + 1];
        let received = retry_on_intr(|| {
            let into = &mut [IoSliceMut::new(&mut packet)];
            rustix::net::recvmsg(&self.0, into, control, flags)
        });
        let received = match received {
            Err(Errno::CONNRESET) => return Ok(None),
            other => other?,
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) || received.bytes > PACKET_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
        }
        packet.truncate(received.bytes);
        Ok(Some(Fields::from_bytes(packet)))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soon::soon;
    use std::io::Read as _;

    fn connection() -> (Socket, Socket) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Socket::listen(&path).unwrap();
        let client = Socket::connect(&path, Duration::from_secs(5)).unwrap();
        (client, listener.accept().unwrap())
    }

    #[test]
    fn packets_and_descriptors_arrive_together() {
        let (client, server) = connection();
        assert_eq!(server.peer_uid().unwrap(), nix::unistd::geteuid().as_raw());
        let (mut reader, writer) = io::pipe().unwrap();
        let large = Fields::default().with("command", &vec![b'x'; PACKET_MAX - 100]);
        client.send(&large, &[writer.as_fd()]).unwrap();
        drop((client, writer));
        let (fields, fds) = server.receive().unwrap().unwrap();
        assert_eq!(fields, large);
        std::fs::File::from(fds.into_iter().next().unwrap()).set_len(0).unwrap_err();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(server.receive().unwrap().is_none());
    }

    #[test]
    fn too_long_a_packet_is_refused_on_both_sides() {
        let (client, server) = connection();
        let long = Fields::default().with("x", &vec![b'x'; PACKET_MAX]);
        assert_eq!(client.send(&long, &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        rustix::net::send(&client.0, &vec![b'x'; PACKET_MAX + 2], SendFlags::empty()).unwrap();
        assert_eq!(server.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_packet_that_is_peeked_at_stays_with_its_descriptors() {
        let (client, server) = connection();
        assert_eq!(server.peer_pid().unwrap(), i32::try_from(std::process::id()).unwrap());
        let (mut reader, writer) = io::pipe().unwrap();
        let fields = Fields::default().with("ready", b"1");
        client.send(&fields, &[writer.as_fd()]).unwrap();
        drop(writer);
        for _ in 0..2 {
            assert_eq!(server.peek().unwrap().as_ref(), Some(&fields));
        }
        // The packet still holds the writing end, so the pipe is open.
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let (_, fds) = server.receive().unwrap().unwrap();
        assert_eq!(fds.len(), 1);
        drop((client, fds));
        soon(|| reader.read(&mut [0]).is_ok_and(|count| count == 0));
        assert!(server.peek().unwrap().is_none());
    }

    #[test]
    fn every_wait_has_a_timeout() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Socket::listen(&path).unwrap();
        let client = Socket::connect(&path, Duration::from_millis(20)).unwrap();
        assert_eq!(client.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        soon(|| Socket::connect(&path, Duration::from_secs(5)).is_err_and(refused));
    }
}
