//! The hand-over: the host listens, the box gets the listening socket. Nothing but a box that
//! says it is ready counts as alive: engines call a box started that is about to die.
//!
//! Any program of the box can connect to `boot.sock`; only its init is served. What the others
//! put into a connection is neither received nor dropped while `state.lock` is held.

use super::{engine_failed, no_room};
use crate::engine::Engine;
use crate::spec::ContainerState;
use session::deadlines::{INIT_ANSWER, READY};
use session::exit::{ExitStatus, Failure};
use session::presence::UserRuntimeDir;
use session::texts;
use session::times::later;
use session::wire::{Fields, Socket, is_hello};
use std::fs;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often to look whether a silent box has died.
const LOOK: Duration = Duration::from_millis(500);

/// Callers that are not the init; each costs a descriptor until this process ends.
const STRANGERS: usize = 64;

/// What became of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// The box takes sessions.
    Over,
    /// It ended with this exit code.
    Gone(i64),
}

/// A socket that a box can put descriptors into. It stays open until this process ends:
/// closing it would drop them, which can block for as long as the box wishes (`SO_LINGER`). The
/// kernel does not wait so for a process that ends.
struct OfBox(ManuallyDrop<Socket>);

impl OfBox {
    fn new(socket: Socket) -> Self {
        Self(ManuallyDrop::new(socket))
    }
}

/// Whether the box takes sessions: its init says hello.
pub fn answers(runtime_dir: &UserRuntimeDir) -> bool {
    let Ok(socket) = Socket::connect(&runtime_dir.init_socket(), INIT_ANSWER) else {
        return false;
    };
    matches!(OfBox::new(socket).0.peek(), Ok(Some(fields)) if is_hello(&fields))
}

/// The two sockets of a box, listening: the one that it will take sessions at, and the one
/// where it fetches the first.
pub struct Doors<'a> {
    runtime_dir: &'a UserRuntimeDir,
    sessions: Socket,
    boot: OfBox,
}

impl<'a> Doors<'a> {
    /// Opens both. To be done before the box starts: its first look must find them.
    pub fn open(runtime_dir: &'a UserRuntimeDir) -> Result<Self, Failure> {
        let open = || {
            let sessions = listen(&runtime_dir.init_socket())?;
            runtime_dir.give_init_socket()?;
            let boot = OfBox::new(listen(&runtime_dir.boot_socket())?);
            runtime_dir.give_boot_socket()?;
            boot.0.set_patience(LOOK)?;
            Ok::<_, io::Error>(Self { runtime_dir, sessions, boot })
        };
        open().map_err(no_room)
    }

    /// Waits for the call of the box's init and hands it its socket, together with the time that
    /// programs have when the box is stopped.
    pub async fn hand_over(self, engine: &Engine, id: &str, grace: Duration) -> Result<Handed, Failure> {
        let until = later(Instant::now(), READY);
        let mut strangers = 0;
        while Instant::now() < until && strangers < STRANGERS {
            let caller = self.boot.0.accept().map(OfBox::new);
            // After the call: the engine knows the number of an init that has called.
            let found = engine.find(id).await.map_err(engine_failed)?;
            if let Some(dead) = found.as_ref().filter(|found| found.state != ContainerState::Running) {
                return Ok(Handed::Gone(dead.exit_code));
            }
            let Ok(caller) = caller else { continue };
            let init = found.and_then(|found| found.pid);
            if init.is_none() || caller.0.peer_pid().ok() != init {
                strangers += 1;
            } else if let Ok(true) = give(&caller.0, &self.sessions, grace) {
                return Ok(Handed::Over);
            }
        }
        Err(Failure::new(ExitStatus::TryAgain, texts::NO_ANSWER))
    }
}

impl Drop for Doors<'_> {
    fn drop(&mut self) {
        // Nobody is to call any more, and the next start makes it anew.
        let _ = fs::remove_file(self.runtime_dir.boot_socket());
    }
}

fn listen(path: &Path) -> io::Result<Socket> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Socket::listen(path)
}

/// Gives the listening socket to the init that called; whether it is ready to use it.
fn give(init: &Socket, sessions: &Socket, grace: Duration) -> io::Result<bool> {
    init.set_patience(INIT_ANSWER)?;
    let grace = grace.as_secs().to_string();
    let fields = Fields::default().with("listen", b"").with("grace", grace.as_bytes());
    init.send(&fields, &[sessions.as_fd()])?;
    Ok(init.peek()?.is_some_and(|fields| fields.get("ready").is_some()))
}
