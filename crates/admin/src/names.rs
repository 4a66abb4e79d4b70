//! How the running sshd resolves a login name. sshd has its own `nsswitch.conf` in a mount namespace
//! of its own, so the look-up runs there. sshd refuses a name that does not resolve as an invalid user
//! and never runs `sshbox-keys` for it.

use super::tool;
use identity::{GID, Login};
use session::procfs;
use std::process::Command;
use std::time::Duration;

/// The configuration file of sshbox's sshd; its path tells this sshd from others in `/proc`.
pub const CONFIG: &str = "/etc/sshbox/sshd_config";

/// The file that sshbox's sshd sees as `/etc/nsswitch.conf`.
const NSSWITCH: &str = "/usr/share/sshbox/nsswitch.conf";

/// Timeout of one look-up.
const LOOKUP: Duration = Duration::from_secs(5);

/// The result of looking up a login name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// It resolves to the uid of this login.
    Known,
    /// It does not resolve in the running sshd, but would in an sshd started now.
    UnknownUntilRestart,
    /// It would not resolve in an sshd started now either.
    Unknown,
}

impl Name {
    /// The commands that mend it.
    pub const fn fix(self) -> Option<&'static str> {
        match self {
            Self::Known => None,
            Self::UnknownUntilRestart => Some("systemctl restart sshbox-sshd, which ends no session"),
            Self::Unknown => Some(
                "apt install --reinstall sshbox, then systemctl restart sshbox-sshd, which ends no session",
            ),
        }
    }
}

/// Looks up `login` in the sshd with this pid or, without one, as an sshd started now would.
///
/// # Errors
/// A clause that says why the look-up itself failed.
pub fn look_up(pid: Option<i32>, login: &Login) -> Result<Name, String> {
    if let Some(pid) = pid {
        let mut running = Command::new("nsenter");
        running.arg(format!("--mount=/proc/{pid}/ns/mnt"));
        if is_known(&mut running, login)? {
            return Ok(Name::Known);
        }
    }
    let mut restarted = Command::new("unshare");
    let script = "mount --bind -o ro \"$0\" /etc/nsswitch.conf && exec \"$@\"";
    restarted.args(["--mount", "--propagation", "private", "sh", "-c", script, NSSWITCH]);
    Ok(match (is_known(&mut restarted, login)?, pid) {
        (true, None) => Name::Known,
        (true, Some(_)) => Name::UnknownUntilRestart,
        (false, _) => Name::Unknown,
    })
}

fn is_known(view: &mut Command, login: &Login) -> Result<bool, String> {
    let command = view.args(["getent", "passwd", login.as_str()]);
    let ended = tool::run(command, "", LOOKUP, None).map_err(|error| error.to_string())?;
    Ok(is_entry_of(&ended.out, login))
}

fn is_entry_of(line: &str, login: &Login) -> bool {
    line.starts_with(&format!("{login}:")) && line.contains(&format!(":{}:{GID}:", login.uid()))
}

/// The pid of the listening process of sshbox's sshd, if it runs.
pub fn listener() -> Option<i32> {
    procfs::pids().ok()?.find(|pid| procfs::command_line(*pid).is_ok_and(|line| is_listener(&line)))
}

/// Whether this is the process title of the listener: `sshd: /usr/sbin/sshd -D -f FILE [listener] 0 of 150-300 startups`.
fn is_listener(line: &str) -> bool {
    line.starts_with("sshd: ") && line.contains(CONFIG) && line.contains("[listener]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_is_recognised_among_its_children_and_other_processes() {
        assert!(is_listener(
            "sshd: /usr/sbin/sshd -D -f /etc/sshbox/sshd_config [listener] 0 of 150-300 startups"
        ));
        assert!(!is_listener("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"));
        assert!(!is_listener("vi /etc/sshbox/sshd_config"));
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
