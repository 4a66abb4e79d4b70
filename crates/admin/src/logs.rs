//! `sshbox logs`: what the journal has of a user, of a reference or of all, from all programs of
//! sshbox and from its sshd, in one view. Reads journald through `journalctl`, or a file with
//! the lines of JSON that programs write where journald is not. Which entries belong together
//! is decided in `view`.

mod view;

use clap::Args;
use identity::Login;
use session::exit::{ExitStatus, Failure};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::SystemTime;
use view::{Entry, LogFilter, View};

/// Where the example for rsyslog puts the lines.
const FILE: &str = "/var/log/sshbox.json";

/// There is a journald when it listens.
const JOURNALD: &str = "/run/systemd/journal/socket";

/// What sshd calls itself in its lines; the newer ones have a program for each step.
const SSHD: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];

/// Exit status when nothing was found.
const NOTHING: u8 = 1;

/// Show what sshbox and its sshd wrote to the journal
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login name, or the reference that a user was shown
    #[arg(value_name = "USER|REF", required_unless_present = "all", conflicts_with = "all")]
    what: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    /// Only from this moment on: 2h, 3days, or 2026-03-01T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<SystemTime>,
    /// Go on with what comes
    #[arg(long, conflicts_with = "file")]
    follow: bool,
    /// One JSON object for each entry
    #[arg(long)]
    json: bool,
    /// Read this file of JSON lines, and not the journal
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return SystemTime::now().checked_sub(span).ok_or_else(|| "too long ago".to_owned());
    }
    humantime::parse_rfc3339_weak(text).map_err(|_| "neither a span of time nor a moment".to_owned())
}

/// The subcommand.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let wanted = match &arguments.what {
        None => LogFilter::All,
        Some(text) => LogFilter::Of(Login::parse(text.as_bytes()).map_err(|error| {
            Failure::new(ExitStatus::Usage, format!("neither a login name nor a reference: it is {error}"))
        })?),
    };
    let file = arguments
        .file
        .as_deref()
        .or_else(|| (!Path::new(JOURNALD).exists() && Path::new(FILE).exists()).then_some(Path::new(FILE)));
    let shown = match file {
        Some(_) if arguments.follow => {
            return Err(Failure::new(ExitStatus::Usage, format!("without journald: tail -F {FILE}")));
        }
        Some(path) => show(BufReader::new(open(path)?), wanted, arguments)?,
        None => from_journald(wanted, arguments)?,
    };
    if shown == 0 {
        let what = arguments.what.as_deref().unwrap_or("sshbox");
        let _ = writeln!(io::stderr(), "nothing of {what}");
        return Ok(NOTHING.into());
    }
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path)
        .map_err(|error| Failure::new(ExitStatus::Unavailable, format!("{}: {error}", path.display())))
}

fn from_journald(wanted: LogFilter, arguments: &Arguments) -> Result<usize, Failure> {
    if !fs::exists(JOURNALD).unwrap_or_default() {
        let advice = format!(
            "journald does not run here, and there is no {FILE}; sshbox-logs(8) says how to have one, \
             else look where your log daemon puts authpriv"
        );
        return Err(Failure::new(ExitStatus::Unavailable, advice));
    }
    let mut journalctl = Command::new("journalctl");
    journalctl.args(["--output=json", "--all", "--no-pager", "--quiet"]);
    if let Some(since) = arguments.since {
        let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        journalctl.arg(format!("--since=@{}", since.as_secs()));
    }
    if arguments.follow {
        journalctl.args(["--follow", "--lines=all"]);
    }
    let failed = |error: io::Error| Failure::new(ExitStatus::Unavailable, format!("journalctl: {error}"));
    let journalctl = journalctl.args(matches(&wanted)).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Reader(journalctl.spawn().map_err(failed)?);
    let Some(stdout) = child.0.stdout.take() else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    let shown = show(BufReader::new(stdout), wanted, arguments)?;
    let status = child.0.wait().map_err(failed)?;
    // It says by itself what is wrong. That nothing was found is no failure.
    if status.success() || shown == 0 { Ok(shown) } else { Err(failed(io::Error::other(status.to_string()))) }
}

/// `journalctl`, ended when it is read no more.
struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What journald is asked for: `KEY=value` twice is either, other keys are both, `+` is or.
fn matches(wanted: &LogFilter) -> Vec<String> {
    let mut matches: Vec<String> = match wanted {
        LogFilter::Of(name) => {
            vec![format!("SSHBOX_USER={name}"), "+".to_owned(), format!("SSHBOX_REF={name}")]
        }
        LogFilter::All => view::PROGRAMS.map(|program| format!("SYSLOG_IDENTIFIER={program}")).into(),
    };
    matches.push("+".to_owned());
    matches.extend(SSHD.map(|program| format!("SYSLOG_IDENTIFIER={program}")));
    matches.push("SYSLOG_FACILITY=10".to_owned());
    matches
}

/// Shows what is wanted of the entries that come; how many those were.
fn show(mut from: impl BufRead, wanted: LogFilter, arguments: &Arguments) -> Result<usize, Failure> {
    let keys = nix::unistd::User::from_name("sshbox-keys").ok().flatten().map(|user| user.uid.as_raw());
    let mut view = View::new(wanted, keys);
    let mut line = Vec::new();
    let mut shown = 0;
    loop {
        line.clear();
        let read = from.read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(shown),
            Ok(_) => {}
            Err(error) => {
                return Err(Failure::new(ExitStatus::Unavailable, format!("cannot be read: {error}")));
            }
        }
        // A line that is no entry was not written by us.
        let Some(entry) =
            Entry::parse(&line).filter(|entry| arguments.since.is_none_or(|since| entry.moment() >= since))
        else {
            continue;
        };
        for entry in view.take(entry) {
            let text = if arguments.json { entry.json() } else { entry.text() };
            if writeln!(io::stdout(), "{text}").is_err() {
                // Nobody reads any more.
                return Ok(shown.max(1));
            }
            shown += 1;
        }
    }
}
