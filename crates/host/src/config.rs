//! `/etc/sshbox/sshbox.toml`: read, checked, without surprises. Every key has a default,
//! which the shipped file shows; what is written wrongly is refused with its line.
//!
//! Knows no other part of sshbox; a program that cannot read its configuration does nothing.

use bytesize::ByteSize;
use identity::Login;
use nix::errno::Errno;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use session::deadlines;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where the configuration is unless a program is told otherwise.
pub const PATH: &str = "/etc/sshbox/sshbox.toml";

/// Longest text that can be a configuration.
const LONGEST: u64 = 1 << 20;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where accounts come from.
    pub accounts: AccountsConfig,
    /// The Docker engine.
    pub engine: EngineConfig,
    /// What a box is made of.
    #[serde(rename = "box")]
    pub container: ContainerConfig,
    /// When a box is stopped.
    pub reap: ReapConfig,
}

/// `[accounts]`: where keys and limits come from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsConfig {
    /// `http://`, `https://` or `file://` with `{user}` in it.
    pub url: AccountUrl,
    /// File that holds the Bearer token; none is sent when empty.
    pub token_file: PathBuf,
    /// PEM file of the authorities that a `https://` server is checked against.
    pub ca_file: PathBuf,
    /// How long an answer serves without asking again.
    pub fresh: Span,
    /// How long an answer serves while the web app does not answer. 0 allowed.
    pub stale: Span,
    /// Deadline of one question, from the look-up of the name to the last byte.
    pub timeout: Span,
    /// Directory of the cached accounts.
    pub cache: PathBuf,
    /// Page where users manage their keys, for `@keys`; none is named when empty.
    pub manage_url: ManageUrl,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self {
            url: AccountUrl("http://127.0.0.1:8000/sshbox/accounts/{user}".to_owned()),
            token_file: "/etc/sshbox/token".into(),
            ca_file: "/etc/ssl/certs/ca-certificates.crt".into(),
            fresh: Span::seconds(5),
            stale: Span::seconds(24 * 3600),
            timeout: Span(Duration::from_millis(1500)),
            cache: "/var/cache/sshbox".into(),
            manage_url: ManageUrl(String::new()),
        }
    }
}

impl AccountsConfig {
    /// The same for a visitor of `sshbox doctor`, whose key is in this file.
    #[must_use]
    pub fn of_visitor(self, file: &Path) -> Self {
        Self { url: AccountUrl(format!("file://{}", file.display())), ..self }.without_token()
    }

    /// The same, asking without the token.
    #[must_use]
    pub fn without_token(self) -> Self {
        Self { token_file: PathBuf::new(), ..self }
    }
}

/// `[engine]`: the Docker engine.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Its socket.
    pub socket: PathBuf,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { socket: "/run/docker.sock".into() }
    }
}

/// `[box]`: what a box is made of.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerConfig {
    /// Image; never pulled.
    pub image: String,
    /// Name of the container.
    pub name: Template,
    /// Home directory on the host.
    pub home: Template,
    /// Where the home is seen in the box.
    pub mount: PathBuf,
    /// Who the user is in the box.
    pub user: Owner,
    /// Host name in the box.
    pub hostname: Hostname,
    /// Docker network; made, with traffic between boxes off, when missing.
    pub network: String,
    /// What a box gets when the account does not say.
    pub limits: Limits,
    /// What a box gets at most, whatever the account says.
    pub ceilings: Limits,
}

impl Default for ContainerConfig {
    fn default() -> Self {
        Self {
            image: "sshbox-user:latest".to_owned(),
            name: Template("sshbox-{user}".to_owned()),
            home: Template("/var/lib/sshbox/homes/{user}".to_owned()),
            mount: "/home/user".into(),
            user: Owner { uid: 1000, gid: 1000 },
            hostname: Hostname("box".to_owned()),
            network: "sshbox".to_owned(),
            limits: Limits::default(),
            ceilings: Limits::default(),
        }
    }
}

/// Resources of one box.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// CPU time, in cores.
    pub cpus: Cpus,
    /// Memory; swap is off.
    pub memory: Size,
    /// Tasks: processes and threads.
    pub pids: u32,
    /// Size of `/dev/shm`; what is in it counts as memory.
    pub shm: MemorySize,
    /// Size of `/tmp`, and of `/var/tmp`; what is in them counts as memory.
    pub tmp: MemorySize,
    /// Open files of a process, `soft:hard`.
    pub nofile: OpenFiles,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpus: Cpus(2.0),
            memory: Size(8 << 30),
            pids: 512,
            shm: MemorySize::Percent(50),
            tmp: MemorySize::Bytes(Size(1 << 30)),
            nofile: OpenFiles { soft: 1024, hard: 65536 },
        }
    }
}

/// `[reap]`: when a box is stopped.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReapConfig {
    /// How long a box runs without a session, when the account does not say.
    pub idle_timeout: IdleTimeout,
    /// How long the box's processes have between SIGTERM and SIGKILL.
    pub grace: Span,
}

impl Default for ReapConfig {
    fn default() -> Self {
        Self { idle_timeout: IdleTimeout(Some(Duration::from_secs(30 * 60))), grace: Span::seconds(10) }
    }
}

/// A text with `{user}` in it exactly once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Template(String);

/// What stands for the login in a template.
const PLACE: &str = "{user}";

impl Template {
    /// The text for this login.
    #[must_use]
    pub fn fill(&self, login: &Login) -> String {
        self.0.replace(PLACE, login.as_str())
    }

    /// The login for which the text would be this, if there is one.
    #[must_use]
    pub fn login_of(&self, text: &str) -> Option<Login> {
        let (before, after) = self.0.split_once(PLACE)?;
        Login::parse(text.strip_prefix(before)?.strip_suffix(after)?.as_bytes()).ok()
    }
}

impl FromStr for Template {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.matches(PLACE).count() == 1 && !text.contains('\0') {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a text with {user} in it once")
        }
    }
}

/// A host name, with or without `{user}` in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Hostname(String);

impl Hostname {
    /// The name for this login. Cut to the 64 bytes that the kernel accepts (`sethostname(2)`).
    #[must_use]
    pub fn fill(&self, login: &Login) -> String {
        self.0.replace(PLACE, login.as_str()).chars().take(64).collect()
    }
}

impl FromStr for Hostname {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.replacen(PLACE, "x", 1);
        let known = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        let labels = || name.split('.');
        let edges = labels().any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-'));
        // /etc/hosts gives the box's address to the whole name and to its first label; a name that ends in
        // a number is read as an address.
        let taken = ["localhost", "ip6-localhost", "ip6-loopback"];
        let loopback =
            labels().next().is_some_and(|first| taken.iter().any(|t| first.eq_ignore_ascii_case(t)));
        let address = labels().next_back().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if known && !edges && !loopback && !address && name.len() <= 64 {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a host name like \"box\" or \"{user}-box\"")
        }
    }
}

/// A template that is a URL of a scheme we speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AccountUrl(String);

impl AccountUrl {
    /// `http`, `https` or `file`.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// As it is written, with `{user}` in it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL for this login; every character of a login may stand in a URL as it is.
    #[must_use]
    pub fn fill(&self, login: &Login) -> String {
        self.0.replace(PLACE, login.as_str())
    }
}

impl FromStr for AccountUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = ["http://", "https://", "file:///"].iter().any(|scheme| text.starts_with(scheme));
        if known && text.contains(PLACE) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected http://…, https://… or file:///… with {user} in it")
        }
    }
}

/// The address of a web page, with or without `{user}` in it; may be empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ManageUrl(String);

impl ManageUrl {
    /// The address for this login, if there is one.
    #[must_use]
    pub fn fill(&self, login: &Login) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.replace(PLACE, login.as_str()))
    }
}

impl FromStr for ManageUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let web = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
        if text.is_empty() || web && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected http://…, https://… or nothing")
        }
    }
}

/// A length of time, written like `30m`, `24h` or `1h 30m`, of at most ten years: then no sum with a
/// moment of today is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// The longest.
    pub const LONGEST: Self = Self::seconds(10 * 31_557_600);

    const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Reads one without its upper bound; what does not fit is the longest that there is.
    fn of_any_length(text: &str) -> Option<Duration> {
        match humantime::parse_duration(text) {
            Ok(time) => Some(time),
            Err(humantime::DurationError::NumberOverflow) => Some(Duration::MAX),
            Err(_) => None,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::of_any_length(text) {
            Some(time) if time <= Self::LONGEST.0 => Ok(Self(time)),
            Some(_) => Err("the longest time is \"10years\""),
            None => Err("expected a time like \"5s\", \"30m\" or \"24h\""),
        }
    }
}

/// How long a box runs without a session: a [`Span`], or `never` for one that is not stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleTimeout(pub Option<Duration>);

impl IdleTimeout {
    /// The longest but `never`.
    pub const LONGEST: Span = Span::LONGEST;

    const NEVER: &'static str = "never";

    /// Reads one without its upper bound.
    ///
    /// # Errors
    /// What was expected.
    pub fn of_any_length(text: &str) -> Result<Self, &'static str> {
        match (text, Span::of_any_length(text)) {
            (Self::NEVER, _) => Ok(Self(None)),
            (_, Some(time)) => Ok(Self(Some(time))),
            (_, None) => Err("expected a time like \"30m\" or \"24h\", or \"never\""),
        }
    }

    /// The same, at most the longest.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self(self.0.map(|time| time.min(Self::LONGEST.0)))
    }
}

impl FromStr for IdleTimeout {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = Self::of_any_length(text)?;
        if read == read.bounded() {
            Ok(read)
        } else {
            Err("the longest time is \"10years\"; for a box that is not stopped write \"never\"")
        }
    }
}

impl Serialize for IdleTimeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(time) => Span(time).serialize(serializer),
            None => serializer.serialize_str(Self::NEVER),
        }
    }
}

/// A number of bytes, written like `8GiB` or `512MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let whole = units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        let (unit, name) = whole.unwrap_or((1, "B"));
        serializer.collect_str(&format_args!("{}{name}", self.0 / unit))
    }
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<ByteSize>() {
            Ok(size) if size.0 > 0 && i64::try_from(size.0).is_ok() => Ok(Self(size.0)),
            _ => Err("expected a size like \"8GiB\" or \"512MiB\""),
        }
    }
}

/// A size of something that is kept in the box's memory: `512MiB`, or `50%` of that memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySize {
    /// Bytes.
    Bytes(Size),
    /// Percent of the box's memory, 1 to 100.
    Percent(u8),
}

impl MemorySize {
    /// The size in a box with this much memory.
    #[must_use]
    pub fn of(self, memory: Size) -> Size {
        match self {
            Self::Bytes(size) => size,
            Self::Percent(percent) => {
                let part = u128::from(memory.0) * u128::from(percent) / 100;
                // A tmpfs takes 0 for "no limit".
                Size(u64::try_from(part).unwrap_or(u64::MAX).max(1))
            }
        }
    }
}

impl Serialize for MemorySize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(size) => size.serialize(serializer),
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

impl FromStr for MemorySize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected a size like \"512MiB\", or a part of the box's memory like \"50%\"";
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().map(Self::Bytes).map_err(|_| EXPECTED);
        };
        match percent.trim_end().parse() {
            Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
            _ => Err(EXPECTED),
        }
    }
}

/// A number of cores, fractions allowed.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Cpus(f64);

impl Cpus {
    /// In billionths of a core, as the engine counts.
    #[must_use]
    pub fn nano(self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "0.01 to 4096 cores fit")]
        let nano = (self.0 * 1e9).round() as i64;
        nano
    }

    /// The smaller of the two.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }

    /// In cores.
    #[must_use]
    pub fn cores(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Cpus {
    type Error = &'static str;

    fn try_from(cores: f64) -> Result<Self, Self::Error> {
        // 0.01 is the engine's own lower bound.
        if (0.01..=4096.0).contains(&cores) { Ok(Self(cores)) } else { Err("expected 0.01 to 4096 cores") }
    }
}

impl<'de> Deserialize<'de> for Cpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cores = f64::deserialize(deserializer)?;
        Self::try_from(cores).map_err(D::Error::custom)
    }
}

/// Limits on open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What a process starts with.
    pub soft: u32,
    /// What it may raise itself to.
    pub hard: u32,
}

impl FromStr for OpenFiles {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected \"soft:hard\" like \"1024:65536\"";
        let (soft, hard) = pair(text).ok_or(EXPECTED)?;
        if soft > 0 && soft <= hard { Ok(Self { soft, hard }) } else { Err(EXPECTED) }
    }
}

/// A user and a group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl FromStr for Owner {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match pair(text) {
            Some((0, _) | (_, 0)) => Err("the user of a box cannot be root"),
            Some((uid, gid)) => Ok(Self { uid, gid }),
            None => Err("expected \"uid:gid\" in numbers, like \"1000:1000\""),
        }
    }
}

impl Serialize for OpenFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}:{}", self.soft, self.hard))
    }
}

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

fn pair(text: &str) -> Option<(u32, u32)> {
    let (left, right) = text.split_once(':')?;
    Some((left.parse().ok()?, right.parse().ok()?))
}

/// These types are written as strings in the file and in an account.
macro_rules! deserialize_from_str {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}
deserialize_from_str!(
    Template,
    Hostname,
    AccountUrl,
    ManageUrl,
    Span,
    IdleTimeout,
    Size,
    MemorySize,
    OpenFiles,
    Owner
);

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    Read(PathBuf, io::Error),
    /// Somebody else could change the file.
    Owner(PathBuf, InsecureFile),
    /// The text says something we do not understand.
    Parse(PathBuf, toml::de::Error),
    /// A value cannot be, though it is written as it should; with its line and column.
    Conflict(PathBuf, &'static str, Option<(usize, usize)>),
}

impl ConfigError {
    /// Whether the host had no descriptors or memory to read it: then nothing is wrong with it.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        let Self::Read(_, error) = self else { return false };
        matches!(
            error.raw_os_error().map(Errno::from_raw),
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
        )
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, _) => write!(f, "cannot read {}", path.display()),
            Self::Owner(path, _) => write!(f, "{} is not safe to use", path.display()),
            Self::Parse(path, _) => write!(f, "{} is not valid", path.display()),
            Self::Conflict(path, what, Some((line, column))) => {
                write!(f, "{} is not valid: line {line}, column {column}: {what}", path.display())
            }
            Self::Conflict(path, what, None) => write!(f, "{} is not valid: {what}", path.display()),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(_, error) => Some(error),
            Self::Owner(_, error) => Some(error),
            Self::Parse(_, error) => Some(error),
            Self::Conflict(..) => None,
        }
    }
}

/// Reads and checks the configuration.
///
/// # Errors
/// [`ConfigError`]: unreadable, changeable by others, or not understood; the last with line
/// and column.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    parse(path, &read(path)?)
}

/// Parses and checks the text of a configuration file; errors name `path`.
///
/// # Errors
/// [`ConfigError::Parse`] or [`ConfigError::Conflict`].
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let config: Config = toml::from_str(text).map_err(|error| ConfigError::Parse(path.to_owned(), error))?;
    check(&config).map_err(|what| ConfigError::Conflict(path.to_owned(), what, place_of(text, what)))?;
    Ok(config)
}

/// A key with the value that counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The key with its section, like `box.limits.cpus`.
    pub key: String,
    /// Its value.
    pub value: toml::Value,
    /// Whether the file says so; else it is the default.
    pub in_file: bool,
}

/// Reads and checks the configuration, and lists every key.
///
/// # Errors
/// As [`load`].
pub fn settings(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let config = load(path)?;
    let parse = |error| ConfigError::Parse(path.to_owned(), error);
    let written: toml::Table = toml::from_str(&read(path)?).map_err(parse)?;
    let mut settings = Vec::new();
    // A configuration that was read can be written.
    list("", &toml::Table::try_from(config).unwrap_or_default(), Some(&written), &mut settings);
    Ok(settings)
}

fn list(above: &str, section: &toml::Table, written: Option<&toml::Table>, settings: &mut Vec<Setting>) {
    for (name, value) in section {
        let key = format!("{above}{name}");
        let in_file = written.and_then(|written| written.get(name));
        match value {
            toml::Value::Table(section) => {
                list(&format!("{key}."), section, in_file.and_then(toml::Value::as_table), settings);
            }
            value => settings.push(Setting { key, value: value.clone(), in_file: in_file.is_some() }),
        }
    }
}

/// Where the key stands with which `what` begins: its line and column, the first being 1.
fn place_of(text: &str, what: &str) -> Option<(usize, usize)> {
    let key = what.split(' ').next()?;
    let (section, name) = key.rsplit_once('.')?;
    let root = toml::de::DeTable::parse(text).ok()?;
    let (name, _) = root.get_ref().get(section)?.get_ref().as_table()?.get_key_value(name)?;
    let before = text.get(..name.span().start)?;
    let line = before.rsplit('\n').next()?;
    Some((before.matches('\n').count() + 1, line.chars().count() + 1))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let read = |error| ConfigError::Read(path.to_owned(), error);
    let file = File::open(path).map_err(read)?;
    check_owner(&file).map_err(|error| ConfigError::Owner(path.to_owned(), error))?;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(read)?;
    Ok(text)
}

fn check(config: &Config) -> Result<(), &'static str> {
    let home = Path::new(&config.container.home.0);
    if !home.is_absolute() || home.components().any(|part| part == std::path::Component::ParentDir) {
        return Err("box.home must be an absolute path without '..'");
    }
    if !config.container.mount.is_absolute() || config.container.mount == Path::new("/") {
        return Err("box.mount must be an absolute path below /");
    }
    if config.accounts.timeout.0.is_zero() || config.accounts.timeout.0 > Duration::from_secs(20) {
        return Err("accounts.timeout must lie between 1ms and 20s: sshd waits that long in each login");
    }
    if config.reap.grace.0 > deadlines::GRACE_MAX {
        return Err("reap.grace must be 30s at most: logins wait while a box is stopped");
    }
    if config.container.network == "host" || config.container.network.starts_with("container:") {
        return Err("box.network must be a network of its own: with this one a box would be on the host's");
    }
    if config.container.image.is_empty() || config.container.network.is_empty() {
        return Err("box.image and box.network must not be empty");
    }
    Ok(())
}

/// Why a file is not to be trusted.
#[derive(Debug)]
pub enum InsecureFile {
    /// Its attributes could not be read.
    Stat(io::Error),
    /// A directory, a FIFO, a device.
    NotAFile,
    /// It belongs to this user, who is neither root nor ourselves.
    Owner(u32),
    /// Group or others may write to it.
    Writable(u32),
}

impl fmt::Display for InsecureFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stat(_) => f.write_str("its owner cannot be read"),
            Self::NotAFile => f.write_str("it is not a regular file"),
            Self::Owner(uid) => write!(f, "it belongs to uid {uid}; chown it to root"),
            Self::Writable(mode) => {
                write!(f, "its mode is {:04o}; chmod it so that only its owner can write", mode & 0o7777)
            }
        }
    }
}

impl std::error::Error for InsecureFile {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Stat(error) => Some(error),
            _ => None,
        }
    }
}

/// Whether nobody but root and ourselves can change this open file.
///
/// # Errors
/// [`InsecureFile`] says what is wrong with it and how to mend it.
pub fn check_owner(file: &File) -> Result<(), InsecureFile> {
    let meta = file.metadata().map_err(InsecureFile::Stat)?;
    if !meta.is_file() {
        return Err(InsecureFile::NotAFile);
    }
    if meta.uid() != 0 && meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(InsecureFile::Owner(meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(InsecureFile::Writable(meta.mode()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn parse(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sshbox.toml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|error| session::exit::chain(&error))
    }

    #[test]
    fn the_shipped_file_shows_every_default() {
        let shipped = include_str!("../../../packaging/sshbox.toml");
        let defaults = format!("{:?}", Config::default());
        assert_eq!(format!("{:?}", parse(shipped).unwrap()), defaults);
        // The same with every line taken away: the file shows defaults, it does not set them.
        assert_eq!(format!("{:?}", parse("").unwrap()), defaults);
        let keys = shipped.lines().filter(|line| line.contains(" = ")).count();
        let shown = shipped.lines().filter(|line| line.starts_with("# ") && line.contains(" = ")).count();
        assert!(keys >= 20 && shown == 0, "{keys} keys, {shown} of them commented out");
    }

    #[test]
    fn mistakes_are_told_with_line_and_expectation() {
        for (text, expected) in [
            ("[accounts]\nurll = 'x'", "line 2, column 1"),
            ("[accounts]\nfresh = '5 parsecs'", "expected a time like"),
            ("[accounts]\nstale = '9999y'", "line 2, column 9"),
            ("[accounts]\nstale = '9999y'", "the longest time is \"10years\""),
            ("[accounts]\nstale = 'never'", "expected a time like"),
            ("[reap]\nidle_timeout = '9999y'", "line 2, column 16"),
            (
                "[reap]\nidle_timeout = '99999999999999999999y'",
                "for a box that is not stopped write \"never\"",
            ),
            ("[reap]\nidle_timeout = 'soon'", "or \"never\""),
            ("[accounts]\nurl = 'ftp://x/{user}'", "expected http://"),
            ("[accounts]\nurl = 'http://x/'", "with {user} in it"),
            ("[accounts]\ntimeout = '1h'", "accounts.timeout"),
            ("[accounts]\nmanage_url = 'file:///x'", "expected http://…, https://… or nothing"),
            ("[accounts]\nmanage_url = 'https://x/ \\u001b[2J'", "line 2"),
            ("[box]\nhome = '/srv'", "{user} in it once"),
            ("[box]\nhome = 'x/{user}'", "absolute path"),
            ("[box]\nhome = '/x/../{user}'", "absolute path"),
            ("[reap]\n grace = '1m'", "line 2, column 2: reap.grace"),
            ("reap.grace = '1m'", "column 6: reap.grace"),
            ("[box]\nnetwork = 'host'", "a network of its own"),
            ("[box]\nuser = '0:0'", "cannot be root"),
            ("[box]\nuser = 'user'", "like \"1000:1000\""),
            ("[box.limits]\nmemory = '8 potatoes'", "expected a size like"),
            ("[box.limits]\ncpus = 0", "cores"),
            ("[box.limits]\ncpus = nan", "cores"),
            ("[box.limits]\nnofile = '9:3'", "soft:hard"),
            ("[box.limits]\nshm = '101%'", "like \"50%\""),
            ("[box.limits]\ntmp = '0%'", "like \"50%\""),
            ("[box]\nhostname = 'two words'", "a host name like"),
            ("[box]\nhostname = 'localhost'", "a host name like"),
            ("[reap]\nidle_timeout = 30", "line 2"),
            ("[nonsense]", "nonsense"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn f35_a_box_that_is_never_stopped_is_written_so() {
        for (text, expected) in
            [("never", None), ("10y", Some(Span::LONGEST.0)), ("0s", Some(Duration::ZERO))]
        {
            let config = parse(&format!("[reap]\nidle_timeout = '{text}'")).unwrap();
            assert_eq!(config.reap.idle_timeout, IdleTimeout(expected));
            // As it is listed it can be read again.
            let again = toml::to_string(&config).unwrap();
            assert_eq!(parse(&again).unwrap().reap.idle_timeout, IdleTimeout(expected), "{again}");
        }
    }

    #[test]
    fn every_key_is_listed_with_where_it_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sshbox.toml");
        std::fs::write(&path, "[box.limits]\nmemory = '1536MiB'\n[reap]\nidle_timeout = '90m'\n").unwrap();
        let settings = settings(&path).unwrap();
        let shown = |setting: &Setting| format!("{} = {}", setting.key, setting.value);
        let written: Vec<_> = settings.iter().filter(|setting| setting.in_file).map(shown).collect();
        assert_eq!(written, ["box.limits.memory = \"1536MiB\"", "reap.idle_timeout = \"1h 30m\""]);
        // As many as the shipped file shows, and what is listed can be written there.
        let shipped = include_str!("../../../packaging/sshbox.toml");
        assert_eq!(settings.len(), shipped.lines().filter(|line| line.contains(" = ")).count());
        let again: String = settings.iter().map(|setting| shown(setting) + "\n").collect();
        let (again, first) = (parse(&again).unwrap(), load(&path).unwrap());
        assert_eq!(format!("{again:?}"), format!("{first:?}"));
    }

    #[test]
    fn a19_a_file_that_others_can_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sshbox.toml");
        std::fs::write(&path, "").unwrap();
        for mode in 0..0o1000_u32 {
            // What the test's own user cannot read has nothing to show here.
            let mode = mode | 0o400;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(load(&path).is_ok(), mode & 0o022 == 0, "{mode:o}");
        }
    }

    #[test]
    fn a_template_knows_its_logins_again() {
        let template: Template = "scitex-user-{user}".parse().unwrap();
        let login = Login::parse(b"Ada-L").unwrap();
        assert_eq!(template.login_of(&template.fill(&login)).unwrap(), login);
        for text in ["scitex-user-", "scitex-Ada-L", "scitex-user-a/b", "user-Ada-L", ""] {
            assert_eq!(template.login_of(text), None, "{text}");
        }
    }

    #[test]
    fn f34_for_want_of_descriptors_a_configuration_is_not_wrong() {
        let read = |errno: Errno| ConfigError::Read("x".into(), errno.into()).is_shortage();
        assert!(read(Errno::EMFILE) && !read(Errno::ENOENT));
    }

    #[test]
    fn a_host_name_is_the_same_for_all_or_has_the_login_in_it() {
        let login = Login::parse(b"Ada-L").unwrap();
        let fill = |text: &str| text.parse::<Hostname>().map(|name| name.fill(&login));
        assert_eq!(fill("box").unwrap(), "box");
        assert_eq!(fill("{user}.boxes.example").unwrap(), "Ada-L.boxes.example");
        assert_eq!(fill(&format!("{{user}}-{}", "x".repeat(60))).unwrap().len(), 64);
        for text in [
            "",
            "-box",
            "box.",
            "a b",
            "{user}{user}",
            "box\n",
            "localhost",
            "LocalHost.localdomain",
            "ip6-localhost",
            "a..b",
            "a.-b",
            "1234",
            "127.0.0.1",
            "{user}.1",
            &"x".repeat(65),
        ] {
            assert!(fill(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_kept_in_memory_is_a_size_or_a_part_of_it() {
        let of = |text: &str| text.parse::<MemorySize>().map(|size| size.of(Size(1000)).0);
        assert_eq!((of("64MiB"), of("50%"), of("100 %")), (Ok(64 << 20), Ok(500), Ok(1000)));
        assert_eq!("1%".parse::<MemorySize>().unwrap().of(Size(1)), Size(1));
        for text in ["0", "0%", "101%", "-1%", "50", "%", "half"] {
            assert_eq!(of(text).is_ok(), text == "50", "{text}");
        }
    }

    #[test]
    fn a_directory_is_no_configuration() {
        assert!(matches!(load(Path::new("/etc")), Err(ConfigError::Owner(..))));
    }
}
