//! Whether a container of an earlier gateway may be set aside, so that its user gets a box of
//! ours on the same home. Nothing that only the container holds may be lost without a word.

use crate::spec::ContainerState;
use host::config::Owner;
use std::path::{Path, PathBuf};

/// What stands between the name of a container and the moment at which it was set aside.
const ASIDE: &str = ".before-sshbox-";

/// Places whose content nobody misses, and a file of Docker's own.
const PASSING: [&str; 5] = ["/run", "/tmp", "/var/tmp", "/sbin/docker-init", "/usr/sbin/docker-init"];

/// A container that has the name of a box, as far as it matters to who takes its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignContainer {
    /// The engine's id.
    pub id: String,
    /// What it does.
    pub state: ContainerState,
    /// Whether it is a box of ours.
    pub ours: bool,
    /// Image as it is called.
    pub image: String,
    /// When it is started without being asked for; `no` for never.
    pub restart: String,
    /// Whether it is removed when it stops.
    pub removed_at_end: bool,
    /// What is mounted in it, but for memory.
    pub mounts: Vec<Mounted>,
}

/// Something that is mounted in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// `bind`, `volume` …
    pub kind: String,
    /// The path on the host; of a volume, its name.
    pub source: PathBuf,
    /// Where the container sees it.
    pub target: PathBuf,
    /// Whether it can be written to.
    pub writable: bool,
}

/// What the box that takes its place will have.
#[derive(Clone, Copy, Debug)]
pub struct AdoptionTarget<'a> {
    /// Home on the host.
    pub home: &'a Path,
    /// Home in the box.
    pub mount: &'a Path,
    /// Who the user is in the box.
    pub owner: Owner,
}

/// Why it is not taken over, each with what to do; empty when it can be.
#[must_use]
pub fn objections(stranger: &ForeignContainer, wanted: &AdoptionTarget) -> Vec<String> {
    let mut objections = Vec::new();
    if stranger.state == ContainerState::Busy {
        objections.push("it is being restarted or removed; try again when that is over".to_owned());
    }
    if stranger.state == ContainerState::Dead {
        objections.push("Docker cannot remove it and calls it dead; try docker rm".to_owned());
    }
    if stranger.removed_at_end {
        let text = "it was started with --rm: stopping removes it and all that is only in it; \
                    save what is needed, then docker stop it yourself";
        objections.push(text.to_owned());
    }
    let (homes, others): (Vec<_>, Vec<_>) =
        stranger.mounts.iter().partition(|mounted| mounted.target == wanted.mount);
    objections.extend(home_objection(homes.first().copied(), wanted));
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

/// The home must be one and the same directory before and after.
fn home_objection(home: Option<&Mounted>, wanted: &AdoptionTarget) -> Option<String> {
    let (mount, expected) = (wanted.mount.display(), wanted.home.display());
    match home {
        None => Some(format!(
            "nothing is mounted at {mount}, so its home is in the container alone; copy it to {expected}, \
             then stop and rename the container yourself"
        )),
        Some(home) if home.kind != "bind" || home.source != wanted.home => Some(format!(
            "its {mount} is {} {}, and box.home says {expected}; correct box.home, or move the home",
            home.kind,
            home.source.display()
        )),
        Some(_) => None,
    }
}

/// What is wrong with who owns the home's top directory; the rest is not looked at.
#[must_use]
pub fn owner_objection(owner: (u32, u32), wanted: &AdoptionTarget) -> Option<String> {
    let (home, expected) = (wanted.home.display(), wanted.owner);
    (owner.0 != expected.uid).then(|| {
        format!(
            "{home} belongs to {}:{}, and the user of a box is {expected} (box.user): correct box.user, or \
             chown the home and what is in it",
            owner.0, owner.1
        )
    })
}

/// Of all paths that differ from the image, those that somebody may miss: no directory for
/// the sake of what is in it, nothing where things pass, no mount point.
#[must_use]
pub fn missed(mut changes: Vec<String>, mounts: &[Mounted]) -> Vec<String> {
    // In the order of paths, what is in a directory follows it.
    changes.sort_unstable_by(|one, other| Path::new(one).cmp(Path::new(other)));
    let next = changes.iter().skip(1).map(Some).chain([None]);
    let leaves = changes
        .iter()
        .zip(next)
        .filter(|(path, next)| !next.is_some_and(|next| Path::new(next).starts_with(path)))
        .map(|(path, _)| path);
    let passes = |path: &Path| PASSING.iter().any(|place| path.starts_with(place));
    let is_mount = |path: &Path| mounts.iter().any(|mounted| mounted.target.starts_with(path));
    leaves.filter(|path| !passes(Path::new(path)) && !is_mount(Path::new(path))).cloned().collect()
}

/// The name of a container that is set aside at `moment`, an RFC 3339 time.
#[must_use]
pub fn aside(name: &str, moment: &str) -> String {
    format!("{name}{ASIDE}{}", moment.replace(':', ""))
}

/// Whether a container of this name was set aside.
#[must_use]
pub fn is_aside(name: &str) -> bool {
    name.contains(ASIDE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    const HOME: &str = "/app/data/users/Ada-L";

    fn wanted() -> AdoptionTarget<'static> {
        let owner = Owner { uid: 1000, gid: 1000 };
        AdoptionTarget { home: Path::new(HOME), mount: Path::new("/home/user"), owner }
    }

    fn mounted(kind: &str, source: &str, target: &str, writable: bool) -> Mounted {
        Mounted { kind: kind.to_owned(), source: source.into(), target: target.into(), writable }
    }

    fn stranger(mounts: &[Mounted]) -> ForeignContainer {
        ForeignContainer {
            state: ContainerState::Running,
            mounts: mounts.to_vec(),
            ..ForeignContainer::default()
        }
    }

    fn objections_to(mounts: &[Mounted]) -> String {
        objections(&stranger(mounts), &wanted()).join("\n")
    }

    #[test]
    fn the_box_of_this_user_is_taken_whether_it_runs_or_not() {
        let home = [mounted("bind", "/app/data/users/Ada-L/", "/home/user", true)];
        assert_eq!(objections_to(&home), "");
        for state in [ContainerState::Stopped, ContainerState::Paused] {
            assert!(objections(&ForeignContainer { state, ..stranger(&home) }, &wanted()).is_empty());
        }
        let with_zone =
            [home.as_slice(), &[mounted("bind", "/etc/localtime", "/etc/localtime", false)]].concat();
        assert_eq!(objections_to(&with_zone), "");
    }

    #[test]
    fn another_home_or_none_is_refused() {
        assert_snapshot!(objections_to(&[]), @"nothing is mounted at /home/user, so its home is in the container alone; copy it to /app/data/users/Ada-L, then stop and rename the container yourself");
        assert_snapshot!(objections_to(&[mounted("bind", "/app/data/users/ada-l", "/home/user", true)]), @"its /home/user is bind /app/data/users/ada-l, and box.home says /app/data/users/Ada-L; correct box.home, or move the home");
        assert_snapshot!(objections_to(&[mounted("volume", "ada", "/home/user", true)]), @"its /home/user is volume ada, and box.home says /app/data/users/Ada-L; correct box.home, or move the home");
        // A path that begins alike is another one.
        assert_ne!(objections_to(&[mounted("bind", "/app/data/users/Ada-L2", "/home/user", true)]), "");
    }

    #[test]
    fn what_the_box_would_not_have_is_refused() {
        let home = mounted("bind", HOME, "/home/user", true);
        let volume = mounted("volume", "cache", "/data", true);
        let shared = mounted("bind", "/srv/shared", "/shared", true);
        assert_snapshot!(objections_to(&[home, volume, shared]), @"
        volume cache is at /data, and the box would not have it; copy what is needed into the home, then stop and rename the container yourself
        bind /srv/shared is at /shared, and the box would not have it; copy what is needed into the home, then stop and rename the container yourself
        ");
    }

    #[test]
    fn p5_a_container_that_would_be_removed_or_is_on_its_way_is_refused() {
        let ready = stranger(&[mounted("bind", HOME, "/home/user", true)]);
        let fleeting = ForeignContainer { removed_at_end: true, ..ready.clone() };
        assert_snapshot!(objections(&fleeting, &wanted()).join("\n"), @"it was started with --rm: stopping removes it and all that is only in it; save what is needed, then docker stop it yourself");
        for state in [ContainerState::Busy, ContainerState::Dead] {
            assert_eq!(objections(&ForeignContainer { state, ..ready.clone() }, &wanted()).len(), 1);
        }
    }

    #[test]
    fn a_home_of_somebody_else_is_refused() {
        assert_eq!(owner_objection((1000, 100), &wanted()), None);
        assert_snapshot!(owner_objection((0, 0), &wanted()).unwrap(), @"/app/data/users/Ada-L belongs to 0:0, and the user of a box is 1000:1000 (box.user): correct box.user, or chown the home and what is in it");
    }

    #[test]
    fn changes_are_those_that_somebody_may_miss() {
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
            missed(changes, &[mounted("bind", HOME, "/home/user", true)]),
            ["/etc/apt.conf", "/opt/tool", "/opt-x"]
        );
    }

    #[test]
    fn what_was_set_aside_is_known_by_its_name() {
        let name = aside("scitex-user-Ada-L", "2026-03-01T10:00:00Z");
        assert_eq!(name, "scitex-user-Ada-L.before-sshbox-2026-03-01T100000Z");
        assert!(is_aside(&name) && !is_aside("scitex-user-Ada-L"));
    }
}
