//! The visit: users who exist for the time of these checks log in through the running sshd and get
//! boxes. The key of a visitor lies in a file that only root can create (`presence::visitor_key`);
//! no web app is asked.
//!
//! Visitors have random names, so they take nobody's. They empty their homes themselves: root
//! enters no home, and removes none that is not empty.

use super::report::{CheckResult, fail, ok, skip, warn};
use super::ssh::{listen_address, values};
use super::{Checked, Doctor, SMALL};
use crate::tool;
use host::cache::Cache;
use identity::Login;
use lifecycle::container::Container;
use lifecycle::engine::{Engine, EngineError};
use session::deadlines::LOGIN;
use session::exit::chain;
use session::presence::{
    LockGuard, RUN, UserRuntimeDir, VISITOR_KEYS, VISITOR_PREFIX, doctor_lock, reaper_lock,
};
use session::times::later;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The name of the server in the list of known hosts.
const ALIAS: &str = "sshbox-doctor";

/// The end of the second visitor's name, which is otherwise that of the first.
const SECOND: &str = "-2";

/// The last command of a visitor.
const EMPTY_HOME: &str = "sh -c 'cd && rm -rf -- ..?* .[!.]* *'";

/// Everything that a visit creates.
pub struct Visit {
    /// One visit at a time on this host.
    _lock: LockGuard,
    /// The visitor of most checks, and a second one whose box the first tries to reach.
    pub names: [Login; 2],
    pub client: Client,
    /// Visitors of a killed doctor: how many were removed, and what could not be.
    swept: (usize, Vec<String>),
    /// The output of the first login.
    pub first_login: OnceCell<Result<String, CheckResult>>,
    over: Cell<bool>,
}

/// Logs visitors in.
pub struct Client {
    /// Keys and known hosts.
    dir: PathBuf,
    pub server: SocketAddr,
}

/// The visit, prepared by the first check that needs it.
pub fn visit(doctor: &Doctor) -> Result<&Visit, CheckResult> {
    doctor.visit.get_or_init(|| begin(doctor)).as_ref().map_err(Clone::clone)
}

fn begin(doctor: &Doctor) -> Result<Visit, CheckResult> {
    let (settings, config) = (doctor.settings()?, doctor.config()?);
    let (address, port) = listen_address(settings)?;
    let lock =
        doctor_lock(Path::new(RUN)).map_err(|error| fail(format!("{RUN}: {error}"), "see directories"))?;
    let lock = lock.ok_or_else(|| skip("another doctor is at work"))?;
    let client = |name: &Login| Client { dir: dir_of(name), server: SocketAddr::new(address, port) };
    // While this lock is held, every invitation is that of a killed doctor.
    let found = invited();
    let unswept = found.iter().flat_map(|name| remove(doctor, &client(name), name)).collect();
    let swept = (found.len(), unswept);
    let second = format!("{}{SECOND}", doctor.visitor);
    let second = Login::parse(second.as_bytes()).map_err(|error| skip(error.to_string()))?;
    let names = [doctor.visitor.clone(), second];
    if let Some(name) = names.iter().find(|name| Path::new(&config.container.home.fill(name)).exists()) {
        return Err(skip(format!("{name} has a home: the name belongs to a user")));
    }
    let client = client(&doctor.visitor);
    let (first_login, over) = (OnceCell::new(), Cell::new(false));
    let visit = Visit { _lock: lock, names, client, swept, first_login, over };
    prepare(doctor, &visit, settings).inspect_err(|_| drop(clear(doctor, &visit)))?;
    Ok(visit)
}

/// Creates keys, invites the visitors, and records the server's host keys.
fn prepare(doctor: &Doctor, visit: &Visit, settings: &str) -> Result<(), CheckResult> {
    let dir = &visit.client.dir;
    let failed =
        |error: io::Error| fail(format!("{}: {error}", dir.display()), "see directories; df -h /var");
    for (dir, mode) in [(Path::new(VISITOR_KEYS), 0o755), (dir, 0o700)] {
        DirBuilder::new().recursive(true).mode(mode).create(dir).map_err(failed)?;
    }
    // Whatever the admin's umask: sshbox-keys must be able to read invitations.
    fs::set_permissions(VISITOR_KEYS, Permissions::from_mode(0o755)).map_err(failed)?;
    for name in ["key", "stranger"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", ALIAS, "-f"]).arg(dir.join(name));
        let ended = doctor.must(&mut keygen, SMALL)?;
        if !ended.status.success() {
            return Err(fail(format!("ssh-keygen: {}", ended.last_words()), "df -h /var"));
        }
    }
    let mut known = String::new();
    for path in values(settings, "hostkey") {
        let ended = doctor.must(Command::new("ssh-keygen").args(["-y", "-f", path]), SMALL)?;
        if ended.status.success() {
            // Writing to a String cannot fail.
            let _ = writeln!(known, "{ALIAS} {}", ended.out.trim());
        }
    }
    fs::write(dir.join("known"), known).map_err(failed)?;
    let key = fs::read(dir.join("key.pub")).map_err(failed)?;
    for name in &visit.names {
        let invitation = Path::new(VISITOR_KEYS).join(name.as_str());
        fs::write(&invitation, &key).map_err(failed)?;
        fs::set_permissions(invitation, Permissions::from_mode(0o644)).map_err(failed)?;
    }
    Ok(())
}

/// The first of the two visitors with this name.
fn first_of(name: &Login) -> &str {
    name.as_str().strip_suffix(SECOND).unwrap_or(name.as_str())
}

/// The directory of a visitor's keys. No login name begins with a dot.
fn dir_of(name: &Login) -> PathBuf {
    Path::new(VISITOR_KEYS).join(format!(".{}", first_of(name)))
}

impl Client {
    /// `ssh` or `sftp`, with this key.
    fn command(&self, program: &str, key: &str) -> Command {
        let mut client = Command::new(program);
        client.args(["-F", "/dev/null", "-i"]).arg(self.dir.join(key));
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "ControlPath=none",
            "ConnectTimeout=10",
            "LogLevel=ERROR",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            &format!("HostKeyAlias={ALIAS}"),
            &format!("UserKnownHostsFile={}", self.dir.join("known").display()),
            &format!("Port={}", self.server.port()),
        ] {
            client.args(["-o", option]);
        }
        client
    }

    /// A login with this key; `options` are further ones of ssh.
    pub fn ssh(&self, options: &[&str], name: &Login, key: &str, command: &str) -> Command {
        let mut client = self.command("ssh", key);
        client.args(options).args(["-l", name.as_str(), &self.server.ip().to_string(), "--", command]);
        client
    }

    /// A transfer of files by the commands on standard input.
    pub fn sftp(&self, name: &Login) -> Command {
        let mut client = self.command("sftp", "key");
        let host = match self.server.ip() {
            IpAddr::V6(address) => format!("[{address}]"),
            IpAddr::V4(address) => address.to_string(),
        };
        client.args(["-b", "-", &format!("{name}@{host}")]);
        client
    }
}

/// `leftovers`: is everything removed that this doctor or an earlier one created?
pub fn leftovers(doctor: &Doctor) -> Checked {
    // When this is the only check, an earlier doctor's visitors are removed.
    let visit = visit(doctor)?;
    let (swept, unswept) = &visit.swept;
    Ok(judge_left(&[leave(doctor), unswept.clone()].concat(), *swept))
}

fn judge_left(left: &[String], swept: usize) -> CheckResult {
    match (left, swept) {
        ([], 0) => ok("nothing is left of the visit"),
        ([], swept) => {
            ok(format!("nothing is left of the visit; {swept} of a doctor that was killed are removed"))
        }
        _ => warn(left.join("; "), "remove the cause; the next sshbox doctor tries again"),
    }
}

/// Ends the visit, if there is one, and returns what could not be removed.
pub fn leave(doctor: &Doctor) -> Vec<String> {
    match doctor.visit.get() {
        Some(Ok(visit)) if !visit.over.replace(true) => clear(doctor, visit),
        _ => Vec::new(),
    }
}

fn clear(doctor: &Doctor, visit: &Visit) -> Vec<String> {
    visit.names.iter().rev().flat_map(|name| remove(doctor, &visit.client, name)).collect()
}

/// Removes everything of a visitor, the invitation last: by it the next doctor knows that something
/// is left. Until then only the holder of the key, root, can log in with it.
fn remove(doctor: &Doctor, client: &Client, name: &Login) -> Vec<String> {
    let mut left = remove_box(doctor, client, name);
    if left.is_empty() {
        let invitation = |name: &str| Path::new(VISITOR_KEYS).join(name);
        left.extend(problem(&invitation(name.as_str()), fs::remove_file(invitation(name.as_str()))));
        // The two share their keys, so the keys go with the last of them.
        let first = first_of(name);
        if !invitation(first).exists() && !invitation(&format!("{first}{SECOND}")).exists() {
            left.extend(problem(&client.dir, fs::remove_dir_all(&client.dir)));
        }
        // Fails while others are invited.
        let _ = fs::remove_dir(VISITOR_KEYS);
    }
    left
}

/// Removes home, container, cache and runtime directory of a visitor.
fn remove_box(doctor: &Doctor, client: &Client, name: &Login) -> Vec<String> {
    let Ok(config) = doctor.config() else {
        return vec!["the configuration cannot be used, so their boxes are not known".to_owned()];
    };
    let home = PathBuf::from(config.container.home.fill(name));
    if home.exists() {
        // Even after a signal. If it fails, rmdir below reports that the home is not empty.
        let _ = tool::run(&mut client.ssh(&[], name, "key", EMPTY_HOME), "", LOGIN, None);
    }
    // The reaper would create the runtime directory again for a box that it has seen running.
    let _no_reaper = reaper_lock(Path::new(RUN));
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), name);
    let in_runtime_dir = |error: io::Error| format!("{name} in {RUN}: {error}");
    // A session whose client was killed may be about to have the box started. Once it gets this lock
    // after us, it finds no account.
    let state = runtime_dir.prepare().and_then(|()| runtime_dir.lock_state(LOGIN)).map_err(in_runtime_dir);
    let container = config.container.name.fill(name);
    let removed = match doctor.engine() {
        Ok(engine) => doctor.wait(remove_container(engine, &container, name)).map_err(|error| chain(&error)),
        // Without a home there is no container either.
        Err(_) if !home.exists() => Ok(()),
        Err(result) => Err(result.seen),
    };
    let cache = &config.accounts.cache;
    let mut left: Vec<_> = [
        state.as_ref().err().cloned(),
        removed.err().map(|error| format!("container {container}: {error}")),
        problem(&cache.join(name.as_str()), Cache::new(cache).remove(name)),
    ]
    .into_iter()
    .flatten()
    .collect();
    drop(state);
    wait_for_sessions_to_end(name);
    left.extend(runtime_dir.remove().err().map(in_runtime_dir));
    left.extend(problem(&home, fs::remove_dir(&home)));
    left
}

/// Waits a moment for the end of this visitor's sessions on the host.
fn wait_for_sessions_to_end(name: &Login) {
    let end = later(Instant::now(), SMALL);
    let theirs = |process: fs::DirEntry| process.metadata().is_ok_and(|meta| meta.uid() == name.uid());
    let any = || fs::read_dir("/proc").into_iter().flatten().flatten().any(theirs);
    while any() && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
}

async fn remove_container(engine: &Engine, container: &str, name: &Login) -> Result<(), EngineError> {
    let theirs = |found: &Container| found.labels.as_ref().is_some_and(|labels| labels.user == name.as_str());
    let Some(found) = engine.find(container).await?.filter(theirs) else { return Ok(()) };
    engine.stop(&found.id, Duration::ZERO).await?;
    engine.remove(&found.id).await
}

fn problem(what: &Path, result: io::Result<()>) -> Option<String> {
    let error = result.err().filter(|error| error.kind() != io::ErrorKind::NotFound)?;
    Some(format!("{}: {error}", what.display()))
}

/// All visitors that have an invitation or keys.
fn invited() -> BTreeSet<Login> {
    let entries = fs::read_dir(VISITOR_KEYS).into_iter().flatten().flatten();
    entries.filter_map(|entry| visitor(entry.file_name().to_str()?)).collect()
}

/// The visitor whose invitation or key directory has this name.
fn visitor(name: &str) -> Option<Login> {
    let name = name.trim_start_matches('.');
    let random = name.strip_prefix(VISITOR_PREFIX)?;
    session::journal::Reference::parse(random.strip_suffix(SECOND).unwrap_or(random))?;
    Login::parse(name.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    #[test]
    fn things_that_stay_are_reported() {
        assert_eq!(judge_left(&[], 0).state, CheckState::Ok);
        assert_eq!(judge_left(&["a home".to_owned()], 2).state, CheckState::Warn);
    }

    #[test]
    fn only_visitors_are_taken_for_visitors() {
        for name in ["sshbox-doctor-0123abcd", "sshbox-doctor-0123abcd-2", ".sshbox-doctor-0123abcd"] {
            assert!(visitor(name).is_some(), "{name}");
        }
        for name in ["alice", "sshbox-doctor-", "sshbox-doctor-who", "sshbox-doctor-0123abcd-3", "x.json"] {
            assert_eq!(visitor(name), None, "{name}");
        }
    }
}
