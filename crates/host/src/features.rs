//! What this host has to offer to boxes beside Docker: IPv6, and the files of lxcfs.
//!
//! lxcfs is a FUSE file system: whoever touches a file of one that hangs may hang too. So that is
//! done by a thread of its own, which nobody waits for longer than [`PATIENCE`].

use serde::Serialize;
use session::procfs;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// What a host has to offer to its boxes, beside Docker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostFeatures {
    /// Whether its kernel speaks IPv6.
    pub ipv6: bool,
    /// Files of lxcfs, which stand in a box for those of the kernel: where they are on the host,
    /// and in the box.
    pub lxcfs: Vec<(PathBuf, PathBuf)>,
}

/// Where Debian's lxcfs is mounted.
const LXCFS: &str = "/var/lib/lxcfs";

/// What a box gets of it: all that runc allows to be bound there and that users may read.
const FILES: [&str; 8] = [
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/loadavg",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "sys/devices/system/cpu",
];

/// How long lxcfs may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks.
#[must_use]
pub fn offers() -> HostFeatures {
    HostFeatures { ipv6: procfs::kernel_has_ipv6(), lxcfs: lxcfs() }
}

/// The files of lxcfs, where they are on the host and in a box; none if it does not run or does not
/// answer.
fn lxcfs() -> Vec<(PathBuf, PathBuf)> {
    let table = procfs::mount_table(None).unwrap_or_default();
    if !has_lxcfs(&table) {
        return Vec::new();
    }
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().spawn(move || sender.send(files(Path::new(LXCFS))));
    let answer = thread.ok().and_then(|_| receiver.recv_timeout(PATIENCE).ok());
    answer.and_then(Result::ok).unwrap_or_default()
}

fn has_lxcfs(table: &str) -> bool {
    procfs::mounts(table).any(|mount| mount.file_system == "fuse.lxcfs" && mount.mount_point == LXCFS)
}

fn files(mount: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    fs::read(mount.join("proc/uptime"))?;
    let files = FILES.iter().map(|file| (mount.join(file), Path::new("/").join(file)));
    Ok(files.filter(|(here, _)| here.exists()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        211 22 0:58 / /var/lib/lxcfs rw,nosuid,nodev,relatime shared:9 - fuse.lxcfs lxcfs rw,user_id=0\n";
    const BOX: &str = "300 290 0:70 / /proc rw - proc proc rw\n\
        301 300 0:58 /proc/meminfo /proc/meminfo ro,nosuid - fuse.lxcfs lxcfs rw,user_id=0\n";

    #[test]
    fn lxcfs_is_found_in_the_list_of_mounts() {
        assert!(has_lxcfs(HOST));
        assert!(!has_lxcfs(BOX), "its files in a box are none that it serves");
        assert!(!has_lxcfs("1 2\nx - fuse.lxcfs \n"));
    }

    #[test]
    fn files_that_this_lxcfs_does_not_have_are_left_out() {
        let mount = tempfile::tempdir().unwrap();
        assert!(files(mount.path()).is_err());
        fs::create_dir_all(mount.path().join("proc")).unwrap();
        for name in ["uptime", "meminfo", "slabinfo"] {
            fs::write(mount.path().join("proc").join(name), "1").unwrap();
        }
        let served = files(mount.path()).unwrap();
        let inside: Vec<_> = served.iter().map(|(_, inside)| inside.to_str().unwrap()).collect();
        assert_eq!(inside, ["/proc/meminfo", "/proc/uptime"]);
    }
}
