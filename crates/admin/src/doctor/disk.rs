//! The limits of homes on the disk: what enforces them, and whether that works on this host.

use super::report::{CheckResult, fail, ok, warn};
use super::{Checked, Doctor};
use host::config::Config;
use host::home;
use host::quota::{Backend, FileSystem, homes, is_mount_point};
use session::presence::{DISK_SOCKET, TEMPORARY_USER_PREFIX};
use session::procfs;
use std::path::Path;

/// Most homes that are looked at.
const MOST: usize = 10_000;

/// Most homes that are named.
const NAMED: usize = 3;

/// Where the programs are.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

const IMAGE_PROGRAMS: [&str; 4] = ["losetup", "mkfs.ext4", "e2fsck", "resize2fs"];
const PROJECT_PROGRAMS: [&str; 3] = ["setquota", "chattr", "lsattr"];

const INSTALL: &str = "see \"Limit the homes\" in /usr/share/doc/sshbox/docs/src/install.md";

/// `disk`: has each home a limit?
pub fn disk(doctor: &Doctor) -> Checked {
    let config = doctor.config()?;
    let backend = Backend::of(config);
    let lacking = |programs: &[&'static str]| programs.iter().find(|name| !is_installed(name)).copied();
    let listens = procfs::has_unix_listener(DISK_SOCKET);
    let problem = match backend {
        Backend::None => {
            let cause = "homes have no limit: one user can fill the disk of all";
            return Ok(warn(cause, INSTALL));
        }
        Backend::Project if !enforces(config) => {
            let cause = format!("the file system of {} enforces no project quotas", homes(config).display());
            return Ok(fail(cause, INSTALL));
        }
        Backend::Project => lacking(&PROJECT_PROGRAMS),
        Backend::Image if !Path::new("/dev/loop-control").exists() => {
            return Ok(fail("this host has no loop devices: /dev/loop-control is missing", "modprobe loop"));
        }
        Backend::Image => lacking(&IMAGE_PROGRAMS),
    };
    if let Some(program) = problem {
        return Ok(not_installed(program));
    }
    if !listens {
        let start = "systemctl restart sshbox-wake.socket";
        return Ok(fail(format!("nobody listens at {DISK_SOCKET}: no box can be started"), start));
    }
    Ok(judge(backend, &unlimited(config)))
}

fn not_installed(program: &str) -> CheckResult {
    let package = match program {
        "setquota" => "quota",
        "losetup" => "mount",
        _ => "e2fsprogs",
    };
    fail(format!("{program} is not installed"), format!("apt install {package}"))
}

fn judge(backend: Backend, unlimited: &[String]) -> CheckResult {
    let Some(first) = unlimited.first() else {
        return ok(format!("every home has a limit, {backend}"));
    };
    let named = unlimited.get(..NAMED.min(unlimited.len())).unwrap_or_default().join(", ");
    let more = if unlimited.len() > NAMED { " …" } else { "" };
    let count = unlimited.len();
    warn(
        format!("{backend} for new homes; {count} from before have no limit: {named}{more}"),
        format!("sshbox quota {first}; it stops the box"),
    )
}

/// The users whose homes have no limit. Looks into no home.
fn unlimited(config: &Config) -> Vec<String> {
    let owners = home::owners(&config.container.home).unwrap_or_default();
    let logins = owners.into_iter().map(|(login, _)| login).take(MOST);
    let mut found: Vec<String> = logins
        .filter(|login| !login.as_str().starts_with(TEMPORARY_USER_PREFIX))
        .filter(|login| {
            let home = config.container.home.fill(login);
            let home = Path::new(&home);
            !is_mount_point(home) && home::disk_usage(home).is_some_and(|disk| disk.limit.is_none())
        })
        .map(|login| login.to_string())
        .collect();
    found.sort();
    found
}

fn enforces(config: &Config) -> bool {
    FileSystem::of(&homes(config)).is_some_and(|found| found.enforces_projects)
}

fn is_installed(program: &str) -> bool {
    DIRECTORIES.iter().any(|directory| Path::new(directory).join(program).exists())
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    #[test]
    fn homes_without_a_limit_are_named() {
        assert_eq!(judge(Backend::Image, &[]).state, CheckState::Ok);
        let names = ["ada", "bob", "carol", "dora"].map(str::to_owned);
        let result = judge(Backend::Image, &names);
        assert_eq!(result.state, CheckState::Warn);
        assert_eq!(result.finding, "image for new homes; 4 from before have no limit: ada, bob, carol …");
        let result = not_installed("setquota");
        assert_eq!((result.state, result.fix.as_deref()), (CheckState::Fail, Some("apt install quota")));
        assert!(is_installed("sh") && !is_installed("sshbox-no-such-program"));
    }
}
