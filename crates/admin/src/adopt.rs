//! `sshbox adopt`: sets the container of an earlier gateway aside, so that the next login of its
//! user makes a box on the same home. Docker gives no labels to a container that exists, so it
//! is stopped and renamed, and Docker no longer starts it. Nothing is removed; sshbox-adopt(8) says
//! what has to be done to go back, and the programs that ended do not come back.

use super::PROGRAM;
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream;
use host::cache::{Cache, LookupOutcome};
use host::config::{self, Config};
use host::home::{self, HomeError};
use identity::Login;
use lifecycle::adoption::{self, AdoptionTarget, ForeignContainer};
use lifecycle::container::ContainerState;
use lifecycle::engine::{Engine, EngineError};
use nix::unistd::User;
use session::clock::{self, Now};
use session::deadlines::TRANSITION;
use session::escape::printable;
use session::exit::{ExitStatus, Failure, chain};
use session::presence::{RUN, UserRuntimeDir};
use session::times::rfc3339;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

/// Who alone has the token of the web app, as a program and as a user.
const KEYS: &str = "/usr/lib/sshbox/sshbox-keys";
const KEYS_USER: &str = "sshbox-keys";

/// Containers that are stopped at the same time; each may take its whole grace.
const AT_ONCE: usize = 8;

/// How many processes and changes are shown by name.
const SHOWN: usize = 3;

/// Longest part of a command line that is shown.
const COMMAND: usize = 40;

/// Set containers of an earlier gateway aside, so that their users get boxes on the same homes
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login names of the users
    #[arg(value_name = "USER", required_unless_present = "all")]
    users: Vec<String>,
    /// Every container with a name that box.name gives to somebody
    #[arg(long, conflicts_with = "users")]
    all: bool,
    /// Show what was found, and stop nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    if !arguments.yes && !arguments.dry_run && !io::stdin().is_terminal() {
        let text = "nobody can be asked here; look with --dry-run first, then add --yes";
        return Err(Failure::new(ExitStatus::Usage, text));
    }
    let settings = config::load(config)
        .map_err(|error| Failure::because(ExitStatus::Config, "no configuration", &error))?;
    let runtime = lifecycle::runtime::on_this_thread()
        .map_err(|error| Failure::because(ExitStatus::TryAgain, "no runtime", &error))?;
    runtime.block_on(adopt(arguments, config, &settings))
}

async fn adopt(arguments: &Arguments, path: &Path, config: &Config) -> Result<ExitCode, Failure> {
    let engine = Engine::connect(&config.engine).await.map_err(engine_failed)?;
    let mut candidates = Vec::new();
    for login in logins(arguments, config, &engine).await? {
        let candidate = Candidate::look(&engine, path, config, login).await.map_err(engine_failed)?;
        // Of all boxes those that are ours already are not worth a word.
        if !(arguments.all && candidate.is_done()) {
            say(&candidate.to_string());
            candidates.push(candidate);
        }
    }
    let refused = candidates.iter().any(|candidate| candidate.verdict() == Verdict::Refused);
    let ready: Vec<_> =
        candidates.into_iter().filter(|candidate| candidate.verdict() == Verdict::Ready).collect();
    if ready.is_empty() {
        say("nothing was done\n");
    } else if arguments.dry_run {
        say(&format!("{} would be set aside; nothing was done\n", containers(ready.len())));
    } else if arguments.yes || agreed(&ready) {
        let outcomes = stream::iter(&ready).map(|one| take_over(&engine, config, one));
        let failures = outcomes.buffer_unordered(AT_ONCE).filter(|went| std::future::ready(!went)).count();
        if failures.await > 0 {
            return Ok(ExitStatus::TryAgain.code().into());
        }
    } else {
        say("nothing was done\n");
        return Ok(ExitCode::FAILURE);
    }
    Ok(if refused { ExitStatus::Refused.code().into() } else { ExitCode::SUCCESS })
}

async fn logins(arguments: &Arguments, config: &Config, engine: &Engine) -> Result<Vec<Login>, Failure> {
    if arguments.all {
        let names = engine.names().await.map_err(engine_failed)?;
        let names = names.iter().filter(|name| !adoption::is_aside(name));
        return Ok(names.filter_map(|name| config.container.name.login_of(name)).collect());
    }
    let parse = |name: &String| {
        Login::parse(name.as_bytes()).map_err(|error| {
            let text = format!("{} is no login name: it is {error}", printable(name.as_bytes()));
            Failure::new(ExitStatus::Usage, text)
        })
    };
    arguments.users.iter().map(parse).collect()
}

/// What was found under the name of a user's box, and what speaks against taking it over.
struct Candidate {
    login: Login,
    name: String,
    home: PathBuf,
    mount: PathBuf,
    stranger: Option<ForeignContainer>,
    /// As the web app tells it; empty when its source has none.
    account: Option<String>,
    /// `None` when that could not be found out.
    processes: Option<Vec<String>>,
    changes: Option<Vec<String>>,
    objections: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ready,
    Done,
    Refused,
}

impl Candidate {
    async fn look(engine: &Engine, path: &Path, config: &Config, login: Login) -> Result<Self, EngineError> {
        let name = config.container.name.fill(&login);
        let mut candidate = Self {
            home: config.container.home.fill(&login).into(),
            mount: config.container.mount.clone(),
            stranger: engine.find_foreign(&name).await?,
            account: None,
            processes: Some(Vec::new()),
            changes: None,
            objections: Vec::new(),
            name,
            login,
        };
        let Some(stranger) = candidate.stranger.clone() else {
            candidate.objections.push("there is no such container; check the name and box.name".to_owned());
            return Ok(candidate);
        };
        if stranger.is_box {
            return Ok(candidate);
        }
        if matches!(stranger.state, ContainerState::Running | ContainerState::Paused) {
            candidate.processes = engine.processes(&stranger.id).await.ok();
        }
        let changes = engine.changes(&stranger.id).await.ok();
        candidate.changes = changes.map(|changes| adoption::changes_worth_keeping(changes, &stranger.mounts));
        candidate.weigh(&stranger, path, config);
        Ok(candidate)
    }

    /// Collects all that speaks against it: an admin should not have to mend one thing after the other.
    fn weigh(&mut self, stranger: &ForeignContainer, path: &Path, config: &Config) {
        let wanted = AdoptionTarget { home: &self.home, mount: &self.mount, owner: config.container.user };
        let mut objections = adoption::objections(stranger, &wanted);
        let account = account(path, config, &self.login);
        match home::inspect(&config.container.home, &self.login) {
            Err(error) => objections.push(chain(&error)),
            Ok(seen) => {
                objections.extend(adoption::owner_objection(seen.owner, &wanted));
                if let (Ok(Some(now)), Some(was)) = (&account, seen.account)
                    && *now != was
                {
                    let (home, now) = (self.home.clone(), now.clone());
                    objections.push(HomeError::OtherAccount { home, was, now }.to_string());
                }
            }
        }
        match account {
            Ok(account) => self.account = account,
            Err(objection) => objections.push(objection),
        }
        self.objections = objections;
    }

    fn verdict(&self) -> Verdict {
        match &self.stranger {
            Some(stranger) if stranger.is_box => Verdict::Done,
            _ if self.objections.is_empty() => Verdict::Ready,
            _ => Verdict::Refused,
        }
    }

    fn is_done(&self) -> bool {
        self.verdict() == Verdict::Done
    }
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |text: &str| printable(text.as_bytes());
        writeln!(f, "{}", shown(&self.name))?;
        if let Some(stranger) = self.stranger.as_ref().filter(|stranger| !stranger.is_box) {
            writeln!(f, "  image      {}", shown(&stranger.image))?;
            let state = match stranger.state {
                ContainerState::Running => "runs",
                ContainerState::Paused => "paused",
                ContainerState::Stopped => "stopped",
                ContainerState::Busy => "changing",
                ContainerState::Dead => "dead",
            };
            writeln!(f, "  state      {state}, restart policy {}", stranger.restart)?;
            for mounted in &stranger.mounts {
                let (source, target) = (mounted.source.display(), mounted.target.display());
                let access = if mounted.writable { "" } else { ", read-only" };
                let line = format!("{} {source} at {target}{access}", mounted.kind);
                writeln!(f, "  mount      {}", shown(&line))?;
            }
            if let Some(account) = &self.account {
                writeln!(f, "  account    {}", shown(account))?;
            }
            let processes = some_of(self.processes.as_deref(), " and will end: ");
            writeln!(f, "  processes  {processes}")?;
            let changes = some_of(self.changes.as_deref(), " outside of the home, kept but not in the box: ");
            writeln!(f, "  changes    {changes}")?;
        }
        match self.verdict() {
            Verdict::Ready => writeln!(f, "  verdict    can be set aside"),
            Verdict::Done => writeln!(f, "  verdict    is a box of sshbox already"),
            Verdict::Refused => self
                .objections
                .iter()
                .try_for_each(|objection| writeln!(f, "  refused    {}", shown(objection))),
        }
    }
}

/// How many there are, and the first of them.
fn some_of(all: Option<&[String]>, what: &str) -> String {
    let Some(all) = all else {
        return "not known".to_owned();
    };
    let mut text = all.len().to_string();
    for (number, one) in all.iter().take(SHOWN).enumerate() {
        let short: String = one.chars().take(COMMAND).collect();
        let before = if number == 0 { what } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{before}{}", printable(short.as_bytes()));
    }
    if all.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}

/// Who the web app says this is: asked just now, in the way of a login, by the program that
/// may do so. What the cache held before does not count.
fn account(path: &Path, config: &Config, login: &Login) -> Result<Option<String>, String> {
    let silent =
        || format!("the web app did not say who {login} is: see journalctl -t {KEYS_USER}, then try again");
    let began = clock::now();
    let user = User::from_name(KEYS_USER).ok().flatten().ok_or_else(silent)?;
    let asked = Command::new(KEYS)
        .arg("--config")
        .arg(path)
        // No key has this fingerprint: nothing is printed and nobody is let in.
        .args(["--fingerprint", "none", "--", login.as_str()])
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    if !asked.is_ok_and(|status| status.success()) {
        return Err(silent());
    }
    let cache = Cache::new(&config.accounts.cache);
    let now = clock::now();
    let record = cache.read(login).filter(|record| is_new(record.requested(&now), &began));
    match (record, cache.last_outcome(login, &now)) {
        (Some(record), _) => Ok(record.account.id),
        (None, Some((LookupOutcome::Refused, asked))) if is_new(Some(asked), &began) => {
            Err(format!("the web app lets no {login} in: no such user, not active, or without a key"))
        }
        _ => Err(silent()),
    }
}

fn is_new(asked: Option<Duration>, began: &Now) -> bool {
    // The cache counts in milliseconds.
    asked.is_some_and(|asked| asked.saturating_add(Duration::from_millis(1)) >= began.boottime)
}

/// Sets one container aside and says what became of it; whether that went well.
async fn take_over(engine: &Engine, config: &Config, candidate: &Candidate) -> bool {
    let aside = adoption::name_aside(&candidate.name, &rfc3339(SystemTime::now()).unwrap_or_default());
    let name = &candidate.name;
    let restart = candidate.stranger.as_ref().map_or("no", |stranger| &stranger.restart);
    let action = format!("adopt {name} as {aside}, restart policy {restart}");
    match set_aside(engine, config, candidate, &aside).await {
        Ok(()) => {
            super::journal(&candidate.login, &action, None);
            say(&format!("{name}: set aside as {aside}\n"));
            true
        }
        Err(error) => {
            let error = printable(chain(&*error).as_bytes());
            super::journal(&candidate.login, &action, Some(&error));
            let _ = writeln!(io::stderr(), "{PROGRAM}: {name}: {error}");
            false
        }
    }
}

async fn set_aside(
    engine: &Engine,
    config: &Config,
    candidate: &Candidate,
    aside: &str,
) -> Result<(), Box<dyn Error>> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), &candidate.login);
    runtime_dir.prepare()?;
    // A login that comes now waits for the end of this, and then makes its box.
    let _transition = runtime_dir.lock_state(TRANSITION)?;
    let stranger = engine.find_foreign(&candidate.name).await?;
    let Some(stranger) = stranger.filter(|stranger| candidate.stranger.as_ref() == Some(stranger)) else {
        return Err("the container has changed since it was looked at; nothing was done, try again".into());
    };
    home::ensure(
        &config.container.home,
        &candidate.login,
        candidate.account.as_deref(),
        config.container.user,
    )?;
    // First, or Docker would start it again after its own next start.
    engine.never_restart(&stranger.id).await?;
    if stranger.state == ContainerState::Paused {
        // A frozen one would not hear that it is to end.
        engine.unpause(&stranger.id).await?;
    }
    if matches!(stranger.state, ContainerState::Running | ContainerState::Paused) {
        engine.stop(&stranger.id, config.reap.grace.0).await?;
    }
    engine.rename(&stranger.id, aside).await?;
    Ok(())
}

fn agreed(ready: &[Candidate]) -> bool {
    let processes: Option<usize> =
        ready.iter().map(|candidate| candidate.processes.as_ref().map(Vec::len)).sum();
    let processes = match processes {
        Some(0) => "none of them has a process".to_owned(),
        Some(1) => "1 process ends".to_owned(),
        Some(count) => format!("{count} processes end"),
        None => "all processes in them end".to_owned(),
    };
    let _ = write!(io::stdout(), "Stop {} and set aside? {processes}. [y/N] ", containers(ready.len()));
    let _ = io::stdout().flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && ["y", "yes"].contains(&answer.trim())
}

fn containers(count: usize) -> String {
    if count == 1 { "1 container".to_owned() } else { format!("{count} containers") }
}

fn say(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn engine_failed(error: EngineError) -> Failure {
    let status = match error {
        EngineError::Timeout(..) => ExitStatus::TryAgain,
        _ => ExitStatus::Unavailable,
    };
    Failure::because(status, "Docker cannot do that", &error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use lifecycle::adoption::ForeignMount;

    fn candidate() -> Candidate {
        let home = ForeignMount {
            kind: "bind".to_owned(),
            source: "/app/data/users/Ada-L".into(),
            target: "/home/user".into(),
            writable: true,
        };
        Candidate {
            login: Login::parse(b"Ada-L").unwrap(),
            name: "scitex-user-Ada-L".to_owned(),
            home: home.source.clone(),
            mount: home.target.clone(),
            stranger: Some(ForeignContainer {
                id: "x".to_owned(),
                state: ContainerState::Running,
                image: "scitex-user-workspace:latest".to_owned(),
                restart: "always".to_owned(),
                mounts: vec![home],
                ..ForeignContainer::default()
            }),
            account: Some("7".to_owned()),
            processes: Some(["sleep infinity", "bash", "vim \u{1b}[31m", "top"].map(str::to_owned).to_vec()),
            changes: Some(vec!["/etc/apt.conf".to_owned()]),
            objections: Vec::new(),
        }
    }

    #[test]
    fn what_was_found_is_shown() {
        assert_snapshot!(candidate(), @r#"
        scitex-user-Ada-L
          image      scitex-user-workspace:latest
          state      runs, restart policy always
          mount      bind /app/data/users/Ada-L at /home/user
          account    7
          processes  4 and will end: sleep infinity, bash, vim \x1b[31m, ...
          changes    1 outside of the home, kept but not in the box: /etc/apt.conf
          verdict    can be set aside
        "#);
        let refused = Candidate {
            objections: vec!["it is being removed".to_owned(), "and more".to_owned()],
            processes: None,
            account: None,
            ..candidate()
        };
        assert_snapshot!(refused, @"
        scitex-user-Ada-L
          image      scitex-user-workspace:latest
          state      runs, restart policy always
          mount      bind /app/data/users/Ada-L at /home/user
          processes  not known
          changes    1 outside of the home, kept but not in the box: /etc/apt.conf
          refused    it is being removed
          refused    and more
        ");
    }

    #[test]
    fn a_box_of_ours_and_a_missing_container_say_so() {
        let ours = ForeignContainer { is_box: true, ..candidate().stranger.unwrap() };
        assert_snapshot!(Candidate { stranger: Some(ours), ..candidate() }, @"
        scitex-user-Ada-L
          verdict    is a box of sshbox already
        ");
        let missing = Candidate { stranger: None, objections: vec!["none".to_owned()], ..candidate() };
        assert_snapshot!(missing, @"
        scitex-user-Ada-L
          refused    none
        ");
    }
}
