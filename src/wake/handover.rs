//! The hand-over: the host listens, the box gets the listening socket. Nothing but a box that
//! says it is ready counts as alive: engines call a box started that is about to die.

use super::{engine_failed, no_room};
use crate::engine::Engine;
use crate::exit::{Failure, Status};
use crate::presence::Place;
use crate::spec::State;
use crate::texts;
use crate::times::later;
use crate::wire::{Socket, is_hello};
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a box may take from its start to its first word.
const READY: Duration = Duration::from_secs(20);

/// How often to look whether a silent box has died.
const LOOK: Duration = Duration::from_millis(500);

/// How long the init of a running box may take to say hello, or that it is ready.
const ANSWER: Duration = Duration::from_secs(2);

/// What became of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// The box takes sessions.
    Over,
    /// It ended with this exit code.
    Gone(i64),
}

/// Whether the box takes sessions: its init says hello.
pub fn answers(place: &Place) -> bool {
    let heard = Socket::connect(&place.init_socket(), ANSWER).and_then(|socket| socket.receive());
    matches!(heard, Ok(Some((fields, _))) if is_hello(&fields))
}

/// The two sockets of a box, listening: the one that it will take sessions at, and the one
/// where it fetches the first.
pub struct Doors<'a> {
    place: &'a Place,
    sessions: Socket,
    boot: Socket,
}

impl<'a> Doors<'a> {
    /// Opens both. To be done before the box starts: its first look must find them.
    pub fn open(place: &'a Place) -> Result<Self, Failure> {
        let open = || {
            let sessions = listen(&place.init_socket())?;
            place.give_init_socket()?;
            let boot = listen(&place.boot_socket())?;
            place.give_boot_socket()?;
            boot.set_patience(LOOK)?;
            Ok::<_, io::Error>(Self { place, sessions, boot })
        };
        open().map_err(no_room)
    }

    /// Waits for the call of the box and hands it its socket.
    pub async fn hand_over(self, engine: &Engine, id: &str) -> Result<Handed, Failure> {
        let until = later(Instant::now(), READY);
        while Instant::now() < until {
            // Nobody called yet, or whoever did hung up: look why.
            if let Ok(true) = self.boot.accept().and_then(|init| give(&init, &self.sessions)) {
                return Ok(Handed::Over);
            }
            let found = engine.find(id).await.map_err(engine_failed)?;
            if let Some(dead) = found.filter(|found| found.state != State::Running) {
                return Ok(Handed::Gone(dead.exit_code));
            }
        }
        Err(Failure::new(Status::TryAgain, texts::NO_ANSWER))
    }
}

impl Drop for Doors<'_> {
    fn drop(&mut self) {
        // Nobody is to call any more, and the next start makes it anew.
        let _ = fs::remove_file(self.place.boot_socket());
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
fn give(init: &Socket, sessions: &Socket) -> io::Result<bool> {
    init.set_patience(ANSWER)?;
    init.send(&crate::wire::Fields::default().with("listen", b""), &[sessions.as_fd()])?;
    Ok(init.receive()?.is_some_and(|(fields, _)| fields.get("ready").is_some()))
}
