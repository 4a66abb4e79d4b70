//! How the `sshbox` command prints: tables for people, JSON for programs, one question before a
//! change. All output is printable ASCII, whatever a client, an image or the web app put into it.

use clap::Args;
use serde::Serialize;
use session::box_status::{Amount, Cpu, bytes, use_of_limit};
use session::escape::printable;
use session::exit::{ExitStatus, Failure};
use session::times::short_duration;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Space between two columns.
const GAP: &str = "  ";

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// Stands for an unknown value.
pub const UNKNOWN: &str = "-";

/// The option of every command that can print JSON.
#[derive(Clone, Copy, Debug, Args)]
pub struct Format {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Whether to colour standard output: it is a terminal, and `NO_COLOR` is unset or empty
/// (<https://no-color.org>).
pub fn use_colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !refused
}

/// Formats aligned columns below their titles.
pub fn format_table(titles: &[&str], rows: &[Vec<String>], colours: bool) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell.as_bytes())).collect()).collect();
    let width = |column: usize, title: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(String::len);
        cells.chain([title.len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = titles.iter().enumerate().map(|(column, title)| width(column, title)).collect();
    let mut text = String::new();
    let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
    let style = |title: bool, cell: &str| match cell {
        _ if !colours => None,
        _ if title => Some(BOLD),
        "running" | "would stop" => Some(GREEN),
        "paused" | "changing" => Some(YELLOW),
        "broken" | "unknown" | "failed" => Some(RED),
        _ => None,
    };
    for (row, is_title) in std::iter::once((&titles, true)).chain(rows.iter().map(|row| (row, false))) {
        let mut line = String::new();
        let mut pending = 0;
        for (cell, width) in row.iter().zip(&widths) {
            // Padding is written before the next cell, so that no line ends in spaces.
            let _ = write!(line, "{:pending$}", "");
            match style(is_title, cell) {
                Some(style) => line.extend([style, cell, PLAIN]),
                None => line.push_str(cell),
            }
            pending = width - cell.len() + GAP.len();
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Prints text to standard output.
pub fn print(text: &str) -> Result<ExitCode, Failure> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // The reader, such as `head`, has closed the pipe: it needs no more.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::because(ExitStatus::TryAgain, "", &error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Prints a table to standard output.
pub fn print_table(titles: &[&str], rows: &[Vec<String>]) -> Result<ExitCode, Failure> {
    print(&format_table(titles, rows, use_colours()))
}

/// Prints a value as JSON to standard output.
pub fn print_json(value: &impl Serialize) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::because(ExitStatus::Internal, "", &error))?;
    print(&(escape_json(&text) + "\n"))
}

/// Escapes every character that could control a terminal. In JSON such characters stand only in
/// strings, where `\u` escapes are allowed.
fn escape_json(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut text, character| {
        match character {
            ' '..='~' | '\n' => text.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
        text
    })
}

/// Asks a yes-or-no question on the terminal. Anything but `y` or `yes` means no.
pub fn confirm(question: &str) -> bool {
    let _ = write!(io::stdout(), "{question} [y/N] ");
    let _ = io::stdout().flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && ["y", "yes"].contains(&answer.trim())
}

/// A cell with this value, or a dash if it is unknown.
pub fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

/// A cell with this number of seconds as a duration, such as `2h 5m`.
pub fn duration_cell(seconds: Option<u64>) -> String {
    cell(seconds.map(|seconds| short_duration(Duration::from_secs(seconds))))
}

/// The CPU time that a box uses and may use, in cores.
pub fn cpu_cell(cpu: &Cpu) -> String {
    use_of_limit(cpu.used.map(|used| format!("{used:.2}")), &cpu.limit.to_string())
}

/// The memory that a box uses and may use.
pub fn memory_cell(memory: &Amount) -> String {
    use_of_limit(memory.used.map(bytes), &bytes(memory.limit))
}

/// The distance from `now` to an RFC 3339 time, as `5m 10s ago` or `in 5m`.
pub fn relative_time(time: Option<&str>, now: SystemTime) -> String {
    let Some(time) = time.and_then(|time| humantime::parse_rfc3339(time).ok()) else {
        return UNKNOWN.to_owned();
    };
    let in_seconds = |duration: Duration| short_duration(Duration::from_secs(duration.as_secs()));
    match time.duration_since(now) {
        Ok(ahead) => format!("in {}", in_seconds(ahead)),
        Err(past) => format!("{} ago", in_seconds(past.duration())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        vec![row(["alice", "running", "vim x"]), row(["bob-with-a-name", "broken", "\x1b]0;x\x07"])]
    }

    #[test]
    fn columns_are_aligned_and_control_characters_escaped() {
        assert_snapshot!(format_table(&["USER", "STATE", "WHAT"], &rows(), false), @r"
        USER             STATE    WHAT
        alice            running  vim x
        bob-with-a-name  broken   \x1b]0;x\x07
        ");
        assert_eq!(format_table(&["USER"], &[], false), "USER\n");
    }

    #[test]
    fn colours_do_not_shift_columns() {
        let coloured = format_table(&["USER", "STATE", "WHAT"], &rows(), true);
        assert!(coloured.contains("\x1b[32mrunning\x1b[0m  vim x\n"), "{coloured:?}");
        assert!(coloured.contains("\x1b[31mbroken\x1b[0m   \\x1b]0;x"), "{coloured:?}");
        let plain =
            [BOLD, RED, GREEN, YELLOW, PLAIN].iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, format_table(&["USER", "STATE", "WHAT"], &rows(), false));
    }

    #[test]
    fn a14_json_is_ascii_and_keeps_its_value() {
        let value = "a\u{9b}31m\u{202e}\u{1f600}\x7f\x1b\"\\é";
        let text = escape_json(&serde_json::to_string(value).unwrap());
        assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }

    #[test]
    fn times_are_relative_to_now() {
        let now = humantime::parse_rfc3339("2026-03-01T12:00:00Z").unwrap();
        assert_eq!(relative_time(Some("2026-03-01T11:54:50Z"), now), "5m 10s ago");
        assert_eq!(relative_time(Some("2026-03-01T12:25:00Z"), now), "in 25m");
        assert_eq!(relative_time(None, now), "-");
        assert_eq!(relative_time(Some("soon"), now), "-");
    }
}
