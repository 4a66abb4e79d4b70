//! What this host has to offer to boxes beside Docker: IPv6, and the files of lxcfs.
//!
//! lxcfs is a FUSE file system: whoever touches a file of one that hangs may hang too. So that is
//! done by a thread of its own, which nobody waits for longer than [`PATIENCE`].

use serde::Serialize;
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

/// A kernel that was told `ipv6.disable=1` has no such directory.
const IPV6: &str = "/proc/sys/net/ipv6/conf/lo";

/// How long lxcfs may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How lxcfs does on this host.
#[derive(Debug)]
pub enum Lxcfs {
    /// It does not run.
    Absent,
    /// It serves these files: where they are on the host, and in a box.
    Serves(Vec<(PathBuf, PathBuf)>),
    /// It is mounted, and does not answer.
    Fails(io::Error),
}

/// Looks.
#[must_use]
pub fn offers() -> HostFeatures {
    let lxcfs = match lxcfs() {
        Lxcfs::Serves(files) => files,
        Lxcfs::Absent | Lxcfs::Fails(_) => Vec::new(),
    };
    HostFeatures { ipv6: Path::new(IPV6).exists(), lxcfs }
}

/// Asks lxcfs for a file, if it is mounted.
#[must_use]
pub fn lxcfs() -> Lxcfs {
    if mounted().is_none() {
        return Lxcfs::Absent;
    }
    let (sender, receiver) = mpsc::channel();
    let asked = thread::Builder::new().spawn(move || sender.send(files(Path::new(LXCFS))));
    match asked.map(|_| receiver.recv_timeout(PATIENCE)) {
        Ok(Ok(Ok(files))) => Lxcfs::Serves(files),
        Ok(Ok(Err(error))) | Err(error) => Lxcfs::Fails(error),
        Ok(Err(_)) => Lxcfs::Fails(io::ErrorKind::TimedOut.into()),
    }
}

fn files(mount: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    fs::read(mount.join("proc/uptime"))?;
    let files = FILES.iter().map(|file| (mount.join(file), Path::new("/").join(file)));
    Ok(files.filter(|(here, _)| here.exists()).collect())
}

/// Whether the box with this init has files of an lxcfs that was restarted since: reading them
/// fails. Asks no file system.
#[must_use]
pub fn has_stale_lxcfs(init: i32) -> bool {
    let table = fs::read_to_string(format!("/proc/{init}/mountinfo")).unwrap_or_default();
    is_stale(mounted().as_deref(), &table)
}

fn is_stale(current: Option<&str>, table: &str) -> bool {
    lxcfs_mounts(table).any(|(device, _)| Some(device) != current)
}

/// The device of the lxcfs that is mounted now. The kernel gives no other mount the same number
/// while a box still holds files of an earlier one.
fn mounted() -> Option<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    lxcfs_mounts(&table).filter(|(_, at)| *at == LXCFS).last().map(|(device, _)| device.to_owned())
}

/// Device and mount point of each lxcfs, by `proc_pid_mountinfo(5)`:
/// `36 35 0:58 / /var/lib/lxcfs rw,relatime shared:1 - fuse.lxcfs lxcfs rw`.
fn lxcfs_mounts(table: &str) -> impl Iterator<Item = (&str, &str)> {
    table.lines().filter(|line| line.contains(" - fuse.lxcfs ")).filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        Some((fields.next()?, fields.nth(1)?))
    })
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
        assert_eq!(lxcfs_mounts(HOST).collect::<Vec<_>>(), [("0:58", LXCFS)]);
        assert_eq!(lxcfs_mounts(BOX).collect::<Vec<_>>(), [("0:58", "/proc/meminfo")]);
        assert_eq!(lxcfs_mounts("1 2\nx - fuse.lxcfs \n").count(), 0);
    }

    #[test]
    fn files_of_an_lxcfs_that_was_restarted_are_stale() {
        assert!(!is_stale(Some("0:58"), BOX));
        assert!(is_stale(Some("0:61"), BOX));
        assert!(is_stale(None, BOX));
        assert!(!is_stale(None, "300 290 0:70 / /proc rw - proc proc rw\n"));
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
