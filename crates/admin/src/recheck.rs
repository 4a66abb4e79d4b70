//! `sshbox recheck`: asks the web app again about users with open connections, closes the connections of
//! users and keys that were removed, and applies changed limits to running boxes. A timer runs it every
//! minute. Without an answer it closes nothing.

mod due;
mod revoke;

use super::output;
use super::{explain, load_config, parse_login, tool};
use clap::Args;
use due::KnownUser;
use host::cache::Cache;
use host::config::Config;
use host::limits::ContainerLimits;
use host::recheck::{GROUP, RecheckAnswer, RecheckedUser};
use identity::Login;
use session::clock;
use session::deadlines::{RECHECK, RECHECK_ANSWERS, WAKING};
use session::exit::{ExitStatus, Failure};
use session::journal::{Event, Field, log};
use session::presence::{LockGuard, LoginAnswer, RUN, UserRuntimeDir, recheck_lock};
use session::times::later;
use session::wake_client;
use session::wire::Verb;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Ask the web app about users with open connections; end those of removed users and keys
#[derive(Debug, Args)]
pub struct Arguments {
    /// Ask about this user only, and at once
    #[arg(value_parser = parse_login)]
    user: Option<Login>,
    /// Print nothing
    #[arg(long)]
    quiet: bool,
}

/// Time between two attempts to begin while another check runs.
const RETRY: Duration = Duration::from_millis(100);

const TITLES: [&str; 4] = ["USER", "ANSWER", "CLOSED", "LIMITS"];

/// What was done about one user: a row of the table.
struct Row {
    user: String,
    answer: String,
    /// Number of connections that were closed.
    closed: usize,
    limits: &'static str,
}

/// Runs the command.
pub fn run(arguments: &Arguments, config_path: &Path) -> Result<ExitCode, Failure> {
    let config = load_config(config_path)?;
    let again = |error: &dyn std::error::Error| {
        Failure::because(ExitStatus::TryAgain, "try again in a moment", error)
    };
    let patience = if arguments.quiet { Duration::ZERO } else { RECHECK };
    let Some(_lock) = lock(patience).map_err(|error| again(&error))? else {
        // No failure for the timer: the other run does the work.
        return if arguments.quiet { Ok(ExitCode::SUCCESS) } else { Err(another_runs()) };
    };
    let end = later(Instant::now(), RECHECK);
    let users = match &arguments.user {
        Some(user) => vec![KnownUser { login: user.clone(), age: None, asked: None }],
        None => due::with_connections(Path::new(RUN), &Cache::new(&config.accounts.cache), &clock::now())
            .map_err(|error| again(&error))?,
    };
    let due: Vec<_> = users.iter().filter(|user| user.is_due(config.accounts.recheck.0)).collect();
    let mut answers = BTreeMap::new();
    let mut failure = None;
    for group in due.chunks(GROUP) {
        if Instant::now() >= end {
            break;
        }
        let replies = match ask(config_path, group) {
            Ok(replies) => replies,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        // An outage, or no time was left: the next run asks about the others, and about them first.
        let gave_up = replies.len() < group.len();
        for (login, answer) in replies {
            // If this fails, the user is asked about early in the next run, too.
            let _ = UserRuntimeDir::of(Path::new(RUN), &login).write_asked(clock::boottime());
            answers.insert(login, answer);
        }
        if gave_up {
            break;
        }
    }
    let cache = Cache::new(&config.accounts.cache);
    let mut done = Vec::new();
    for KnownUser { login, .. } in users {
        // A login may have brought a newer answer than the connections of the user were accepted with.
        let answer = answers.remove(&login).filter(|answer| *answer != RecheckAnswer::Nothing);
        let answer = answer.or_else(|| last_answer(&cache, &login));
        let closed = match &answer {
            Some(answer) => revoke::close_connections(&login, answer).unwrap_or_else(|error| {
                log_failure(&login, &error.to_string());
                0
            }),
            None => 0,
        };
        done.push((login, answer, closed));
    }
    // Last: changing the limits of one user can take minutes, and nobody else's connections wait for that.
    let mut rows = Vec::new();
    for (login, answer, closed) in done {
        let is_refused = matches!(answer, Some(RecheckAnswer::Refused { .. }));
        let limits = if is_refused || Instant::now() >= end { "" } else { update_limits(&config, &login) };
        rows.push(Row { user: login.to_string(), answer: words(answer.as_ref()), closed, limits });
    }
    if !arguments.quiet {
        print(rows)?;
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Lets one check run at a time; `None` if another still runs after this time.
fn lock(patience: Duration) -> io::Result<Option<LockGuard>> {
    let end = later(Instant::now(), patience);
    loop {
        match recheck_lock(Path::new(RUN))? {
            None if Instant::now() < end => sleep(RETRY),
            lock => return Ok(lock),
        }
    }
}

/// The last answer that a login has brought.
fn last_answer(cache: &Cache, login: &Login) -> Option<RecheckAnswer> {
    let (now, record) = (clock::now(), cache.read(login));
    match RecheckAnswer::last(record.as_ref(), cache.last_outcome(login, &now), &now) {
        // Other users share the user's place in the cache, so a refusal may be noted here alone. Sessions are
        // refused by that note already.
        RecheckAnswer::Nothing => {
            let noted = UserRuntimeDir::of(Path::new(RUN), login).login_answer();
            let refused = || RecheckAnswer::Refused { reason: "a login was refused".to_owned() };
            (noted == Some(LoginAnswer::Refused)).then(refused)
        }
        answer => Some(answer),
    }
}

fn another_runs() -> Failure {
    let cause = "another recheck is at work".to_owned();
    Failure { cause, ..Failure::new(ExitStatus::TryAgain, "try again in a moment") }
}

fn log_failure(login: &Login, error: &str) {
    log(super::PROGRAM, Event::RecheckFailed, &[(Field::User, &login.as_str()), (Field::Error, &error)]);
}

/// What the account source replied about these users. Those that it was not asked about are left out.
fn ask(config: &Path, users: &[&KnownUser]) -> Result<Vec<(Login, RecheckAnswer)>, Failure> {
    let mut command = explain::sshbox_keys(config)?;
    command.arg("--recheck");
    let names: Vec<&str> = users.iter().map(|user| user.login.as_str()).collect();
    let ended = tool::run(&mut command, &names.join("\n"), RECHECK_ANSWERS, None)
        .map_err(|error| Failure { cause: error.to_string(), ..Failure::new(ExitStatus::TryAgain, "") })?;
    if !ended.succeeded() {
        let cause = format!("sshbox-keys --recheck: {}", explain::complaint(&ended.err));
        return Err(Failure {
            cause,
            ..Failure::new(ExitStatus::TryAgain, "see `journalctl -t sshbox-keys`")
        });
    }
    Ok(parse(&ended.out, users))
}

/// The replies in the output of `sshbox-keys`, about these users and no others.
fn parse(output: &str, users: &[&KnownUser]) -> Vec<(Login, RecheckAnswer)> {
    let lines = output.lines().filter_map(|line| serde_json::from_str::<RecheckedUser>(line).ok());
    let about = |RecheckedUser { user, answer }| {
        Some((users.iter().find(|known| known.login.as_str() == user)?.login.clone(), answer))
    };
    lines.filter_map(about).collect()
}

/// Asks `sshbox-wake` to change the limits of the running box if they may differ from those of the account.
fn update_limits(config: &Config, login: &Login) -> &'static str {
    let Some(record) = Cache::new(&config.accounts.cache).read(login) else { return "" };
    let (limits, ceilings) = (&config.container.limits, &config.container.ceilings);
    let wanted = ContainerLimits::resolve(&record.account.limits, limits, ceilings).changeable();
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    if runtime_dir.applied_limits().as_deref() == Some(&wanted) {
        return "";
    }
    match wake_client::ask(login, Verb::Update, WAKING, None) {
        Ok(Some(reply)) if reply.get("updated") == Some(b"1") => "changed",
        Ok(Some(reply)) if reply.get("failed").is_none() => "",
        // The cause is in the journal, from sshbox-wake.
        Ok(_) | Err(_) => "not changed",
    }
}

fn words(answer: Option<&RecheckAnswer>) -> String {
    match answer {
        Some(RecheckAnswer::Accepted { .. }) => "accepted".to_owned(),
        Some(RecheckAnswer::Refused { reason }) => format!("refused: {reason}"),
        Some(RecheckAnswer::Nothing) | None => output::UNKNOWN.to_owned(),
    }
}

fn print(rows: Vec<Row>) -> Result<ExitCode, Failure> {
    let cells: Vec<_> = rows
        .into_iter()
        .map(|Row { user, answer, closed, limits }| vec![user, answer, closed.to_string(), limits.to_owned()])
        .collect();
    output::print_table(&TITLES, &cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_only_whole_answers_about_the_users_in_question_count() {
        let user = |name: &str| KnownUser { login: parse_login(name).unwrap(), age: None, asked: None };
        let (alice, bob) = (user("alice"), user("bob"));
        let output = "{\"user\":\"alice\",\"is\":\"accepted\",\"fingerprints\":[\"SHA256:a\"]}\n\
            {\"user\":\"mallory\",\"is\":\"refused\",\"reason\":\"x\"}\n\
            nonsense\n\
            {\"user\":\"bob\",\"is\":\"refused\",\"rea";
        let answers = parse(output, &[&alice, &bob]);
        let fingerprints = vec!["SHA256:a".to_owned()];
        assert_eq!(answers, [(alice.login.clone(), RecheckAnswer::Accepted { fingerprints })]);
        let nothing = (alice.login.clone(), RecheckAnswer::Nothing);
        assert_eq!(parse("{\"user\":\"alice\",\"is\":\"nothing\"}\n", &[&alice, &bob]), [nothing]);
        assert_eq!(words(None), output::UNKNOWN);
    }
}
