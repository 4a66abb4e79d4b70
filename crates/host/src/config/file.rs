//! Reading the configuration file: permissions, syntax with line and column, and a list of all settings.

use super::constraints;
use super::sections::Config;
use crate::trusted_file::{self, UntrustedFile};
use nix::errno::Errno;
use serde::Serialize;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Default path of the configuration file.
pub const PATH: &str = "/etc/sshbox/sshbox.toml";

/// Longest configuration file, in bytes.
const MAX_LENGTH: u64 = 1 << 20;

/// Why the configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// Reading the file failed.
    Read(PathBuf, io::Error),
    /// Another user can change the file.
    Untrusted(PathBuf, UntrustedFile),
    /// The file is not TOML, or has an unknown key, or a value of the wrong type.
    Parse(PathBuf, toml::de::Error),
    /// A value breaks a constraint; with line and column of its key.
    Constraint(PathBuf, &'static str, Option<(usize, usize)>),
}

impl ConfigError {
    /// Whether the host lacked file descriptors or memory, so that the file itself may be valid.
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
            Self::Untrusted(path, _) => write!(f, "{} is not safe to use", path.display()),
            Self::Parse(path, _) => write!(f, "{} is not valid", path.display()),
            Self::Constraint(path, message, Some((line, column))) => {
                write!(f, "{} is not valid: line {line}, column {column}: {message}", path.display())
            }
            Self::Constraint(path, message, None) => {
                write!(f, "{} is not valid: {message}", path.display())
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(_, error) => Some(error),
            Self::Untrusted(_, error) => Some(error),
            Self::Parse(_, error) => Some(error),
            Self::Constraint(..) => None,
        }
    }
}

/// Read and check the configuration.
///
/// # Errors
/// [`ConfigError`].
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    parse(path, &read(path)?)
}

/// One key of the configuration with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The key with its section, like `box.limits.cpus`.
    pub key: String,
    /// Its value.
    pub value: toml::Value,
    /// Whether the file sets it. If not, the value is the default.
    pub in_file: bool,
}

/// Read and check the configuration, and list every key.
///
/// # Errors
/// [`ConfigError`], as from [`load`].
pub fn settings(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let text = read(path)?;
    let config = parse(path, &text)?;
    let file: toml::Table =
        toml::from_str(&text).map_err(|error| ConfigError::Parse(path.to_owned(), error))?;
    let mut settings = Vec::new();
    // Serializing cannot fail: the value was deserialized with the same types.
    list("", &toml::Table::try_from(config).unwrap_or_default(), Some(&file), &mut settings);
    Ok(settings)
}

fn list(prefix: &str, section: &toml::Table, file: Option<&toml::Table>, settings: &mut Vec<Setting>) {
    for (name, value) in section {
        let key = format!("{prefix}{name}");
        let in_file = file.and_then(|file| file.get(name));
        match value {
            toml::Value::Table(section) => {
                list(&format!("{key}."), section, in_file.and_then(toml::Value::as_table), settings);
            }
            value => settings.push(Setting { key, value: value.clone(), in_file: in_file.is_some() }),
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |error| ConfigError::Read(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    trusted_file::check(&file).map_err(|error| ConfigError::Untrusted(path.to_owned(), error))?;
    let mut text = String::new();
    file.take(MAX_LENGTH).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Parse and check the text of a configuration file. Errors name `path`.
///
/// # Errors
/// [`ConfigError::Parse`] or [`ConfigError::Constraint`].
pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let config: Config = toml::from_str(text).map_err(|error| ConfigError::Parse(path.to_owned(), error))?;
    constraints::check(&config)
        .map_err(|message| ConfigError::Constraint(path.to_owned(), message, position(text, message)))?;
    Ok(config)
}

/// Line and column, counted from 1, of the key with which `message` begins.
fn position(text: &str, message: &str) -> Option<(usize, usize)> {
    let key = message.split(' ').next()?;
    let (section, name) = key.rsplit_once('.')?;
    let root = toml::de::DeTable::parse(text).ok()?;
    let (name, _) = root.get_ref().get(section)?.get_ref().as_table()?.get_key_value(name)?;
    let before = text.get(..name.span().start)?;
    let line = before.rsplit('\n').next()?;
    Some((before.matches('\n').count() + 1, line.chars().count() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{IdleTimeout, TimeSpan};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    fn load_text(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sshbox.toml");
        std::fs::write(&path, text).unwrap();
        load(&path).map_err(|error| session::exit::chain(&error))
    }

    #[test]
    fn the_shipped_file_shows_every_default() {
        let shipped = include_str!("../../../../packaging/sshbox.toml");
        let defaults = format!("{:?}", Config::default());
        assert_eq!(format!("{:?}", load_text(shipped).unwrap()), defaults);
        // The same with every line taken away: the file shows defaults, it does not set them.
        assert_eq!(format!("{:?}", load_text("").unwrap()), defaults);
        let keys = shipped.lines().filter(|line| line.contains(" = ")).count();
        let shown = shipped.lines().filter(|line| line.starts_with("# ") && line.contains(" = ")).count();
        assert!(keys >= 20 && shown == 0, "{keys} keys, {shown} of them commented out");
    }

    #[test]
    fn errors_name_the_line_and_what_was_expected() {
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
            ("[accounts]\nrecheck = '59s'", "accounts.recheck must be 1m at least"),
            ("[accounts]\nmanage_url = 'file:///x'", "expected http://…, https://… or nothing"),
            ("[accounts]\nmanage_url = 'https://x/ \\u001b[2J'", "line 2"),
            ("[box]\nhome = '/srv'", "{user} in it once"),
            ("[box]\nhome = 'x/{user}'", "absolute path"),
            ("[box]\nhome = '/x/../{user}'", "absolute path"),
            ("[reap]\n grace = '1m'", "line 2, column 2: reap.grace"),
            ("reap.grace = '1m'", "column 6: reap.grace"),
            ("[box]\nnetwork = 'host'", "a separate network"),
            ("[engine]\nruntime = 'runsc'", "line 2, column 11"),
            ("[engine]\nruntime = 'kata'", "must share the host's kernel"),
            ("[box.limits]\nptys = 0", "nonzero"),
            ("[box]\nuser = '0:0'", "cannot be root"),
            ("[box]\nuser = 'user'", "expected \"own\", or \"uid:gid\" in numbers, like \"1000:1000\""),
            ("[box]\nuids = '1700000000'", "expected \"first-last\""),
            ("[box]\nuids = '0-9'", "expected \"first-last\""),
            ("[box]\nuids = '9-8'", "expected \"first-last\""),
            ("[box]\nuids = '2147483648-2147483649'", "expected \"first-last\""),
            ("[box]\nuids = '1-1879048192'", "line 2, column 1: box.uids must not overlap"),
            ("[box]\nmount = '/home/a:b'", "box.mount must not contain"),
            ("[network]\nconnections = 0", "line 2, column 1: network.connections"),
            ("[network]\nnew_connections = 1000001", "network.new_connections"),
            ("[network]\nallow = ['forge.example:3000']", "an address and a port"),
            ("[network]\nallow = ['127.0.0.1:3000']", "the host's loopback"),
            ("[network]\ndeny = ['0.0.0.0/0']", "internet = false"),
            ("[network]\ndeny = ['192.0.2.7/24']", "first address"),
            ("[box.limits]\nmemory = '8 potatoes'", "expected a size like"),
            ("[box.limits]\ncpus = 0", "cores"),
            ("[box.limits]\ncpus = nan", "cores"),
            ("[box.limits]\nnofile = '9:3'", "soft:hard"),
            ("[box.limits]\nshm = '101%'", "like \"50%\""),
            ("[box.limits]\ntmp = '0%'", "like \"50%\""),
            ("[box]\nhostname = 'two words'", "a host name like"),
            ("[box]\nhostname = 'localhost'", "a host name like"),
            ("[reap]\nidle_timeout = 30", "line 2"),
            ("[disk]\nquota = 'soon'", "line 2, column 9"),
            ("[disk]\nquota = 'soon'", "`image`"),
            ("[disk]\nimage = '/var/lib/sshbox/homes/{user}.img'", "disk.image must be in another directory"),
            ("[disk]\nimage = 'x/{user}'", "line 2, column 1: disk.image must be an absolute path"),
            ("[box.limits]\ndisk = '50%'", "expected a size like"),
            ("[nonsense]", "nonsense"),
        ] {
            let error = load_text(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn f35_a_timeout_of_never_is_written_and_read() {
        for (text, expected) in
            [("never", None), ("10y", Some(TimeSpan::LONGEST.0)), ("0s", Some(Duration::ZERO))]
        {
            let config = load_text(&format!("[reap]\nidle_timeout = '{text}'")).unwrap();
            assert_eq!(config.reap.idle_timeout, IdleTimeout(expected));
            // As it is listed it can be read again.
            let again = toml::to_string(&config).unwrap();
            assert_eq!(load_text(&again).unwrap().reap.idle_timeout, IdleTimeout(expected), "{again}");
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
        let shipped = include_str!("../../../../packaging/sshbox.toml");
        assert_eq!(settings.len(), shipped.lines().filter(|line| line.contains(" = ")).count());
        let again: String = settings.iter().map(|setting| shown(setting) + "\n").collect();
        let (again, first) = (load_text(&again).unwrap(), load(&path).unwrap());
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
    fn f34_a_lack_of_descriptors_is_not_an_invalid_configuration() {
        let read = |errno: Errno| ConfigError::Read("x".into(), errno.into()).is_shortage();
        assert!(read(Errno::EMFILE) && !read(Errno::ENOENT));
    }

    #[test]
    fn a_directory_is_not_read_as_configuration() {
        assert!(matches!(load(Path::new("/etc")), Err(ConfigError::Untrusted(..))));
    }
}
