//! What the kernel counts for this container, from inside it: under version 2 of cgroups, or version 1.

use std::fs;
use std::path::Path;

/// Counters of out-of-memory kills.
const OOM_COUNTS: [&str; 2] = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// Directories of the task counters.
const TASK_COUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"];

/// Number of tasks, and the limit; `None` if the kernel does not tell.
pub fn tasks() -> Option<(u64, u64)> {
    let number = |name: &str| {
        let path = TASK_COUNTS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
        fs::read_to_string(path?).ok()?.trim().parse().ok()
    };
    Some((number("pids.current")?, number("pids.max")?))
}

/// Number of programs that the kernel has killed because memory ran out; `None` if it does not tell.
pub fn oom_kills() -> Option<u64> {
    let text = OOM_COUNTS.iter().find_map(|path| fs::read_to_string(path).ok())?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}
