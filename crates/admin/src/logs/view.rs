//! Which log entries match a filter, and how to print them. Entries of sshbox name user and reference
//! in fields. A line of sshd matches through its connection, which is known from the process ids in
//! sshd's lines and in entries of sshbox. This file reads no journal and no file.

use identity::Login;
use serde_json::{Map, Value};
use session::escape::visible;
use session::journal::Field;
use session::times::rfc3339;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

/// The syslog identifiers of the sshbox programs.
pub const PROGRAMS: [&str; 6] =
    ["sshbox-keys", "sshbox-pam", "sshbox-shell", "sshbox-wake", "sshbox-reap", "sshbox"];

/// The unit of sshbox's sshd; entries have no unit without systemd.
const UNIT: &str = "sshbox-sshd.service";

/// The lowest uid of a login; see `identity`.
const FIRST_LOGIN_UID: u32 = 0x7000_0000;

/// How many connections are buffered until it is known whether they match, and lines of each.
const MAX_CONNECTIONS: usize = 1000;
const MAX_LINES: usize = 50;

/// Which entries to show.
#[derive(Debug)]
pub enum LogFilter {
    /// All entries of sshbox and its sshd.
    All,
    /// Those of this login name or this reference; the syntax of both is the same.
    Of(Login),
}

/// A log entry: its fields by name.
#[derive(Debug)]
pub struct Entry(BTreeMap<String, String>);

impl Entry {
    /// Parses a line of `journalctl --output=json`, or a line that sshbox wrote to a file.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let text = |value: Value| match value {
            Value::String(text) => Some(visible(text.as_bytes())),
            // journalctl writes unprintable text as an array of bytes.
            Value::Array(bytes) => {
                let byte = |byte: Value| byte.as_u64().and_then(|byte| u8::try_from(byte).ok());
                Some(visible(&bytes.into_iter().map(byte).collect::<Option<Vec<_>>>()?))
            }
            _ => None,
        };
        let fields: BTreeMap<_, _> = fields
            .into_iter()
            .filter_map(|(key, value)| Some((visible(key.as_bytes()), text(value)?)))
            .collect();
        fields.contains_key("MESSAGE").then_some(Self(fields))
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn field(&self, field: Field) -> &str {
        self.get(&field.key())
    }

    fn program(&self) -> &str {
        self.get("SYSLOG_IDENTIFIER")
    }

    fn pid(&self) -> &str {
        [self.get("_PID"), self.get("SYSLOG_PID")].into_iter().find(|pid| !pid.is_empty()).unwrap_or_default()
    }

    fn is_from_sshbox(&self) -> bool {
        PROGRAMS.contains(&self.program())
    }

    /// When the entry was written.
    pub fn time(&self) -> SystemTime {
        let micros = self.get("__REALTIME_TIMESTAMP").parse().unwrap_or_default();
        // The number may be forged: it must not overflow.
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether the program that the entry names has written it. Any user of the host may write to the
    /// journal, but journald records the writer's uid as the kernel reports it. Entries from a file have
    /// no uid and are trusted, since only root can write to the file.
    fn is_authentic(&self, keys_uid: Option<u32>) -> bool {
        let Ok(uid) = self.get("_UID").parse::<u32>() else {
            return true;
        };
        let unit = self.get("_SYSTEMD_UNIT");
        match self.program() {
            _ if uid == 0 && self.is_from_sshbox() => true,
            "sshbox-keys" => keys_uid == Some(uid),
            "sshbox-shell" => {
                Login::parse(self.field(Field::User).as_bytes()).is_ok_and(|login| login.uid() == uid)
            }
            program if PROGRAMS.contains(&program) => false,
            _ => (uid == 0 || uid >= FIRST_LOGIN_UID) && (unit.is_empty() || unit == UNIT),
        }
    }

    /// The entry as one line for people.
    pub fn text(&self) -> String {
        let time = rfc3339(self.time()).unwrap_or_else(|| "(invalid time)".to_owned());
        let reference = self.field(Field::Ref);
        let message = self.get("MESSAGE");
        let message = message.strip_suffix(&format!(" ref=\"{reference}\"")).unwrap_or(message);
        let reference = if reference.is_empty() { "-" } else { reference };
        format!("{time} {reference:8} {:12} {message}", self.program())
    }

    /// The entry as a JSON object: the fields of journald and of sshbox, and the message.
    pub fn json(&self) -> String {
        const PRINTED: [&str; 9] = [
            "__REALTIME_TIMESTAMP",
            "_HOSTNAME",
            "_PID",
            "_UID",
            "MESSAGE",
            "MESSAGE_ID",
            "PRIORITY",
            "SYSLOG_IDENTIFIER",
            "SYSLOG_PID",
        ];
        let printed =
            self.0.iter().filter(|(key, _)| PRINTED.contains(&key.as_str()) || key.starts_with("SSHBOX_"));
        let printed: Map<_, _> =
            printed.map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
        Value::Object(printed).to_string()
    }

    /// Whether this line of sshd names this user.
    fn names(&self, user: &Login) -> bool {
        let words: Vec<&str> = self.get("MESSAGE").split(' ').collect();
        words.windows(2).any(|pair| matches!(pair, ["for" | "user", name] if *name == user.as_str()))
    }
}

/// Receives entries in order and returns those that match a filter.
#[derive(Debug)]
pub struct View {
    filter: LogFilter,
    /// The uid of `sshbox-keys`, if that user exists.
    keys_uid: Option<u32>,
    /// The connection that each process of sshd serves, by pid.
    connections: HashMap<String, u64>,
    /// Lines of connections that have not matched so far.
    buffered: BTreeMap<u64, Vec<Entry>>,
    /// Connections that match.
    matching: BTreeSet<u64>,
    last_connection: u64,
}

impl View {
    /// A view without entries; `keys_uid` is the uid of `sshbox-keys`.
    pub fn new(filter: LogFilter, keys_uid: Option<u32>) -> Self {
        let (connections, buffered, matching) = (HashMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { filter, keys_uid, connections, buffered, matching, last_connection: 0 }
    }

    /// Adds an entry and returns the entries to print now.
    pub fn add(&mut self, entry: Entry) -> Vec<Entry> {
        if !entry.is_authentic(self.keys_uid) {
            return Vec::new();
        }
        let LogFilter::Of(name) = &self.filter else {
            return vec![entry];
        };
        if entry.is_from_sshbox() {
            let matches = [Field::User, Field::Ref].iter().any(|field| entry.field(*field) == name.as_str());
            if !matches {
                return Vec::new();
            }
            let connection = self.connections.get(entry.field(Field::Sshd)).copied();
            let mut entries =
                connection.map(|connection| self.mark_as_matching(connection)).unwrap_or_default();
            entries.push(entry);
            return entries;
        }
        let names_user = entry.names(name);
        let connection = self.connection(&entry);
        if names_user || self.matching.contains(&connection) {
            let mut entries = self.mark_as_matching(connection);
            entries.push(entry);
            return entries;
        }
        let lines = self.buffered.entry(connection).or_default();
        if lines.len() < MAX_LINES {
            lines.push(entry);
        }
        if self.buffered.len() > MAX_CONNECTIONS {
            self.buffered.pop_first();
        }
        Vec::new()
    }

    /// The connection of a line of sshd. The kernel reuses process ids; a line `Connection from` begins
    /// a new connection.
    fn connection(&mut self, entry: &Entry) -> u64 {
        let message = entry.get("MESSAGE");
        let known = self.connections.get(entry.pid()).copied();
        let connection = match known {
            Some(connection) if !message.starts_with("Connection from ") => connection,
            _ => {
                self.last_connection += 1;
                self.connections.insert(entry.pid().to_owned(), self.last_connection);
                self.last_connection
            }
        };
        if let Some(child) = message.strip_prefix("User child is on pid ") {
            self.connections.insert(child.to_owned(), connection);
        }
        connection
    }

    /// Marks a connection as matching and returns its buffered lines.
    fn mark_as_matching(&mut self, connection: u64) -> Vec<Entry> {
        self.matching.insert(connection);
        self.buffered.remove(&connection).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// An entry as journald returns it: program, process id, uid, text, fields of sshbox.
    fn entry(program: &str, pid: u32, uid: u32, text: &str, fields: &[(&str, &str)]) -> Entry {
        let mut object = Map::new();
        let micros = (u64::from(pid) * SECOND).to_string();
        for (key, value) in [
            ("MESSAGE", text),
            ("SYSLOG_IDENTIFIER", program),
            ("_PID", &pid.to_string()),
            ("_UID", &uid.to_string()),
            ("__REALTIME_TIMESTAMP", &micros),
        ]
        .iter()
        .chain(fields)
        {
            object.insert((*key).to_owned(), Value::String((*value).to_owned()));
        }
        Entry::parse(Value::Object(object).to_string().as_bytes()).unwrap()
    }

    fn view(name: &str) -> View {
        View::new(LogFilter::Of(Login::parse(name.as_bytes()).unwrap()), Some(998))
    }

    fn printed(view: &mut View, entries: Vec<Entry>) -> Vec<String> {
        let printed = entries.into_iter().flat_map(|entry| view.add(entry));
        printed.map(|entry| entry.get("MESSAGE").to_owned()).collect()
    }

    fn alice() -> u32 {
        Login::parse(b"alice").unwrap().uid()
    }

    /// Two connections; the second is served by a process with the pid of the first.
    fn journal() -> Vec<Entry> {
        let fields = [("SSHBOX_USER", "alice"), ("SSHBOX_REF", "1a2b3c4d"), ("SSHBOX_SSHD", "7")];
        vec![
            entry("sshd", 7, 0, "Connection from 192.0.2.1 port 5 on 192.0.2.9 port 2200", &[]),
            entry(
                "sshd",
                7,
                0,
                "Accepted publickey for alice from 192.0.2.1 port 5 ssh2: ED25519 SHA256:x",
                &[],
            ),
            entry("sshd", 7, 0, "User child is on pid 8", &[]),
            entry("sshbox-shell", 9, alice(), "session started", &fields),
            entry("sshbox-wake", 10, 0, "box started", &fields[..2]),
            entry("sshd", 8, alice(), "Disconnected from user alice 192.0.2.1 port 5", &[]),
            entry("sshd", 7, 0, "Connection from 192.0.2.2 port 6 on 192.0.2.9 port 2200", &[]),
            entry(
                "sshd",
                7,
                0,
                "Accepted publickey for bob from 192.0.2.2 port 6 ssh2: ED25519 SHA256:y",
                &[],
            ),
            entry("sshbox-reap", 11, 0, "box stopped", &[("SSHBOX_USER", "bob")]),
        ]
    }

    #[test]
    fn a_user_and_a_reference_find_the_whole_connection_and_no_other() {
        let texts: Vec<String> = journal().iter().map(|entry| entry.get("MESSAGE").to_owned()).collect();
        for name in ["alice", "1a2b3c4d"] {
            assert_eq!(printed(&mut view(name), journal()), texts[..6], "{name}");
        }
        assert_eq!(printed(&mut view("bob"), journal()), texts[6..]);
        assert_eq!(printed(&mut view("port"), journal()), [""; 0]);
        assert_eq!(printed(&mut View::new(LogFilter::All, None), journal()), texts);
    }

    #[test]
    fn f35_a_forged_time_is_shown_as_invalid() {
        for forged in ["18446744073709551615", "9223372036854775807", "253402300800000000", "-1", "x"] {
            let fields = [("__REALTIME_TIMESTAMP", forged), ("SSHBOX_USER", "alice")];
            let entry = entry("sshbox-wake", 7, 0, "box started", &fields);
            let text = entry.text();
            let invalid = text.starts_with("(invalid time) ") || text.starts_with("1970-01-01T00:00:00Z ");
            assert!(invalid && text.ends_with(" box started"), "{text}");
            assert!(entry.json().contains(forged));
        }
    }

    #[test]
    fn entries_forged_by_other_users_are_left_out() {
        let fields = [("SSHBOX_USER", "alice")];
        let bob = Login::parse(b"bob").unwrap().uid();
        for (program, uid) in [
            ("sshbox-shell", 1000),
            ("sshbox-shell", bob),
            ("sshbox-wake", alice()),
            ("sshbox-keys", 1000),
            ("sshbox-pam", alice()),
        ] {
            assert_eq!(printed(&mut view("alice"), vec![entry(program, 1, uid, "forged", &fields)]), [""; 0]);
        }
        let other = [("_SYSTEMD_UNIT", "ssh.service")];
        let foreign = entry("sshd", 1, 0, "Accepted publickey for alice from ::1", &other);
        assert_eq!(printed(&mut view("alice"), vec![foreign]), [""; 0]);
        for (program, uid) in [("sshbox-shell", alice()), ("sshbox-keys", 998), ("sshbox-wake", 0)] {
            assert_eq!(
                printed(&mut view("alice"), vec![entry(program, 1, uid, "authentic", &fields)]),
                ["authentic"]
            );
        }
    }

    #[test]
    fn a14_output_is_printable() {
        let line =
            br#"{"MESSAGE":[27,91,50,74,255,10],"SYSLOG_IDENTIFIER":"sshd\u001b","SSHBOX_X":"\u202e"}"#;
        let entry = Entry::parse(line).unwrap();
        assert!(entry.text().ends_with(r"-        sshd\x1b     \x1b[2J\xff\x0a"), "{}", entry.text());
        assert!(entry.json().contains(r#""SSHBOX_X":"\\xe2\\x80\\xae""#), "{}", entry.json());
        for not_an_entry in [&b"Nov 24 sshd[1]: x"[..], b"", b"{}", b"[1]", b"{\"MESSAGE\":null}"] {
            assert!(Entry::parse(not_an_entry).is_none());
        }
    }

    #[test]
    fn the_text_contains_the_reference_once() {
        let fields = [("SSHBOX_REF", "1a2b3c4d")];
        let entry = entry("sshbox-wake", 10, 0, r#"box started user="alice" ref="1a2b3c4d""#, &fields);
        assert_eq!(entry.text(), r#"1970-01-01T00:00:10Z 1a2b3c4d sshbox-wake  box started user="alice""#);
    }

    #[test]
    fn the_buffer_of_connections_is_bounded() {
        let mut view = view("alice");
        for pid in 0..5000 {
            let line = || entry("sshd", pid, 0, "Failed publickey for bob from ::1 port 1", &[]);
            assert!((0..MAX_LINES + 9).all(|_| view.add(line()).is_empty()));
        }
        assert!(
            view.buffered.len() <= MAX_CONNECTIONS
                && view.buffered.values().all(|lines| lines.len() <= MAX_LINES)
        );
    }
}
