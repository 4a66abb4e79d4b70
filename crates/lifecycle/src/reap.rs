//! `sshbox-reap`: stops boxes that nobody uses. Run by a timer, as root and hardened. It goes
//! past what fails, says of each box what became of it and why, and when it does not know
//! whether somebody is there, then somebody is.

use crate::engine::{Engine, Listed};
use crate::spec::ContainerState;
use clap::{CommandFactory as _, Parser};
use futures_util::StreamExt as _;
use futures_util::stream;
use host::cache::Cache;
use host::config::{self, Config};
use identity::Login;
use session::clock::boottime;
use session::deadlines::{REAP, STOP};
use session::escape::printable;
use session::exit::{self, ExitStatus, chain};
use session::journal::{Event, Field, FieldValue, log};
use session::presence::{RUN, UserRuntimeDir, reaper_at_work, reaper_lock};
use session::process::end_after;
use session::texts::nobody_used_it;
use std::error::Error;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const PROGRAM: &str = "sshbox-reap";

/// Boxes that are stopped at the same time; each may take its whole grace.
const AT_ONCE: usize = 8;

/// Why a box is kept that has no idle timeout.
const NEVER: &str = "its idle timeout is never";

/// Stops boxes without a session for longer than their idle timeout.
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

/// All that may be typed, for the test that compares the manual with it.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The program.
#[must_use]
pub fn run() -> ExitCode {
    exit::on_panic(PROGRAM);
    let arguments: Arguments = match exit::arguments() {
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    let config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) if error.is_shortage() => return failed(ExitStatus::TryAgain, &error),
        Err(error) => return failed(ExitStatus::Config, &error),
    };
    if let Err(error) = end_after(REAP, || log(PROGRAM, Event::DeadlinePassed, &[])) {
        return failed(ExitStatus::TryAgain, &error);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(ExitStatus::TryAgain, &error),
    };
    runtime.block_on(reap(&config, arguments.dry_run))
}

fn failed(status: ExitStatus, error: &dyn Error) -> ExitCode {
    let error = chain(error);
    log(PROGRAM, Event::ReaperFailed, &[(Field::Error, &error)]);
    let _ = writeln!(io::stderr(), "{PROGRAM}: {error}");
    status.code().into()
}

async fn reap(config: &Config, dry_run: bool) -> ExitCode {
    // One reaper at a time: who comes second leaves the work to the first. One that changes nothing
    // makes no file and keeps no other from its work.
    let run = Path::new(RUN);
    let turn = if dry_run {
        reaper_at_work(run).map(|busy| (!busy).then_some(None))
    } else {
        reaper_lock(run).map(|held| held.map(Some))
    };
    let _turn = match turn {
        Ok(Some(turn)) => turn,
        Ok(None) => {
            let _ = writeln!(io::stdout(), "another reaper is at work");
            return ExitCode::SUCCESS;
        }
        Err(error) => return failed(ExitStatus::TryAgain, &error),
    };
    let engine = match Engine::connect(&config.engine).await {
        Ok(engine) => engine,
        Err(error) => return failed(ExitStatus::Unavailable, &error),
    };
    let boxes = match engine.running().await {
        Ok(boxes) => boxes,
        Err(error) => return failed(ExitStatus::Unavailable, &error),
    };
    let outcomes =
        stream::iter(&boxes).map(|one| judge(&engine, config, one, dry_run)).buffer_unordered(AT_ONCE);
    let failures = outcomes.filter(|went| std::future::ready(!went)).count().await;
    if failures == 0 { ExitCode::SUCCESS } else { ExitStatus::TryAgain.code().into() }
}

/// Judges one box and does what follows; whether that went well.
async fn judge(engine: &Engine, config: &Config, one: &Listed, dry_run: bool) -> bool {
    let began = Instant::now();
    let verdict = match Login::parse(one.user.as_bytes()) {
        Ok(login) => reap_one(engine, config, one, &login, dry_run).await,
        Err(error) => Err(error.into()),
    };
    let (went, what, reason) = match verdict {
        Ok(Verdict::Stopped(reason)) => {
            let fields: [FieldValue<'_>; 4] = [
                (Field::User, &one.user),
                (Field::By, &"reaper"),
                (Field::Reason, &reason),
                (Field::Duration, &began.elapsed().as_millis().to_string()),
            ];
            log(PROGRAM, Event::BoxStopped, &fields);
            (true, "stopped", reason)
        }
        // A kept box is no event; one entry each, every five minutes, would bury those that are.
        Ok(Verdict::Kept(reason)) => (true, "kept", reason),
        Ok(Verdict::WouldStop(reason)) => (true, "would stop", reason),
        Err(error) => {
            let error = chain(&*error);
            if !dry_run {
                log(PROGRAM, Event::StopFailed, &[(Field::User, &one.user), (Field::Error, &error)]);
            }
            (false, "failed", error)
        }
    };
    let (user, reason) = (printable(one.user.as_bytes()), printable(reason.as_bytes()));
    let _ = writeln!(io::stdout(), "{user}: {what}: {reason}");
    went
}

/// What became of a box, and why.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Kept(String),
    Stopped(String),
    WouldStop(String),
}

async fn reap_one(
    engine: &Engine,
    config: &Config,
    one: &Listed,
    login: &Login,
    dry_run: bool,
) -> Result<Verdict, Box<dyn Error>> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let account = Cache::new(&config.accounts.cache).read(login).map(|record| record.account);
    let timeout = account.and_then(|account| account.idle_timeout).unwrap_or(config.reap.idle_timeout).0;
    let kept = |reason: &str| Ok(Verdict::Kept(reason.to_owned()));
    let within = |timeout| kept(&format!("idle for less than {}", humantime::format_duration(timeout)));
    if !dry_run {
        runtime_dir.prepare()?;
    } else if !runtime_dir.is_prepared() {
        // Nothing is known, and nothing is written down.
        return timeout.map_or_else(|| kept(NEVER), within);
    }
    let Some(_transition) = runtime_dir.try_lock_state()? else {
        return kept("it is being started or stopped");
    };
    let saw = |moment| if dry_run { Ok(()) } else { runtime_dir.record_presence(moment) };
    let Some(_empty) = runtime_dir.try_lock_live()? else {
        saw(boottime())?;
        return kept("somebody is there");
    };
    let Some(timeout) = timeout else { return kept(NEVER) };
    let now = boottime();
    let seen = runtime_dir.last_presence()?;
    let Some(reason) = overdue(seen, now, timeout) else {
        if seen.is_none_or(|seen| seen > now) {
            // Unknown counts as just seen, from now on.
            saw(now)?;
        }
        return within(timeout);
    };
    // The listing is older than the locks: look again.
    match engine.find(&one.id).await? {
        Some(found)
            if found.state == ContainerState::Running
                && found.labels.as_ref().is_some_and(|labels| labels.user == one.user) => {}
        _ => return kept("it does not run any more"),
    }
    if dry_run {
        return Ok(Verdict::WouldStop(reason));
    }
    runtime_dir.write_stop_record(boottime(), &nobody_used_it(timeout))?;
    let stopped = tokio::time::timeout(STOP, engine.stop(&one.id, config.reap.grace.0));
    if let Err(error) = stopped.await.map_err(Box::from).and_then(|stopped| stopped.map_err(Box::from)) {
        // It goes on, as far as is known; nothing is to be told of an end.
        let _ = runtime_dir.take_stop_record();
        return Err(error);
    }
    Ok(Verdict::Stopped(reason))
}

/// Why a box without anybody in it is to be stopped, if it is.
fn overdue(seen: Option<Duration>, now: Duration, timeout: Duration) -> Option<String> {
    let idle = now.checked_sub(seen?)?;
    (idle >= timeout).then(|| {
        let seconds =
            |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
        format!("idle for {}, allowed are {}", seconds(idle), seconds(timeout))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_box_is_overdue_when_nobody_was_there_for_its_timeout() {
        let seen = Some(MINUTE * 100);
        assert_eq!(overdue(seen, MINUTE * 129, MINUTE * 30), None);
        assert_eq!(overdue(seen, MINUTE * 131, MINUTE * 30).unwrap(), "idle for 31m, allowed are 30m");
        assert!(overdue(seen, MINUTE * 100, Duration::ZERO).is_some());
    }

    #[test]
    fn f16_f26_unknown_and_future_moments_count_as_present() {
        assert_eq!(overdue(None, MINUTE * 1000, MINUTE), None);
        assert_eq!(overdue(Some(MINUTE * 1001), MINUTE * 1000, MINUTE), None);
    }
}
