//! The SSH server of a box, for one connection: started by `@sshd`, it ends forwarding, agents
//! and editors in the box and not on the host. It runs as the box's user on the session's own
//! descriptors, reads no configuration of the image, and lets in one key: the one with which
//! its user has just come through the outer sshd.

use super::person::Person;
use crate::texts;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::Command;

/// Where distributions keep it. It wants to be called by its whole path.
const SERVERS: [&str; 3] = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"];

/// Makes the host key of the box, once, and the list of keys for this connection; then becomes
/// the server. A script in a process of the session, since making a key takes a while and the
/// init must not wait, nor meet what its user may have put in place of these files. 73 is
/// `wire::CANNOT_KEEP`.
const SCRIPT: &str = r#"
key=$1 name=$2
shift 2
umask 077
state=$HOME/.local/state/sshbox
host=$state/ssh_host_ed25519_key
if ! [ -s "$host" ]; then
    mkdir -p "$state" &&
        ssh-keygen -q -t ed25519 -N '' -C sshbox -f "$host.$$" </dev/null >/dev/null &&
        { ln "$host.$$" "$host" 2>/dev/null || [ -s "$host" ]; }
    made=$?
    rm -f "$host.$$" "$host.$$.pub"
    [ "$made" = 0 ] || exit 73
fi
keys=/tmp/.sshbox-$name
{ [ -s "$keys" ] || { printf '%s\n' "$key" >"$keys.$$" && mv -f "$keys.$$" "$keys"; }; } || exit 73
exec "$@" -o HostKey="$host" -o AuthorizedKeysFile="$keys"
"#;

/// Whether the loopback interface is without IPv6, as on a host whose kernel has none.
const NO_IPV6: &str = "/proc/sys/net/ipv6/conf/lo/disable_ipv6";

/// What the server allows and refuses. Everything here ends in the box, where its user may do
/// all that the box may; so what is closed is only what cannot work.
const OPTIONS: [&str; 17] = [
    "AuthenticationMethods=publickey",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    // The files are made by the script; a home that others may write to is its user's choice.
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
    "AcceptEnv=LANG LC_*",
    "Subsystem=sftp internal-sftp",
];

/// The program for the key `type base64`.
pub fn command(key: &str, person: &Person) -> Result<Command, String> {
    let server = SERVERS.iter().find(|path| Path::new(path).exists()).ok_or(texts::NO_SSH_SERVER)?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "sshd", key, &name_of(key)]);
    // -e: what goes wrong is for the user to read, there is no log in a box.
    command.args([server, "-i", "-e", "-f", "/dev/null", "-o", "LogLevel=ERROR"]);
    for option in OPTIONS {
        command.args(["-o", option]);
    }
    // Where IPv6 is switched off sshd finds no place for a display: it wants both or none.
    if fs::read(NO_IPV6).map_or(true, |off| off.starts_with(b"1")) {
        command.args(["-o", "AddressFamily=inet"]);
    }
    let variables = env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
    if let Some(list) = set_env(variables) {
        command.arg("-o").arg(list);
    }
    command.env("HOME", &person.home);
    Ok(command)
}

/// A name for the file that holds this key: letters and digits of its end, where keys differ.
fn name_of(key: &str) -> String {
    let end: String = key.chars().rev().filter(char::is_ascii_alphanumeric).take(32).collect();
    if end.is_empty() { "key".to_owned() } else { end }
}

/// The image's variables, which an sshd would not pass on: `SetEnv` of `sshd_config(5)`. What
/// the client may send, and what sshd sets for each session, stays its own.
fn set_env(variables: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Option<OsString> {
    const OWN: [&[u8]; 9] =
        [b"HOME", b"USER", b"LOGNAME", b"SHELL", b"TERM", b"HOSTNAME", b"PWD", b"OLDPWD", b"LANG"];
    let mut list = b"SetEnv=".to_vec();
    let empty = list.len();
    for (name, value) in variables {
        let plain = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        let one_line = !value.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        if !plain || !one_line || OWN.contains(&&*name) || name.starts_with(b"LC_") {
            continue;
        }
        list.extend_from_slice(if list.len() == empty { b"" } else { b" " });
        list.extend_from_slice(&name);
        list.extend_from_slice(b"=\"");
        for byte in value {
            if matches!(byte, b'"' | b'\\') {
                list.push(b'\\');
            }
            list.push(byte);
        }
        list.push(b'"');
    }
    (list.len() > empty).then(|| OsString::from_vec(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(variables: &[(&str, &str)]) -> Option<String> {
        let variables =
            variables.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        set_env(variables).map(|list| String::from_utf8(list.into_vec()).unwrap())
    }

    #[test]
    fn the_images_variables_are_quoted_for_sshd() {
        assert_eq!(
            set(&[("PATH", "/opt/x:/bin"), ("HOME", "/x"), ("LC_ALL", "C"), ("A", r#"a "b" \c"#)]).unwrap(),
            r#"SetEnv=PATH="/opt/x:/bin" A="a \"b\" \\c""#
        );
        assert_eq!(set(&[("A", "two\nlines"), ("B C", "x"), ("", "x")]), None);
    }

    #[test]
    fn keys_get_names_that_are_harmless() {
        assert_eq!(name_of("ssh-ed25519 ../../etc"), "cte91552dehss");
        assert_eq!(name_of("../"), "key");
    }
}
