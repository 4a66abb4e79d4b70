//! Our sshd: its keys, its configuration, and who its users are.

use super::files::Seen;
use super::verdict::{Remedy, State, Verdict, fail, mend, ok, skip, warn};
use super::{Doctor, Judged, SMALL};
use crate::names::{self, Name};
use session::variables::ACCEPTED;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

/// The server.
pub const SSHD: &str = "/usr/sbin/sshd";

pub use crate::names::CONFIG;

/// What `sshd -T` must say, or a door is open; why, for the admin.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("forcecommand", "/usr/lib/sshbox/sshbox-shell", "users would get a shell on this host"),
    ("authorizedkeyscommanduser", "sshbox-keys", "only that user can read the token"),
    ("authorizedkeysfile", "none", "a file on this host would open a box"),
    ("authorizedprincipalsfile", "none", "a file on this host would open a box"),
    ("trustedusercakeys", "none", "a certificate would open every box"),
    ("authenticationmethods", "publickey", "only keys are asked for from the web app"),
    ("pubkeyauthentication", "yes", "nobody could log in"),
    ("passwordauthentication", "no", "passwords of local accounts could be guessed"),
    ("kbdinteractiveauthentication", "no", "passwords of local accounts could be guessed"),
    ("hostbasedauthentication", "no", "other hosts would vouch for users"),
    ("gssapiauthentication", "no", "other hosts would vouch for users"),
    ("permitrootlogin", "no", "root is a local account"),
    ("allowgroups", "sshbox", "local accounts could log in"),
    ("usepam", "no", "PAM looks local accounts up by name"),
    ("disableforwarding", "yes", "forwarding would end in the host's network"),
    ("allowtcpforwarding", "no", "forwarding would end in the host's network"),
    ("allowstreamlocalforwarding", "no", "forwarding would reach the host's sockets"),
    ("allowagentforwarding", "no", "forwarding would end on this host"),
    ("x11forwarding", "no", "forwarding would end on this host"),
    ("permittunnel", "no", "users could make network devices"),
    ("permituserrc", "no", "a file would run on this host"),
    ("permituserenvironment", "no", "users would set the environment of sshbox-shell"),
    ("printlastlog", "no", "every login with a terminal would die"),
    ("exposeauthinfo", "yes", "@sshd would not know the key"),
    ("subsystem", "sftp internal-sftp", "sftp would not reach the box"),
    ("banner", "none", "a banner breaks clients that read the stream"),
];

/// Begins the `AuthorizedKeysCommand`; options may follow.
const KEYS_COMMAND: &str = "/usr/lib/sshbox/sshbox-keys ";

/// All values of a setting in what `sshd -T` says.
pub fn values<'a>(settings: &'a str, name: &str) -> Vec<&'a str> {
    let of_name = |line: &'a str| line.split_once(' ').filter(|(key, _)| *key == name);
    settings.lines().filter_map(of_name).map(|(_, value)| value.trim()).collect()
}

/// `host-keys`: has the server keys that nobody else can read?
pub fn host_keys(doctor: &Doctor) -> Judged {
    let keys = values(doctor.settings()?, "hostkey");
    let seen: Vec<_> = keys.iter().map(|path| (*path, Seen::at(Path::new(path)))).collect();
    Ok(judge_keys(&seen))
}

fn judge_keys(keys: &[(&str, Option<Seen>)]) -> Verdict {
    let make = "ssh-keygen -A makes those of /etc/ssh that are missing";
    for (path, seen) in keys {
        if let Some(seen) = seen.filter(|seen| seen.mode & 0o077 != 0 || seen.uid != 0) {
            return fail(
                format!(
                    "{path} belongs to uid {} with mode {:04o}: sshd does not use it",
                    seen.uid, seen.mode
                ),
                format!("chown root {path}; chmod 0600 {path}; replace it if others could read it"),
            );
        }
    }
    let missing: Vec<_> = keys.iter().filter(|(_, seen)| seen.is_none()).map(|(path, _)| *path).collect();
    match missing.as_slice() {
        [] if !keys.is_empty() => ok(format!("{} there, readable by root alone", keys.len())),
        missing if missing.len() == keys.len() => fail("there is no host key", make),
        missing => {
            warn(format!("missing: {}", missing.join(", ")), format!("{make}, or take its HostKey line away"))
        }
    }
}

/// `sshd-config`: does sshd take its configuration, and can nobody else change it?
pub fn config(doctor: &Doctor) -> Judged {
    let path = Path::new(CONFIG);
    let Some(seen) = Seen::at(path) else {
        return Ok(fail(
            format!("{CONFIG} is missing"),
            "apt install --reinstall -o Dpkg::Options::=--force-confmiss sshbox",
        ));
    };
    if !seen.is_roots() {
        let found = format!("{CONFIG} can be changed by uid {} with mode {:04o}", seen.uid, seen.mode);
        let remedies = vec![Remedy::Owner(path.to_owned(), 0, 0), Remedy::Mode(path.to_owned(), 0o644)];
        return Ok(mend(State::Fail, found, remedies));
    }
    let ended = doctor.must(Command::new(SSHD).args(["-t", "-f", CONFIG]), SMALL)?;
    Ok(if ended.status.success() {
        ok(format!("sshd takes {CONFIG}"))
    } else {
        fail(
            format!("sshd refuses it: {}", ended.err.lines().collect::<Vec<_>>().join("; ")),
            format!("correct it until {SSHD} -t -f {CONFIG} says nothing; sshd_config(5)"),
        )
    })
}

/// `sshd-settings`: are the lines in force that keep users off this host?
pub fn settings(doctor: &Doctor) -> Judged {
    Ok(judge_settings(doctor.settings()?))
}

fn judge_settings(settings: &str) -> Verdict {
    let mut wrong = Vec::new();
    for (name, wanted, why) in SETTINGS {
        let found = values(settings, name);
        if found != [*wanted] {
            wrong.push(format!("{name} is '{}', not '{wanted}': {why}", found.join("' '")));
        }
    }
    let command = values(settings, "authorizedkeyscommand").join("");
    let fits = command.starts_with(KEYS_COMMAND) && command.contains("%f") && command.contains("%u");
    if !fits {
        wrong.push(format!("authorizedkeyscommand is '{command}': keys must come from sshbox-keys alone"));
    }
    let taken = values(settings, "acceptenv");
    if let Some(other) = taken.iter().find(|name| !ACCEPTED.split(' ').any(|known| known == **name)) {
        wrong.push(format!("acceptenv takes {other}: users would set the environment of sshbox-shell"));
    }
    if wrong.is_empty() {
        return ok(format!("all {} lines that matter are in force", SETTINGS.len() + 2));
    }
    fail(wrong.join("; "), format!("set them in {CONFIG} as shipped, then systemctl reload sshbox-sshd"))
}

/// `nss`: does every name resolve for our sshd, and for no other program?
pub fn nss(doctor: &Doctor) -> Judged {
    let name = doctor.visitor.as_str();
    let here = doctor.must(Command::new("getent").args(["passwd", name]), SMALL)?;
    let running = names::listener();
    let there = names::look_up(running, &doctor.visitor).map_err(skip)?;
    Ok(judge_nss(&here.out, there, running.is_some()))
}

fn judge_nss(here: &str, there: Name, runs: bool) -> Verdict {
    if !here.trim().is_empty() {
        return fail(
            "every program on this host takes any name for a user",
            "take sshbox out of /etc/nsswitch.conf: only sshbox-sshd may see it",
        );
    }
    let whose = if runs { "the running sshd" } else { "an sshd with its nsswitch.conf" };
    match there.fix() {
        None => ok(format!("a name has its uid in {whose}, and nowhere else")),
        Some(fix) => {
            fail(format!("{whose} knows no login name: every login is refused as an invalid user"), fix)
        }
    }
}

/// Where to knock: an address and port at which our sshd listens.
pub fn door(settings: &str) -> Result<(IpAddr, u16), Verdict> {
    let all = values(settings, "listenaddress");
    let parse = |text: &&str| text.parse::<std::net::SocketAddr>().ok();
    let mut doors: Vec<_> = all.iter().filter_map(parse).collect();
    doors.sort_by_key(|door| (!door.ip().is_unspecified(), door.is_ipv6()));
    let door = doors.first().ok_or_else(|| skip("sshd tells no address where it listens"))?;
    let address = match door.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        other => other,
    };
    Ok((address, door.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> String {
        let lines = SETTINGS.iter().map(|(name, value, _)| format!("{name} {value}\n"));
        let command = "authorizedkeyscommand /usr/lib/sshbox/sshbox-keys --fingerprint %f -- %u\n";
        lines.collect::<String>() + command + "acceptenv LANG\nacceptenv LC_*\nacceptenv NO_COLOR\n"
    }

    #[test]
    fn each_line_that_matters_is_missed() {
        assert_eq!(judge_settings(&shipped()).state, State::Ok);
        for (name, value, why) in SETTINGS {
            let line = format!("{name} {value}\n");
            let verdict = judge_settings(&shipped().replace(&line, &format!("{name} other\n")));
            assert_eq!(verdict.state, State::Fail);
            assert!(verdict.seen.contains("'other'") && verdict.seen.contains(why), "{verdict:?}");
            assert_eq!(judge_settings(&shipped().replace(&line, "")).state, State::Fail, "{name}");
        }
        for (from, to) in [("LC_*", "LD_PRELOAD"), ("-- %u", ""), ("sshbox-keys -", "other -")] {
            assert_eq!(judge_settings(&shipped().replace(from, to)).state, State::Fail, "{to}");
        }
    }

    #[test]
    fn host_keys_are_roots_alone() {
        let key = |uid, mode| Some(Seen { directory: false, uid, gid: 0, mode });
        let judge = |keys: &[_]| judge_keys(keys).state;
        assert_eq!(judge(&[("/a", key(0, 0o600)), ("/b", key(0, 0o400))]), State::Ok);
        assert_eq!(judge(&[("/a", key(0, 0o600)), ("/b", None)]), State::Warn);
        assert_eq!(judge(&[("/a", key(0, 0o600)), ("/b", key(0, 0o640))]), State::Fail);
        assert_eq!(judge(&[("/a", key(7, 0o600))]), State::Fail);
        assert_eq!(judge(&[("/a", None)]), State::Fail);
        assert_eq!(judge(&[]), State::Fail);
    }

    #[test]
    fn a_name_is_known_to_our_sshd_and_to_nobody_else() {
        assert_eq!(judge_nss("", Name::Known, true).state, State::Ok);
        assert_eq!(judge_nss("", Name::Known, false).state, State::Ok);
        let stale = judge_nss("", Name::UnknownUntilRestart, true);
        assert_eq!(stale.state, State::Fail);
        assert!(stale.seen.contains("running sshd") && stale.fix.unwrap().starts_with("systemctl restart"));
        assert!(judge_nss("", Name::Unknown, true).fix.unwrap().contains("--reinstall sshbox"));
        let known_to_all = judge_nss("alice:*:2098369249:1879048192::/:/bin/sh\n", Name::Known, true);
        assert!(known_to_all.fix.unwrap().contains("/etc/nsswitch.conf"));
    }

    #[test]
    fn where_to_knock() {
        let door = |text: &str| door(text).unwrap();
        let everywhere = "port 2200\nlistenaddress [::]:2200\nlistenaddress 0.0.0.0:2200\n";
        assert_eq!(door(everywhere), ("127.0.0.1".parse().unwrap(), 2200));
        assert_eq!(door("listenaddress 192.0.2.7:22\n"), ("192.0.2.7".parse().unwrap(), 22));
        assert_eq!(door("listenaddress [::]:2222\n"), ("::1".parse().unwrap(), 2222));
        assert!(super::door("port 22\n").is_err());
    }
}
