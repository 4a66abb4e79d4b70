//! `sshbox-reap`: stops boxes that have had no session and no connection for longer than their idle timeout.
//! A timer runs it as root, in a hardened unit. After an error with one box it continues with the others. If
//! it does not know when a box last had either, it assumes that the box has one now.

mod decision;

pub use decision::{Idle, KeepReason, ReapDecision};

use crate::container::ContainerState;
use crate::engine::{Engine, EngineError, ListedBox};
use crate::naming::ensure_name_of_listed;
use crate::runtime;
use clap::{CommandFactory as _, Parser};
use decision::decide;
use futures_util::StreamExt as _;
use futures_util::stream;
use host::cache::Cache;
use host::config::{self, Config};
use identity::Login;
use session::clock::boottime;
use session::deadlines::{REAP, STOP};
use session::escape::printable;
use session::exit::{self, ExitStatus, chain};
use session::held_signals::HeldSignals;
use session::journal::{Event, Field, FieldValue, log};
use session::presence::{RUN, UserRuntimeDir, reaper_at_work, reaper_lock};
use session::process::{die_by, end_after};
use session::texts::nobody_used_it;
use std::error::Error;
use std::fmt;
use std::future::{pending, ready};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const PROGRAM: &str = "sshbox-reap";

/// The most boxes that are stopped at the same time. A stop can take as long as `reap.grace`.
const CONCURRENT_STOPS: usize = 8;

/// Time until a signal is noticed while no box is done.
const SIGNAL_CHECK: Duration = Duration::from_millis(100);

/// Stop boxes that have had no session and no connection for longer than their idle timeout
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
struct Arguments {
    /// Configuration file
    #[arg(long, default_value = config::PATH)]
    config: PathBuf,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    exit::program(PROGRAM, reap_and_print)
}

/// The command line, for the test that compares it with the manual page.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

fn reap_and_print(Arguments { config, dry_run }: Arguments) -> ExitCode {
    let config = match config::load(&config) {
        Ok(config) => config,
        Err(error) => {
            report(&error);
            let status = if error.is_shortage() { ExitStatus::TryAgain } else { ExitStatus::Config };
            return failed(status, &error);
        }
    };
    let signals = match (!dry_run).then(HeldSignals::hold).transpose() {
        Ok(signals) => signals,
        Err(error) => return failed(ExitStatus::TryAgain, &ReapError::Setup(error)),
    };
    let mode = signals.as_ref().map_or(ReapMode::DryRun, |signals| ReapMode::Stop(signals, &|| ()));
    let mut all_succeeded = true;
    let reaped = reap(&config, mode, |one| {
        all_succeeded &= !matches!(one.outcome, ReapOutcome::Failed(_));
        let _ = writeln!(io::stdout(), "{one}");
    });
    if let Some(signal) = signals.and_then(|signals| signals.first()) {
        return die_by(signal);
    }
    match reaped {
        Ok(()) if all_succeeded => ExitCode::SUCCESS,
        Ok(()) => ExitStatus::TryAgain.code().into(),
        // No failure: the other reaper stops the idle boxes.
        Err(error @ ReapError::AnotherRuns) => {
            let _ = writeln!(io::stdout(), "{error}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(error.status(), &error),
    }
}

fn failed(status: ExitStatus, error: &dyn Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "{PROGRAM}: {}", chain(error));
    status.code().into()
}

fn report(error: &dyn Error) {
    log(PROGRAM, Event::ReaperFailed, &[(Field::Error, &chain(error))]);
}

/// A running box about which the reaper has decided: kept or stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedBox {
    /// The user that the container's label names. It need not be a login name.
    pub user: String,
    /// What was done with the box.
    pub outcome: ReapOutcome,
}

/// What was done with one box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReapOutcome {
    /// It was left running.
    Kept(KeepReason),
    /// It was stopped.
    Stopped(Idle),
    /// It would have been stopped without `--dry-run`.
    WouldStop(Idle),
    /// The decision or the stop failed, with this chain of causes.
    Failed(String),
}

impl ReapOutcome {
    /// The word for it in the output of `sshbox-reap` and in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kept(_) => "kept",
            Self::Stopped(_) => "stopped",
            Self::WouldStop(_) => "would stop",
            Self::Failed(_) => "failed",
        }
    }

    /// Why it was done, or the error.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Kept(reason) => reason.to_string(),
            Self::Stopped(idle) | Self::WouldStop(idle) => idle.to_string(),
            Self::Failed(error) => error.clone(),
        }
    }
}

impl fmt::Display for JudgedBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, reason) = (printable(self.user.as_bytes()), printable(self.outcome.reason().as_bytes()));
        write!(f, "{user}: {}: {reason}", self.outcome.name())
    }
}

/// Why the reaper has decided about no box.
#[derive(Debug)]
pub enum ReapError {
    /// Another reaper runs: it holds the lock.
    AnotherRuns,
    /// The thread for the deadline, the runtime or the lock file cannot be created.
    Setup(io::Error),
    /// The engine cannot be reached, or does not list the boxes.
    Engine(EngineError),
}

impl ReapError {
    /// The exit status of a program that ends with this error.
    #[must_use]
    pub fn status(&self) -> ExitStatus {
        match self {
            Self::AnotherRuns | Self::Setup(_) => ExitStatus::TryAgain,
            Self::Engine(_) => ExitStatus::Unavailable,
        }
    }
}

impl fmt::Display for ReapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnotherRuns => f.write_str("another reaper is at work"),
            Self::Setup(_) => f.write_str("cannot start to reap"),
            Self::Engine(_) => f.write_str("cannot list the boxes"),
        }
    }
}

impl Error for ReapError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::AnotherRuns => None,
            Self::Setup(error) => Some(error),
            Self::Engine(error) => Some(error),
        }
    }
}

/// Whether idle boxes are stopped.
#[derive(Clone, Copy)]
pub enum ReapMode<'a> {
    /// No box is stopped and no file changed.
    DryRun,
    /// Idle boxes are stopped until one of the signals arrives. Stops that have begun are finished then:
    /// the engine would go on with them after this process had released their locks. The function is
    /// called when a signal has arrived, possibly more than once.
    Stop(&'a HeldSignals, &'a dyn Fn()),
}

impl ReapMode<'_> {
    fn is_dry_run(self) -> bool {
        matches!(self, Self::DryRun)
    }

    /// Whether a signal has arrived.
    fn is_ending(self) -> bool {
        let Self::Stop(signals, on_signal) = self else { return false };
        let is_ending = signals.first().is_some();
        if is_ending {
            on_signal();
        }
        is_ending
    }
}

/// Decides about every running box, and stops those that are idle for too long unless this is a dry
/// run. Calls `each` for each box as soon as the decision is carried out. Also sets a deadline, at which
/// the whole process ends.
///
/// # Errors
/// [`ReapError`]; then no box was stopped, and `each` was not called.
pub fn reap(config: &Config, mode: ReapMode<'_>, each: impl FnMut(JudgedBox)) -> Result<(), ReapError> {
    let reaped = end_after(REAP, || log(PROGRAM, Event::DeadlinePassed, &[]))
        .and_then(|()| runtime::on_this_thread())
        .map_err(ReapError::Setup)
        .and_then(|runtime| runtime.block_on(reap_all(config, mode, each)));
    if let Err(error @ (ReapError::Setup(_) | ReapError::Engine(_))) = &reaped {
        report(error);
    }
    reaped
}

async fn reap_all(
    config: &Config,
    mode: ReapMode<'_>,
    mut each: impl FnMut(JudgedBox),
) -> Result<(), ReapError> {
    let (run, dry_run) = (Path::new(RUN), mode.is_dry_run());
    // A dry run creates no lock file, and does not keep another reaper from running.
    let lock = if dry_run {
        reaper_at_work(run).map(|at_work| (!at_work).then_some(None))
    } else {
        reaper_lock(run).map(|lock| lock.map(Some))
    };
    let _lock = lock.map_err(ReapError::Setup)?.ok_or(ReapError::AnotherRuns)?;
    let engine = Engine::connect(&config.engine).await.map_err(ReapError::Engine)?;
    let boxes = engine.running_boxes().await.map_err(ReapError::Engine)?;
    let boxes = stream::iter(boxes.into_iter().take_while(|_| !mode.is_ending()));
    let reaped = boxes.map(|listed| reap_one(&engine, config, listed, dry_run));
    let work = reaped.buffer_unordered(CONCURRENT_STOPS).for_each(|judged| {
        each(judged);
        ready(())
    });
    let watch = async {
        while !mode.is_ending() {
            sleep(SIGNAL_CHECK).await;
        }
        pending::<()>().await;
    };
    tokio::select! {
        () = work => {}
        () = watch => {}
    }
    Ok(())
}

/// Decides about one box, stops it if it is idle for too long, and logs a stop or an error.
async fn reap_one(engine: &Engine, config: &Config, listed: ListedBox, dry_run: bool) -> JudgedBox {
    let began = Instant::now();
    let outcome = match Login::parse(listed.user.as_bytes()) {
        Ok(login) => judge_and_stop(engine, config, &listed, &login, dry_run).await,
        Err(error) => Err(error.into()),
    };
    let outcome = outcome.unwrap_or_else(|error| ReapOutcome::Failed(chain(&*error)));
    match &outcome {
        ReapOutcome::Stopped(idle) => {
            let fields: [FieldValue<'_>; 4] = [
                (Field::User, &listed.user),
                (Field::By, &"reaper"),
                (Field::Reason, &idle.to_string()),
                (Field::Duration, &began.elapsed().as_millis().to_string()),
            ];
            log(PROGRAM, Event::BoxStopped, &fields);
        }
        ReapOutcome::Failed(error) if !dry_run => {
            log(PROGRAM, Event::StopFailed, &[(Field::User, &listed.user), (Field::Error, error)]);
        }
        // Not logged: an entry for each kept box every five minutes would hide the other entries.
        ReapOutcome::Kept(_) | ReapOutcome::WouldStop(_) | ReapOutcome::Failed(_) => {}
    }
    JudgedBox { user: listed.user, outcome }
}

async fn judge_and_stop(
    engine: &Engine,
    config: &Config,
    listed: &ListedBox,
    login: &Login,
    dry_run: bool,
) -> Result<ReapOutcome, Box<dyn Error>> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let account = Cache::new(&config.accounts.cache).read(login).map(|record| record.account);
    let timeout = account.and_then(|account| account.idle_timeout).unwrap_or(config.reap.idle_timeout).0;
    let kept = |reason| Ok(ReapOutcome::Kept(reason));
    if !dry_run {
        runtime_dir.prepare()?;
    } else if !runtime_dir.is_prepared() {
        // The box has no runtime directory, so the time of its last use is unknown. A real run would
        // create the directory and keep the box; a dry run creates nothing.
        return kept(timeout.map_or(KeepReason::NeverStops, KeepReason::IdleForLess));
    }
    let Some(_state_lock) = runtime_dir.try_lock_state()? else {
        return kept(KeepReason::Changing);
    };
    if !dry_run {
        ensure_name_of_listed(engine, PROGRAM, &config.container.name, listed).await;
    }
    let record_presence = |moment| if dry_run { Ok(()) } else { runtime_dir.record_presence(moment) };
    let Some(_live_lock) = runtime_dir.try_lock_live()? else {
        record_presence(boottime())?;
        let is_session = runtime_dir.open_sessions().map_or(true, |open| open > 0);
        return kept(if is_session { KeepReason::InUse } else { KeepReason::Connected });
    };
    // A lock file that cannot be read is no error for a box that is never stopped.
    let Some(timeout) = timeout else { return kept(KeepReason::NeverStops) };
    let (last_presence, now) = (runtime_dir.last_presence()?, boottime());
    let idle = match decide(last_presence, now, timeout) {
        ReapDecision::Keep(reason) => {
            if last_presence.is_none_or(|last| last > now) {
                // `decide` assumed a session at this time. The idle timeout counts from it.
                record_presence(now)?;
            }
            return kept(reason);
        }
        ReapDecision::Stop(idle) => idle,
    };
    // The box was listed before the locks were taken, and may have been stopped since.
    let is_running = engine.find(&listed.id).await?.is_some_and(|container| {
        container.state == ContainerState::Running && container.is_box_of(&listed.user)
    });
    if !is_running {
        return kept(KeepReason::NotRunning);
    }
    if dry_run {
        return Ok(ReapOutcome::WouldStop(idle));
    }
    stop(engine, config, &runtime_dir, &listed.id, idle.timeout).await?;
    Ok(ReapOutcome::Stopped(idle))
}

/// Stops one box. The next session tells the user why.
async fn stop(
    engine: &Engine,
    config: &Config,
    runtime_dir: &UserRuntimeDir,
    id: &str,
    timeout: Duration,
) -> Result<(), Box<dyn Error>> {
    runtime_dir.write_stop_record(boottime(), &nobody_used_it(timeout))?;
    let stopped: Result<(), Box<dyn Error>> =
        match tokio::time::timeout(STOP, engine.stop(id, config.reap.grace.0)).await {
            Ok(stopped) => stopped.map_err(Into::into),
            Err(error) => Err(error.into()),
        };
    stopped.inspect_err(|_| {
        // The box may still be running. Then the next session must not report a stop.
        let _ = runtime_dir.take_stop_record();
    })
}
