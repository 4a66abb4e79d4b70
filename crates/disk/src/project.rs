//! Project quotas: each home has a project id of its own, which its new files inherit, and the file system
//! limits what belongs to the id. The programs are those of the packages e2fsprogs, quota and xfsprogs.
//!
//! `/var/lib/sshbox/projects` says which id belongs to which user: one line each, `ID NAME`. The id on the
//! directory does not, because the owner of a file can change its project (the filter of a box forbids that).
//! If the file is lost, a home that alone has an id of ours keeps it, and no new home gets an id that a home has.

use crate::error::DiskError;
use crate::home_dir::{HomeDir, HomeKind};
use crate::prepared::Prepared;
use crate::tools;
use host::config::Config;
use host::quota::{Backend, DiskLimit, FileSystem};
use identity::Login;
use nix::sys::stat::Mode;
use session::atomic;
use session::deadlines::DISK_PROGRAM;
use session::deadlines::DISK_TURN;
use session::presence::{RUN, TEMPORARY_USER_PREFIX, projects_lock};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The directory and the file with the project ids.
const DIRECTORY: &str = "/var/lib/sshbox";
const NOTE: &str = "projects";

/// The first project id, above those that people choose by hand.
const FIRST: u32 = 1_900_000_000;

/// Most directories whose project one call of lsattr(1) prints.
const AT_ONCE: usize = 1000;

/// Prepares the home: a new one gets a project before its user owns it, one that has a project gets its
/// limit, any other stays without.
pub fn prepare(
    config: &Config,
    login: &Login,
    home: &HomeDir,
    kind: HomeKind,
    limit: DiskLimit,
) -> Result<Prepared, DiskError> {
    let id = match noted(login)? {
        Some(id) => id,
        None if kind != HomeKind::Plain => allocate(config, login)?,
        None => {
            let Some(found) = project_of(&home.path)?.filter(|id| *id >= FIRST) else {
                return Ok(Prepared::done(Backend::None));
            };
            let Some(id) = note_again(config, login, found)? else {
                let note = format!("another home has its project id {found}, too; sshbox quota gives it one");
                return Ok(Prepared { backend: Backend::None, note: Some(note) });
            };
            id
        }
    };
    if kind != HomeKind::Plain {
        // Closed and root's: `home::ensure` hands it over.
        home.create(Mode::S_IRWXU)?;
    }
    if project_of(&home.path)? != Some(id) {
        mark(&home.path, id)?;
    }
    set_limit(config, id, limit)?;
    Ok(Prepared::done(Backend::Project))
}

/// Gives a project to a home that exists, with all that is in it.
pub fn convert(config: &Config, login: &Login, home: &Path, limit: DiskLimit) -> Result<(), DiskError> {
    let id = match noted(login)? {
        Some(id) => id,
        None => allocate(config, login)?,
    };
    let (path, number) = (home.to_string_lossy(), id.to_string());
    // Links, FIFOs and sockets hold no data, and cannot be marked.
    let arguments = [
        &*path, "-xdev", "(", "-type", "d", "-exec", "chattr", "-p", &number, "+P", "{}", "+", ")", "-o",
        "(", "-type", "f", "-exec", "chattr", "-p", &number, "{}", "+", ")",
    ];
    tools::run("find", &arguments, None)?.must_succeed()?;
    set_limit(config, id, limit)
}

fn mark(home: &Path, id: u32) -> Result<(), DiskError> {
    let (path, id) = (home.to_string_lossy(), id.to_string());
    tools::run("chattr", &["-p", &id, "+P", &path], Some(DISK_PROGRAM))?.must_succeed().map(drop)
}

/// The project of a directory.
fn project_of(home: &Path) -> Result<Option<u32>, DiskError> {
    let listed = tools::run("lsattr", &["-p", "-d", &home.to_string_lossy()], Some(DISK_PROGRAM))?;
    Ok(parse_project(&listed.must_succeed()?))
}

/// The project in a line of lsattr(1): ` 1900000000 --------------e----P-- /path`. `None` without inheritance,
/// because then new files would not count.
fn parse_project(line: &str) -> Option<u32> {
    let flags = line.split_whitespace().nth(1)?;
    parse_id(line).filter(|_| flags.contains('P'))
}

/// The project in a line of lsattr(1), inherited or not.
fn parse_id(line: &str) -> Option<u32> {
    line.split_whitespace().next()?.parse().ok()
}

fn set_limit(config: &Config, id: u32, limit: DiskLimit) -> Result<(), DiskError> {
    let homes = host::quota::homes(config);
    let found = FileSystem::of(&homes).ok_or(DiskError::NoFileSystem(homes))?;
    if !found.enforces_projects {
        return Err(DiskError::NotEnforced(found.mount_point));
    }
    let arguments = setquota(id, limit, &found.mount_point);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = tools::run("setquota", &arguments, Some(DISK_PROGRAM)).and_then(tools::Ended::must_succeed);
    match result {
        Err(error) if found.kind == "xfs" => {
            let arguments = xfs_quota(id, limit, &found.mount_point);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            match tools::run("xfs_quota", &arguments, Some(DISK_PROGRAM)) {
                // The first program is the one that an admin should have.
                Err(DiskError::NotInstalled(..)) => Err(error),
                ended => ended?.must_succeed().map(drop),
            }
        }
        other => other.map(drop),
    }
}

/// Soft and hard limits of blocks of 1 KiB and of files: setquota(8). No soft limits, so there is no grace.
fn setquota(id: u32, limit: DiskLimit, mount_point: &Path) -> [String; 7] {
    [
        "-P".to_owned(),
        id.to_string(),
        "0".to_owned(),
        limit.bytes.div_ceil(1024).to_string(),
        "0".to_owned(),
        limit.files.to_string(),
        mount_point.display().to_string(),
    ]
}

fn xfs_quota(id: u32, limit: DiskLimit, mount_point: &Path) -> [String; 4] {
    let command = format!("limit -p bhard={}k ihard={} {id}", limit.bytes.div_ceil(1024), limit.files);
    ["-x".to_owned(), "-c".to_owned(), command, mount_point.display().to_string()]
}

/// The project id that belongs to a user.
fn noted(login: &Login) -> Result<Option<u32>, DiskError> {
    Ok(find(&read()?, login))
}

/// Notes a new project id for a user.
fn allocate(config: &Config, login: &Login) -> Result<u32, DiskError> {
    let id = note(login, |text| Ok(next(text, &on_homes(config)?)))?;
    id.ok_or_else(|| DiskError::file("find a free project id in", note_path())(io::ErrorKind::StorageFull))
}

/// Notes the project id that the home of a user has, after the note was lost. `None` if it is not theirs alone.
fn note_again(config: &Config, login: &Login, id: u32) -> Result<Option<u32>, DiskError> {
    note(login, |text| Ok(is_theirs_alone(id, text, &on_homes(config)?).then_some(id)))
}

/// Notes the id that `choose` finds, unless the user has one. Only one process at a time does that.
fn note(
    login: &Login,
    choose: impl FnOnce(&str) -> Result<Option<u32>, DiskError>,
) -> Result<Option<u32>, DiskError> {
    let failed = || DiskError::file("write", note_path());
    let _lock = projects_lock(Path::new(RUN), DISK_TURN).map_err(failed())?;
    let text = read()?;
    if let Some(id) = find(&text, login) {
        return Ok(Some(id));
    }
    let Some(id) = choose(&text)? else { return Ok(None) };
    let text = format!("{text}{id} {login}\n");
    let directory = atomic::directory(Path::new(DIRECTORY)).map_err(failed())?;
    atomic::replace(directory, NOTE, text.as_bytes(), 0o600, None).map_err(failed())?;
    Ok(Some(id))
}

/// The project ids of all homes and of what is beside them, each as often as it occurs. Enters none of them.
fn on_homes(config: &Config) -> Result<Vec<u32>, DiskError> {
    let homes = host::quota::homes(config);
    let failed = || DiskError::file("list", homes.clone());
    let device = fs::metadata(&homes).map_err(failed())?.dev();
    let mut paths = Vec::new();
    for entry in fs::read_dir(&homes).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let home = host::quota::home_in(entry.path(), config);
        // Does not follow a link. A directory on another file system has a project of that one.
        let counts = fs::symlink_metadata(&home).is_ok_and(|found| found.is_dir() && found.dev() == device);
        // The homes of the doctor's users have none, and go at any moment.
        if counts && !entry.file_name().to_string_lossy().contains(TEMPORARY_USER_PREFIX) {
            paths.push(home.to_string_lossy().into_owned());
        }
    }
    let mut found = Vec::new();
    for some in paths.chunks(AT_ONCE) {
        let arguments: Vec<&str> = ["-p", "-d"].into_iter().chain(some.iter().map(String::as_str)).collect();
        let listed = tools::run("lsattr", &arguments, Some(DISK_PROGRAM))?.must_succeed()?;
        found.extend(listed.lines().filter_map(parse_id));
    }
    Ok(found)
}

fn note_path() -> PathBuf {
    Path::new(DIRECTORY).join(NOTE)
}

fn read() -> Result<String, DiskError> {
    match fs::read_to_string(note_path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(DiskError::file("read", note_path())),
    }
}

fn lines(text: &str) -> impl Iterator<Item = (u32, &str)> {
    text.lines().filter_map(|line| {
        let (id, name) = line.split_once(' ')?;
        Some((id.parse().ok()?, name))
    })
}

fn find(text: &str, login: &Login) -> Option<u32> {
    lines(text).find(|(_, name)| *name == login.as_str()).map(|(id, _)| id)
}

/// An id that no user has or had, and no home.
fn next(text: &str, on_homes: &[u32]) -> Option<u32> {
    let last = lines(text).map(|(id, _)| id).filter(|id| *id >= FIRST).max();
    // The highest number means "no project".
    let mut free = last.map_or(Some(FIRST), |id| id.checked_add(1))?..u32::MAX;
    free.find(|id| !on_homes.contains(id))
}

/// Whether this id, which one home has, belongs to no other user and no other home.
fn is_theirs_alone(id: u32, text: &str, on_homes: &[u32]) -> bool {
    !lines(text).any(|(noted, _)| noted == id) && on_homes.iter().filter(|other| **other == id).count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_has_an_id_of_their_own() {
        let login = |name: &str| Login::parse(name.as_bytes()).unwrap();
        let text = "1900000000 alice\n1900000001 bob\n";
        assert_eq!(find(text, &login("bob")), Some(1_900_000_001));
        assert_eq!(find(text, &login("bo")), None);
        assert_eq!((next("", &[]), next(text, &[])), (Some(FIRST), Some(1_900_000_002)));
        // A line that is cut short or was written by hand.
        assert_eq!(next("7 carol\nnonsense\n19000", &[]), Some(FIRST));
        // No id is left.
        assert_eq!(next("4294967295 zoe\n", &[]), None);
    }

    #[test]
    fn a12_without_the_note_no_two_users_get_one_id() {
        // The homes of earlier users are still there, and one has no project.
        let homes = [FIRST, FIRST + 2, 0];
        assert_eq!(next("", &homes), Some(FIRST + 1));
        assert_eq!(next("1900000001 dora\n", &homes), Some(FIRST + 3));
        // Their homes keep their ids.
        assert!(is_theirs_alone(FIRST, "1900000001 dora\n", &homes));
        // But not one that a new user or another home has.
        assert!(!is_theirs_alone(FIRST, "1900000000 dora\n", &homes));
        assert!(!is_theirs_alone(FIRST, "", &[FIRST, FIRST]));
        // Inherited or not: the content of the home counts.
        assert_eq!(parse_id(" 1900000000 --------------e------- /srv/alice\n"), Some(FIRST));
        assert_eq!(parse_id("lsattr: Operation not supported"), None);
    }

    #[test]
    fn the_commands_set_hard_limits_only() {
        let limit = DiskLimit { bytes: 50 << 30, files: 3_276_800 };
        let words = setquota(1_900_000_000, limit, Path::new("/srv"));
        assert_eq!(words.join(" "), "-P 1900000000 0 52428800 0 3276800 /srv");
        let words = xfs_quota(1_900_000_000, limit, Path::new("/srv"));
        assert_eq!(words.join("|"), "-x|-c|limit -p bhard=52428800k ihard=3276800 1900000000|/srv");
        // Zero would be no limit.
        let least = DiskLimit { bytes: 1, files: 1 };
        assert_eq!(setquota(7, least, Path::new("/srv")).join(" "), "-P 7 0 1 0 1 /srv");
        assert!(xfs_quota(7, least, Path::new("/srv")).join(" ").contains("bhard=1k"));
    }

    #[test]
    fn a_directory_without_inheritance_has_no_project() {
        assert_eq!(parse_project(" 1900000000 -------------------P-- /srv/alice\n"), Some(1_900_000_000));
        assert_eq!(parse_project("    0 --------------e------- /srv/alice\n"), None);
        assert_eq!(parse_project(" 1900000000 --------------e------- /srv/alice\n"), None);
        assert_eq!(parse_project("lsattr: Operation not supported"), None);
    }
}
