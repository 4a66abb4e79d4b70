//! The two temporary users, which exist while the checks run. They log in through the running sshd and
//! get boxes like every user. Their public key is in files that only root can create
//! (`presence::temporary_user_key`), so the web app is not asked about them.
//!
//! Their names are random, so no user has them. Before a temporary user is removed, it empties its own
//! home: root enters no home, and removes only an empty one.

use super::report::{CheckResult, fail, ok, skip, warn};
use super::ssh::{listen_address, values};
use super::{Checked, Doctor};
use crate::tool;
use host::box_names::BoxNames;
use host::box_user;
use host::cache::Cache;
use host::config::Config;
use identity::Login;
use lifecycle::engine::{Engine, EngineError};
use lifecycle::naming::find_box;
use session::deadlines::{HOST_PROGRAM, LOGIN};
use session::exit::chain;
use session::presence::{
    LockGuard, RUN, TEMPORARY_USER_KEYS, TEMPORARY_USER_PREFIX, UserRuntimeDir, doctor_lock, reaper_lock,
};
use session::procfs::{self, ProcessStatus};
use session::times::later;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The name of the server in the file of known hosts.
const ALIAS: &str = "sshbox-doctor";

/// The name of the second temporary user is that of the first with this suffix.
const SECOND: &str = "-2";

/// The last command that a temporary user runs.
const EMPTY_HOME: &str = "sh -c 'cd && rm -rf -- ..?* .[!.]* *'";

/// The temporary users of this doctor.
pub struct TemporaryUsers {
    /// One doctor at a time has temporary users.
    _lock: LockGuard,
    /// The user of most checks, and a second one whose box the first tries to reach.
    pub names: [Login; 2],
    pub client: Client,
    /// How many users of a killed doctor were removed, and what could not be removed.
    earlier: (usize, Vec<String>),
    /// The output of the first login.
    pub first_login: OnceCell<Result<String, CheckResult>>,
    are_removed: Cell<bool>,
}

/// Makes the commands by which temporary users log in.
pub struct Client {
    /// Directory of the private keys and the file of known hosts.
    dir: PathBuf,
    pub server: SocketAddr,
}

/// The temporary users. The first check that needs them creates them.
pub fn temporary_users(doctor: &Doctor) -> Result<&TemporaryUsers, CheckResult> {
    doctor.temporary_users.get_or_init(|| create(doctor)).as_ref().map_err(Clone::clone)
}

fn create(doctor: &Doctor) -> Result<TemporaryUsers, CheckResult> {
    let (settings, config) = (doctor.settings()?, doctor.config()?);
    let (address, port) = listen_address(settings)?;
    let lock = doctor_lock(Path::new(RUN))
        .map_err(|error| fail(format!("{RUN}: {error}"), "see check directories"))?;
    let lock = lock.ok_or_else(|| skip("another doctor is at work"))?;
    let client = |name: &Login| Client { dir: dir_of(name), server: SocketAddr::new(address, port) };
    // No other doctor runs while this one holds the lock, so a killed doctor left all these users.
    let found = all_on_this_host();
    let remaining = found.iter().flat_map(|name| remove(doctor, &client(name), name)).collect();
    let earlier = (found.len(), remaining);
    let second = format!("{}{SECOND}", doctor.temporary_user);
    let second = Login::parse(second.as_bytes()).map_err(|error| skip(error.to_string()))?;
    let names = [doctor.temporary_user.clone(), second];
    if let Some(name) = names.iter().find(|name| Path::new(&config.container.home.fill(name)).exists()) {
        return Err(skip(format!("{name} has a home: the name belongs to a user")));
    }
    let client = client(&doctor.temporary_user);
    let (first_login, are_removed) = (OnceCell::new(), Cell::new(false));
    let users = TemporaryUsers { _lock: lock, names, client, earlier, first_login, are_removed };
    write_keys(doctor, &users, settings).inspect_err(|_| drop(remove_both(doctor, &users)))?;
    Ok(users)
}

/// Creates the private keys, the file of known hosts with the server's host keys, and the key file of each
/// temporary user, from which on the user exists.
fn write_keys(doctor: &Doctor, users: &TemporaryUsers, settings: &str) -> Result<(), CheckResult> {
    let dir = &users.client.dir;
    let failed =
        |error: io::Error| fail(format!("{}: {error}", dir.display()), "see check directories; df -h /var");
    for (dir, mode) in [(Path::new(TEMPORARY_USER_KEYS), 0o755), (dir, 0o700)] {
        DirBuilder::new().recursive(true).mode(mode).create(dir).map_err(failed)?;
    }
    // The umask may have cleared bits, but sshbox-keys must be able to read the key files.
    fs::set_permissions(TEMPORARY_USER_KEYS, Permissions::from_mode(0o755)).map_err(failed)?;
    for name in ["key", "stranger"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", ALIAS, "-f"]).arg(dir.join(name));
        let ended = doctor.must(&mut keygen, HOST_PROGRAM)?;
        if !ended.succeeded() {
            return Err(fail(format!("ssh-keygen: {}", ended.last_words()), "df -h /var"));
        }
    }
    let mut known = String::new();
    for path in values(settings, "hostkey") {
        let ended = doctor.must(Command::new("ssh-keygen").args(["-y", "-f", path]), HOST_PROGRAM)?;
        if ended.succeeded() {
            // Writing to a String cannot fail.
            let _ = writeln!(known, "{ALIAS} {}", ended.out.trim());
        }
    }
    fs::write(dir.join("known"), known).map_err(failed)?;
    let key = fs::read(dir.join("key.pub")).map_err(failed)?;
    for name in &users.names {
        let key_file = Path::new(TEMPORARY_USER_KEYS).join(name.as_str());
        fs::write(&key_file, &key).map_err(failed)?;
        fs::set_permissions(key_file, Permissions::from_mode(0o644)).map_err(failed)?;
    }
    Ok(())
}

/// The name of the first of the two users to which this name belongs.
fn first_of(name: &Login) -> &str {
    name.as_str().strip_suffix(SECOND).unwrap_or(name.as_str())
}

/// The directory of the private keys, which both users share. No login name begins with a dot, so no key
/// file has this path.
fn dir_of(name: &Login) -> PathBuf {
    Path::new(TEMPORARY_USER_KEYS).join(format!(".{}", first_of(name)))
}

impl Client {
    /// The command `ssh` or `sftp`, with the private key of this name.
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

    /// A command that logs in as `name` and runs `command`. `options` are additional ones of ssh.
    pub fn ssh(&self, options: &[&str], name: &Login, key: &str, command: &str) -> Command {
        let mut client = self.command("ssh", key);
        client.args(options).args(["-l", name.as_str(), &self.server.ip().to_string(), "--", command]);
        client
    }

    /// A command that logs in as `name` and reads the commands of sftp from standard input.
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
    // If this is the only check, nothing else has removed the users of an earlier doctor.
    let users = temporary_users(doctor)?;
    let (earlier, remaining) = &users.earlier;
    Ok(judge_left(&[remove_users(doctor), remaining.clone()].concat(), *earlier))
}

fn judge_left(left: &[String], earlier: usize) -> CheckResult {
    match (left, earlier) {
        ([], 0) => ok("the temporary users are removed"),
        ([], earlier) => {
            ok(format!("the temporary users are removed; {earlier} of a doctor that was killed, too"))
        }
        _ => warn(left.join("; "), "remove the cause; the next sshbox doctor tries again"),
    }
}

/// Removes the temporary users, if they exist, and returns what could not be removed.
pub fn remove_users(doctor: &Doctor) -> Vec<String> {
    match doctor.temporary_users.get() {
        Some(Ok(users)) if !users.are_removed.replace(true) => remove_both(doctor, users),
        _ => Vec::new(),
    }
}

fn remove_both(doctor: &Doctor, users: &TemporaryUsers) -> Vec<String> {
    users.names.iter().rev().flat_map(|name| remove(doctor, &users.client, name)).collect()
}

/// Removes everything of a temporary user, and returns what could not be removed. The key file is last:
/// by it the next doctor finds the user. Until then only root, who has the private key, can log in.
fn remove(doctor: &Doctor, client: &Client, name: &Login) -> Vec<String> {
    let mut left = remove_box(doctor, client, name);
    if left.is_empty() {
        let key_file = |name: &str| Path::new(TEMPORARY_USER_KEYS).join(name);
        left.extend(problem(&key_file(name.as_str()), fs::remove_file(key_file(name.as_str()))));
        // Both users share the private keys, which are removed with the last of the two.
        let first = first_of(name);
        if !key_file(first).exists() && !key_file(&format!("{first}{SECOND}")).exists() {
            left.extend(problem(&client.dir, fs::remove_dir_all(&client.dir)));
        }
        // Fails while another temporary user has a key file.
        let _ = fs::remove_dir(TEMPORARY_USER_KEYS);
    }
    left
}

/// Removes home, container, cache and runtime directory of a temporary user.
fn remove_box(doctor: &Doctor, client: &Client, name: &Login) -> Vec<String> {
    let Ok(config) = doctor.config() else {
        return vec![
            "the configuration cannot be used, so the temporary users' boxes are not known".to_owned(),
        ];
    };
    let home = PathBuf::from(config.container.home.fill(name));
    if home.exists() {
        // No interrupt: it also runs after a signal. If it fails, the removal of the home below reports that
        // the home is not empty.
        let _ = tool::run(&mut client.ssh(&[], name, "key", EMPTY_HOME), "", LOGIN, None);
    }
    // A reaper that has listed the box as running would create the runtime directory again.
    let _no_reaper = reaper_lock(Path::new(RUN));
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), name);
    let in_runtime_dir = |error: io::Error| format!("{name} in {RUN}: {error}");
    // A session whose client was killed may have requested a start of the box. sshbox-wake gets this lock
    // only after we release it, and then finds no account.
    let state = runtime_dir.prepare().and_then(|()| runtime_dir.lock_state(LOGIN)).map_err(in_runtime_dir);
    let removed = match doctor.engine() {
        Ok(engine) => remove_container(doctor, engine, config, name),
        // Without a home there is no container either.
        Err(_) if !home.exists() => Ok(()),
        Err(result) => Err(result.finding),
    };
    let cache = &config.accounts.cache;
    let mut left: Vec<_> = [
        state.as_ref().err().cloned(),
        removed.err().map(|error| format!("container of {name}: {error}")),
        problem(&cache.join(name.as_str()), Cache::new(cache).remove(name)),
    ]
    .into_iter()
    .flatten()
    .collect();
    drop(state);
    wait_for_sessions_to_end(name);
    left.extend(runtime_dir.remove().err().map(in_runtime_dir));
    left.extend(problem(&home, fs::remove_dir(&home)));
    if !home.exists() {
        let claims = Path::new(box_user::DIRECTORY);
        left.extend(problem(claims, box_user::release(name, claims)));
    }
    left
}

/// Waits until no process on the host has the uid of this user, but not for long.
fn wait_for_sessions_to_end(name: &Login) {
    let end = later(Instant::now(), HOST_PROGRAM);
    let theirs = |pid| ProcessStatus::of(pid).is_some_and(|status| status.real_uid == Some(name.uid()));
    let any = || procfs::pids().is_ok_and(|mut pids| pids.any(theirs));
    while any() && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
}

fn remove_container(doctor: &Doctor, engine: &Engine, config: &Config, name: &Login) -> Result<(), String> {
    let names = BoxNames::load(&config.container.name).map_err(|error| chain(&error))?;
    let steps = async {
        let found = find_box(engine, &names, name).await?.filter(|found| found.is_box_of(name.as_str()));
        let Some(found) = found else { return Ok(()) };
        engine.stop(&found.id, Duration::ZERO).await?;
        engine.remove(&found.id).await
    };
    doctor.wait(steps).map_err(|error: EngineError| chain(&error))
}

fn problem(what: &Path, result: io::Result<()>) -> Option<String> {
    let error = result.err().filter(|error| error.kind() != io::ErrorKind::NotFound)?;
    Some(format!("{}: {error}", what.display()))
}

/// All temporary users that have a key file or a directory of private keys.
fn all_on_this_host() -> BTreeSet<Login> {
    let entries = fs::read_dir(TEMPORARY_USER_KEYS).into_iter().flatten().flatten();
    entries.filter_map(|entry| temporary_user(entry.file_name().to_str()?)).collect()
}

/// The temporary user whose key file or directory of private keys has this name.
fn temporary_user(name: &str) -> Option<Login> {
    let name = name.trim_start_matches('.');
    let random = name.strip_prefix(TEMPORARY_USER_PREFIX)?;
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
    fn only_temporary_users_are_recognised_as_such() {
        for name in ["sshbox-doctor-0123abcd", "sshbox-doctor-0123abcd-2", ".sshbox-doctor-0123abcd"] {
            assert!(temporary_user(name).is_some(), "{name}");
        }
        for name in ["alice", "sshbox-doctor-", "sshbox-doctor-who", "sshbox-doctor-0123abcd-3", "x.json"] {
            assert_eq!(temporary_user(name), None, "{name}");
        }
    }
}
