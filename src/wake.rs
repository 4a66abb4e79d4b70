//! `sshbox-wake`: makes sure that the box of one user runs and takes sessions. One process per
//! request, started by the connection to `wake.sock`, as root and hardened. It takes one word
//! from outside, the login name, and the kernel says whether that is the caller's.

mod handover;

use crate::account::Account;
use crate::cache::Cache;
use crate::config::{self, Config};
use crate::engine::{Engine, EngineError};
use crate::exit::{self, Failure, Status, chain};
use crate::home::{self, HomeError};
use crate::journal::{Level, log};
use crate::presence::{Place, RUN};
use crate::spec::{Found, Spec, Step, next};
use crate::wire::{Fields, Socket};
use clap::Parser;
use handover::{Doors, Handed, answers};
use identity::Login;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const PROGRAM: &str = "sshbox-wake";

/// How long the caller may take to say whose box it wants.
const REQUEST: Duration = Duration::from_secs(2);

/// How long to wait for another start or stop of the same box, each bounded like ours.
const TRANSITION: Duration = Duration::from_secs(45);

/// How long to wait for another of us who makes the network.
const NETWORK: Duration = Duration::from_secs(10);

/// How long the steps of one start may take together, whatever their single deadlines allow.
const START: Duration = Duration::from_secs(80);

/// How often the state of a box may change under our hands before we give up.
const ATTEMPTS: u32 = 20;

/// Time between two looks at a box that is on its way elsewhere.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts or wakes the box of the user who is connected to stdin.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
struct Arguments {
    /// Configuration file
    #[arg(long, default_value = config::PATH)]
    config: PathBuf,
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Arguments = match exit::arguments() {
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    let Ok(socket) = io::stdin().as_fd().try_clone_to_owned().map(Socket::from_fd) else {
        return Status::Internal.code().into();
    };
    let answer = match serve(&socket, &arguments.config) {
        Ok(()) => Fields::default().with("running", b""),
        Err(failure) => Fields::default()
            .with("failed", failure.advice.as_bytes())
            .with("status", failure.status.code().to_string().as_bytes())
            .with("ref", failure.reference.to_string().as_bytes()),
    };
    // A caller who left does not need it.
    let _ = socket.send(&answer, &[]);
    ExitCode::SUCCESS
}

fn serve(socket: &Socket, config: &Path) -> Result<(), Failure> {
    let login = caller(socket).inspect_err(|failure| report(failure, "unknown"))?;
    let begun = Instant::now();
    let done = config::load(config).map_err(unusable).and_then(|config| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                Failure::because(
                    Status::TryAgain,
                    "the host is short of resources; try again in a minute",
                    &error,
                )
            })?;
        runtime.block_on(bring_up(&config, &login))
    });
    match done {
        Ok(what) => {
            let took = begun.elapsed().as_millis().to_string();
            log(PROGRAM, Level::Info, what, &[("user", login.as_str()), ("ms", &took)]);
            Ok(())
        }
        Err(failure) => {
            report(&failure, login.as_str());
            Err(failure)
        }
    }
}

fn report(failure: &Failure, user: &str) {
    let fields = [
        ("user", user),
        ("error", &*failure.cause),
        ("status", &failure.status.code().to_string()),
        ("ref", &failure.reference.to_string()),
    ];
    log(PROGRAM, Level::Warning, "wake failed", &fields);
}

/// Who calls: the name that was sent, if the kernel attests its uid.
fn caller(socket: &Socket) -> Result<Login, Failure> {
    let refused = |cause: String| Failure { cause, ..Failure::new(Status::Refused, "this box is not yours") };
    let read = || {
        socket.set_patience(REQUEST)?;
        Ok::<_, io::Error>((socket.peer_uid()?, socket.receive()?))
    };
    let (uid, request) = read().map_err(|error| refused(format!("no request: {error}")))?;
    let fields = request.map(|(fields, _)| fields).unwrap_or_default();
    let name = fields.get("wake").ok_or_else(|| refused(format!("uid {uid} sent no name")))?;
    let login =
        Login::parse(name).map_err(|error| refused(format!("uid {uid} sent a name that is {error}")))?;
    if uid != login.uid() {
        return Err(refused(format!("uid {uid} asked for the box of {login}, whose uid is {}", login.uid())));
    }
    Ok(login)
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn unusable(error: config::ConfigError) -> Failure {
    Failure::because(Status::Config, "sshbox is not set up right; tell your admin", &error)
}

/// Brings the box up and returns what that took, for the journal.
async fn bring_up(config: &Config, login: &Login) -> Result<&'static str, Failure> {
    let run = Path::new(RUN);
    let place = Place::of(run, login);
    place.prepare().map_err(|error| {
        Failure::because(Status::TryAgain, "the host cannot make room for your box; tell your admin", &error)
    })?;
    // From here on nobody else starts or stops this box.
    let _transition = place.transition(TRANSITION).map_err(|error| {
        Failure::because(
            Status::TryAgain,
            "your box is being started or stopped; try again in a minute",
            &error,
        )
    })?;
    let account = account(config, login)?;
    let home =
        home::claim(&config.a_box.home, login, account.id.as_deref(), config.a_box.user).map_err(no_home)?;
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let spec = Spec::new(&config.a_box, login, &account, home, place.seen_by_box().to_owned());
    let done = tokio::time::timeout(START, advance(&engine, &place, spec)).await.map_err(|error| {
        let advice = "your box takes too long to start; try again in a minute, then tell your admin";
        Failure::because(Status::TryAgain, advice, &error)
    })??;
    place.belongs_to(account.id.as_deref().unwrap_or_default()).map_err(|error| {
        Failure::because(Status::TryAgain, "the host cannot make room for your box; tell your admin", &error)
    })?;
    Ok(done)
}

/// The account that `sshbox-keys` left in the cache a moment ago.
fn account(config: &Config, login: &Login) -> Result<Account, Failure> {
    let record = Cache::new(&config.accounts.cache).read(login);
    record.map(|record| record.account).ok_or_else(|| {
        Failure::new(Status::TryAgain, "your account is not known here; log in again, then tell your admin")
    })
}

/// Goes from whatever there is to a box that answers, one step after the other.
async fn advance(engine: &Engine, place: &Place, spec: Spec) -> Result<&'static str, Failure> {
    let image_id = engine.image_id(&spec.image).await.map_err(engine_failed)?;
    let spec = spec.of_image(image_id.as_deref().unwrap_or_default());
    for attempt in 0..ATTEMPTS {
        let found = engine.find(&spec.name).await.map_err(engine_failed)?;
        match step(found.as_ref(), &spec, image_id.is_some()) {
            (Step::Refuse, _) => return Err(foreign(&spec.name)),
            (Step::Create, _) => match create(engine, &spec).await? {
                Some(id) if start(engine, place, &id).await? => return Ok("box created"),
                _ => pause(attempt).await,
            },
            (Step::Start, Some(found)) => {
                if start(engine, place, &found.id).await? {
                    return Ok("box started");
                }
                // What it was made with is gone, its network for one. The home stays.
                engine.remove(&found.id).await.map_err(engine_failed)?;
            }
            (Step::Ask, Some(_)) if answers(place) => return Ok("box runs"),
            (Step::Ask, Some(found)) => {
                let doors = Doors::open(place)?;
                engine.wake_init(&found.id).await.map_err(engine_failed)?;
                if doors.hand_over(engine, &found.id).await? == Handed::Over {
                    return Ok("box reconnected");
                }
                // It was being stopped; from the next look on it is one that can be started.
            }
            (Step::Unpause, Some(found)) => engine.unpause(&found.id).await.map_err(engine_failed)?,
            (Step::Recreate, Some(found)) => match engine.remove(&found.id).await {
                // It is being removed already, or was started by somebody else.
                Err(EngineError::Conflict(..)) => pause(attempt).await,
                other => other.map_err(engine_failed)?,
            },
            (_, _) => pause(attempt).await,
        }
    }
    Err(Failure::new(
        Status::TryAgain,
        "your box does not come to rest; try again in a minute, then tell your admin",
    ))
}

/// The next step, as far as it can be taken without the image: a box that exists starts.
fn step<'a>(found: Option<&'a Found>, spec: &Spec, image: bool) -> (Step, Option<&'a Found>) {
    match next(found, spec) {
        Step::Recreate if !image && found.is_some_and(|found| found.state == crate::spec::State::Stopped) => {
            (Step::Start, found)
        }
        step => (step, found),
    }
}

/// Makes the box; `None` when somebody else made one of this name meanwhile.
async fn create(engine: &Engine, spec: &Spec) -> Result<Option<String>, Failure> {
    if spec.image_id.is_empty() {
        let cause = format!("image {} is not on this host", spec.image);
        let advice = "the image of your box is not on this host; tell your admin";
        return Err(Failure { cause, ..Failure::new(Status::Unavailable, advice) });
    }
    ensure_network(engine, &spec.network).await?;
    match engine.create(spec).await {
        Ok(id) => Ok(Some(id)),
        Err(EngineError::Conflict(..)) => Ok(None),
        Err(error) => Err(engine_failed(error)),
    }
}

/// Starts the box and hands over; `false` when it has gone, or something that it needs.
async fn start(engine: &Engine, place: &Place, id: &str) -> Result<bool, Failure> {
    let doors = Doors::open(place)?;
    match engine.start(id).await {
        Ok(()) => match doors.hand_over(engine, id).await? {
            Handed::Over => Ok(true),
            Handed::Gone(code) => {
                let cause = format!("the box ended at once with exit code {code}");
                let advice = "your box started and ended at once; try again, then tell your admin";
                Err(Failure { cause, ..Failure::new(Status::Unavailable, advice) })
            }
        },
        Err(EngineError::NotFound(..)) => Ok(false),
        Err(error) => Err(engine_failed(error)),
    }
}

/// Docker would make two networks of one name, so one of us at a time makes it.
async fn ensure_network(engine: &Engine, name: &str) -> Result<(), Failure> {
    if engine.has_network(name).await.map_err(engine_failed)? {
        return Ok(());
    }
    let _turn = crate::presence::host_lock(Path::new(RUN), NETWORK).map_err(|error| {
        let advice = "the network of the boxes is being made; try again in a minute";
        Failure::because(Status::TryAgain, advice, &error)
    })?;
    if engine.has_network(name).await.map_err(engine_failed)? {
        return Ok(());
    }
    engine.make_network(name).await.map_err(engine_failed)
}

/// A little longer each time, and not the same for all who wait.
async fn pause(attempt: u32) {
    let jitter = Duration::from_millis(u64::from(std::process::id() % 100));
    tokio::time::sleep(PAUSE * (attempt + 1).min(5) + jitter).await;
}

fn foreign(name: &str) -> Failure {
    let cause = format!("container {name} exists and is not ours: it has not our labels");
    let advice = "a container that is not yours has the name of your box; tell your admin";
    Failure { cause, ..Failure::new(Status::Refused, advice) }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn no_home(error: HomeError) -> Failure {
    match error {
        HomeError::OtherAccount { .. } => Failure::because(
            Status::Refused,
            "the home of this name belongs to an earlier account; your admin must decide what becomes of it",
            &error,
        ),
        _ => Failure::because(Status::Unavailable, "your home cannot be opened; tell your admin", &error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn engine_failed(error: EngineError) -> Failure {
    let (status, advice) = match error {
        EngineError::Unreachable(..) => {
            (Status::Unavailable, "boxes cannot be started now: Docker does not run; tell your admin")
        }
        EngineError::Timeout(..) => (
            Status::TryAgain,
            "Docker is too slow to start your box; try again in a minute, then tell your admin",
        ),
        _ => (Status::Unavailable, "Docker cannot start your box; tell your admin"),
    };
    Failure { cause: chain(&error), ..Failure::new(status, advice) }
}
