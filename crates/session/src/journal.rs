//! The journal: one entry per event to the system log, the same for all programs. journald gets
//! fields by its own protocol; where it is not, any log daemon gets the same as one line of
//! JSON through `/dev/log`. Writing never fails a caller and hardly waits. `sshd` throws
//! away what `sshbox-keys` prints on stderr, and the stderr of `sshbox-shell` is the user's,
//! so this is where all programs report. What stands here for admins: sshbox-journal(7).

use crate::escape::printable;
use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// What the system log is told about the weight of an entry (RFC 5424, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Somebody has to do something.
    Error = 3,
    /// It went on, but not as it should.
    Warning = 4,
    /// An ordinary event.
    Info = 6,
}

/// All events: what each is called in the text of its entry, its weight, and its `MESSAGE_ID`,
/// which never changes.
macro_rules! events {
    ($($(#[$doc:meta])* $event:ident = $text:literal, $level:ident, $id:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event { $($(#[$doc])* $event),* }

        impl Event {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$event),*];

            /// How the text of its entry begins.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$event => $text),* }
            }

            /// Its weight.
            #[must_use]
            pub fn level(self) -> Level {
                match self { $(Self::$event => Level::$level),* }
            }

            /// Its `MESSAGE_ID`: 32 hexadecimal digits.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$event => $id),* }
            }
        }
    };
}

events! {
    /// sshd has let somebody in: told at the first session of a connection.
    LoginAccepted = "login accepted", Info, "c9d858c7f19e39bc2fb693c71f6a625c";
    /// A key that was offered opens no box of this name: once for each such key of a login.
    LoginRefused = "login refused", Info, "c732bf614327c3c89a72f495668d7ecc";
    /// A key that the account source told is not one that sshbox takes.
    KeyLeftOut = "key left out", Warning, "aa07bfe276e65fa048e4cfcf459e352a";
    /// A value of an account is out of range and counts as the nearest one that is not.
    ValueBounded = "value bounded", Warning, "b9a6ecba1bb744a5b1bd298ae44b6855";
    /// The account source gave no answer.
    AccountSourceFailed = "account source failed", Warning, "b6bbcc905bbd6300413282631714bd9b";
    /// An answer of the account source could not be kept: told once until one can.
    CacheNotWritten = "cache not written", Warning, "a635a9190060565dcc34715310076740";
    /// Which account logs in could not be written down for `sshbox-shell`.
    AccountNotTold = "account not told", Warning, "dee1f4331ae792fbe6fb229a05527eec";
    /// The configuration cannot be used.
    ConfigurationRefused = "configuration refused", Error, "1ba3c637019d22b3ccc01c66e86918b3";
    /// Somebody asks for a shell, a command or a word.
    SessionStarted = "session started", Info, "a7b363cbefcb0c72bde343c81aef8bf4";
    /// The end of a session that began in its box, however it ended.
    SessionEnded = "session ended", Info, "a110eca4a2151fa45643de7ddfe31f7c";
    /// A session that came to nothing; its user was told why.
    SessionFailed = "session failed", Warning, "4ab93f38f98bafee8bf9f1adba3674cc";
    /// A box was made and started.
    BoxCreated = "box created", Info, "a4480042847c4b471eaabf2afa533f44";
    /// A box that existed was started or thawed.
    BoxStarted = "box started", Info, "c77ebd89468c48d16efb81b23e39d24a";
    /// A box got no host key for its SSH server.
    HostKeyMissing = "host key missing", Warning, "aa6a8969db7b049e0a5aa3d7bedadee5";
    /// A box that ran without taking sessions takes them again.
    BoxReconnected = "box reconnected", Info, "a8b946c7fd6167c2a020c6293f257eed";
    /// A box was stopped by sshbox.
    BoxStopped = "box stopped", Info, "cf124a9f2a9ac0d19fd511ca758a83e4";
    /// A box had ended without sshbox; this is when that was noticed.
    BoxEnded = "box ended", Warning, "901356d9c9f16a63582d6aa45bbb7453";
    /// A box could not be started.
    WakeFailed = "wake failed", Warning, "9179b77ec9235af2b3ea8b93037a5120";
    /// A box could not be stopped.
    StopFailed = "stop failed", Warning, "ea6949e82a217e548bea9873361078a0";
    /// A box could not be looked at.
    LookFailed = "look failed", Warning, "9b78901ec4db1b9e2954d09d1b8311a9";
    /// A program hung, and its watchdog ends it.
    DeadlinePassed = "deadline passed", Error, "b44ee3028af549ad9677f74974dfccbc";
    /// Somebody asked `sshbox-wake` for what is not theirs, or for nonsense.
    RequestRefused = "request refused", Warning, "f6c7dbc1019d6e13b00e7892495c1173";
    /// The reaper could not do its work.
    ReaperFailed = "reaper failed", Error, "c4b90d320f865f708152b011cb5ec31b";
    /// A library of one of our programs panicked.
    ProgramFailed = "program failed", Error, "b3834f43ceb34c12a1fdee425d2a6da5";
    /// An admin did something with `sshbox`.
    AdminAction = "admin action", Info, "50884387edd00b472f15312c3985ded3";
}

/// All fields; in the text of an entry each is called as here, in journald with `SSHBOX_`
/// before it and in capital letters.
macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident = $name:literal;)*) => {
        /// What is told of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field { $($(#[$doc])* $field),* }

        impl Field {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$field),*];

            /// Its name in the text of an entry.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$field => $name),* }
            }

            /// Its name in journald.
            #[must_use]
            pub fn key(self) -> String {
                format!("SSHBOX_{}", self.name().to_ascii_uppercase())
            }
        }
    };
}

fields! {
    /// Login name.
    User = "user";
    /// The reference: what ties all entries of a session or of one run of a program.
    Ref = "ref";
    /// Address of the client.
    Address = "address";
    /// Port of the client.
    Port = "port";
    /// Fingerprint of the key, `SHA256:…`.
    Fingerprint = "fingerprint";
    /// Process id of the sshd that has the connection, as in its own lines.
    Sshd = "sshd";
    /// What the client asked to run; absent for a login shell.
    Command = "command";
    /// Kind of terminal; absent without one.
    Term = "term";
    /// How long it took, in milliseconds.
    Duration = "ms";
    /// Exit status of a session, or of the program that reports a failure.
    Status = "status";
    /// Signal that a session's program died of.
    Signal = "signal";
    /// Bytes shown on the client's terminal.
    Sent = "sent";
    /// Bytes typed at the client's terminal.
    Received = "received";
    /// Why.
    Reason = "reason";
    /// What went wrong, with all causes.
    Error = "error";
    /// What serves in place of an answer that failed.
    Serves = "serves";
    /// Who did it: `user`, `reaper`, or the admin's login name.
    By = "by";
    /// What an admin did.
    Action = "action";
}

/// A field with its value.
pub type FieldValue<'a> = (Field, &'a dyn AsRef<[u8]>);

/// Facility `authpriv` (RFC 5424, table 1): where logins are looked for.
const FACILITY: u8 = 10;

/// Where journald takes entries in its own protocol.
const JOURNALD: &str = "/run/systemd/journal/socket";

/// Where any log daemon takes lines.
const SYSLOG: &str = "/dev/log";

/// How long a log daemon that is behind is waited for. An entry that is lost is a hole in the
/// audit, and a login that hangs on its log is an outage: so a moment.
const PATIENCE: Duration = Duration::from_millis(100);

/// Longest line, in bytes: rsyslog's `maxMessageSize` is 8 KiB, with what it puts before.
const LINE: usize = 7_900;

/// To how many characters values are cut, one after the other, until a line is short enough.
const CUTS: [usize; 4] = [usize::MAX, 512, 128, 32];

/// Eight hexadecimal digits that tie what a user saw to entries of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference(String);

/// The reference of what this process does.
static OURS: OnceLock<Reference> = OnceLock::new();

impl Reference {
    /// That of this process: of the session, the request or the run that it is for.
    #[must_use]
    pub fn ours() -> Self {
        OURS.get_or_init(Self::random).clone()
    }

    /// Takes over that of the session for which another of our programs has called this one.
    /// To be done before anything is reported: the first one stays.
    pub fn adopt(reference: Self) {
        let _ = OURS.set(reference);
    }

    /// A new one, for what else needs a name of its own.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 4];
        // Without randomness the pid must do; a reference is a search term, not a secret.
        let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
        let number = if filled == Ok(bytes.len()) { u32::from_ne_bytes(bytes) } else { process::id() };
        Self(format!("{number:08x}"))
    }

    /// Reads one that came from elsewhere.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 8 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes one entry: `event name="value" … ref="1a2b3c4d"`, and the same as fields. Values may
/// hold anything; what leaves here is printable ASCII. An empty value is left out.
pub fn log(program: &str, event: Event, fields: &[FieldValue<'_>]) {
    Entry::new(program, event, fields).deliver(Path::new(JOURNALD), Path::new(SYSLOG));
}

/// An entry, its values printable.
struct Entry<'a> {
    program: &'a str,
    event: Event,
    fields: Vec<(Field, String)>,
}

impl<'a> Entry<'a> {
    fn new(program: &'a str, event: Event, fields: &[FieldValue<'_>]) -> Self {
        let fields = fields.iter().map(|(field, value)| (*field, printable(value.as_ref())));
        let reference = [(Field::Ref, Reference::ours().to_string())];
        let fields = fields.chain(reference).filter(|(_, value)| !value.is_empty()).collect();
        Self { program, event, fields }
    }

    fn deliver(&self, journald: &Path, syslog: &Path) {
        match send(&self.datagram(), journald) {
            Ok(()) => {}
            // It is there and does not keep up: another way would only be slower.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // A host without a log daemon still serves logins.
            Err(_) => drop(send(self.line().as_bytes(), syslog)),
        }
    }

    /// All that is told, the text first.
    fn all(&self, cut_to: usize) -> Vec<(String, String)> {
        let cut = |value: &str| match value.get(..cut_to) {
            Some(beginning) if value.len() > cut_to => format!("{beginning}..."),
            _ => value.to_owned(),
        };
        let mut text = self.event.text().to_owned();
        for (field, value) in &self.fields {
            // Writing to a String cannot fail.
            let _ = write!(text, " {}=\"{}\"", field.name(), cut(value));
        }
        let own = [
            ("MESSAGE", text),
            ("MESSAGE_ID", self.event.id().to_owned()),
            ("PRIORITY", (self.event.level() as u8).to_string()),
            ("SYSLOG_FACILITY", FACILITY.to_string()),
            ("SYSLOG_IDENTIFIER", self.program.to_owned()),
            ("SYSLOG_PID", process::id().to_string()),
        ];
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value));
        own.chain(self.fields.iter().map(|(field, value)| (field.key(), cut(value)))).collect()
    }

    /// As journald's own protocol has it: `KEY=value` and a line feed for each field. That is its
    /// form for values without a line feed, and a printable one has none.
    fn datagram(&self) -> Vec<u8> {
        let fields = self.all(usize::MAX).into_iter().flat_map(|(key, value)| [key, value]);
        let ends = ["=", "\n"].into_iter().cycle();
        fields.zip(ends).flat_map(|(part, end)| [part.into_bytes(), end.into()]).flatten().collect()
    }

    /// As `syslog(3)` sends it, with one JSON object that `journalctl --output json` would write.
    fn line(&self) -> String {
        let priority = FACILITY * 8 + self.event.level() as u8;
        let head = format!("<{priority}>{}[{}]: ", self.program, process::id());
        let line = |cut_to| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let moment = ("__REALTIME_TIMESTAMP".to_owned(), now.as_micros().to_string());
            let fields: serde_json::Map<_, _> = [moment]
                .into_iter()
                .chain(self.all(cut_to))
                .map(|(key, value)| (key, serde_json::Value::String(value)))
                .collect();
            format!("{head}{}", serde_json::Value::Object(fields))
        };
        let mut lines = CUTS.map(line).into_iter();
        let shortest = lines.next_back().unwrap_or_default();
        lines.find(|line| line.len() <= LINE).unwrap_or(shortest)
    }
}

fn send(datagram: &[u8], to: &Path) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to(datagram, to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;

    const HOSTILE: &str = "x\" ref=\"0\n<0>sshd: root in\nMESSAGE=forged\0\r\u{2028}";

    fn parse_datagram(datagram: &[u8]) -> BTreeMap<String, String> {
        let text = std::str::from_utf8(datagram).unwrap().strip_suffix('\n').unwrap();
        let fields: Vec<_> = text.split('\n').map(|line| line.split_once('=').unwrap()).collect();
        let map: BTreeMap<_, _> = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(map.len(), fields.len(), "a field twice: {text}");
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

    /// Bytes that are most of the time those that break lines, quotes and protocols.
    struct Chance(u64);

    impl Chance {
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
        let mut chance = Chance(seed);
        for _ in 0..100_000 {
            let values = [chance.text(), chance.text(), chance.text()];
            let [command, term, user] = &values;
            let (entry, _) = session(command, term, user);
            let map = parse_datagram(&entry.datagram());
            let given: Vec<_> = [user, command, term].into_iter().map(|v| printable(v)).collect();
            let told: Vec<_> = ["SSHBOX_USER", "SSHBOX_COMMAND", "SSHBOX_TERM"]
                .map(|key| map.get(key).cloned().unwrap_or_default())
                .into();
            assert_eq!(told, given);
            assert_eq!(map.len(), 7 + given.iter().filter(|value| !value.is_empty()).count());
            let line = parse_line(&entry.line());
            assert_eq!(line.keys().collect::<Vec<_>>(), map.keys().collect::<Vec<_>>());
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
    fn p7_one_entry_goes_to_one_of_both_sockets_once() {
        let folder = tempfile::tempdir().unwrap();
        let (journald, syslog) = (folder.path().join("journald"), folder.path().join("log"));
        let (entry, _) = session(HOSTILE.as_bytes(), b"xterm", b"alice");
        // Nobody is there.
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
        // One that was there and has died: its socket is nobody's.
        drop(journal);
        assert!(fs::exists(&journald).unwrap());
        entry.deliver(&journald, &syslog);
        assert_eq!(parse_line(std::str::from_utf8(&receive(&log)).unwrap()), line);
    }

    #[test]
    fn a_log_daemon_that_hangs_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journald");
        let _hangs = UnixDatagram::bind(&path).unwrap();
        let (entry, _) = session(b"true", b"", b"alice");
        while send(b"x", &path).is_ok() {}
        entry.deliver(&path, Path::new("/nonexistent"));
    }

    #[test]
    fn events_and_fields_are_told_apart() {
        let ids: std::collections::BTreeSet<_> = Event::ALL.iter().map(|event| event.id()).collect();
        let texts: std::collections::BTreeSet<_> = Event::ALL.iter().map(|event| event.text()).collect();
        let keys: std::collections::BTreeSet<_> = Field::ALL.iter().map(|field| field.key()).collect();
        assert_eq!(
            (ids.len(), texts.len(), keys.len()),
            (Event::ALL.len(), Event::ALL.len(), Field::ALL.len())
        );
        for id in ids {
            assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        }
        for key in keys {
            // systemd.journal-fields(7): what journald takes as a name.
            assert!(key.len() <= 64 && key.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{key}");
        }
    }

    #[test]
    fn references_are_parsed_not_trusted() {
        let reference = Reference::ours();
        assert_eq!(Reference::parse(&reference.to_string()), Some(reference));
        for bad in ["", "0123456", "0123456g", "012345678", "0123456A", "\x1b[31m..."] {
            assert_eq!(Reference::parse(bad), None);
        }
    }
}
