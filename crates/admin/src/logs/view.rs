//! Which entries of a journal belong to what an admin asks for, and how they are shown. Entries
//! of ours say it in their fields; a line of sshd does by its connection, which is known from
//! the process ids in its own lines and in ours. Knows no journal and no file.

use identity::Login;
use serde_json::{Map, Value};
use session::escape::visible;
use session::journal::Field;
use session::times::rfc3339;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

/// Programs of sshbox, as they are called in their entries.
pub const PROGRAMS: [&str; 5] = ["sshbox-keys", "sshbox-shell", "sshbox-wake", "sshbox-reap", "sshbox"];

/// Our sshd's unit; without systemd there is none.
const UNIT: &str = "sshbox-sshd.service";

/// The least uid of a login; see `identity`.
const LOGINS: u32 = 0x7000_0000;

/// Connections of which sshd's lines are kept in case they turn out to be wanted, and lines of each.
const CONNECTIONS: usize = 1000;
const LINES: usize = 50;

/// What is asked for.
#[derive(Debug)]
pub enum LogFilter {
    /// Everything of sshbox.
    All,
    /// Of this login name, or of this reference: they look the same.
    Of(Login),
}

/// An entry of the journal.
#[derive(Debug)]
pub struct Entry(BTreeMap<String, String>);

impl Entry {
    /// Reads a line of `journalctl --output=json`, or one that we wrote ourselves.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let text = |value: Value| match value {
            Value::String(text) => Some(visible(text.as_bytes())),
            // How journalctl writes what is not printable.
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

    fn of(&self, field: Field) -> &str {
        self.get(&field.key())
    }

    fn program(&self) -> &str {
        self.get("SYSLOG_IDENTIFIER")
    }

    fn pid(&self) -> &str {
        [self.get("_PID"), self.get("SYSLOG_PID")].into_iter().find(|pid| !pid.is_empty()).unwrap_or_default()
    }

    fn is_ours(&self) -> bool {
        PROGRAMS.contains(&self.program())
    }

    /// When it was written.
    pub fn moment(&self) -> SystemTime {
        let micros = self.get("__REALTIME_TIMESTAMP").parse().unwrap_or_default();
        // Whoever wrote the line wrote the number, too.
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros)).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether who wrote it is who it says: the kernel attests the uid to journald, and any user
    /// of the host may write there. A file has no such word; only root writes it.
    fn is_true(&self, keys: Option<u32>) -> bool {
        let Ok(uid) = self.get("_UID").parse::<u32>() else {
            return true;
        };
        let unit = self.get("_SYSTEMD_UNIT");
        match self.program() {
            _ if uid == 0 && self.is_ours() => true,
            "sshbox-keys" => keys == Some(uid),
            "sshbox-shell" => {
                Login::parse(self.of(Field::User).as_bytes()).is_ok_and(|login| login.uid() == uid)
            }
            program if PROGRAMS.contains(&program) => false,
            _ => (uid == 0 || uid >= LOGINS) && (unit.is_empty() || unit == UNIT),
        }
    }

    /// As a line for people.
    pub fn text(&self) -> String {
        let moment = rfc3339(self.moment()).unwrap_or_else(|| "(no such moment)".to_owned());
        let reference = self.of(Field::Ref);
        let message = self.get("MESSAGE");
        let message = message.strip_suffix(&format!(" ref=\"{reference}\"")).unwrap_or(message);
        let reference = if reference.is_empty() { "-" } else { reference };
        format!("{moment} {reference:8} {:12} {message}", self.program())
    }

    /// As an object for programs: what journald attests, what sshbox says, and the text.
    pub fn json(&self) -> String {
        const KEPT: [&str; 9] = [
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
        let kept =
            self.0.iter().filter(|(key, _)| KEPT.contains(&key.as_str()) || key.starts_with("SSHBOX_"));
        let kept: Map<_, _> = kept.map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect();
        Value::Object(kept).to_string()
    }

    /// Whether this line of sshd speaks of this user.
    fn names(&self, user: &Login) -> bool {
        let words: Vec<&str> = self.get("MESSAGE").split(' ').collect();
        words.windows(2).any(|pair| matches!(pair, ["for" | "user", name] if *name == user.as_str()))
    }
}

/// Entries as they come, and of them those that are wanted.
#[derive(Debug)]
pub struct View {
    wanted: LogFilter,
    keys: Option<u32>,
    /// Which connection a process of sshd serves.
    connections: HashMap<String, u64>,
    /// Lines of connections that nobody has asked for so far.
    kept: BTreeMap<u64, Vec<Entry>>,
    /// Connections that are wanted.
    shown: BTreeSet<u64>,
    next: u64,
}

impl View {
    /// Of all entries to come; `keys` is the uid of `sshbox-keys`.
    pub fn new(wanted: LogFilter, keys: Option<u32>) -> Self {
        let (connections, kept, shown) = (HashMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { wanted, keys, connections, kept, shown, next: 0 }
    }

    /// Takes the next entry; what is to be shown now.
    pub fn take(&mut self, entry: Entry) -> Vec<Entry> {
        if !entry.is_true(self.keys) {
            return Vec::new();
        }
        let LogFilter::Of(wanted) = &self.wanted else {
            return vec![entry];
        };
        if entry.is_ours() {
            let is_wanted = [Field::User, Field::Ref].iter().any(|field| entry.of(*field) == wanted.as_str());
            if !is_wanted {
                return Vec::new();
            }
            let connection = self.connections.get(entry.of(Field::Sshd)).copied();
            let mut now = connection.map(|connection| self.show(connection)).unwrap_or_default();
            now.push(entry);
            return now;
        }
        let is_named = entry.names(wanted);
        let connection = self.connection(&entry);
        if is_named || self.shown.contains(&connection) {
            let mut now = self.show(connection);
            now.push(entry);
            return now;
        }
        let lines = self.kept.entry(connection).or_default();
        if lines.len() < LINES {
            lines.push(entry);
        }
        if self.kept.len() > CONNECTIONS {
            self.kept.pop_first();
        }
        Vec::new()
    }

    /// The connection that a line of sshd is of: process ids are used again, and each connection
    /// begins with a line that says so.
    fn connection(&mut self, entry: &Entry) -> u64 {
        let message = entry.get("MESSAGE");
        let known = self.connections.get(entry.pid()).copied();
        let connection = match known {
            Some(connection) if !message.starts_with("Connection from ") => connection,
            _ => {
                self.next += 1;
                self.connections.insert(entry.pid().to_owned(), self.next);
                self.next
            }
        };
        if let Some(child) = message.strip_prefix("User child is on pid ") {
            self.connections.insert(child.to_owned(), connection);
        }
        connection
    }

    fn show(&mut self, connection: u64) -> Vec<Entry> {
        self.shown.insert(connection);
        self.kept.remove(&connection).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// Entries as journald gives them: program, process id, uid, text, fields of ours.
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

    fn shown(view: &mut View, entries: Vec<Entry>) -> Vec<String> {
        let shown = entries.into_iter().flat_map(|entry| view.take(entry));
        shown.map(|entry| entry.get("MESSAGE").to_owned()).collect()
    }

    fn alice() -> u32 {
        Login::parse(b"alice").unwrap().uid()
    }

    /// Two connections, the second in the process of the first.
    fn journal() -> Vec<Entry> {
        let ours = [("SSHBOX_USER", "alice"), ("SSHBOX_REF", "1a2b3c4d"), ("SSHBOX_SSHD", "7")];
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
            entry("sshbox-shell", 9, alice(), "session started", &ours),
            entry("sshbox-wake", 10, 0, "box started", &ours[..2]),
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
        for wanted in ["alice", "1a2b3c4d"] {
            assert_eq!(shown(&mut view(wanted), journal()), texts[..6], "{wanted}");
        }
        assert_eq!(shown(&mut view("bob"), journal()), texts[6..]);
        assert_eq!(shown(&mut view("port"), journal()), [""; 0]);
        assert_eq!(shown(&mut View::new(LogFilter::All, None), journal()), texts);
    }

    #[test]
    fn f35_a_forged_moment_is_shown_as_none() {
        for forged in ["18446744073709551615", "9223372036854775807", "253402300800000000", "-1", "x"] {
            let fields = [("__REALTIME_TIMESTAMP", forged), ("SSHBOX_USER", "alice")];
            let entry = entry("sshbox-wake", 7, 0, "box started", &fields);
            let text = entry.text();
            let unknown = text.starts_with("(no such moment) ") || text.starts_with("1970-01-01T00:00:00Z ");
            assert!(unknown && text.ends_with(" box started"), "{text}");
            assert!(entry.json().contains(forged));
        }
    }

    #[test]
    fn what_others_wrote_in_our_name_is_left_out() {
        let fields = [("SSHBOX_USER", "alice")];
        let bob = Login::parse(b"bob").unwrap().uid();
        for (program, uid) in
            [("sshbox-shell", 1000), ("sshbox-shell", bob), ("sshbox-wake", alice()), ("sshbox-keys", 1000)]
        {
            assert_eq!(shown(&mut view("alice"), vec![entry(program, 1, uid, "forged", &fields)]), [""; 0]);
        }
        let other = [("_SYSTEMD_UNIT", "ssh.service")];
        let theirs = entry("sshd", 1, 0, "Accepted publickey for alice from ::1", &other);
        assert_eq!(shown(&mut view("alice"), vec![theirs]), [""; 0]);
        for (program, uid) in [("sshbox-shell", alice()), ("sshbox-keys", 998), ("sshbox-wake", 0)] {
            assert_eq!(shown(&mut view("alice"), vec![entry(program, 1, uid, "true", &fields)]), ["true"]);
        }
    }

    #[test]
    fn a14_what_is_shown_is_printable() {
        let line =
            br#"{"MESSAGE":[27,91,50,74,255,10],"SYSLOG_IDENTIFIER":"sshd\u001b","SSHBOX_X":"\u202e"}"#;
        let entry = Entry::parse(line).unwrap();
        assert!(entry.text().ends_with(r"-        sshd\x1b     \x1b[2J\xff\x0a"), "{}", entry.text());
        assert!(entry.json().contains(r#""SSHBOX_X":"\\xe2\\x80\\xae""#), "{}", entry.json());
        for no_entry in [&b"Nov 24 sshd[1]: x"[..], b"", b"{}", b"[1]", b"{\"MESSAGE\":null}"] {
            assert!(Entry::parse(no_entry).is_none());
        }
    }

    #[test]
    fn a_line_for_people_has_the_reference_once() {
        let fields = [("SSHBOX_REF", "1a2b3c4d")];
        let entry = entry("sshbox-wake", 10, 0, r#"box started user="alice" ref="1a2b3c4d""#, &fields);
        assert_eq!(entry.text(), r#"1970-01-01T00:00:10Z 1a2b3c4d sshbox-wake  box started user="alice""#);
    }

    #[test]
    fn many_connections_that_nobody_asks_for_are_not_kept() {
        let mut view = view("alice");
        for pid in 0..5000 {
            let line = || entry("sshd", pid, 0, "Failed publickey for bob from ::1 port 1", &[]);
            assert!((0..LINES + 9).all(|_| view.take(line()).is_empty()));
        }
        assert!(view.kept.len() <= CONNECTIONS && view.kept.values().all(|lines| lines.len() <= LINES));
    }
}
