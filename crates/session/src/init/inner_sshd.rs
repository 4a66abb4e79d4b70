//! The command line of the container's SSH server. `@sshd` starts one per connection, so that
//! forwarding, agents and editors end in the container and not on the host. It runs as the container's
//! user on the session's file descriptors, reads no configuration of the image, and accepts the key of
//! this login only. It runs `sshbox-init` for the list of keys and for each session (`inner_session`).

use super::container_user::ContainerUser;
use super::environment::{Environment, Variables};
use super::inner_settings::{self, SITE, bytes_of, hexadecimal};
use super::locales;
use crate::procfs;
use crate::texts;
use crate::wire::SiteSettings;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::process::Command;

/// Where distributions install sshd, which must be run by its absolute path.
const SERVERS: [&str; 3] = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"];

/// The path of `sshbox-init` in the container.
pub const INIT: &str = "/sbin/sshbox-init";

/// First argument of `sshbox-init` when sshd runs it for the list of keys.
pub const KEYS: &str = "keys";

/// First argument of `sshbox-init` when sshd runs it for a session.
pub const SESSION: &str = "session";

/// The host key. The host stores it, so that it does not depend on the container or the home.
const HOST_KEY: &str = "/run/sshbox/ssh_host_ed25519_key";

/// Host key of earlier releases, in the home. Clients that know it learn the other one as well
/// (`UpdateHostKeys`, `ssh_config(5)`), so that they do not warn when this file is gone.
const EARLIER_HOST_KEY: &str = ".local/state/sshbox/ssh_host_ed25519_key";

/// Variable with the environment of the sessions, in hexadecimal digits: sshd passes no other.
pub const HANDED_ON: &str = "SSHBOX_ENVIRONMENT";

/// Variables that describe the connection. Only the outer sshd knows them.
pub const OF_CONNECTION: [&[u8]; 2] = [b"SSH_CLIENT", b"SSH_CONNECTION"];

/// Options of the server. All forwarding ends in the container, where the user has every right of the
/// container; only what cannot work is switched off.
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

/// The command for a connection with the key `type base64` and this environment.
pub fn command(
    key: &str,
    environment: &Environment,
    site: &SiteSettings,
    user: &ContainerUser,
) -> Result<Command, String> {
    let server = SERVERS.iter().find(|path| Path::new(path).exists()).ok_or(texts::NO_SSH_SERVER)?;
    if !Path::new(HOST_KEY).exists() {
        return Err(texts::NO_HOST_KEY.to_owned());
    }
    let mut command = Command::new(server);
    // -e: errors go to the user, because a container has no log.
    command.args(["-i", "-e", "-o", "LogLevel=ERROR"]);
    for option in OPTIONS {
        command.args(["-o", option]);
    }
    let earlier = user.home.join(EARLIER_HOST_KEY);
    if fs::symlink_metadata(&earlier).is_ok_and(|file| file.is_file() && file.len() > 0) {
        command.arg("-o").arg(OsString::from_vec([b"HostKey=", earlier.as_os_str().as_bytes()].concat()));
    }
    command.args(["-o", &format!("HostKey={HOST_KEY}")]);
    let name = user.name.as_bytes();
    command.arg("-o").arg(OsString::from_vec([b"AuthorizedKeysCommandUser=", name].concat()));
    command.args(["-o", &format!("AcceptEnv={}", crate::variables::ACCEPTED)]);
    // Without IPv6 on loopback sshd finds no port for X11: it binds both families or none.
    if !procfs::loopback_has_ipv6() {
        command.args(["-o", "AddressFamily=inet"]);
    }
    let image = env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
    let connection = OF_CONNECTION.iter().filter_map(|name| {
        let value = environment.variables.get(OsStr::from_bytes(name))?;
        Some((name.to_vec(), value.as_bytes().to_vec()))
    });
    let handed_on = encode(image.chain(connection));
    // sshd runs this program through the user's shell, which must not read the user's startup files:
    // the shell of the session does. bash reads ~/.bashrc at the first shell level only, zsh .zshenv
    // in ZDOTDIR.
    let mut set = format!("SetEnv {HANDED_ON}={handed_on} SHLVL=1 ZDOTDIR=/run/sshbox");
    // bash warns about a missing locale before this program can replace it. Clients send the same
    // variables on both connections unless configured otherwise.
    if environment.variables.get(OsStr::new("LC_ALL")).is_some_and(|locale| locale == locales::FALLBACK) {
        set = format!("{set} LC_ALL={}", locales::FALLBACK);
    }
    // sshbox-shell has encoded the key anew: it has no character with a meaning in a command.
    let mut keys = format!("AuthorizedKeysCommand={INIT} {KEYS} {key}");
    if site.is_empty() {
        command.args(["-f", "/dev/null", "-o", &set]);
    } else {
        // sshd uses the first SetEnv only.
        set = format!("{set} {SITE}={}", inner_settings::encode(site));
        let file = inner_settings::write(&set).map_err(|error| texts::cannot_start(&error))?;
        keys = format!("{keys} {file}");
        command.args(["-f", &file]);
    }
    command.args(["-o", &keys]);
    Ok(command)
}

/// Encodes variables: `NAME=VALUE`, each ended by a NUL.
fn encode(variables: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> String {
    let bytes = variables.flat_map(|(name, value)| [&name, &b"="[..], &value, b"\0"].concat());
    hexadecimal(&bytes.collect::<Vec<_>>())
}

/// The reverse of [`encode`]; `None` when the text is something else.
pub fn decode(text: &[u8]) -> Option<Variables> {
    let bytes = bytes_of(text)?;
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
