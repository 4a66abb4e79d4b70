//! What came of a check, what mends it, and how both are shown. Knows no check.

use serde::Serialize;
use session::escape::printable;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Could not be looked at, or does not apply here.
    Skip,
    /// As it should be.
    Ok,
    /// Works, and somebody should know.
    Warn,
    /// Users notice, or a door is open.
    Fail,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Skip => "skip",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// Something that may be done without asking: it concerns nothing but sshbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Gives a file of ours to this user and group.
    Owner(PathBuf, u32, u32),
    /// Sets the mode of a file of ours.
    Mode(PathBuf, u32),
    /// Runs a command.
    Run(&'static [&'static str]),
    /// Makes the network of the boxes.
    Network(String),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(path, uid, gid) => write!(f, "chown {uid}:{gid} {}", path.display()),
            Self::Mode(path, mode) => write!(f, "chmod {mode:04o} {}", path.display()),
            Self::Run(words) => f.write_str(&words.join(" ")),
            Self::Network(name) => {
                write!(f, "docker network create -o com.docker.network.bridge.enable_icc=false {name}")
            }
        }
    }
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it stands.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do.
    pub fix: Option<String>,
    /// What `--fix` does.
    pub remedies: Vec<Remedy>,
}

/// As it should be.
pub fn ok(seen: impl Into<String>) -> Verdict {
    Verdict { state: State::Ok, seen: seen.into(), fix: None, remedies: Vec::new() }
}

/// Not looked at.
pub fn skip(seen: impl Into<String>) -> Verdict {
    Verdict { state: State::Skip, ..ok(seen) }
}

/// Works, but.
pub fn warn(seen: impl Into<String>, fix: impl Into<String>) -> Verdict {
    Verdict { state: State::Warn, fix: Some(fix.into()), ..ok(seen) }
}

/// Does not work.
pub fn fail(seen: impl Into<String>, fix: impl Into<String>) -> Verdict {
    Verdict { state: State::Fail, fix: Some(fix.into()), ..ok(seen) }
}

/// A verdict that remedies alone mend: their commands are the advice.
pub fn mend(state: State, seen: impl Into<String>, remedies: Vec<Remedy>) -> Verdict {
    let commands: Vec<_> = remedies.iter().map(ToString::to_string).collect();
    // What is as it should be needs no advice.
    let fix = (state != State::Ok).then(|| commands.join("; "));
    Verdict { state, seen: seen.into(), fix, remedies }
}

/// A check that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which; never changes its name.
    pub id: &'static str,
    /// How it stands.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do about it.
    pub fix: Option<String>,
    /// What `--fix` has done about it.
    pub fixed: Option<String>,
}

impl Finding {
    /// The verdict on this check; from here on it is printable.
    pub fn new(id: &'static str, verdict: Verdict, fixed: Option<String>) -> Self {
        let show = |text: String| readable(&text);
        let Verdict { state, seen, fix, .. } = verdict;
        Self { id, state, seen: show(seen), fix: fix.map(show), fixed: fixed.map(show) }
    }

    /// Lines for people.
    pub fn text(&self, colour: bool) -> String {
        let (on, off) = match (colour, self.state) {
            (false, _) => ("", ""),
            (true, State::Ok) => ("\x1b[32m", "\x1b[0m"),
            (true, State::Warn) => ("\x1b[33m", "\x1b[0m"),
            (true, State::Fail) => ("\x1b[31m", "\x1b[0m"),
            (true, State::Skip) => ("\x1b[2m", "\x1b[0m"),
        };
        let mut text = format!("{on}{:<4}{off}  {:<16}{}\n", self.state, self.id, self.seen);
        for (word, line) in [("did", &self.fixed), ("fix", &self.fix)] {
            if let Some(line) = line {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{:22}{word}: {line}", "");
            }
        }
        text
    }
}

/// Made printable, with quotes and backslashes as they are: no line of a log is at stake.
fn readable(text: &str) -> String {
    printable(text.trim().as_bytes()).replace("\\\"", "\"").replace("\\\\", "\\")
}

/// All that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of sshbox.
    pub version: &'static str,
    /// The worst.
    pub state: State,
    /// In the order of a login.
    pub checks: Vec<Finding>,
}

impl Report {
    /// Sums up.
    pub fn new(checks: Vec<Finding>) -> Self {
        let state = checks.iter().map(|finding| finding.state).max().unwrap_or(State::Skip);
        Self { version: env!("CARGO_PKG_VERSION"), state, checks }
    }

    /// The last line for people.
    pub fn summary(&self) -> String {
        let count = |state| self.checks.iter().filter(|finding| finding.state == state).count();
        format!(
            "{} checks: {} ok, {} to know of, {} failed, {} skipped\n",
            self.checks.len(),
            count(State::Ok),
            count(State::Warn),
            count(State::Fail),
            count(State::Skip)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn findings() -> Vec<Finding> {
        let token = mend(State::Fail, "mode 0644", vec![Remedy::Mode("/etc/sshbox/token".into(), 0o400)]);
        vec![
            Finding::new("config", ok("/etc/sshbox/sshbox.toml"), None),
            Finding::new("token", token, None),
            Finding::new("network", ok("sshbox"), Some("docker network create".to_owned())),
            Finding::new("timer", skip("no systemd\x1b[2J here"), None),
        ]
    }

    #[test]
    fn findings_for_people() {
        let text: String = findings().iter().map(|finding| finding.text(false)).collect();
        assert_snapshot!(text, @r"
        ok    config          /etc/sshbox/sshbox.toml
        fail  token           mode 0644
                              fix: chmod 0400 /etc/sshbox/token
        ok    network         sshbox
                              did: docker network create
        skip  timer           no systemd\x1b[2J here
        ");
        assert!(findings().iter().all(|finding| finding.text(true).contains("\x1b[0m")));
    }

    #[test]
    fn findings_for_programs() {
        let report = Report::new(findings());
        assert_eq!(report.summary(), "4 checks: 2 ok, 0 to know of, 1 failed, 1 skipped\n");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["state"], "fail");
        assert_eq!(json["checks"][1]["id"], "token");
        assert_eq!(json["checks"][1]["fix"], "chmod 0400 /etc/sshbox/token");
        assert!(json["checks"][0]["fix"].is_null());
    }
}
