//! Pending security updates of the packages that isolate users from each other and from the host.
//! Uses no network: it reads the package lists of this host, and warns when they are old.

use super::report::{CheckResult, ok, skip, warn};
use super::{Checked, Doctor};
use session::deadlines::HOST_PROGRAM;
use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// The packages that sshd, the engine and the containers depend on. A `*` at the end matches the rest
/// of a name.
const PACKAGES: [&str; 8] = [
    "openssh-server",
    "docker.io",
    "docker-ce",
    "containerd",
    "containerd.io",
    "runc",
    "libc6",
    "linux-image-*",
];

/// Origin of the engine's own package repository. It does not mark security updates, so all of its
/// updates count.
const ENGINE_REPOSITORY: &str = "Docker CE:";

/// If all package lists are older than this, it is unknown whether an update is pending.
const LISTS_MAX_AGE: Duration = Duration::from_secs(14 * 24 * 3600);

/// `updates`: is a security update pending?
pub fn updates(doctor: &Doctor) -> Checked {
    let mut apt = Command::new("apt-get");
    // Without the lock, the simulation also works while another apt runs.
    apt.args(["--simulate", "--option", "Debug::NoLocking=true", "--with-new-pkgs", "upgrade"]);
    let ended = doctor.tool(&mut apt, "", HOST_PROGRAM * 3).map_err(|error| {
        skip(format!("no apt-get ({error}): look for security updates with this host's package manager"))
    })?;
    if !ended.succeeded() {
        return Err(skip(format!("cannot tell: apt-get: {}", ended.last_words())));
    }
    Ok(judge(&pending(&ended.out), lists_age(SystemTime::now())))
}

/// The packages with a pending security update, and the new version.
fn pending(simulation: &str) -> Vec<(&str, &str)> {
    simulation.lines().filter_map(parse_pending).collect()
}

/// The package and its new version, if this line is a security update of one of [`PACKAGES`]. Lines look
/// like `Inst runc [1.1.5-1] (1.1.5-1+deb12u1 Debian-Security:12/stable-security [amd64]) []`.
fn parse_pending(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
    let (version, origins) = rest.split_once('(')?.1.split_once(')')?.0.split_once(' ')?;
    let matters = PACKAGES.iter().any(|package| match package.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *package,
    });
    let security = origins.to_lowercase().contains("security") || origins.contains(ENGINE_REPOSITORY);
    (matters && security).then_some((name, version))
}

/// Time since a repository last signed one of the package lists of this host: apt gives the file
/// that time. `None` if there are no lists.
fn lists_age(now: SystemTime) -> Option<Duration> {
    let lists = fs::read_dir("/var/lib/apt/lists").ok()?.flatten();
    let lists = lists.filter(|list| list.file_name().to_string_lossy().ends_with("Release"));
    let written = lists.filter_map(|list| list.metadata().ok()?.modified().ok()).max()?;
    Some(now.duration_since(written).unwrap_or_default())
}

fn judge(pending: &[(&str, &str)], lists_age: Option<Duration>) -> CheckResult {
    if !pending.is_empty() {
        let shown: Vec<_> = pending.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let names: Vec<_> = pending.iter().map(|(name, _)| *name).collect();
        return warn(
            format!("pending security updates: {}", shown.join(", ")),
            format!(
                "apt install {}; then restart these services, or the host for a new kernel",
                names.join(" ")
            ),
        );
    }
    match lists_age {
        Some(age) if age <= LISTS_MAX_AGE => ok("no pending security update in apt's lists"),
        Some(age) => warn(
            format!("the package lists are {} days old: newer updates are not known", age.as_secs() / 86_400),
            "apt update",
        ),
        None => warn("there are no package lists: updates are not known", "apt update"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    const SIMULATION: &str = "Reading package lists...\n\
        Inst libc6 [2.36-9+deb12u10] (2.36-9+deb12u13 Debian-Security:12/oldstable-security [amd64]) []\n\
        Inst runc [1.1.5] (1.1.12 Ubuntu:24.04/noble-updates, Ubuntu:24.04/noble-security [amd64])\n\
        Inst docker.io [20.10.24-1] (20.10.24-2 Debian:12.11/oldstable [amd64])\n\
        Inst docker-ce [5:28.0.1] (5:28.5.2 Docker CE:bookworm [amd64])\n\
        Inst linux-image-6.1.0-40-amd64 (6.1.153-1 Debian-Security:12/oldstable-security [amd64])\n\
        Inst jq [1.6-2.1] (1.6-2.1+deb12u3 Debian-Security:12/oldstable-security [amd64])\n\
        Conf libc6 (2.36-9+deb12u13 Debian-Security:12/oldstable-security [amd64])\n";

    #[test]
    fn security_updates_of_what_matters_are_named() {
        let expected = [
            ("libc6", "2.36-9+deb12u13"),
            ("runc", "1.1.12"),
            ("docker-ce", "5:28.5.2"),
            ("linux-image-6.1.0-40-amd64", "6.1.153-1"),
        ];
        assert_eq!(pending(SIMULATION), expected);
        let result = judge(&expected[..2], Some(Duration::ZERO));
        assert_eq!(result.finding, "pending security updates: libc6 2.36-9+deb12u13, runc 1.1.12");
        assert!(result.fix.unwrap().starts_with("apt install libc6 runc"));
    }

    #[test]
    fn no_update_is_pending_only_if_the_lists_are_recent() {
        let judge = |days: u64| judge(&[], Some(Duration::from_secs(days * 86_400)));
        assert_eq!(judge(14).state, CheckState::Ok);
        assert_eq!(judge(40).finding, "the package lists are 40 days old: newer updates are not known");
        assert_eq!(super::judge(&[], None).state, CheckState::Warn);
    }
}
