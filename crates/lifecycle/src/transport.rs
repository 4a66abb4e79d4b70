//! Transport: how sessions get into a running container, by file descriptors over `init.sock`.
//! The host creates the listening socket and hands it over to the init of the container, which
//! reports that it is ready. No other fact proves that a box works: an engine reports a container as
//! running even if it is about to exit. Knows no engine.
//!
//! Any process of the container can connect to `boot.sock`, but only its init gets the socket. While
//! `state.lock` is held, messages of other processes are not received, and their connections not closed.

use session::atomic;
use session::deadlines::{INIT_ANSWER, READY};
use session::presence::UserRuntimeDir;
use session::times::later;
use session::wire::{Fields, Socket, is_hello};
use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often to check whether a container whose init does not connect has exited.
const CHECK: Duration = Duration::from_millis(500);

/// The most connections from other processes than the init. Each keeps a file descriptor open until this
/// process exits.
const MAX_OTHERS: usize = 64;

/// Whether the init of a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitState {
    /// It is running, with this process id on the host if the engine knows it yet.
    Running(Option<i32>),
    /// It has exited with this code.
    Exited(i64),
}

/// Outcome of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// The container accepts sessions.
    Ready,
    /// Its init exited with this code.
    Exited(i64),
    /// Its init did not report that it is ready before the deadline.
    TimedOut,
}

/// A socket over which a container can send file descriptors. It is not closed before this process exits:
/// close(2) would also close descriptors that are in its queue, and closing a socket among them blocks for
/// as long as its sender has set (`SO_LINGER`). When a process exits, the kernel does not wait.
struct UntrustedSocket(ManuallyDrop<Socket>);

impl UntrustedSocket {
    fn new(socket: Socket) -> Self {
        Self(ManuallyDrop::new(socket))
    }
}

/// Whether a running container accepts sessions. Its init sends hello to each connection.
pub fn accepts_sessions(runtime_dir: &UserRuntimeDir) -> bool {
    let Ok(socket) = Socket::connect(&runtime_dir.init_socket(), INIT_ANSWER) else {
        return false;
    };
    matches!(UntrustedSocket::new(socket).0.peek(), Ok(Some(fields)) if is_hello(&fields))
}

/// The two listening sockets of a box: `init.sock` for sessions, and `boot.sock`, over which the init
/// receives the first one.
pub struct BoxSockets<'a> {
    runtime_dir: &'a UserRuntimeDir,
    sessions: Socket,
    boot: UntrustedSocket,
}

impl<'a> BoxSockets<'a> {
    /// Creates both sockets. Call this before the container starts, because its init connects at once.
    pub fn listen(runtime_dir: &'a UserRuntimeDir) -> io::Result<Self> {
        let sessions = listen(&runtime_dir.init_socket())?;
        runtime_dir.set_init_socket_owner()?;
        let boot = UntrustedSocket::new(listen(&runtime_dir.boot_socket())?);
        runtime_dir.set_boot_socket_mode()?;
        boot.0.set_patience(CHECK)?;
        Ok(Self { runtime_dir, sessions, boot })
    }

    /// Waits until the init of the container connects, and hands over the socket for sessions,
    /// together with the time that programs have when the container stops. `init_state` asks the
    /// engine about that container.
    pub async fn hand_over<E>(
        self,
        grace: Duration,
        init_state: impl AsyncFn() -> Result<InitState, E>,
    ) -> Result<HandOver, E> {
        let deadline = later(Instant::now(), READY);
        let mut others = 0;
        while Instant::now() < deadline && others < MAX_OTHERS {
            let caller = self.boot.0.accept().map(UntrustedSocket::new);
            // After accept(), since the engine knows the process id of an init that has connected.
            let init = match init_state().await? {
                InitState::Exited(code) => return Ok(HandOver::Exited(code)),
                InitState::Running(pid) => pid,
            };
            let Ok(caller) = caller else { continue };
            if init.is_none() || caller.0.peer_pid().ok() != init {
                others += 1;
            } else if let Ok(true) = send_socket(&caller.0, &self.sessions, grace) {
                return Ok(HandOver::Ready);
            }
        }
        Ok(HandOver::TimedOut)
    }
}

impl Drop for BoxSockets<'_> {
    fn drop(&mut self) {
        // Then no process can connect any more. The next start creates it again.
        let _ = fs::remove_file(self.runtime_dir.boot_socket());
    }
}

fn listen(path: &Path) -> io::Result<Socket> {
    atomic::remove(path)?;
    Socket::listen(path)
}

/// Sends the socket for sessions to the init that connected. Returns whether it replied that it is
/// ready.
fn send_socket(init: &Socket, sessions: &Socket, grace: Duration) -> io::Result<bool> {
    init.set_patience(INIT_ANSWER)?;
    let grace = grace.as_secs().to_string();
    let fields = Fields::default().with("listen", b"").with("grace", grace.as_bytes());
    init.send(&fields, &[sessions.as_fd()])?;
    Ok(init.peek()?.is_some_and(|fields| fields.get("ready").is_some()))
}
