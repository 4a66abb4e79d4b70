//! The journal: one line per event to the system log (journald or any syslog daemon).
//!
//! The socket is `/dev/log`; writing never blocks and never fails a caller. `sshd` throws
//! away what `sshbox-keys` prints on stderr, and the stderr of `sshbox-shell` is the
//! user's, so this is where all programs report.

use crate::escape::printable;
use std::fmt;
use std::fmt::Write as _;
use std::os::unix::net::UnixDatagram;
use std::process;

/// What the system log is told about the weight of a line (RFC 5424, table 2).
#[derive(Clone, Copy, Debug)]
pub enum Level {
    /// Somebody has to do something.
    Error = 3,
    /// It went on, but not as it should.
    Warning = 4,
    /// An ordinary event.
    Info = 6,
}

/// Facility `authpriv` (RFC 5424, table 1): where logins are looked for.
const FACILITY: u8 = 10;

/// Eight hexadecimal digits that tie what a user saw to a line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference(String);

impl Reference {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 4];
        // Without randomness the pid must do; a reference is a search term, not a secret.
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
        let number = if filled == Ok(bytes.len()) { u32::from_ne_bytes(bytes) } else { process::id() };
        Self(format!("{number:08x}"))
    }

    /// Takes one over from another of our programs.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes `event` and its fields as one line: `event key="value" key="value"`.
/// Values may hold anything; what leaves here is printable ASCII.
pub fn log(program: &str, level: Level, event: &str, fields: &[(&str, &str)]) {
    let line = line(event, fields);
    let priority = FACILITY * 8 + level as u8;
    let datagram = format!("<{priority}>{program}[{}]: {line}", process::id());
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(datagram.as_bytes(), "/dev/log")
    });
    // A host without a log daemon still serves logins.
    drop(sent);
}

fn line(event: &str, fields: &[(&str, &str)]) -> String {
    let mut line = printable(event.as_bytes());
    for (key, value) in fields {
        // Writing to a String cannot fail.
        let _ = write!(line, " {key}=\"{}\"", printable(value.as_bytes()));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a15_a_value_cannot_forge_a_line_or_a_field() {
        let line =
            line("session refused", &[("user", "alice"), ("command", "x\" ref=\"0\n<0>sshd: root in")]);
        assert_eq!(line, r#"session refused user="alice" command="x\" ref=\"0\x0a<0>sshd: root in""#);
    }

    #[test]
    fn references_are_parsed_not_trusted() {
        let reference = Reference::random();
        assert_eq!(Reference::parse(&reference.to_string()), Some(reference));
        for bad in ["", "0123456", "0123456g", "012345678", "\x1b[31m..."] {
            assert_eq!(Reference::parse(bad), None);
        }
    }
}
