//! Runs `sshbox-keys --explain --json` as sshd runs it, to learn how the keys of a login name would
//! be decided. So this program, which runs as root, links no web client and reads no token.

use crate::tool::{self, Interrupt};
use host::explanation::Explanation;
use identity::Login;
use nix::unistd::User;
use session::deadlines::EXPLAIN;
use session::exit::{ExitStatus, Failure};
use std::path::Path;
use std::process::Command;

/// The user that sshd runs `sshbox-keys` as (`AuthorizedKeysCommandUser`).
pub const KEYS_USER: &str = "sshbox-keys";

const PROGRAM: &str = "/usr/lib/sshbox/sshbox-keys";

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
    let user = User::from_name(KEYS_USER).ok().flatten().ok_or_else(|| Failure {
        cause: format!("there is no user {KEYS_USER}"),
        ..Failure::new(ExitStatus::Config, "the package makes this user: run systemd-sysusers sshbox.conf")
    })?;
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={}", user.uid), &format!("--regid={}", user.gid), "--init-groups", "--"]);
    command.arg(PROGRAM).arg("--config").arg(config).args(["--explain", "--json"]).args(options);
    command.args(["--", login.as_str()]);
    let failed = |status, cause: String| Failure { cause, ..Failure::new(status, "") };
    let ended = tool::run(&mut command, "", EXPLAIN, interrupt)
        .map_err(|error| failed(ExitStatus::TryAgain, error.to_string()))?;
    if !ended.status.success() {
        let code = ended.status.code().and_then(|code| u8::try_from(code).ok());
        let status = code.and_then(ExitStatus::from_code).unwrap_or(ExitStatus::Internal);
        return Err(failed(status, complaint(&ended.err)));
    }
    serde_json::from_str(&ended.out)
        .map_err(|error| failed(ExitStatus::Internal, format!("{PROGRAM} printed no explanation: {error}")))
}

/// What the program said on standard error, without its name.
fn complaint(text: &str) -> String {
    let text = text.trim();
    text.strip_prefix("sshbox-keys: ").unwrap_or(text).to_owned()
}
