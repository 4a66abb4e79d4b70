//! The hand-over: the host listens, the box gets the listening socket. Nothing but a box that
//! says it is ready counts as alive: engines call a box started that is about to die.

use super::engine_failed;
use crate::engine::Engine;
use crate::exit::{Failure, Status};
use crate::presence::Place;
use crate::spec::State;
use crate::wire::{Reply, Request, Socket};
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a box may take from its start to its first word.
const READY: Duration = Duration::from_secs(20);

/// How often to look whether a silent box has died.
const LOOK: Duration = Duration::from_millis(500);

/// How long the init of a running box may take to say that it is there.
const PING: Duration = Duration::from_secs(2);

/// How to make the box call us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Start it.
    Start,
    /// It runs; tell its init.
    Signal,
}

/// Whether the box takes sessions: its init answers a ping.
pub fn answers(place: &Place) -> bool {
    let ask = || {
        let socket = Socket::connect(&place.init_socket(), PING)?;
        socket.send(&(&Request::Ping).into(), &[])?;
        socket.receive()
    };
    matches!(ask(), Ok(Some((fields, _))) if Reply::parse(&fields) == Some(Reply::Started))
}

/// Gets the box going and hands it the socket at which it takes sessions.
pub async fn hand_over(engine: &Engine, place: &Place, id: &str, how: How) -> Result<(), Failure> {
    let unable = |error: io::Error| {
        Failure::because(
            Status::TryAgain,
            "the host cannot make room for your box; tell your admin",
            &error,
        )
    };
    // Both sockets are there before the box is: its first look finds them.
    let sessions = listen(&place.init_socket()).map_err(unable)?;
    place.give_init_socket().map_err(unable)?;
    let boot = listen(&place.boot_socket()).map_err(unable)?;
    place.give_boot_socket().map_err(unable)?;
    boot.set_patience(LOOK).map_err(unable)?;
    match how {
        How::Start => engine.start(id).await,
        How::Signal => engine.wake_init(id).await,
    }
    .map_err(engine_failed)?;
    let result = wait_for_box(engine, id, &boot, &sessions).await;
    let _ = fs::remove_file(place.boot_socket());
    result
}

fn listen(path: &Path) -> io::Result<Socket> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Socket::listen(path)
}

async fn wait_for_box(engine: &Engine, id: &str, boot: &Socket, sessions: &Socket) -> Result<(), Failure> {
    let until = Instant::now() + READY;
    while Instant::now() < until {
        // Nobody called yet, or whoever did hung up: look why.
        if let Ok(true) = boot.accept().and_then(|init| give(&init, sessions)) {
            return Ok(());
        }
        let found = engine.find(id).await.map_err(engine_failed)?;
        let dead = found.filter(|found| found.state != State::Running);
        if let Some(dead) = dead {
            let cause = format!("the box ended at once with exit code {}", dead.exit_code);
            let advice = "your box started and ended at once; tell your admin";
            return Err(Failure {
                cause,
                ..Failure::new(Status::Unavailable, advice)
            });
        }
    }
    Err(Failure::new(
        Status::TryAgain,
        "your box runs but does not answer; try again in a minute, then tell your admin",
    ))
}

/// Gives the listening socket to the init that called; whether it is ready to use it.
fn give(init: &Socket, sessions: &Socket) -> io::Result<bool> {
    init.set_patience(PING)?;
    init.send(
        &crate::wire::Fields::default().with("listen", b""),
        &[sessions.as_fd()],
    )?;
    Ok(init
        .receive()?
        .is_some_and(|(fields, _)| fields.get("ready").is_some()))
}
