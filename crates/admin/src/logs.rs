//! `sshbox logs`: the log entries of a user, of a reference or of all, from every sshbox program and
//! its sshd. Reads journald through `journalctl` or, without journald, a file with the JSON lines that
//! the programs write to syslog. `view` decides which entries belong together.

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

/// The file that the example configuration for rsyslog writes.
const FILE: &str = "/var/log/sshbox.json";

/// journald's socket; it exists while journald runs.
const JOURNALD: &str = "/run/systemd/journal/socket";

/// The syslog identifiers of sshd. Since OpenSSH 9.8 each step of a login is a program of its own.
const SSHD: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];

/// Exit status when no entry matches.
const NOTHING: u8 = 1;

/// Show the log entries of sshbox and its sshd
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login name, or the reference from a user's error message
    #[arg(value_name = "USER|REF", required_unless_present = "all", conflicts_with = "all")]
    what: Option<String>,
    /// Show all entries
    #[arg(long)]
    all: bool,
    /// Show entries of the last 2h or 3days, or since 2026-03-01T10:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<SystemTime>,
    /// Keep printing new entries as they arrive
    #[arg(long, conflicts_with = "file")]
    follow: bool,
    /// Print one JSON object per entry
    #[arg(long)]
    json: bool,
    /// Read this file of JSON lines instead of the journal
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

fn parse_time(text: &str) -> Result<SystemTime, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return SystemTime::now().checked_sub(span).ok_or_else(|| "too long ago".to_owned());
    }
    humantime::parse_rfc3339_weak(text)
        .map_err(|_| "expected a duration such as 2h, or a time such as 2026-03-01T10:00:00Z".to_owned())
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let filter = match &arguments.what {
        None => LogFilter::All,
        Some(text) => LogFilter::Of(Login::parse(text.as_bytes()).map_err(|error| {
            Failure::new(ExitStatus::Usage, format!("expected a login name or a reference: {error}"))
        })?),
    };
    let file = arguments
        .file
        .as_deref()
        .or_else(|| (!Path::new(JOURNALD).exists() && Path::new(FILE).exists()).then_some(Path::new(FILE)));
    let printed = match file {
        Some(_) if arguments.follow => {
            return Err(Failure::new(
                ExitStatus::Usage,
                format!("--follow needs journald; use tail -F {FILE} instead"),
            ));
        }
        Some(path) => print_matching(BufReader::new(open(path)?), filter, arguments)?,
        None => print_journal(filter, arguments)?,
    };
    if printed == 0 {
        let what = arguments.what.as_deref().unwrap_or("sshbox");
        let _ = writeln!(io::stderr(), "no log entries of {what}");
        return Ok(NOTHING.into());
    }
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path)
        .map_err(|error| Failure::new(ExitStatus::Unavailable, format!("{}: {error}", path.display())))
}

fn print_journal(filter: LogFilter, arguments: &Arguments) -> Result<usize, Failure> {
    if !fs::exists(JOURNALD).unwrap_or_default() {
        let advice = format!(
            "journald is not running and {FILE} does not exist; see sshbox-logs(8) for how to create it, or \
             read the file where your syslog daemon writes the facility authpriv"
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
    let journalctl = journalctl.args(journal_matches(&filter)).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = KillOnDrop(journalctl.spawn().map_err(failed)?);
    let Some(stdout) = child.0.stdout.take() else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    let printed = print_matching(BufReader::new(stdout), filter, arguments)?;
    let status = child.0.wait().map_err(failed)?;
    // journalctl prints its own errors; it also fails when no entry matches.
    if status.success() || printed == 0 {
        Ok(printed)
    } else {
        Err(failed(io::Error::other(status.to_string())))
    }
}

/// A child process that is killed when this is dropped.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The matches for journalctl: it ORs matches of the same field, ANDs those of different fields, and
/// `+` is an OR between groups.
fn journal_matches(filter: &LogFilter) -> Vec<String> {
    let mut matches: Vec<String> = match filter {
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

/// Prints the entries that match, and returns their number.
fn print_matching(
    mut reader: impl BufRead,
    filter: LogFilter,
    arguments: &Arguments,
) -> Result<usize, Failure> {
    let keys_uid = nix::unistd::User::from_name("sshbox-keys").ok().flatten().map(|user| user.uid.as_raw());
    let mut view = View::new(filter, keys_uid);
    let mut line = Vec::new();
    let mut printed = 0;
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(printed),
            Ok(_) => {}
            Err(error) => {
                return Err(Failure::new(ExitStatus::Unavailable, format!("cannot read the log: {error}")));
            }
        }
        // Other programs write to the same file: skip lines that are not entries.
        let Some(entry) =
            Entry::parse(&line).filter(|entry| arguments.since.is_none_or(|since| entry.time() >= since))
        else {
            continue;
        };
        for entry in view.add(entry) {
            let text = if arguments.json { entry.json() } else { entry.text() };
            if writeln!(io::stdout(), "{text}").is_err() {
                // The reader, such as `head`, has closed the pipe.
                return Ok(printed.max(1));
            }
            printed += 1;
        }
    }
}
