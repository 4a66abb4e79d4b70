//! Runs `sshbox-keys` as sshd runs it: with `--explain --json` to learn how the keys of a login name would
//! be decided. So this program, which runs as root, links no web client and reads no token.

use crate::tool::{self, Interrupt};
use host::explanation::Explanation;
use identity::Login;
use nix::unistd::User;
use session::deadlines::SSHBOX_KEYS;
use session::escape::visible;
use session::exit::{ExitStatus, Failure};
use std::path::Path;
use std::process::Command;

/// The user that sshd runs `sshbox-keys` as (`AuthorizedKeysCommandUser`).
pub const KEYS_USER: &str = "sshbox-keys";

const PROGRAM: &str = "/usr/lib/sshbox/sshbox-keys";

const SETPRIV: &str = "/usr/bin/setpriv";

/// The search path of the program, which itself starts no other.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// How many lines of the program's standard error are shown, and how many bytes of each.
const COMPLAINT: (usize, usize) = (20, 1024);

/// How the keys of `login` would be decided now; `options` are further ones of `sshbox-keys`.
///
/// # Errors
/// [`Failure`]: the program could not be run, or cannot use its configuration.
pub fn explain(
    config: &Path,
    login: &Login,
    options: &[&str],
    interrupt: Option<&Interrupt>,
) -> Result<Explanation, Failure> {
    let mut command = sshbox_keys(config)?;
    command.args(["--explain", "--json"]).args(options).args(["--", login.as_str()]);
    let failed = |status, cause: String| Failure { cause, ..Failure::new(status, "") };
    let ended = tool::run(&mut command, "", SSHBOX_KEYS, interrupt)
        .map_err(|error| failed(ExitStatus::TryAgain, error.to_string()))?;
    if !ended.succeeded() {
        let code = ended.code().and_then(|code| u8::try_from(code).ok());
        let status = code.and_then(ExitStatus::from_code).unwrap_or(ExitStatus::Internal);
        return Err(failed(status, complaint(&ended.err)));
    }
    serde_json::from_str(&ended.out).map_err(|error| {
        let error = visible(error.to_string().as_bytes());
        failed(ExitStatus::Internal, format!("{PROGRAM} printed no explanation: {error}"))
    })
}

/// `sshbox-keys` with this configuration file and, as sshd runs it, with the rights of its user alone and
/// without root's environment. For [`tool::run`], which also keeps root's terminal from it.
///
/// # Errors
/// There is no such user.
pub fn sshbox_keys(config: &Path) -> Result<Command, Failure> {
    let user = User::from_name(KEYS_USER).ok().flatten().ok_or_else(|| Failure {
        cause: format!("there is no user {KEYS_USER}"),
        ..Failure::new(ExitStatus::Config, "the package makes this user: run systemd-sysusers sshbox.conf")
    })?;
    let mut command = Command::new(SETPRIV);
    command.env_clear().env("PATH", PATH);
    command.args([&format!("--reuid={}", user.uid), &format!("--regid={}", user.gid), "--init-groups"]);
    command.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--", PROGRAM]);
    command.arg("--config").arg(config);
    Ok(command)
}

/// What the program wrote to standard error, without its name, for root's terminal: the program has fewer
/// rights than root, and reads what the web app sends.
pub fn complaint(text: &str) -> String {
    let text = text.trim();
    let (lines, length) = COMPLAINT;
    let shown = |line: &str| visible(line.as_bytes().get(..length).unwrap_or(line.as_bytes()));
    let text = text.strip_prefix("sshbox-keys: ").unwrap_or(text);
    text.lines().take(lines).map(shown).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_cannot_control_the_terminal() {
        assert_eq!(
            complaint("sshbox-keys: no \"x\"\x1b]0;x\x07\n  at 1\n"),
            "no \"x\"\\x1b]0;x\\x07\n  at 1"
        );
        let flood = complaint(&("\u{1b}".repeat(5000) + "\n").repeat(100));
        assert_eq!((flood.lines().count(), flood.len()), (20, 20 * 4 * 1024 + 19));
    }
}
