//! How our programs talk to each other: Unix sockets of type `SOCK_SEQPACKET`, one packet a
//! message, file descriptors beside it. The messages of both sockets are defined here.
//!
//! A packet is a list of fields `name=value`, each ended by a NUL, as in an environment:
//! values may hold any byte but NUL, and fields that the reader does not know are skipped,
//! so that a box started by one release understands the shell of another.

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

/// Version of the messages, sent with each request.
pub const VERSION: &str = "1";

/// Longest packet, in bytes; the kernel's default send buffer (`net.core.wmem_default`) takes it.
pub const PACKET_MAX: usize = 200_000;

/// The command that stands for the file transfer subsystem, see `Subsystem` in `sshd_config.d`.
pub const SFTP: &str = "internal-sftp";

/// Most descriptors that travel with one packet.
const FDS_MAX: usize = 3;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// One end of a connection, or a listening socket.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// A listening socket at `path`, which must not exist.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let socket = new()?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self(socket))
    }

    /// Connects to `path`; no step from here on lasts longer than `patience`.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` when nobody listens, `WouldBlock` when they are busy.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Self> {
        let socket = Self(new()?);
        socket.set_patience(patience)?;
        retry_on_intr(|| rustix::net::connect(&socket.0, &SocketAddrUnix::new(path)?))?;
        Ok(socket)
    }

    /// Takes over a descriptor that came from elsewhere.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Accepts one connection.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn accept(&self) -> io::Result<Self> {
        Ok(Self(retry_on_intr(|| rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC))?))
    }

    /// Gives up each later step after this time.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, Some(patience))?;
        sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Send, Some(patience))?;
        Ok(())
    }

    /// The uid of the process at the other end, attested by the kernel.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn peer_uid(&self) -> io::Result<u32> {
        Ok(sockopt::socket_peercred(&self.0)?.uid.as_raw())
    }

    /// The number of the process at the other end, attested by the kernel: that of the process
    /// which connected, or which began to listen.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn peer_pid(&self) -> io::Result<i32> {
        Ok(sockopt::socket_peercred(&self.0)?.pid.as_raw_nonzero().get())
    }

    /// Sends one packet.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` when the packet is too long.
    pub fn send(&self, fields: &Fields, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if fields.0.len() > PACKET_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
        }
        let packet = [IoSlice::new(&fields.0)];
        retry_on_intr(|| rustix::net::sendmsg(&self.0, &packet, &mut control, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// Receives one packet with its descriptors; `None` at the end of the connection.
    ///
    /// # Errors
    /// What the kernel says; `InvalidData` when the packet is too long for us.
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

    /// Reads the packet that comes next and leaves it where it is. Descriptors beside it are
    /// neither received nor dropped: dropping the last copy of a socket blocks for as long as
    /// its sender chose (`SO_LINGER` of `socket(7)`).
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
        Ok(Some(Fields(packet)))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn new() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// A packet: `name=value` fields, each ended by a NUL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// Adds a field. What stands behind a NUL in `value` is dropped: none can come out of
    /// an environment or an argument.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        let value = value.split(|byte| *byte == 0).next().unwrap_or_default();
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(0);
        self
    }

    /// Length of the packet in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// Whether one more field with so many bytes of name and value fits into a packet.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.0.len() + bytes + 2 <= PACKET_MAX
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.split(|byte| *byte == 0).filter_map(|field| {
            let at = field.iter().position(|byte| *byte == b'=')?;
            let (name, value) = field.split_at(at);
            Some((name, value.get(1..)?))
        })
    }

    /// The first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    /// The first field of this name, if it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// The first field of this name, if it is a value of this type.
    #[must_use]
    pub fn parse<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }
}

/// What may be asked of `sshbox-wake`: by `sshbox-shell` for the box of its own user, by root
/// for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Have it running; answers `running`.
    Wake,
    /// Stop it; answers `stopped` with how many ran: `1` or `0`.
    Stop,
    /// The same, to be followed by [`Verb::Wake`].
    Restart,
    /// Look at it; answers `box` with JSON.
    Status,
    /// Why it stopped just now; answers `why`.
    StopReason,
    /// The keys of its user's account; answers `key` for each, `left_out` with how many did not
    /// fit, and `managed` with where they are managed.
    Keys,
}

impl Verb {
    const ALL: [Self; 6] =
        [Self::Wake, Self::Stop, Self::Restart, Self::Status, Self::StopReason, Self::Keys];

    fn name(self) -> &'static str {
        match self {
            Self::Wake => "wake",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Status => "status",
            Self::StopReason => "why",
            Self::Keys => "keys",
        }
    }

    /// The request, in the name of `login`, for the session of this reference.
    #[must_use]
    pub fn request(self, login: &str, reference: &str) -> Fields {
        Fields::default().with(self.name(), login.as_bytes()).with("ref", reference.as_bytes())
    }

    /// Asks at `socket` in the name of `login`, with the reference of who asks; `None` when that
    /// closes without an answer.
    ///
    /// # Errors
    /// What the kernel says: nobody listens, or no answer came within `patience`.
    pub fn ask(
        self,
        login: &str,
        reference: &str,
        socket: &Path,
        patience: Duration,
    ) -> io::Result<Option<Fields>> {
        let socket = Socket::connect(socket, patience)?;
        socket.send(&self.request(login, reference), &[])?;
        Ok(socket.receive()?.map(|(fields, _)| fields))
    }

    /// Reads a request: the verb and the name that it came with.
    #[must_use]
    pub fn parse(fields: &Fields) -> Option<(Self, &[u8])> {
        let (name, login) = fields.iter().next()?;
        Some((Self::ALL.into_iter().find(|verb| verb.name().as_bytes() == name)?, login))
    }
}

/// What the init of a box says first, with the name of the user there. Before it has, nothing
/// is sent to it: a box that is frozen would keep a command, and sshd's own pipes with it, and
/// run it when nobody waits.
#[must_use]
pub fn hello(user: &[u8]) -> Fields {
    Fields::default().with("hello", VERSION.as_bytes()).with("user", user)
}

/// Whether this is what an init says first.
#[must_use]
pub fn is_hello(fields: &Fields) -> bool {
    fields.get("hello").is_some()
}

/// A session that `sshbox-shell` asks the init of a box for. Without a terminal, the
/// descriptors 0, 1 and 2 travel beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The program.
    pub run: Run,
    /// Variables from the client's side.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// The terminal, if it wants one: its size as `rows:columns:width:height` and its modes
    /// as `tty::Modes` writes them.
    pub terminal: Option<(String, String)>,
}

/// What a session runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// The login shell.
    Shell,
    /// A command for the user's shell.
    Command(Vec<u8>),
    /// The file transfer server.
    Sftp,
    /// An SSH server that lets in who has this key, `type base64`.
    Sshd(String),
}

impl Run {
    /// What sshd says that the client wants: its `SSH_ORIGINAL_COMMAND`.
    #[must_use]
    pub fn of(original: Option<Vec<u8>>) -> Self {
        match original {
            None => Self::Shell,
            Some(command) if command == SFTP.as_bytes() => Self::Sftp,
            Some(command) => Self::Command(command),
        }
    }
}

/// What `sshbox-shell` says when it has heard how a session ended and its client is still
/// there. Without it the client has vanished, and what is left of the session is hung up.
#[must_use]
pub fn goodbye() -> Fields {
    Fields::default().with("goodbye", b"")
}

impl From<&Request> for Fields {
    fn from(request: &Request) -> Self {
        let fields = Self::default().with("sshbox", VERSION.as_bytes());
        let mut fields = match &request.run {
            Run::Shell => fields.with("ask", b"shell"),
            Run::Sftp => fields.with("ask", b"sftp"),
            Run::Command(command) => fields.with("ask", b"command").with("command", command),
            Run::Sshd(key) => fields.with("ask", b"sshd").with("key", key.as_bytes()),
        };
        if let Some((size, modes)) = &request.terminal {
            fields = fields.with("size", size.as_bytes()).with("modes", modes.as_bytes());
        }
        for (name, value) in &request.environment {
            fields = fields.with("env", &[name, &b"="[..], value].concat());
        }
        fields
    }
}

impl Request {
    /// Reads a request; `None` when it is not one that we understand.
    #[must_use]
    pub fn parse(fields: &Fields) -> Option<Self> {
        let run = match fields.get("ask")? {
            b"shell" => Run::Shell,
            b"sftp" => Run::Sftp,
            b"command" => Run::Command(fields.get("command")?.to_vec()),
            b"sshd" => Run::Sshd(fields.text("key")?.to_owned()),
            _ => return None,
        };
        let environment = fields.iter().filter(|(name, _)| *name == b"env").filter_map(|(_, value)| {
            let at = value.iter().position(|byte| *byte == b'=')?;
            let (name, value) = value.split_at(at);
            Some((name.to_vec(), value.get(1..)?.to_vec()))
        });
        let terminal = fields
            .text("size")
            .map(|size| (size.to_owned(), fields.text("modes").unwrap_or_default().to_owned()));
        Some(Self { run, environment: environment.collect(), terminal })
    }
}

/// What the init of a box answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The session has begun. The terminal's master travels beside it.
    Started,
    /// The program ended with this status.
    Exited(u8),
    /// The program died by this signal.
    Killed(i32),
    /// The kernel killed the program because the box had no memory left.
    Starved,
    /// The session could not begin; the text is for the user.
    Failed(String),
}

impl From<&Reply> for Fields {
    fn from(reply: &Reply) -> Self {
        match reply {
            Reply::Started => Self::default().with("started", b""),
            Reply::Exited(status) => Self::default().with("exited", status.to_string().as_bytes()),
            Reply::Killed(signal) => Self::default().with("killed", signal.to_string().as_bytes()),
            Reply::Starved => Self::default().with("killed", b"9").with("memory", b""),
            Reply::Failed(text) => Self::default().with("failed", text.as_bytes()),
        }
    }
}

impl Reply {
    /// Reads a reply; `None` when it is not one that we understand.
    #[must_use]
    pub fn parse(fields: &Fields) -> Option<Self> {
        match fields.iter().next()?.0 {
            b"started" => Some(Self::Started),
            b"exited" => fields.parse("exited").map(Self::Exited),
            b"killed" if fields.get("memory").is_some() => Some(Self::Starved),
            b"killed" => fields.parse("killed").map(Self::Killed),
            b"failed" => Some(Self::Failed(fields.text("failed")?.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn round(request: &Request) {
        assert_eq!(Request::parse(&Fields::from(request)).as_ref(), Some(request));
    }

    #[test]
    fn requests_survive_with_every_byte_that_can_occur() {
        let every: Vec<u8> = (1..=255).collect();
        round(&Request { run: Run::Sftp, environment: vec![], terminal: None });
        let key = "ssh-ed25519 AAAA".to_owned();
        round(&Request { run: Run::Sshd(key), environment: vec![], terminal: None });
        round(&Request {
            run: Run::Command(every.clone()),
            environment: vec![(b"LC_ALL".to_vec(), every), (b"LANG".to_vec(), vec![])],
            terminal: Some(("24:80:0:0".to_owned(), "1:2:3:4:5".to_owned())),
        });
    }

    #[test]
    fn replies_survive() {
        for reply in [
            Reply::Started,
            Reply::Exited(255),
            Reply::Killed(9),
            Reply::Starved,
            Reply::Failed("no".to_owned()),
        ] {
            assert_eq!(Reply::parse(&Fields::from(&reply)), Some(reply));
        }
    }

    #[test]
    fn a10_garbage_is_no_reply() {
        for garbage in [
            &b""[..],
            b"\0\0\0",
            b"exited=256\0",
            b"exited=\0",
            b"killed=x\0",
            b"started",
            b"=\0",
            b"failed=\xff\0",
        ] {
            assert_eq!(Reply::parse(&Fields(garbage.to_vec())), None, "{garbage:?}");
            assert_eq!(Request::parse(&Fields(garbage.to_vec())), None, "{garbage:?}");
        }
    }

    #[test]
    fn packets_and_descriptors_arrive_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Socket::listen(&path).unwrap();
        let client = Socket::connect(&path, Duration::from_secs(5)).unwrap();
        let server = listener.accept().unwrap();
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
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Socket::listen(&path).unwrap();
        let client = Socket::connect(&path, Duration::from_secs(5)).unwrap();
        let server = listener.accept().unwrap();
        let long = Fields::default().with("x", &vec![b'x'; PACKET_MAX]);
        assert_eq!(client.send(&long, &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        rustix::net::send(&client.0, &vec![b'x'; PACKET_MAX + 2], SendFlags::empty()).unwrap();
        assert_eq!(server.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_packet_that_is_peeked_at_stays_with_its_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Socket::listen(&path).unwrap();
        let client = Socket::connect(&path, Duration::from_secs(5)).unwrap();
        let server = listener.accept().unwrap();
        assert_eq!(server.peer_pid().unwrap(), i32::try_from(std::process::id()).unwrap());
        let (mut reader, writer) = io::pipe().unwrap();
        let fields = Fields::default().with("ready", b"1");
        client.send(&fields, &[writer.as_fd()]).unwrap();
        drop(writer);
        for _ in 0..2 {
            assert_eq!(server.peek().unwrap().as_ref(), Some(&fields));
        }
        // The writer lives on in the packet: there is no end yet.
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let (_, fds) = server.receive().unwrap().unwrap();
        assert_eq!(fds.len(), 1);
        drop((client, fds));
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        assert!(server.peek().unwrap().is_none());
    }

    #[test]
    fn nobody_waits_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Socket::listen(&path).unwrap();
        let client = Socket::connect(&path, Duration::from_millis(20)).unwrap();
        assert_eq!(client.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        let refused = Socket::connect(&path, Duration::from_secs(5)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
