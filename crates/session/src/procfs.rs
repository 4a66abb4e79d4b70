//! The one reader of `/proc`: each function reads one file and returns parsed values. What they mean
//! for sshbox is the caller's to decide. Formats: proc(5) and the page named at each item.

mod mounts;
mod sockets;

pub use mounts::{Mount, mount_table, mounts};
pub use sockets::{has_unix_listener, tcp_listeners};

use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// See [`without_deleted`].
const DELETED: &[u8] = b" (deleted)";

/// IPv6 settings of the loopback interface; missing if the kernel has no IPv6.
const LOOPBACK_IPV6: &str = "/proc/sys/net/ipv6/conf/lo";

/// The pids of all processes. One may have ended by the time it is looked at.
///
/// # Errors
/// The error of the system call.
pub fn pids() -> io::Result<impl Iterator<Item = i32>> {
    Ok(fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// Device and inode of an open file of a process; `None` if it has no file of this number open.
///
/// # Errors
/// The error of the system call, if the process has ended or does not let this one look.
pub fn open_file(pid: i32, number: i32) -> io::Result<Option<(u64, u64)>> {
    match fs::metadata(file(pid, "fd").join(number.to_string())) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && file(pid, "fd").exists() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fields of `proc_pid_stat(5)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Process id.
    pub pid: i32,
    /// Name of the program, at most 15 bytes, which the process can choose.
    pub name: Vec<u8>,
    /// One letter, such as `R`, `S` or `Z`.
    pub state: u8,
    /// Pid of the parent.
    pub parent: i32,
    /// Session id: the pid of the process that leads it.
    pub session: i32,
    /// Device number of the controlling terminal; 0 for none.
    pub terminal: i32,
    /// Number of threads.
    pub threads: u64,
    /// Start of the process, in clock ticks since boot.
    pub start_ticks: u64,
}

impl Stat {
    /// Reads that of one process; `None` when there is no such process.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read(file(pid, "stat")).ok()?)
    }

    /// Parses one line.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        // The name in field 2 may hold spaces and parentheses.
        let begin = line.iter().position(|byte| *byte == b'(')?;
        let end = line.iter().rposition(|byte| *byte == b')')?;
        let rest: Vec<&str> =
            std::str::from_utf8(line.get(end + 1..)?).ok()?.split_ascii_whitespace().collect();
        // The first one behind the name is field 3.
        let field = |number: usize| rest.get(number - 3).copied();
        Some(Self {
            pid: std::str::from_utf8(line.get(..begin)?).ok()?.trim().parse().ok()?,
            name: line.get(begin + 1..end)?.to_vec(),
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            terminal: field(7)?.parse().ok()?,
            threads: field(20)?.parse().ok()?,
            start_ticks: field(22)?.parse().ok()?,
        })
    }

    /// Whether it has ended. A process whose first thread has ended lives on in its other threads.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads < 2
    }

    /// Start of the process, since boot; `None` when the kernel does not tell its clock ticks.
    #[must_use]
    pub fn start(&self) -> Option<Duration> {
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
        let milliseconds = self.start_ticks.saturating_mul(1000) / u64::try_from(per_second).ok()?.max(1);
        Some(Duration::from_millis(milliseconds))
    }
}

/// Fields of `proc_pid_status(5)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessStatus {
    /// The real uid.
    pub real_uid: Option<u32>,
    /// The effective uid.
    pub effective_uid: Option<u32>,
    /// How many pid namespaces know the process, this one included; 0 if that is not known.
    pub pid_namespaces: usize,
    /// Signals that the process handles.
    pub caught: SignalMask,
    /// Signals that it ignores.
    pub ignored: SignalMask,
    /// Signals that its first thread blocks.
    pub blocked: SignalMask,
}

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalMask(u64);

impl SignalMask {
    /// Whether this signal is in the set.
    #[must_use]
    pub fn has(self, signal: Signal) -> bool {
        self.0 & (1 << (signal as i32 - 1)) != 0
    }
}

impl ProcessStatus {
    /// Reads that of one process; `None` when there is no such process.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self::parse(&fs::read(file(pid, "status")).ok()?))
    }

    /// Parses the file. A missing mask is empty.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        // The name of the program in the first line need not be UTF-8.
        let text = String::from_utf8_lossy(text);
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let mask = |name: &str| {
            SignalMask(value(name).and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or_default())
        };
        let uid = |nth| value("Uid:").and_then(|uids| uids.split_ascii_whitespace().nth(nth)?.parse().ok());
        Self {
            real_uid: uid(0),
            effective_uid: uid(1),
            pid_namespaces: value("NSpid:").map_or(0, |pids| pids.split_ascii_whitespace().count()),
            caught: mask("SigCgt:"),
            ignored: mask("SigIgn:"),
            blocked: mask("SigBlk:"),
        }
    }
}

/// Path of the program that a process runs, also when an upgrade has replaced the file.
///
/// # Errors
/// The error of the system call.
pub fn program(pid: i32) -> io::Result<PathBuf> {
    Ok(without_deleted(fs::read_link(file(pid, "exe"))?))
}

/// The kernel appends ` (deleted)` to the path of a file that has been replaced.
fn without_deleted(path: PathBuf) -> PathBuf {
    path.as_os_str()
        .as_bytes()
        .strip_suffix(DELETED)
        .map(|path| OsStr::from_bytes(path).into())
        .unwrap_or(path)
}

/// Whether a process is in the pid namespace of this one; `None` when that cannot be read.
#[must_use]
pub fn in_our_pid_namespace(pid: i32) -> Option<bool> {
    let ours = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(fs::read_link(file(pid, "ns/pid")).ok()? == ours)
}

/// The environment that a process was started with, cut after `longest` bytes: `NAME=VALUE`, each
/// ended by a NUL.
///
/// # Errors
/// The error of the system call.
pub fn environment(pid: i32, longest: u64) -> io::Result<Vec<u8>> {
    read_at_most(pid, "environ", longest)
}

/// The arguments of a process, cut after `longest` bytes: each ended by a NUL, or what the process has
/// put in their place.
///
/// # Errors
/// The error of the system call.
pub fn command_line(pid: i32, longest: u64) -> io::Result<Vec<u8>> {
    read_at_most(pid, "cmdline", longest)
}

/// The mount namespace of a process. The open file keeps naming it when the pid is used again.
///
/// # Errors
/// The error of the system call.
pub fn mount_namespace(pid: i32) -> io::Result<File> {
    File::open(file(pid, "ns/mnt"))
}

/// The cgroups of a process, see [`cgroup_path`].
///
/// # Errors
/// The error of the system call.
pub fn cgroups(pid: i32) -> io::Result<String> {
    fs::read_to_string(file(pid, "cgroup"))
}

/// The path of the cgroup with this controller, relative to its mount point, in the lines of
/// `cgroups(7)`: `number:controllers:path` for version 1, `0::path` for version 2, whose one cgroup
/// has the empty name here.
#[must_use]
pub fn cgroup_path<'a>(cgroups: &'a str, controller: &str) -> Option<&'a str> {
    cgroups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let listed = controllers.split(',').any(|listed| listed == controller);
        listed.then(|| path.trim_start_matches('/'))
    })
}

/// Whether the kernel has IPv6: one booted with `ipv6.disable=1` has not.
#[must_use]
pub fn kernel_has_ipv6() -> bool {
    Path::new(LOOPBACK_IPV6).exists()
}

/// Whether the loopback interface of this network namespace has IPv6.
#[must_use]
pub fn loopback_has_ipv6() -> bool {
    fs::read(Path::new(LOOPBACK_IPV6).join("disable_ipv6")).is_ok_and(|off| !off.starts_with(b"1"))
}

/// The random id of this boot; empty when it cannot be read.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn read_at_most(pid: i32, name: &str, longest: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(file(pid, name))?.take(longest).read_to_end(&mut content)?;
    Ok(content)
}

fn file(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_process() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn stat_is_parsed_whatever_the_name_holds() {
        let stat =
            Stat::parse(b"42 (a) b (c) S 7 42 43 34816 42 4194304 0 0 0 0 0 0 0 0 20 0 1 0 999 0 0").unwrap();
        assert_eq!((stat.pid, stat.parent, stat.session, stat.terminal), (42, 7, 43, 34816));
        assert_eq!((&*stat.name, stat.threads, stat.start_ticks), (&b"a) b (c"[..], 1, 999));
        assert!(!stat.has_ended());
        let not_utf8 = Stat::parse(b"42 (\xff) S 7 42 42 0 42 0 0 0 0 0 0 0 0 0 20 0 1 0 999").unwrap();
        assert_eq!(not_utf8.name, b"\xff");
        for broken in [&b""[..], b"42", b"42 (x) S", b"x (x) S 7 42 42 0 42 0 0 0 0 0 0 0 0 0 20 0 1 0 999"] {
            assert_eq!(Stat::parse(broken), None);
        }
    }

    #[test]
    fn a_process_ends_with_its_last_thread() {
        let ended = |state: &str, threads: u8| {
            let line = format!("42 (x) {state} 7 42 42 0 42 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 999");
            Stat::parse(line.as_bytes()).unwrap().has_ended()
        };
        assert!(ended("Z", 1) && ended("X", 0) && ended("Z", 0));
        assert!(!ended("Z", 2) && !ended("S", 1));
    }

    #[test]
    fn status_is_parsed_and_missing_masks_are_empty() {
        let text =
            b"Name:\t\xff\nUid:\t1000\t0\t0\t0\nNSpid:\t42\t7\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000384004\n";
        let status = ProcessStatus::parse(text);
        assert_eq!((status.real_uid, status.effective_uid), (Some(1000), Some(0)));
        assert_eq!(status.pid_namespaces, 2);
        assert!(status.blocked.has(Signal::SIGHUP) && !status.blocked.has(Signal::SIGINT));
        assert!(status.ignored.has(Signal::SIGQUIT) && status.ignored.has(Signal::SIGTSTP));
        assert_eq!(status.caught, SignalMask::default());
        assert_eq!(ProcessStatus::parse(b""), ProcessStatus::default());
        assert_eq!(ProcessStatus::parse(b"Uid:\tx\nSigCgt:\tx\n"), ProcessStatus::default());
    }

    #[test]
    fn this_process_reads_itself() {
        let pid = this_process();
        assert!(pids().unwrap().any(|found| found == pid));
        let stat = Stat::of(pid).unwrap();
        assert_eq!(stat.pid, pid);
        assert!(stat.start().unwrap() > Duration::ZERO);
        assert_eq!(ProcessStatus::of(pid).unwrap().real_uid, Some(nix::unistd::getuid().as_raw()));
        assert_eq!(program(pid).unwrap(), std::env::current_exe().unwrap());
        assert_eq!(in_our_pid_namespace(pid), Some(true));
        assert_eq!(command_line(pid, 3).unwrap().len(), 3);
        assert!(mount_namespace(pid).is_ok() && mount_namespace(i32::MAX).is_err());
        assert!(environment(pid, 1 << 20).unwrap().len() > environment(pid, 3).unwrap().len());
        assert!(!command_line(pid, 4096).unwrap().is_empty() && !cgroups(pid).unwrap().is_empty());
        let table = mount_table(Some(pid)).unwrap();
        assert_eq!(table, mount_table(None).unwrap());
        assert!(mounts(&table).any(|mount| mount.mount_point == "/proc"));
        assert_eq!(boot_id().len(), 36);
    }

    #[test]
    fn the_program_is_recognized_after_an_upgrade() {
        for (path, program) in [
            ("/usr/lib/sshbox/sshbox-shell", "/usr/lib/sshbox/sshbox-shell"),
            ("/usr/lib/sshbox/sshbox-shell (deleted)", "/usr/lib/sshbox/sshbox-shell"),
            ("/usr/lib/sshbox/sshbox-shell (deleted)2", "/usr/lib/sshbox/sshbox-shell (deleted)2"),
        ] {
            assert_eq!(without_deleted(path.into()), Path::new(program));
        }
    }

    #[test]
    fn a_process_that_does_not_exist_has_nothing() {
        assert_eq!((Stat::of(i32::MAX), ProcessStatus::of(i32::MAX)), (None, None));
        assert!(program(i32::MAX).is_err() && cgroups(i32::MAX).is_err());
        assert_eq!(in_our_pid_namespace(i32::MAX), None);
    }

    #[test]
    fn cgroups_are_found_by_controller() {
        let version_1 = "4:memory:/docker/x\n3:cpu,cpuacct:/docker/y\n0::/z\n";
        assert_eq!(cgroup_path(version_1, "cpuacct"), Some("docker/y"));
        assert_eq!(cgroup_path(version_1, "pids"), None);
        assert_eq!(cgroup_path(version_1, ""), Some("z"));
        assert_eq!(cgroup_path("0::/a:b\n", ""), Some("a:b"));
        assert_eq!(cgroup_path("nonsense\n", ""), None);
    }
}
