//! Whether `sshbox adopt` can set aside a user's container that another program created: stop and rename
//! it, so that the user gets a box with the same home. The reasons against it tell the admin what would be
//! lost. Functions without side effects.

use crate::container::{ContainerState, ForeignContainer, ForeignMount};
use crate::engine::{ENGINE_INIT, advice};
use std::path::Path;

/// The part of the name of a container that was set aside, between the earlier name and the time.
const ASIDE: &str = ".before-sshbox-";

/// Directories for temporary files: an admin need not keep their content.
const TEMPORARY: [&str; 3] = ["/run", "/tmp", "/var/tmp"];

/// The box that replaces a foreign container.
#[derive(Clone, Copy, Debug)]
pub struct AdoptionTarget<'a> {
    /// Home on the host.
    pub home: &'a Path,
    /// Home in the box.
    pub mount: &'a Path,
}

/// Why the container cannot be set aside, each reason with what to do. Empty if it can be.
#[must_use]
pub fn objections(container: &ForeignContainer, target: &AdoptionTarget) -> Vec<String> {
    let mut objections = Vec::new();
    if container.state == ContainerState::Busy {
        objections.push("it is being restarted or removed; try again when that is over".to_owned());
    }
    if container.state == ContainerState::Dead {
        objections.push(advice::REMOVE_DEAD.to_owned());
    }
    if container.auto_remove {
        objections.push(advice::SAVE_BEFORE_STOP.to_owned());
    }
    let (homes, others): (Vec<_>, Vec<_>) =
        container.mounts.iter().partition(|mount| mount.target == target.mount);
    objections.extend(home_objection(homes.first().copied(), target));
    objections.extend(others.into_iter().filter(|other| other.kind != "bind" || other.writable).map(
        |other| {
            format!(
                "{} {} is at {}, and the box would not have it; copy what is needed into the home, then stop \
             and rename the container yourself",
                other.kind,
                other.source.display(),
                other.target.display()
            )
        },
    ));
    objections
}

/// Why the mounts of the container do not fit: the home must be the same directory in the box.
fn home_objection(home: Option<&ForeignMount>, target: &AdoptionTarget) -> Option<String> {
    let (mount, expected) = (target.mount.display(), target.home.display());
    match home {
        None => Some(format!(
            "nothing is mounted at {mount}, so its home is in the container alone; copy it to {expected}, \
             then stop and rename the container yourself"
        )),
        Some(home) if home.kind != "bind" || home.source != target.home => Some(format!(
            "its {mount} is {} {}, and box.home says {expected}; correct box.home, or move the home",
            home.kind,
            home.source.display()
        )),
        Some(_) => None,
    }
}

/// Why the home cannot be given to the uid of the box: what root owns there may be the host's.
#[must_use]
pub fn owner_objection(owner: u32, target: &AdoptionTarget) -> Option<String> {
    let home = target.home.display();
    (owner == 0).then(|| {
        format!("{home} belongs to root: see what is in it, and chown what is the user's to another uid")
    })
}

/// The paths of `changes`, which differ from the image, whose content the user may need: without parent
/// directories of other such paths, temporary files and mount points.
#[must_use]
pub fn changes_worth_keeping(mut changes: Vec<String>, mounts: &[ForeignMount]) -> Vec<String> {
    // In the order of paths, a directory is directly before its content.
    changes.sort_unstable_by(|one, other| Path::new(one).cmp(Path::new(other)));
    let followers = changes.iter().skip(1).map(Some).chain([None]);
    let leaves = changes
        .iter()
        .zip(followers)
        .filter(|(path, follower)| !follower.is_some_and(|follower| Path::new(follower).starts_with(path)))
        .map(|(path, _)| path);
    let is_temporary =
        |path: &Path| TEMPORARY.iter().chain(&ENGINE_INIT).any(|ignored| path.starts_with(ignored));
    let is_mount = |path: &Path| mounts.iter().any(|mount| mount.target.starts_with(path));
    leaves.filter(|path| !is_temporary(Path::new(path)) && !is_mount(Path::new(path))).cloned().collect()
}

/// The name of a container that is set aside at `time`, in RFC 3339.
#[must_use]
pub fn name_aside(name: &str, time: &str) -> String {
    format!("{name}{ASIDE}{}", time.replace(':', ""))
}

/// Whether this is the name of a container that was set aside.
#[must_use]
pub fn is_aside(name: &str) -> bool {
    name.contains(ASIDE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    const HOME: &str = "/app/data/users/Ada-L";

    fn target() -> AdoptionTarget<'static> {
        AdoptionTarget { home: Path::new(HOME), mount: Path::new("/home/user") }
    }

    fn mount(kind: &str, source: &str, target: &str, writable: bool) -> ForeignMount {
        ForeignMount { kind: kind.to_owned(), source: source.into(), target: target.into(), writable }
    }

    fn container(mounts: &[ForeignMount]) -> ForeignContainer {
        ForeignContainer {
            state: ContainerState::Running,
            mounts: mounts.to_vec(),
            ..ForeignContainer::default()
        }
    }

    fn objections_to(mounts: &[ForeignMount]) -> String {
        objections(&container(mounts), &target()).join("\n")
    }

    #[test]
    fn the_container_of_this_user_is_accepted_whether_it_runs_or_not() {
        let home = [mount("bind", "/app/data/users/Ada-L/", "/home/user", true)];
        assert_eq!(objections_to(&home), "");
        for state in [ContainerState::Stopped, ContainerState::Paused] {
            assert!(objections(&ForeignContainer { state, ..container(&home) }, &target()).is_empty());
        }
        let with_zone =
            [home.as_slice(), &[mount("bind", "/etc/localtime", "/etc/localtime", false)]].concat();
        assert_eq!(objections_to(&with_zone), "");
    }

    #[test]
    fn another_home_or_none_is_refused() {
        assert_snapshot!(objections_to(&[]), @"nothing is mounted at /home/user, so its home is in the container alone; copy it to /app/data/users/Ada-L, then stop and rename the container yourself");
        assert_snapshot!(objections_to(&[mount("bind", "/app/data/users/ada-l", "/home/user", true)]), @"its /home/user is bind /app/data/users/ada-l, and box.home says /app/data/users/Ada-L; correct box.home, or move the home");
        assert_snapshot!(objections_to(&[mount("volume", "ada", "/home/user", true)]), @"its /home/user is volume ada, and box.home says /app/data/users/Ada-L; correct box.home, or move the home");
        // The same beginning does not make it the same path.
        assert_ne!(objections_to(&[mount("bind", "/app/data/users/Ada-L2", "/home/user", true)]), "");
    }

    #[test]
    fn mounts_that_the_box_would_not_have_are_refused() {
        let home = mount("bind", HOME, "/home/user", true);
        let volume = mount("volume", "cache", "/data", true);
        let shared = mount("bind", "/srv/shared", "/shared", true);
        assert_snapshot!(objections_to(&[home, volume, shared]), @"
        volume cache is at /data, and the box would not have it; copy what is needed into the home, then stop and rename the container yourself
        bind /srv/shared is at /shared, and the box would not have it; copy what is needed into the home, then stop and rename the container yourself
        ");
    }

    #[test]
    fn p5_a_container_that_would_be_removed_or_is_changing_is_refused() {
        let ready = container(&[mount("bind", HOME, "/home/user", true)]);
        let removed = ForeignContainer { auto_remove: true, ..ready.clone() };
        assert_snapshot!(objections(&removed, &target()).join("\n"), @"it was started with --rm: stopping removes it and all that is only in it; save what is needed, then docker stop it yourself");
        for state in [ContainerState::Busy, ContainerState::Dead] {
            assert_eq!(objections(&ForeignContainer { state, ..ready.clone() }, &target()).len(), 1);
        }
    }

    #[test]
    fn a_home_of_root_is_refused() {
        assert_eq!(owner_objection(1000, &target()), None);
        assert_snapshot!(owner_objection(0, &target()).unwrap(), @"/app/data/users/Ada-L belongs to root: see what is in it, and chown what is the user's to another uid");
    }

    #[test]
    fn changes_worth_keeping_are_those_that_may_be_needed() {
        let changes = [
            "/etc",
            "/etc/apt.conf",
            "/home",
            "/home/user",
            "/opt/tool",
            "/opt-x",
            "/opt",
            "/run/x",
            "/tmp",
            "/tmp/y",
            "/usr/sbin",
            "/usr/sbin/docker-init",
        ];
        let changes = changes.map(str::to_owned).to_vec();
        assert_eq!(
            changes_worth_keeping(changes, &[mount("bind", HOME, "/home/user", true)]),
            ["/etc/apt.conf", "/opt/tool", "/opt-x"]
        );
    }

    #[test]
    fn a_container_that_was_set_aside_is_recognised_by_its_name() {
        let name = name_aside("scitex-user-Ada-L", "2026-03-01T10:00:00Z");
        assert_eq!(name, "scitex-user-Ada-L.before-sshbox-2026-03-01T100000Z");
        assert!(is_aside(&name) && !is_aside("scitex-user-Ada-L"));
    }
}
