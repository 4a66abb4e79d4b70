//! Resource usage of a container, read from its cgroup, version 1 or 2, and what cgroups of this host can
//! limit. Asking the engine for the usage instead takes a second per container.

use session::box_status::Usage;
use session::procfs::{self, cgroup_path};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The mount point of cgroups.
const MOUNT: &str = "/sys/fs/cgroup";

/// Usage of the container whose PID 1 has this pid on the host. `None` if it has ended.
#[must_use]
pub fn usage(init: i32) -> Option<Usage> {
    read(Path::new(MOUNT), &procfs::cgroups(init).ok()?)
}

/// Whether a container can get a share of the disks by weight.
#[must_use]
pub fn has_io_weight() -> bool {
    find_io_weight(Path::new(MOUNT))
}

/// Version 1 has the file in the root of its tree. The root of version 2 has none, only the cgroups below
/// it for which the controller is enabled, as systemd does for a unit with `IOWeight=`. Engines know only
/// these files; they ignore a weight in `blkio.bfq.weight` of version 1.
fn find_io_weight(mount: &Path) -> bool {
    if mount.join("blkio/blkio.weight").exists() {
        return true;
    }
    let unified = mount.join("cgroup.controllers").exists();
    let mut groups = unified.then(|| fs::read_dir(mount)).into_iter().flatten().flatten().flatten();
    groups.any(|group| ["io.weight", "io.bfq.weight"].iter().any(|file| group.path().join(file).exists()))
}

/// Read the counters of the cgroups that `/proc/PID/cgroup` lists.
fn read(mount: &Path, groups: &str) -> Option<Usage> {
    // Version 2 has no controller in the path: joining an empty one adds nothing.
    let group = |controller: &str| -> Option<PathBuf> {
        Some(mount.join(controller).join(cgroup_path(groups, controller)?))
    };
    if let (Some(cpu), Some(memory), Some(pids)) = (group("cpuacct"), group("memory"), group("pids")) {
        let inactive_file = field(&memory.join("memory.stat"), "total_inactive_file").unwrap_or_default();
        return Some(Usage {
            cpu: Duration::from_nanos(number(&cpu.join("cpuacct.usage"))?),
            memory: number(&memory.join("memory.usage_in_bytes"))?.saturating_sub(inactive_file),
            processes: number(&pids.join("pids.current"))?,
        });
    }
    let group = group("")?;
    let inactive_file = field(&group.join("memory.stat"), "inactive_file").unwrap_or_default();
    Some(Usage {
        cpu: Duration::from_micros(field(&group.join("cpu.stat"), "usage_usec")?),
        memory: number(&group.join("memory.current"))?.saturating_sub(inactive_file),
        processes: number(&group.join("pids.current"))?,
    })
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn cgroups_of_version_1_have_one_tree_per_controller() {
        let mount = tempfile::tempdir().unwrap();
        let at = |path: &str| mount.path().join(path);
        write(&at("cpuacct/docker/x/cpuacct.usage"), "2500000000\n");
        write(&at("memory/docker/x/memory.usage_in_bytes"), "1000\n");
        write(&at("memory/docker/x/memory.stat"), "inactive_file 1\ntotal_inactive_file 400\n");
        write(&at("pids/docker/x/pids.current"), "3\n");
        // The hybrid hierarchy of systemd: the tree of version 2 has no controllers.
        let groups = "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n2:pids:/docker/x\n0::/docker/x\n";
        let usage = read(mount.path(), groups).unwrap();
        assert_eq!(usage, Usage { cpu: Duration::from_millis(2500), memory: 600, processes: 3 });
    }

    #[test]
    fn cgroups_of_version_2_have_one_tree() {
        let mount = tempfile::tempdir().unwrap();
        let at = |path: &str| mount.path().join("system.slice/docker-x.scope").join(path);
        write(&at("cpu.stat"), "usage_usec 2500000\nuser_usec 1\n");
        write(&at("memory.current"), "1000\n");
        write(&at("memory.stat"), "anon 1\ninactive_file 400\n");
        write(&at("pids.current"), "3\n");
        let usage = read(mount.path(), "0::/system.slice/docker-x.scope\n").unwrap();
        assert_eq!(usage, Usage { cpu: Duration::from_millis(2500), memory: 600, processes: 3 });
    }

    #[test]
    fn io_weight_is_found_in_both_versions_of_cgroups() {
        let mount = tempfile::tempdir().unwrap();
        let at = |path: &str| mount.path().join(path);
        assert!(!find_io_weight(&at("missing")));
        // The hybrid hierarchy of systemd, and a weight that engines do not set.
        write(&at("blkio/blkio.bfq.weight"), "100\n");
        write(&at("unified/system.slice/io.weight"), "default 100\n");
        assert!(!find_io_weight(mount.path()));
        write(&at("blkio/blkio.weight"), "500\n");
        assert!(find_io_weight(mount.path()));
        fs::remove_dir_all(at("blkio")).unwrap();
        write(&at("cgroup.controllers"), "cpu io memory pids\n");
        write(&at("system.slice/memory.max"), "max\n");
        assert!(!find_io_weight(mount.path()));
        for file in ["io.weight", "io.bfq.weight"] {
            write(&at("system.slice").join(file), "default 100\n");
            assert!(find_io_weight(mount.path()), "{file}");
            fs::remove_file(at("system.slice").join(file)).unwrap();
        }
    }

    #[test]
    fn a_stopped_container_has_no_usage() {
        let mount = tempfile::tempdir().unwrap();
        for groups in ["", "0::/gone\n", "4:memory:/gone\n3:cpuacct:/gone\n2:pids:/gone\n", "nonsense"] {
            assert_eq!(read(mount.path(), groups), None, "{groups}");
        }
        assert_eq!(usage(i32::MAX), None);
    }
}
