//! lxcfs: a FUSE file system whose files replace those of `/proc` in a container, and show the
//! container's own memory and processors.
//!
//! Opening a file of a FUSE file system can block for ever. So a thread opens it, and the caller waits for
//! at most [`LXCFS`].

use session::deadlines::LXCFS;
use session::procfs;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

/// The mount point of Debian's lxcfs.
const MOUNT_POINT: &str = "/var/lib/lxcfs";

/// The files of lxcfs that are mounted in a container: those over which runc allows a bind mount, and that
/// users may read.
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

/// The files that lxcfs serves: each with its path on the host and in a container. Empty if lxcfs is
/// not mounted or does not work.
#[must_use]
pub fn files() -> Vec<(PathBuf, PathBuf)> {
    if !procfs::mount_table(None).is_ok_and(|table| is_mounted(&table)) {
        return Vec::new();
    }
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().spawn(move || sender.send(served_files(Path::new(MOUNT_POINT))));
    let served = thread.ok().and_then(|_| receiver.recv_timeout(LXCFS).ok());
    served.and_then(Result::ok).unwrap_or_default()
}

fn is_mounted(table: &str) -> bool {
    procfs::mounts(table).any(|mount| mount.file_system == "fuse.lxcfs" && mount.mount_point == MOUNT_POINT)
}

fn served_files(mount: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    // Fails if the lxcfs process is gone.
    fs::read(mount.join("proc/uptime"))?;
    let files = FILES.iter().map(|file| (mount.join(file), Path::new("/").join(file)));
    Ok(files.filter(|(on_host, _)| on_host.exists()).collect())
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
        assert!(is_mounted(HOST));
        assert!(!is_mounted(BOX));
        assert!(!is_mounted("1 2\nx - fuse.lxcfs \n"));
    }

    #[test]
    fn files_that_lxcfs_does_not_serve_are_left_out() {
        let mount = tempfile::tempdir().unwrap();
        assert!(served_files(mount.path()).is_err());
        fs::create_dir_all(mount.path().join("proc")).unwrap();
        for name in ["uptime", "meminfo", "slabinfo"] {
            fs::write(mount.path().join("proc").join(name), "1").unwrap();
        }
        let served = served_files(mount.path()).unwrap();
        let inside: Vec<_> = served.iter().map(|(_, inside)| inside.to_str().unwrap()).collect();
        assert_eq!(inside, ["/proc/meminfo", "/proc/uptime"]);
    }
}
