//! How sshbox's running sshd resolves a login name. That sshd has a mount namespace with its own
//! `nsswitch.conf`, so the lookup runs in that namespace. sshd refuses a name that does not resolve as
//! an invalid user, and does not run `sshbox-keys` for it.

use super::tool::{self, Ended};
use identity::{GID, Login};
use session::deadlines::NAME_LOOKUP;
use session::procfs::{self, ProcessStatus, Stat};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

/// The program of sshbox's sshd, as its unit starts it.
pub const SSHD: &str = "/usr/sbin/sshd";

/// The configuration file of sshbox's sshd; its path tells this sshd from others in `/proc`.
pub const SSHD_CONFIG: &str = "/etc/sshbox/sshd_config";

/// The command that prints the settings of sshbox's sshd.
pub fn print_settings() -> Command {
    let mut command = Command::new(SSHD);
    command.args(["-T", "-f", SSHD_CONFIG]);
    command
}

/// How much of a process title is read, in bytes.
const TITLE_MAX: u64 = 4096;

/// Exit status of nsenter(1) if it cannot enter the namespace, for example because the process has ended.
/// getent(1) has another one for a name that does not resolve.
const NSENTER_FAILED: i32 = 1;

/// The file that sshbox's sshd sees as `/etc/nsswitch.conf`.
const NSSWITCH: &str = "/usr/share/sshbox/nsswitch.conf";

/// What sshd's PAM reads.
const PAM_SERVICE: &str = "/etc/pam.d/sshd";

/// Whether a login name resolves to the uid that sshbox computes for it. A local account of the same name
/// does not count: it has another uid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameLookup {
    /// It resolves in the running sshd; if none runs, it would in an sshd started now.
    Resolves,
    /// It does not resolve in the running sshd, but would in an sshd started now.
    ResolvesAfterRestart,
    /// It would not resolve in an sshd started now either.
    Unresolved,
}

impl NameLookup {
    /// What the admin should do. `None` if the name resolves.
    pub const fn advice(self) -> Option<&'static str> {
        match self {
            Self::Resolves => None,
            Self::ResolvesAfterRestart => Some("systemctl restart sshbox-sshd, which ends no session"),
            Self::Unresolved => Some(
                "apt install --reinstall sshbox, then systemctl restart sshbox-sshd, which ends no session",
            ),
        }
    }
}

/// The listening process of sshbox's sshd.
#[derive(Debug)]
pub struct Listener {
    pid: i32,
    mount_namespace: File,
}

impl Listener {
    /// A command that runs the command at its end in the mount namespace of this sshd.
    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        // By the open file of this process: the pid of the sshd may be in use again by now.
        let (this, file) = (std::process::id(), self.mount_namespace.as_raw_fd());
        command.arg(format!("--mount=/proc/{this}/fd/{file}"));
        command
    }

    /// Which lines of PAM's configuration are in force in this sshd; empty if it has none.
    ///
    /// # Errors
    /// Why the file could not be read, as part of a sentence.
    pub fn pam_service(&self) -> Result<String, String> {
        let mut command = self.command();
        let ended = tool::run(command.args(["cat", PAM_SERVICE]), "", NAME_LOOKUP, None);
        ended.map(|ended| ended.out).map_err(|error| error.to_string())
    }
}

/// Looks up `login` in the mount namespace of the running sshd. If it does not resolve, or without a
/// running sshd, looks it up in a new mount namespace like that of an sshd started now.
///
/// # Errors
/// Why the lookup could not be made, as part of a sentence.
pub fn look_up(running: Option<&Listener>, login: &Login) -> Result<NameLookup, String> {
    if let Some(listener @ Listener { pid, .. }) = running {
        let ended = getent(&mut listener.command(), login)?;
        if ended.code() == Some(NSENTER_FAILED) {
            return Err(format!("the sshd with pid {pid}: {}", ended.last_words()));
        }
        if is_entry_of(&ended.out, login) {
            return Ok(NameLookup::Resolves);
        }
    }
    let mut in_new_namespace = Command::new("unshare");
    // $0 is NSSWITCH, and $@ the getent command.
    let script = "mount --bind -o ro \"$0\" /etc/nsswitch.conf && exec \"$@\"";
    in_new_namespace.args(["--mount", "--propagation", "private", "sh", "-c", script, NSSWITCH]);
    // If the mount fails, the name is unresolved: an sshd started now could not mount the file either.
    let resolves = is_entry_of(&getent(&mut in_new_namespace, login)?.out, login);
    Ok(match (resolves, running) {
        (true, None) => NameLookup::Resolves,
        (true, Some(_)) => NameLookup::ResolvesAfterRestart,
        (false, _) => NameLookup::Unresolved,
    })
}

/// Runs getent by way of `prefix`, a command that runs the command at its end in some mount namespace.
fn getent(prefix: &mut Command, login: &Login) -> Result<Ended, String> {
    let command = prefix.args(["getent", "passwd", login.as_str()]);
    tool::run(command, "", NAME_LOOKUP, None).map_err(|error| error.to_string())
}

/// Whether this is the passwd(5) line of `login`, with the uid and gid that sshbox computes.
fn is_entry_of(line: &str, login: &Login) -> bool {
    line.starts_with(&format!("{login}:")) && line.contains(&format!(":{}:{GID}:", login.uid()))
}

/// The listening process of sshbox's sshd. `None` if it does not run.
pub fn listener() -> Option<Listener> {
    procfs::pids().ok()?.find_map(listener_with)
}

/// The listener, if it has this pid. Every process can choose its title, and root enters the mount
/// namespace of the one found here: so it must also be a process of root, in the pid namespace of this one,
/// that runs sshd.
fn listener_with(pid: i32) -> Option<Listener> {
    let title = procfs::command_line(pid, TITLE_MAX).ok()?;
    if !is_listener_title(&String::from_utf8_lossy(&title)) {
        return None;
    }
    let start = Stat::of(pid)?.start_ticks;
    let mount_namespace = procfs::mount_namespace(pid).ok()?;
    let status = ProcessStatus::of(pid)?;
    let is_root = (status.real_uid, status.effective_uid) == (Some(0), Some(0));
    let is_sshd = procfs::program(pid).ok()? == Path::new(SSHD);
    if !is_root || !is_sshd || !procfs::in_our_pid_namespace(pid)? {
        return None;
    }
    // The same start: the namespace is that of the process that was checked, and of none before it.
    (Stat::of(pid)?.start_ticks == start).then_some(Listener { pid, mount_namespace })
}

/// Whether this is the process title of the listener: `sshd: /usr/sbin/sshd -D -f FILE [listener] 0 of 150-300 startups`.
fn is_listener_title(line: &str) -> bool {
    line.starts_with("sshd: ") && line.contains(SSHD_CONFIG) && line.contains("[listener]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;

    #[test]
    fn the_listener_is_recognised_among_its_children_and_other_processes() {
        assert!(is_listener_title(
            "sshd: /usr/sbin/sshd -D -f /etc/sshbox/sshd_config [listener] 0 of 150-300 startups"
        ));
        assert!(!is_listener_title("sshd: alice [priv]"));
        assert!(!is_listener_title("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"));
        assert!(!is_listener_title("vi /etc/sshbox/sshd_config"));
    }

    #[test]
    fn a_process_with_the_title_of_the_listener_is_not_taken_for_it() {
        let title = "sshd: /usr/sbin/sshd -D -f /etc/sshbox/sshd_config [listener] 0 of 150-300 startups";
        let mut command = Command::new("sleep");
        let mut process = command.arg0(title).arg("600").spawn().unwrap();
        let pid = i32::try_from(process.id()).unwrap();
        let has_title = || procfs::command_line(pid, TITLE_MAX).unwrap().starts_with(title.as_bytes());
        while !has_title() {
            std::thread::yield_now();
        }
        let listener = listener_with(pid);
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(listener.is_none(), "{listener:?}");
    }

    #[test]
    fn a_lookup_that_cannot_be_made_is_no_unresolved_name() {
        let login = Login::parse(b"alice").unwrap();
        // A file that is no namespace.
        let listener = Listener { pid: 7, mount_namespace: File::open("/dev/null").unwrap() };
        let error = look_up(Some(&listener), &login).unwrap_err();
        assert!(error.starts_with("the sshd with pid 7: nsenter: "), "{error}");
    }

    #[test]
    fn an_entry_with_another_uid_is_not_the_login() {
        let login = Login::parse(b"alice").unwrap();
        let entry = format!("alice:*:{}:{GID}::/:/usr/lib/sshbox/sshbox-shell\n", login.uid());
        assert!(is_entry_of(&entry, &login));
        assert!(!is_entry_of("", &login));
        assert!(!is_entry_of("alice:x:1000:1000::/home/alice:/bin/bash\n", &login));
    }
}
