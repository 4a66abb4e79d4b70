//! sshbox's sshd: its host keys, its configuration, and the names that it resolves.

use super::files::{FileState, mend_file};
use super::report::{CheckResult, fail, ok, skip, warn};
use super::{Checked, Doctor};
use crate::names::{self, NameLookup};
use session::deadlines::HOST_PROGRAM;
use session::variables::ACCEPTED;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

pub use crate::names::{SSHD, SSHD_CONFIG};

/// Each setting, the value that `sshd -T` must print, and what happens with another value.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("forcecommand", "/usr/lib/sshbox/sshbox-shell", "users would get a shell on this host"),
    ("authorizedkeyscommanduser", "sshbox-keys", "only that user can read the token"),
    ("authorizedkeysfile", "none", "a file on this host would let its key holder in"),
    ("authorizedprincipalsfile", "none", "a file on this host would let its key holder in"),
    ("trustedusercakeys", "none", "a certificate would let its holder into every box"),
    ("authenticationmethods", "publickey", "the web app knows keys only"),
    ("pubkeyauthentication", "yes", "nobody could log in"),
    ("passwordauthentication", "no", "passwords of local accounts could be guessed"),
    ("kbdinteractiveauthentication", "no", "passwords of local accounts could be guessed"),
    ("hostbasedauthentication", "no", "other hosts would authenticate users"),
    ("gssapiauthentication", "no", "other hosts would authenticate users"),
    ("permitrootlogin", "no", "root is a local account"),
    ("allowgroups", "sshbox", "local accounts could log in"),
    ("usepam", "yes", "nothing would be forwarded, and connections would not be counted"),
    ("disableforwarding", "no", "nothing would be forwarded; to switch it off, set forward.enabled"),
    ("allowtcpforwarding", "yes", "ports would not be forwarded; to switch that off, set forward.enabled"),
    ("gatewayports", "no", "ports that users forward would be open to others"),
    ("allowstreamlocalforwarding", "no", "forwarding would reach the host's sockets"),
    ("x11forwarding", "no", "forwarding would end on this host"),
    ("permittunnel", "no", "users could make network devices"),
    ("permituserrc", "no", "a file would run on this host"),
    ("permituserenvironment", "no", "users would set the environment of sshbox-shell"),
    ("printlastlog", "no", "every login with a terminal would die"),
    ("exposeauthinfo", "yes", "@sshd would not know the key"),
    ("subsystem", "sftp internal-sftp", "sftp would not reach the box"),
    ("banner", "none", "a banner breaks clients that read the stream"),
];

/// The start of the `AuthorizedKeysCommand`; options may follow.
const KEYS_COMMAND: &str = "/usr/lib/sshbox/sshbox-keys ";

/// All values of a setting in the output of `sshd -T`.
pub fn values<'a>(settings: &'a str, name: &str) -> Vec<&'a str> {
    let of_name = |line: &'a str| line.split_once(' ').filter(|(key, _)| *key == name);
    settings.lines().filter_map(of_name).map(|(_, value)| value.trim()).collect()
}

/// `host-keys`: does the server have host keys that only root can read?
pub fn host_keys(doctor: &Doctor) -> Checked {
    let keys = values(doctor.settings()?, "hostkey");
    let found: Vec<_> = keys.iter().map(|path| (*path, FileState::at(Path::new(path)))).collect();
    Ok(judge_keys(&found))
}

fn judge_keys(keys: &[(&str, Option<FileState>)]) -> CheckResult {
    let create = "ssh-keygen -A creates those of /etc/ssh that are missing";
    for (path, found) in keys {
        if let Some(found) = found.filter(|found| !found.is_roots_alone()) {
            return fail(
                format!("{path} belongs to {found}: sshd does not use it"),
                format!("chown root {path}; chmod 0600 {path}; replace it if others could read it"),
            );
        }
    }
    let missing: Vec<_> = keys.iter().filter(|(_, found)| found.is_none()).map(|(path, _)| *path).collect();
    if missing.len() == keys.len() {
        return fail("there is no host key", create);
    }
    if missing.is_empty() {
        return ok(format!("{} there, readable by root alone", keys.len()));
    }
    warn(format!("missing: {}", missing.join(", ")), format!("{create}, or remove its HostKey line"))
}

/// `sshd-config`: does sshd accept its configuration file, and can only root change the file?
pub fn config(doctor: &Doctor) -> Checked {
    let path = Path::new(SSHD_CONFIG);
    let Some(found) = FileState::at(path) else {
        return Ok(fail(
            format!("{SSHD_CONFIG} is missing"),
            "apt install --reinstall -o Dpkg::Options::=--force-confmiss sshbox",
        ));
    };
    if !found.is_roots() {
        return Ok(mend_file(path, found, 0, 0, 0o644));
    }
    let ended = doctor.must(Command::new(SSHD).args(["-t", "-f", SSHD_CONFIG]), HOST_PROGRAM)?;
    Ok(if ended.succeeded() {
        ok(format!("sshd accepts {SSHD_CONFIG}"))
    } else {
        fail(
            format!("sshd rejects it: {}", ended.err.lines().collect::<Vec<_>>().join("; ")),
            format!("correct it until {SSHD} -t -f {SSHD_CONFIG} prints nothing; sshd_config(5)"),
        )
    })
}

/// `sshd-settings`: are the settings in force that keep users from running programs on this host?
pub fn settings(doctor: &Doctor) -> Checked {
    Ok(judge_settings(doctor.settings()?))
}

fn judge_settings(settings: &str) -> CheckResult {
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
    let accepted = values(settings, "acceptenv");
    if let Some(other) = accepted.iter().find(|name| !ACCEPTED.split(' ').any(|known| known == **name)) {
        wrong.push(format!("acceptenv accepts {other}: users would set the environment of sshbox-shell"));
    }
    if wrong.is_empty() {
        return ok(format!("all {} settings that matter are in force", SETTINGS.len() + 2));
    }
    fail(wrong.join("; "), format!("set them in {SSHD_CONFIG} as shipped, then systemctl reload sshbox-sshd"))
}

/// `nss`: does every login name resolve in sshbox's sshd, and in no other program?
pub fn nss(doctor: &Doctor) -> Checked {
    let name = doctor.temporary_user.as_str();
    let on_host = doctor.must(Command::new("getent").args(["passwd", name]), HOST_PROGRAM)?;
    let running = names::listener();
    let in_sshd = names::look_up(running.as_ref(), &doctor.temporary_user).map_err(skip)?;
    Ok(judge_nss(&on_host.out, in_sshd, running.is_some()))
}

fn judge_nss(entry_on_host: &str, in_sshd: NameLookup, sshd_runs: bool) -> CheckResult {
    if !entry_on_host.trim().is_empty() {
        return fail(
            "every program on this host resolves any name to a user",
            "take sshbox out of /etc/nsswitch.conf: only sshbox-sshd may use it",
        );
    }
    let whose = if sshd_runs { "the running sshd" } else { "an sshd with its nsswitch.conf" };
    match in_sshd.advice() {
        None => ok(format!("a name has its uid in {whose}, and nowhere else")),
        Some(fix) => {
            fail(format!("{whose} knows no login name: every login is refused as an invalid user"), fix)
        }
    }
}

/// What sshbox's sshd must see as `/etc/pam.d/sshd`, and the module that it names.
const PAM_FILES: [&str; 2] = ["/usr/share/sshbox/pam.d/sshd", "/usr/lib/sshbox/pam_sshbox.so"];

/// `pam`: does the running sshd move its connections out of the network of the host?
pub fn pam(doctor: &Doctor) -> Checked {
    if values(doctor.settings()?, "usepam") != ["yes"] {
        return Err(skip("UsePAM is not yes: see check sshd-settings"));
    }
    let listener = names::listener().ok_or_else(|| skip("the sshd of sshbox does not run"))?;
    let in_sshd = listener.pam_service().map_err(skip)?;
    let shipped = std::fs::read_to_string(PAM_FILES[0]).unwrap_or_default();
    let files = PAM_FILES.map(|path| FileState::at(Path::new(path)));
    Ok(judge_pam(&in_sshd, &shipped, files))
}

fn judge_pam(in_sshd: &str, shipped: &str, files: [Option<FileState>; 2]) -> CheckResult {
    let reinstall =
        "apt install --reinstall sshbox, then systemctl restart sshbox-sshd, which ends no session";
    for (path, found) in PAM_FILES.iter().zip(files) {
        if !found.is_some_and(FileState::is_roots) {
            return fail(format!("{path} is missing, or others than root can change it"), reinstall);
        }
    }
    if in_sshd != shipped {
        let finding = "the running sshd uses another PAM configuration than that of sshbox: logins fail";
        return fail(finding, "systemctl restart sshbox-sshd, which ends no session");
    }
    ok("the running sshd gives each connection the network of its box")
}

/// An address and port at which sshbox's sshd listens.
pub fn listen_address(settings: &str) -> Result<(IpAddr, u16), CheckResult> {
    let all = values(settings, "listenaddress");
    let parse = |text: &&str| text.parse::<std::net::SocketAddr>().ok();
    let mut addresses: Vec<_> = all.iter().filter_map(parse).collect();
    addresses.sort_by_key(|address| (!address.ip().is_unspecified(), address.is_ipv6()));
    let address = addresses.first().ok_or_else(|| skip("sshd names no address that it listens on"))?;
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        other => other,
    };
    Ok((ip, address.port()))
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    fn shipped() -> String {
        let lines = SETTINGS.iter().map(|(name, value, _)| format!("{name} {value}\n"));
        let command = "authorizedkeyscommand /usr/lib/sshbox/sshbox-keys --fingerprint %f -- %u\n";
        lines.collect::<String>() + command + "acceptenv LANG\nacceptenv LC_*\nacceptenv NO_COLOR\n"
    }

    #[test]
    fn each_setting_that_matters_is_checked() {
        assert_eq!(judge_settings(&shipped()).state, CheckState::Ok);
        for (name, value, why) in SETTINGS {
            let line = format!("{name} {value}\n");
            let result = judge_settings(&shipped().replace(&line, &format!("{name} other\n")));
            assert_eq!(result.state, CheckState::Fail);
            assert!(result.finding.contains("'other'") && result.finding.contains(why), "{result:?}");
            assert_eq!(judge_settings(&shipped().replace(&line, "")).state, CheckState::Fail, "{name}");
        }
        for (from, to) in [("LC_*", "LD_PRELOAD"), ("-- %u", ""), ("sshbox-keys -", "other -")] {
            assert_eq!(judge_settings(&shipped().replace(from, to)).state, CheckState::Fail, "{to}");
        }
    }

    #[test]
    fn host_keys_are_roots_alone() {
        let key = |uid, mode| Some(FileState { directory: false, uid, gid: 0, mode });
        let judge = |keys: &[_]| judge_keys(keys).state;
        assert_eq!(judge(&[("/a", key(0, 0o600)), ("/b", key(0, 0o400))]), CheckState::Ok);
        assert_eq!(judge(&[("/a", key(0, 0o600)), ("/b", None)]), CheckState::Warn);
        assert_eq!(judge(&[("/a", key(0, 0o600)), ("/b", key(0, 0o640))]), CheckState::Fail);
        assert_eq!(judge(&[("/a", key(7, 0o600))]), CheckState::Fail);
        assert_eq!(judge(&[("/a", None)]), CheckState::Fail);
        assert_eq!(judge(&[]), CheckState::Fail);
    }

    #[test]
    fn a_name_resolves_in_our_sshd_and_in_no_other_program() {
        assert_eq!(judge_nss("", NameLookup::Resolves, true).state, CheckState::Ok);
        assert_eq!(judge_nss("", NameLookup::Resolves, false).state, CheckState::Ok);
        let stale = judge_nss("", NameLookup::ResolvesAfterRestart, true);
        assert_eq!(stale.state, CheckState::Fail);
        assert!(
            stale.finding.contains("running sshd") && stale.fix.unwrap().starts_with("systemctl restart")
        );
        assert!(judge_nss("", NameLookup::Unresolved, true).fix.unwrap().contains("--reinstall sshbox"));
        let known_to_all =
            judge_nss("alice:*:2098369249:1879048192::/:/bin/sh\n", NameLookup::Resolves, true);
        assert!(known_to_all.fix.unwrap().contains("/etc/nsswitch.conf"));
    }

    #[test]
    fn the_pam_configuration_and_the_module_must_be_those_of_sshbox() {
        let file = Some(FileState { directory: false, uid: 0, gid: 0, mode: 0o644 });
        assert_eq!(judge_pam("a\n", "a\n", [file; 2]).state, CheckState::Ok);
        let other = judge_pam("@include common-auth\n", "a\n", [file; 2]);
        assert!(other.state == CheckState::Fail && other.fix.unwrap().starts_with("systemctl restart"));
        let writable = Some(FileState { directory: false, uid: 0, gid: 0, mode: 0o664 });
        for files in [[None, file], [file, None], [file, writable]] {
            assert_eq!(judge_pam("a\n", "a\n", files).state, CheckState::Fail);
        }
    }

    #[test]
    fn the_address_that_sshd_listens_on() {
        let address = |text: &str| listen_address(text).unwrap();
        let everywhere = "port 2200\nlistenaddress [::]:2200\nlistenaddress 0.0.0.0:2200\n";
        assert_eq!(address(everywhere), ("127.0.0.1".parse().unwrap(), 2200));
        assert_eq!(address("listenaddress 192.0.2.7:22\n"), ("192.0.2.7".parse().unwrap(), 22));
        assert_eq!(address("listenaddress [::]:2222\n"), ("::1".parse().unwrap(), 2222));
        assert!(super::listen_address("port 22\n").is_err());
    }
}
