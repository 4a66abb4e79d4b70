//! The SSH server of a box, for one connection: started by `@sshd`, it ends forwarding, agents
//! and editors in the box and not on the host. It runs as the box's user on the session's own
//! descriptors, reads no configuration of the image, and accepts one key: the one with which
//! its user has just come through the outer sshd. What it runs is this program again, twice: for
//! the list of keys, and for each session, which gets the environment of every other way in.

use super::environment::{Environment, Variables};
use super::locales;
use super::person::Person;
use super::sessions;
use crate::exit::ExitStatus;
use crate::texts;
use crate::variables::travels;
use crate::wire::Run;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Where distributions keep it. It must be called by its whole path.
const SERVERS: [&str; 3] = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"];

/// This program, as the box sees it.
const INIT: &str = "/sbin/sshbox-init";

/// What this program is asked for by the server, as its first argument.
pub const KEYS: &str = "keys";
pub const SESSION: &str = "session";

/// The box's host key. The host keeps it, so that nothing in the box or the home can lose it.
const HOST_KEY: &str = "/run/sshbox/ssh_host_ed25519_key";

/// Where earlier releases kept one. A client that knows it is told of the other (`UpdateHostKeys` of
/// `ssh_config(5)`), and is not alarmed when the file goes.
const EARLIER_HOST_KEY: &str = ".local/state/sshbox/ssh_host_ed25519_key";

/// What a session's environment is made from, in hexadecimal digits: sshd starts with none.
const HANDED_ON: &str = "SSHBOX_ENVIRONMENT";

/// What sshd itself knows of a session, beside what its client sent.
const OF_SSHD: [&str; 3] = ["SSH_TTY", "SSH_AUTH_SOCK", "DISPLAY"];

/// What tells of the connection. sshd knows nothing of it here; the outer one does.
const OF_CONNECTION: [&[u8]; 2] = [b"SSH_CLIENT", b"SSH_CONNECTION"];

/// Whether the loopback interface is without IPv6, as on a host whose kernel has none.
const NO_IPV6: &str = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";

/// What the server allows and refuses. Everything here ends in the box, where its user may do
/// all that the box may; so what is closed is only what cannot work.
const OPTIONS: [&str; 17] = [
    "AuthenticationMethods=publickey",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    "AuthorizedKeysFile=none",
    "StrictModes=no",
    "UsePAM=no",
    "PidFile=none",
    "PrintMotd=no",
    "PrintLastLog=no",
    "UseDNS=no",
    "AllowTcpForwarding=yes",
    "AllowStreamLocalForwarding=yes",
    "StreamLocalBindUnlink=yes",
    "AllowAgentForwarding=yes",
    "X11Forwarding=yes",
    "MaxSessions=64",
    "Subsystem=sftp internal-sftp",
];

/// The program for the key `type base64`, in a session with this environment.
pub fn command(key: &str, environment: &Environment, person: &Person) -> Result<Command, String> {
    let server = SERVERS.iter().find(|path| Path::new(path).exists()).ok_or(texts::NO_SSH_SERVER)?;
    if !Path::new(HOST_KEY).exists() {
        return Err(texts::NO_HOST_KEY.to_owned());
    }
    let mut command = Command::new(server);
    // -e: what goes wrong is for the user to read, there is no log in a box.
    command.args(["-i", "-e", "-f", "/dev/null", "-o", "LogLevel=ERROR"]);
    for option in OPTIONS {
        command.args(["-o", option]);
    }
    let earlier = person.home.join(EARLIER_HOST_KEY);
    if fs::symlink_metadata(&earlier).is_ok_and(|file| file.is_file() && file.len() > 0) {
        command.arg("-o").arg(OsString::from_vec([b"HostKey=", earlier.as_os_str().as_bytes()].concat()));
    }
    command.args(["-o", &format!("HostKey={HOST_KEY}")]);
    // A key from the outer sshd, encoded anew there: nothing in it has a meaning in a command.
    command.args(["-o", &format!("AuthorizedKeysCommand={INIT} {KEYS} {key}")]);
    let user = person.name.as_bytes();
    command.arg("-o").arg(OsString::from_vec([b"AuthorizedKeysCommandUser=", user].concat()));
    command.args(["-o", &format!("AcceptEnv={}", crate::variables::ACCEPTED)]);
    // Where IPv6 is switched off sshd finds no place for a display: it wants both or none.
    if fs::read(NO_IPV6).map_or(true, |off| off.starts_with(b"1")) {
        command.args(["-o", "AddressFamily=inet"]);
    }
    let image = env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
    let connection = OF_CONNECTION.iter().filter_map(|name| {
        let value = environment.variables.get(OsStr::from_bytes(name))?;
        Some((name.to_vec(), value.as_bytes().to_vec()))
    });
    let handed_on = encode(image.chain(connection));
    // sshd calls this program by the user's shell, which must not read the user's files: the shell
    // that this program calls does. bash reads ~/.bashrc at its first level, zsh ~/.zshenv.
    let mut set = format!("SetEnv={HANDED_ON}={handed_on} SHLVL=1 ZDOTDIR=/run/sshbox");
    // bash complains of a locale that is not there before this program can replace it. The client sends
    // both connections the same, unless it is told otherwise.
    if environment.variables.get(OsStr::new("LC_ALL")).is_some_and(|locale| locale == locales::FALLBACK) {
        set = format!("{set} LC_ALL={}", locales::FALLBACK);
    }
    command.args(["-o", &set]);
    Ok(command)
}

/// The list of keys, for sshd.
pub fn keys(arguments: &[OsString]) -> ExitCode {
    let [kind, key] = arguments else {
        return ExitStatus::Usage.code().into();
    };
    let line = format!("command=\"exec {INIT} {SESSION}\" {} {}\n", kind.display(), key.display());
    match io::stdout().write_all(line.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitStatus::Internal.code().into(),
    }
}

/// Becomes the program of a session; called by sshd in place of what its client wants.
pub fn session() -> ExitCode {
    let Some(handed_on) = env::var_os(HANDED_ON).and_then(|text| decode(text.as_bytes())) else {
        return ExitStatus::Usage.code().into();
    };
    let (connection, image): (Variables, Variables) =
        handed_on.into_iter().partition(|(name, _)| OF_CONNECTION.contains(&name.as_slice()));
    let client = env::vars_os().filter(|(name, value)| {
        OF_SSHD.iter().any(|known| name == known) || travels(name.as_bytes(), value.as_bytes())
    });
    let client = client.map(|(name, value)| (name.into_vec(), value.into_vec())).chain(connection);
    let person = Person::of_this_process();
    let image = image.into_iter().map(|(name, value)| (OsString::from_vec(name), OsString::from_vec(value)));
    let environment = Environment::new(image, &client.collect(), &person);
    let run = Run::of(env::var_os("SSH_ORIGINAL_COMMAND").map(OsString::into_vec));
    if run == Run::Shell
        && io::stderr().is_terminal()
        && let Some(news) = environment.news()
    {
        let _ = writeln!(io::stderr(), "{news}");
    }
    let failed = match sessions::program(&run, &environment, &person) {
        Ok(mut command) => {
            let error = command.env_clear().envs(&environment.variables).exec();
            sessions::why(&error, command.get_program())
        }
        Err(reason) => reason,
    };
    let _ = writeln!(io::stderr(), "sshbox: {failed}");
    ExitStatus::Unavailable.code().into()
}

/// Variables as hexadecimal digits of `NAME=VALUE`, each ended by a NUL: sshd's configuration has no
/// way to write all bytes.
fn encode(variables: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let bytes = variables.flat_map(|(name, value)| [&name, &b"="[..], &value, b"\0"].concat());
    let digit = |number: u8| DIGITS.get(usize::from(number)).copied().unwrap_or_default();
    bytes.flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn decode(text: &[u8]) -> Option<Variables> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4) | digit(*low)?);
    let bytes = text.as_chunks().0.iter().map(pair).collect::<Option<Vec<u8>>>()?;
    let fields = bytes.split(|byte| *byte == 0).filter_map(|field| {
        let at = field.iter().position(|byte| *byte == b'=')?;
        Some((field.get(..at)?.to_vec(), field.get(at + 1..)?.to_vec()))
    });
    Some(fields.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_survive_sshd_with_every_byte_that_can_occur() {
        let every: Vec<u8> = (1..=255).collect();
        let variables =
            vec![(b"PATH".to_vec(), b"/bin".to_vec()), (b"A B".to_vec(), every), (vec![], vec![])];
        let text = encode(variables.clone().into_iter());
        assert!(text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(decode(text.as_bytes()), Some(variables));
        assert_eq!(decode(b""), Some(vec![]));
        assert_eq!(decode(b"zz"), None);
    }
}
