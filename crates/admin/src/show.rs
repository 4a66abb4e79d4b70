//! How the admin's command shows things: tables for people, JSON for programs. What leaves
//! here is printable ASCII, whatever a client, an image or a web app has put into it.

use serde::Serialize;
use session::escape::printable;
use session::exit::{ExitStatus, Failure};
use session::times::short_duration;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Space between two columns.
const GAP: &str = "  ";

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// What stands where nothing is known.
pub const NOTHING: &str = "-";

/// Whether standard output takes colours: it is a terminal, and its user has nothing against
/// them (<https://no-color.org>).
pub fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !refused
}

/// Aligned columns below their titles.
pub fn table(titles: &[&str], rows: &[Vec<String>], colours: bool) -> String {
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
            // Spaces go out before the next cell only, so that no line ends in them.
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

/// Writes text to standard output.
pub fn say(text: &str) -> Result<ExitCode, Failure> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // Who reads no further has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::because(ExitStatus::TryAgain, "", &error))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Writes a value to standard output, for programs.
pub fn json(value: &impl Serialize) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::because(ExitStatus::Internal, "", &error))?;
    say(&(ascii(&text) + "\n"))
}

/// JSON without a character that a terminal could take for more than itself. All of them
/// stand in texts, where JSON has another way to write them.
fn ascii(json: &str) -> String {
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

/// A cell: what is known, else a dash.
pub fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

/// How long ago or ahead a moment is, as `5m 10s ago` or `in 5m`; the moment is RFC 3339.
pub fn from_now(moment: Option<&str>, now: SystemTime) -> String {
    let Some(moment) = moment.and_then(|moment| humantime::parse_rfc3339(moment).ok()) else {
        return NOTHING.to_owned();
    };
    let whole = |time: Duration| short_duration(Duration::from_secs(time.as_secs()));
    match moment.duration_since(now) {
        Ok(ahead) => format!("in {}", whole(ahead)),
        Err(past) => format!("{} ago", whole(past.duration())),
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
    fn columns_are_aligned_and_harmless() {
        assert_snapshot!(table(&["USER", "STATE", "WHAT"], &rows(), false), @r"
        USER             STATE    WHAT
        alice            running  vim x
        bob-with-a-name  broken   \x1b]0;x\x07
        ");
        assert_eq!(table(&["USER"], &[], false), "USER\n");
    }

    #[test]
    fn colours_do_not_shift_columns() {
        let coloured = table(&["USER", "STATE", "WHAT"], &rows(), true);
        assert!(coloured.contains("\x1b[32mrunning\x1b[0m  vim x\n"), "{coloured:?}");
        assert!(coloured.contains("\x1b[31mbroken\x1b[0m   \\x1b]0;x"), "{coloured:?}");
        let plain =
            [BOLD, RED, GREEN, YELLOW, PLAIN].iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, table(&["USER", "STATE", "WHAT"], &rows(), false));
    }

    #[test]
    fn a14_json_is_ascii_and_says_the_same() {
        let value = "a\u{9b}31m\u{202e}\u{1f600}\x7f\x1b\"\\é";
        let text = ascii(&serde_json::to_string(value).unwrap());
        assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }

    #[test]
    fn moments_are_told_from_now() {
        let now = humantime::parse_rfc3339("2026-03-01T12:00:00Z").unwrap();
        assert_eq!(from_now(Some("2026-03-01T11:54:50Z"), now), "5m 10s ago");
        assert_eq!(from_now(Some("2026-03-01T12:25:00Z"), now), "in 25m");
        assert_eq!(from_now(None, now), "-");
        assert_eq!(from_now(Some("soon"), now), "-");
    }
}
