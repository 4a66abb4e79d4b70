//! The results of checks, what `--fix` does about a failure, and how both are printed. Knows no check.

use serde::Serialize;
use session::escape::printable;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

/// The state of what was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// Not checked: the check does not apply to this host, or something that it needs has failed.
    Skip,
    /// As it should be.
    Ok,
    /// Logins work, but the admin should know this.
    Warn,
    /// Logins fail, or something is unsafe.
    Fail,
}

impl CheckState {
    /// The word for the state, and the escape sequence of its colour.
    const fn word_and_colour(self) -> (&'static str, &'static str) {
        match self {
            Self::Skip => ("skip", "\x1b[2m"),
            Self::Ok => ("ok", "\x1b[32m"),
            Self::Warn => ("warn", "\x1b[33m"),
            Self::Fail => ("fail", "\x1b[31m"),
        }
    }
}

/// A correction that `--fix` may make: it changes nothing but sshbox's own files and units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Gives the file to this user and group.
    Owner(PathBuf, u32, u32),
    /// Sets the mode of the file.
    Mode(PathBuf, u32),
    /// Runs a command.
    Run(&'static [&'static str]),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(path, uid, gid) => write!(f, "chown {uid}:{gid} {}", path.display()),
            Self::Mode(path, mode) => write!(f, "chmod {mode:04o} {}", path.display()),
            Self::Run(words) => f.write_str(&words.join(" ")),
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// The name of the check, which never changes.
    pub id: &'static str,
    pub state: CheckState,
    /// What was found.
    #[serde(rename = "seen")]
    pub finding: String,
    /// What the admin should do.
    pub fix: Option<String>,
    /// What `--fix` did.
    pub fixed: Option<String>,
    /// What `--fix` may do.
    #[serde(skip)]
    pub remedies: Vec<Remedy>,
}

/// As it should be.
pub fn ok(finding: impl Into<String>) -> CheckResult {
    let (state, finding) = (CheckState::Ok, finding.into());
    CheckResult { id: "", state, finding, fix: None, fixed: None, remedies: Vec::new() }
}

/// Not checked.
pub fn skip(finding: impl Into<String>) -> CheckResult {
    CheckResult { state: CheckState::Skip, ..ok(finding) }
}

/// Logins work, but the admin should know this.
pub fn warn(finding: impl Into<String>, fix: impl Into<String>) -> CheckResult {
    CheckResult { state: CheckState::Warn, fix: Some(fix.into()), ..ok(finding) }
}

/// Logins fail, or something is unsafe.
pub fn fail(finding: impl Into<String>, fix: impl Into<String>) -> CheckResult {
    CheckResult { state: CheckState::Fail, fix: Some(fix.into()), ..ok(finding) }
}

/// A failure that `--fix` corrects with these remedies. The advice is their commands.
pub fn mend(finding: impl Into<String>, remedies: Vec<Remedy>) -> CheckResult {
    let commands: Vec<_> = remedies.iter().map(ToString::to_string).collect();
    CheckResult { remedies, ..fail(finding, commands.join("; ")) }
}

impl CheckResult {
    /// Sets the name of the check and what `--fix` did, and makes all text printable.
    pub fn of(self, id: &'static str, fixed: Option<String>) -> Self {
        // Quotes and backslashes stay as they are: these lines go into no log.
        let show =
            |text: String| printable(text.trim().as_bytes()).replace("\\\"", "\"").replace("\\\\", "\\");
        Self { id, finding: show(self.finding), fix: self.fix.map(show), fixed: fixed.map(show), ..self }
    }

    /// Lines for people.
    pub fn text(&self, colour: bool) -> String {
        let (word, on) = self.state.word_and_colour();
        let (on, off) = if colour { (on, "\x1b[0m") } else { ("", "") };
        let mut text = format!("{on}{word:<4}{off}  {:<16}{}\n", self.id, self.finding);
        for (word, line) in [("did", &self.fixed), ("fix", &self.fix)] {
            if let Some(line) = line {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{:22}{word}: {line}", "");
            }
        }
        text
    }
}

/// All checks that were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DoctorReport {
    pub version: &'static str,
    /// The worst state.
    pub state: CheckState,
    /// In the order of a login.
    pub checks: Vec<CheckResult>,
}

impl DoctorReport {
    /// A report of these checks.
    pub fn new(checks: Vec<CheckResult>) -> Self {
        let state = checks.iter().map(|check| check.state).max().unwrap_or(CheckState::Skip);
        Self { version: env!("CARGO_PKG_VERSION"), state, checks }
    }

    /// The last line for people.
    pub fn summary(&self) -> String {
        let count = |state| self.checks.iter().filter(|check| check.state == state).count();
        format!(
            "{} checks: {} ok, {} to know of, {} failed, {} skipped\n",
            self.checks.len(),
            count(CheckState::Ok),
            count(CheckState::Warn),
            count(CheckState::Fail),
            count(CheckState::Skip)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn a_report_for_people_and_for_programs() {
        let token = mend("mode 0644", vec![Remedy::Mode("/etc/sshbox/token".into(), 0o400)]);
        let report = DoctorReport::new(vec![
            ok("/etc/sshbox/sshbox.toml").of("config", None),
            token.of("token", None),
            ok("there").of("users", Some("systemd-sysusers sshbox.conf".to_owned())),
            skip("no systemd\x1b[2J here").of("timer", None),
        ]);
        let text: String = report.checks.iter().map(|check| check.text(false)).collect();
        assert_snapshot!(text + &report.summary(), @r"
        ok    config          /etc/sshbox/sshbox.toml
        fail  token           mode 0644
                              fix: chmod 0400 /etc/sshbox/token
        ok    users           there
                              did: systemd-sysusers sshbox.conf
        skip  timer           no systemd\x1b[2J here
        4 checks: 2 ok, 0 to know of, 1 failed, 1 skipped
        ");
        assert!(report.checks.iter().all(|check| check.text(true).contains("\x1b[0m")));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["state"], "fail");
        assert_eq!(json["checks"][1]["id"], "token");
        assert_eq!(json["checks"][1]["fix"], "chmod 0400 /etc/sshbox/token");
        assert!(json["checks"][0]["fix"].is_null());
    }
}
