//! One entry on its way to the log daemon: to journald in its own protocol, else to `/dev/log` as one
//! line of JSON with the same fields.

use super::FieldValue;
use super::events::{Event, Field};
use super::reference::Reference;
use crate::deadlines::LOG_DAEMON;
use crate::escape::printable_and_cut;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process;
use std::time::SystemTime;

/// Facility `authpriv` (RFC 5424, table 1), where admins look for logins.
const FACILITY: u8 = 10;

/// The socket of journald's own protocol.
const JOURNALD: &str = "/run/systemd/journal/socket";

/// The socket of every log daemon.
const SYSLOG: &str = "/dev/log";

/// Longest line, in bytes: rsyslog's `maxMessageSize` is 8 KiB and includes its own prefix.
const LINE: usize = 7_900;

/// Lengths to which values are cut, tried one after the other until the line is short enough.
const CUTS: [usize; 4] = [usize::MAX, 512, 128, 32];

/// An entry with printable values.
pub(super) struct Entry<'a> {
    program: &'a str,
    event: Event,
    fields: Vec<(Field, String)>,
    /// The whole command, and whether it is too long for any entry; `None` without a command.
    command: Option<(Vec<u8>, bool)>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(program: &'a str, event: Event, fields: &[FieldValue<'_>]) -> Self {
        let mut command = None;
        let fields = fields.iter().map(|(field, value)| {
            let (text, is_cut) = printable_and_cut(value.as_ref());
            if *field == Field::Command && !text.is_empty() {
                command = Some((value.as_ref().to_vec(), is_cut));
            }
            (*field, text)
        });
        let reference = [(Field::Ref, Reference::ours().to_string())];
        let fields = fields.chain(reference).filter(|(_, value)| !value.is_empty()).collect();
        Self { program, event, fields, command }
    }

    /// Sends the entry to the log daemon of this host.
    pub(super) fn send(&self) {
        self.deliver(Path::new(JOURNALD), Path::new(SYSLOG));
    }

    fn deliver(&self, journald: &Path, syslog: &Path) {
        match send(&self.datagram(), journald) {
            Ok(()) => {}
            // journald runs but its queue is full: syslog would end in the same queue.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Logins work on a host without a log daemon.
            Err(_) => drop(send(self.line().as_bytes(), syslog)),
        }
    }

    /// All fields, the text first.
    fn all_fields(&self, cut_to: usize) -> Vec<(String, String)> {
        let cut = |value: &str| match value.get(..cut_to) {
            Some(beginning) if value.len() > cut_to => format!("{beginning}..."),
            _ => value.to_owned(),
        };
        let mut fields = Vec::new();
        for (field, value) in &self.fields {
            fields.push((*field, cut(value)));
            if let (Field::Command, Some((command, is_cut))) = (field, &self.command)
                && (*is_cut || value.len() > cut_to)
            {
                fields.push((Field::CommandLength, command.len().to_string()));
                fields.push((Field::CommandHash, sha256(command)));
            }
        }
        let mut text = self.event.text().to_owned();
        for (field, value) in &fields {
            // Writing to a String cannot fail.
            let _ = write!(text, " {}=\"{value}\"", field.name());
        }
        let standard = [
            ("MESSAGE", text),
            ("MESSAGE_ID", self.event.id().to_owned()),
            ("PRIORITY", (self.event.level() as u8).to_string()),
            ("SYSLOG_FACILITY", FACILITY.to_string()),
            ("SYSLOG_IDENTIFIER", self.program.to_owned()),
            ("SYSLOG_PID", process::id().to_string()),
        ];
        let standard = standard.into_iter().map(|(key, value)| (key.to_owned(), value));
        standard.chain(fields.into_iter().map(|(field, value)| (field.key(), value))).collect()
    }

    /// The entry in journald's own protocol: `KEY=value` and a newline for each field. Values with a
    /// newline would need another form; printable values have none.
    fn datagram(&self) -> Vec<u8> {
        let fields = self.all_fields(usize::MAX).into_iter().flat_map(|(key, value)| [key, value]);
        let ends = ["=", "\n"].into_iter().cycle();
        fields.zip(ends).flat_map(|(part, end)| [part.into_bytes(), end.into()]).flatten().collect()
    }

    /// The entry as syslog(3) sends it: one JSON object, as `journalctl --output json` writes it.
    fn line(&self) -> String {
        let priority = FACILITY * 8 + self.event.level() as u8;
        let head = format!("<{priority}>{}[{}]: ", self.program, process::id());
        let line = |cut_to| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let moment = ("__REALTIME_TIMESTAMP".to_owned(), now.as_micros().to_string());
            let fields: serde_json::Map<_, _> = [moment]
                .into_iter()
                .chain(self.all_fields(cut_to))
                .map(|(key, value)| (key, serde_json::Value::String(value)))
                .collect();
            format!("{head}{}", serde_json::Value::Object(fields))
        };
        let mut lines = CUTS.map(line).into_iter();
        let shortest = lines.next_back().unwrap_or_default();
        lines.find(|line| line.len() <= LINE).unwrap_or(shortest)
    }
}

/// SHA-256 in hexadecimal digits.
fn sha256(value: &[u8]) -> String {
    Sha256::digest(value).iter().fold(String::new(), |mut hash, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
        hash
    })
}

fn send(datagram: &[u8], to: &Path) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(LOG_DAEMON))?;
    socket.send_to(datagram, to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escape::printable;
    use std::collections::BTreeMap;
    use std::fs;

    const HOSTILE: &str = "x\" ref=\"0\n<0>sshd: root in\nMESSAGE=forged\0\r\u{2028}";

    fn parse_datagram(datagram: &[u8]) -> BTreeMap<String, String> {
        let text = std::str::from_utf8(datagram).unwrap().strip_suffix('\n').unwrap();
        let fields: Vec<_> = text.split('\n').map(|line| line.split_once('=').unwrap()).collect();
        let map: BTreeMap<_, _> = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(map.len(), fields.len(), "duplicate field: {text}");
        map
    }

    fn parse_line(line: &str) -> BTreeMap<String, String> {
        assert!(line.bytes().all(|b| (0x20..=0x7e).contains(&b)), "{line}");
        assert!(line.len() <= LINE, "{}", line.len());
        let (head, json) = line.split_once(": ").unwrap();
        assert_eq!(head, format!("<86>sshbox-shell[{}]", process::id()));
        let mut map: BTreeMap<String, String> = serde_json::from_str(json).unwrap();
        map.remove("__REALTIME_TIMESTAMP").unwrap().parse::<u64>().unwrap();
        map
    }

    fn session(command: &[u8], term: &[u8], user: &[u8]) -> (Entry<'static>, [Field; 3]) {
        let fields: [(Field, &dyn AsRef<[u8]>); 3] =
            [(Field::User, &user), (Field::Command, &command), (Field::Term, &term)];
        (Entry::new("sshbox-shell", Event::SessionStarted, &fields), fields.map(|(field, _)| field))
    }

    #[test]
    fn a15_a_value_cannot_forge_a_line_or_a_field() {
        let reference = Reference::ours();
        let (entry, _) = session(HOSTILE.as_bytes(), b"", b"alice");
        let printed = r#"x\" ref=\"0\x0a<0>sshd: root in\x0aMESSAGE=forged\x00\x0d\xe2\x80\xa8"#;
        let map = parse_datagram(&entry.datagram());
        let text = format!(r#"session started user="alice" command="{printed}" ref="{reference}""#);
        assert_eq!(map["MESSAGE"], text);
        assert_eq!(map["SSHBOX_COMMAND"], printed);
        assert!(!map.contains_key("SSHBOX_TERM"));
        assert_eq!(parse_line(&entry.line()), map);
    }

    /// Random bytes, most of which break lines, quotes or protocols.
    struct RandomBytes(u64);

    impl RandomBytes {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn text(&mut self) -> Vec<u8> {
            const PIECES: [&[u8]; 14] = [
                b"\n",
                b"\0",
                b"\r",
                b"\"",
                b"\\",
                b"\x1b[2J",
                b"=",
                b"\nMESSAGE_ID=0",
                b"ref=\"0\"",
                b"{}",
                b"\xff\xfe",
                "\u{202e}".as_bytes(),
                b"<0>sshd[1]: ",
                b" ",
            ];
            let long = self.next().is_multiple_of(400);
            let count = self.next() % if long { 3000 } else { 20 };
            let mut text = Vec::new();
            for _ in 0..count {
                let number = self.next();
                match PIECES.get(usize::try_from(number % 40).unwrap()) {
                    Some(piece) => text.extend_from_slice(piece),
                    None => text.push(number.to_le_bytes()[3]),
                }
            }
            text
        }
    }

    #[test]
    fn p7_a14_a15_a_hundred_thousand_random_commands_names_and_terms() {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let seed = std::env::var("SSHBOX_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(u64::from(time.subsec_nanos()) | 1);
        println!("SSHBOX_SEED={seed}");
        let mut random = RandomBytes(seed);
        for _ in 0..100_000 {
            let values = [random.text(), random.text(), random.text()];
            let [command, term, user] = &values;
            let (entry, _) = session(command, term, user);
            let map = parse_datagram(&entry.datagram());
            let given: Vec<_> = [user, command, term].into_iter().map(|v| printable(v)).collect();
            let told: Vec<_> = ["SSHBOX_USER", "SSHBOX_COMMAND", "SSHBOX_TERM"]
                .map(|key| map.get(key).cloned().unwrap_or_default())
                .into();
            assert_eq!(told, given);
            let is_cut = printable_and_cut(command).1;
            let about_command = if is_cut { 2 } else { 0 };
            let count = given.iter().filter(|value| !value.is_empty()).count();
            assert_eq!(map.len(), 7 + count + about_command);
            let length = map.get("SSHBOX_COMMAND_LENGTH").cloned();
            assert_eq!(length, is_cut.then(|| command.len().to_string()));
            let line = parse_line(&entry.line());
            // The line can be cut where the datagram is not.
            assert!(map.keys().all(|key| line.contains_key(key)), "{line:?}");
            let complete = line.get("SSHBOX_COMMAND").is_none_or(|text| *text == given[1]);
            assert_eq!(line.contains_key("SSHBOX_COMMAND_SHA256"), is_cut || !complete);
            assert_eq!(line["MESSAGE_ID"], Event::SessionStarted.id());
        }
    }

    #[test]
    fn a_line_that_would_be_too_long_is_cut_and_not_split() {
        let long = vec![b'\\'; 10_000];
        let (entry, _) = session(&long, &long, &long);
        let line = parse_line(&entry.line());
        assert!(line["SSHBOX_COMMAND"].ends_with("\\..."), "{line:?}");
        assert_eq!(parse_datagram(&entry.datagram())["SSHBOX_COMMAND"], printable(&long));
    }

    #[test]
    fn p7_a_command_that_is_cut_keeps_its_length_and_hash() {
        // `printf '%2000s' | tr ' ' a | sha256sum`
        const HASH: &str = "c4a700f85b7e9e5cdbdc51170409ee2ad48bebe2f2f0957a067937531a0a3c42";
        let long = vec![b'a'; 2000];
        let (entry, _) = session(&long, b"", b"alice");
        let map = parse_datagram(&entry.datagram());
        assert!(map["SSHBOX_COMMAND"].ends_with("a..."));
        assert_eq!((&*map["SSHBOX_COMMAND_LENGTH"], &*map["SSHBOX_COMMAND_SHA256"]), ("2000", HASH));
        let fields = format!(r#"a..." command_length="2000" command_sha256="{HASH}" ref=""#);
        assert!(map["MESSAGE"].contains(&fields), "{}", map["MESSAGE"]);
        assert_eq!(parse_line(&entry.line()), map);
        // It fits into the datagram, but not into the line.
        let quoted = vec![b'\\'; 500];
        let (entry, _) = session(&quoted, &quoted, &quoted);
        assert!(!parse_datagram(&entry.datagram()).contains_key("SSHBOX_COMMAND_LENGTH"));
        assert_eq!(parse_line(&entry.line())["SSHBOX_COMMAND_LENGTH"], "500");
        let (entry, _) = session(b"true", b"", b"alice");
        assert!(!parse_datagram(&entry.datagram()).contains_key("SSHBOX_COMMAND_LENGTH"));
    }

    #[test]
    fn p7_one_entry_goes_to_one_of_both_sockets_once() {
        let folder = tempfile::tempdir().unwrap();
        let (journald, syslog) = (folder.path().join("journald"), folder.path().join("log"));
        let (entry, _) = session(HOSTILE.as_bytes(), b"xterm", b"alice");
        // No log daemon runs.
        entry.deliver(&journald, &syslog);
        let receive = |socket: &UnixDatagram| {
            let mut bytes = [0; 10_000];
            socket.set_nonblocking(true).unwrap();
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(socket.recv(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            bytes[..length].to_vec()
        };
        let log = UnixDatagram::bind(&syslog).unwrap();
        entry.deliver(&journald, &syslog);
        let line = parse_line(std::str::from_utf8(&receive(&log)).unwrap());
        let journal = UnixDatagram::bind(&journald).unwrap();
        entry.deliver(&journald, &syslog);
        assert_eq!(parse_datagram(&receive(&journal)), line);
        assert_eq!(log.recv(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // journald has died and left its socket.
        drop(journal);
        assert!(fs::exists(&journald).unwrap());
        entry.deliver(&journald, &syslog);
        assert_eq!(parse_line(std::str::from_utf8(&receive(&log)).unwrap()), line);
    }

    #[test]
    fn a_log_daemon_that_hangs_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journald");
        let _hangs = UnixDatagram::bind(&path).unwrap();
        let (entry, _) = session(b"true", b"", b"alice");
        while send(b"x", &path).is_ok() {}
        entry.deliver(&path, Path::new("/nonexistent"));
    }
}
