//! What a box uses, as the kernel counts it in its cgroup: a few small files instead of a
//! question to the engine, which takes a second for each box. Both versions of cgroups.

use session::box_status::Usage;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where cgroups are mounted (file-hierarchy of systemd, and of Docker without it).
const MOUNT: &str = "/sys/fs/cgroup";

/// What the box with this init on the host has used and uses; `None` when it is gone.
#[must_use]
pub fn usage(init: i32) -> Option<Usage> {
    read(Path::new(MOUNT), &fs::read_to_string(format!("/proc/{init}/cgroup")).ok()?)
}

/// Reads the counters of the groups that a process is in, as `cgroups(7)` lists them:
/// `number:controllers:path` for version 1, `0::path` for version 2.
fn read(mount: &Path, groups: &str) -> Option<Usage> {
    let group = |controller: &str| -> Option<PathBuf> {
        groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let below = if controller.is_empty() { mount.to_owned() } else { mount.join(controller) };
            let listed = controllers.split(',').any(|listed| listed == controller);
            listed.then(|| below.join(path.trim_start_matches('/')))
        })
    };
    if let (Some(cpu), Some(memory), Some(pids)) = (group("cpuacct"), group("memory"), group("pids")) {
        let droppable = field(&memory.join("memory.stat"), "total_inactive_file").unwrap_or_default();
        return Some(Usage {
            cpu: Duration::from_nanos(number(&cpu.join("cpuacct.usage"))?),
            memory: number(&memory.join("memory.usage_in_bytes"))?.saturating_sub(droppable),
            processes: number(&pids.join("pids.current"))?,
        });
    }
    let group = group("")?;
    let droppable = field(&group.join("memory.stat"), "inactive_file").unwrap_or_default();
    Some(Usage {
        cpu: Duration::from_micros(field(&group.join("cpu.stat"), "usage_usec")?),
        memory: number(&group.join("memory.current"))?.saturating_sub(droppable),
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
    fn version_1_has_one_tree_for_each_controller() {
        let mount = tempfile::tempdir().unwrap();
        let at = |path: &str| mount.path().join(path);
        write(&at("cpuacct/docker/x/cpuacct.usage"), "2500000000\n");
        write(&at("memory/docker/x/memory.usage_in_bytes"), "1000\n");
        write(&at("memory/docker/x/memory.stat"), "inactive_file 1\ntotal_inactive_file 400\n");
        write(&at("pids/docker/x/pids.current"), "3\n");
        // The empty tree of version 2 that systemd mounts beside it is not asked.
        let groups = "4:memory:/docker/x\n3:cpu,cpuacct:/docker/x\n2:pids:/docker/x\n0::/docker/x\n";
        let usage = read(mount.path(), groups).unwrap();
        assert_eq!(usage, Usage { cpu: Duration::from_millis(2500), memory: 600, processes: 3 });
    }

    #[test]
    fn version_2_has_one_tree() {
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
    fn a_box_that_is_gone_uses_nothing_that_is_known() {
        let mount = tempfile::tempdir().unwrap();
        for groups in ["", "0::/gone\n", "4:memory:/gone\n3:cpuacct:/gone\n2:pids:/gone\n", "nonsense"] {
            assert_eq!(read(mount.path(), groups), None, "{groups}");
        }
        assert_eq!(usage(i32::MAX), None);
    }
}
