//! Mount tables of processes.

use std::fs;
use std::io;

/// One line of `proc_pid_mountinfo(5)`:
/// `36 35 0:58 / /var/lib/lxcfs rw,relatime shared:1 - fuse.lxcfs lxcfs rw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// `major:minor`.
    pub device: &'a str,
    /// Mount point, with spaces and the like as octal escapes.
    pub mount_point: &'a str,
    /// Type of the file system.
    pub file_system: &'a str,
    /// Options of the file system, separated by commas.
    pub options: &'a str,
}

/// The mount table of a process, or of this one, see [`mounts`].
///
/// # Errors
/// The error of the system call.
pub fn mount_table(pid: Option<i32>) -> io::Result<String> {
    match pid {
        Some(pid) => fs::read_to_string(super::file(pid, "mountinfo")),
        None => fs::read_to_string("/proc/self/mountinfo"),
    }
}

/// The mounts of a table, in its order.
pub fn mounts(table: &str) -> impl Iterator<Item = Mount<'_>> {
    table.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let mut behind = file_system.split(' ');
        Some(Mount {
            device: fields.next()?,
            mount_point: fields.nth(1)?,
            file_system: behind.next()?,
            options: behind.nth(1).unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_parsed_and_broken_lines_skipped() {
        let table = "36 35 0:58 / /var/lib/lxcfs rw,relatime shared:1 - fuse.lxcfs lxcfs rw\n\
            1 2\nx - fuse.lxcfs \n22 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        let mounts: Vec<_> = mounts(table).collect();
        let lxcfs =
            Mount { device: "0:58", mount_point: "/var/lib/lxcfs", file_system: "fuse.lxcfs", options: "rw" };
        assert_eq!(
            mounts,
            [lxcfs, Mount { device: "8:1", mount_point: "/", file_system: "ext4", options: "rw" }]
        );
    }
}
