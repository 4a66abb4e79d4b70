//! What a login name is to the sshd that runs: asked in its mount namespace, where
//! `nsswitch.conf` is another than the host's. A name that does not resolve there is refused as
//! an invalid user, and `sshbox-keys` is never asked.

use crate::tool;
use identity::{GID, Login};
use session::procfs;
use std::process::Command;
use std::time::Duration;

/// The whole of our sshd's configuration; names our sshd in the list of processes.
pub const CONFIG: &str = "/etc/sshbox/sshd_config";

/// What our sshd sees as `/etc/nsswitch.conf`.
const NSSWITCH: &str = "/usr/share/sshbox/nsswitch.conf";

/// Longest time for one look-up.
const LOOKUP: Duration = Duration::from_secs(5);

/// What a login name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// It has the uid that its login has.
    Known,
    /// The running sshd does not know it; one that is started now would.
    UnknownUntilRestart,
    /// An sshd that is started now would not know it either.
    Unknown,
}

impl Name {
    /// What an admin does about it.
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

/// What `login` is to the sshd with this pid, or, if none runs, to one that would be started now.
///
/// # Errors
/// The look-up itself failed; in a clause.
pub fn look_up(pid: Option<i32>, login: &Login) -> Result<Name, String> {
    if let Some(pid) = pid {
        let mut running = Command::new("nsenter");
        running.arg(format!("--mount=/proc/{pid}/ns/mnt"));
        if is_known(&mut running, login)? {
            return Ok(Name::Known);
        }
    }
    let mut next = Command::new("unshare");
    let script = "mount --bind -o ro \"$0\" /etc/nsswitch.conf && exec \"$@\"";
    next.args(["--mount", "--propagation", "private", "sh", "-c", script, NSSWITCH]);
    Ok(match (is_known(&mut next, login)?, pid) {
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

/// Our sshd, if it runs: the process that listens.
pub fn listener() -> Option<i32> {
    procfs::pids().ok()?.find(|pid| procfs::command_line(*pid).is_ok_and(|line| is_listener(&line)))
}

/// How an sshd that listens calls itself: `sshd: /usr/sbin/sshd -D -f FILE [listener] 0 of 150-300 startups`.
fn is_listener(line: &str) -> bool {
    line.starts_with("sshd: ") && line.contains(CONFIG) && line.contains("[listener]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_is_told_from_its_children_and_from_others() {
        assert!(is_listener(
            "sshd: /usr/sbin/sshd -D -f /etc/sshbox/sshd_config [listener] 0 of 150-300 startups"
        ));
        assert!(!is_listener("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"));
        assert!(!is_listener("vi /etc/sshbox/sshd_config"));
    }

    #[test]
    fn an_entry_counts_only_with_the_uid_of_the_login() {
        let login = Login::parse(b"alice").unwrap();
        let entry = format!("alice:*:{}:{GID}::/:/usr/lib/sshbox/sshbox-shell\n", login.uid());
        assert!(is_entry_of(&entry, &login));
        assert!(!is_entry_of("", &login));
        assert!(!is_entry_of("alice:x:1000:1000::/home/alice:/bin/bash\n", &login));
    }
}
