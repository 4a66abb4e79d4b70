//! Trusted proxies: do sshd, fail2ban and the texts for users treat their addresses as those of many users? The rules
//! for packets are judged with all others, in `network`.

use super::report::{CheckResult, fail, ok, warn};
use super::ssh::{SSHD_CONFIG, values};
use super::{Checked, Doctor};
use crate::proxies::{SETTINGS, configured, memory};
use host::sshd_limits::max_attack_rate;
use session::presence::RUN;
use session::proxies::Proxies;
use std::fs;
use std::path::Path;

/// Where an admin puts a jail for fail2ban.
const JAILS: &str = "/etc/fail2ban/jail.d";

/// What the check knows.
struct Found<'a> {
    configured: Proxies,
    /// Those that the running sshd and the rules were told.
    applied: Proxies,
    /// Whether the file with the limits of sshd behind a proxy is there.
    has_settings: bool,
    /// The output of `sshd -T`.
    settings: &'a str,
    /// Files with a jail of sshbox that may ban a proxy.
    jails: Vec<String>,
    memory: u64,
}

/// `proxies`: are the addresses that many users share treated as such?
pub fn proxies(doctor: &Doctor) -> Checked {
    let found = Found {
        configured: configured(doctor.config()?),
        applied: Proxies::read(Path::new(RUN)),
        has_settings: Path::new(RUN).join(SETTINGS).exists(),
        settings: doctor.settings()?,
        jails: jails_that_ban(Path::new(JAILS)),
        memory: memory(),
    };
    Ok(judge(&found))
}

fn judge(found: &Found<'_>) -> CheckResult {
    if found.configured.subnets != found.applied.subnets {
        return fail(
            "listen.trusted_proxies has changed since sshd read its configuration",
            "systemctl reload sshbox-sshd; if this does not help, sshbox proxies apply says why",
        );
    }
    if found.configured.subnets.is_empty() {
        return ok("no address is trusted: each has the limits of one client");
    }
    if !found.has_settings {
        return fail(
            "sshd keeps its limit for each address, because its limits behind a proxy could not be written",
            "run sshbox proxies apply, which says why; then systemctl reload sshbox-sshd",
        );
    }
    if values(found.settings, "persourcemaxstartups") != ["none"] {
        return fail(
            "sshd limits each proxy as if it were one client, so a crowd behind it is refused",
            format!(
                "put the line Include {RUN}/{SETTINGS} before all others in {SSHD_CONFIG} and after \
                 PerSourceMaxStartups, then systemctl reload sshbox-sshd"
            ),
        );
    }
    if let Some(jail) = found.jails.first() {
        return warn(
            format!("fail2ban may ban a proxy, and all users behind it: {jail} has no ignorecommand"),
            "add the line ignorecommand = /usr/sbin/sshbox proxies contain <ip>, then systemctl reload fail2ban",
        );
    }
    if !values(found.settings, "setenv").iter().any(|value| value.contains("SSHBOX_HOST=")) {
        return warn(
            "@help and @config show the address at which the proxy connects to this host",
            format!("set SetEnv SSHBOX_HOST= to the name that users type, in {SSHD_CONFIG}"),
        );
    }
    ok(format!(
        "{} trusted; up to {} connections a second that never log in leave room for users",
        found.configured.subnets.len(),
        max_attack_rate(found.memory)
    ))
}

/// The files that enable a jail of sshbox and do not ask about proxies.
fn jails_that_ban(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let bans = |path: &Path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = || text.lines().map(str::trim);
        lines().any(|line| line == "[sshbox]")
            && !lines().any(|line| line.starts_with("ignorecommand") && line.contains("proxies contain"))
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| bans(path)).map(|path| path.display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    /// The settings of sshd while those behind a proxy are not written.
    const NOT_WRITTEN: &str = "persourcemaxstartups 99\n";

    #[test]
    fn each_part_that_does_not_know_the_proxies_is_named() {
        let one = || Proxies { subnets: vec![("127.0.0.1".parse().unwrap(), 32)], ports: Vec::new() };
        let applied = Proxies { ports: vec![2200], ..one() };
        let judged = |configured, applied: &Proxies, settings, jails: &[&str]| {
            let jails = jails.iter().map(|jail| (*jail).to_owned()).collect();
            let has_settings = settings != NOT_WRITTEN;
            let applied = applied.clone();
            judge(&Found { configured, applied, has_settings, settings, jails, memory: 8 << 30 })
        };
        let set = "persourcemaxstartups none\nsetenv SSHBOX_HOST=box.example.org\n";
        for (result, state, says) in [
            (judged(Proxies::default(), &Proxies::default(), "", &["a"]), CheckState::Ok, "no address"),
            (judged(Proxies::default(), &applied, set, &[]), CheckState::Fail, "has changed"),
            (judged(one(), &Proxies::default(), set, &[]), CheckState::Fail, "has changed"),
            (judged(one(), &applied, NOT_WRITTEN, &[]), CheckState::Fail, "could not be written"),
            (judged(one(), &applied, "persourcemaxstartups 100\n", &[]), CheckState::Fail, "refused"),
            (judged(one(), &applied, set, &["/etc/x"]), CheckState::Warn, "/etc/x"),
            (judged(one(), &applied, "persourcemaxstartups none\n", &[]), CheckState::Warn, "@help"),
            (judged(one(), &applied, set, &[]), CheckState::Ok, "up to 26 connections"),
        ] {
            assert_eq!(result.state, state, "{result:?}");
            assert!(result.finding.contains(says), "{result:?}");
        }
    }

    #[test]
    fn a_jail_that_does_not_ask_about_proxies_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("other.local", "[sshd]\nenabled = true\n");
        write("new.local", include_str!("../../../../packaging/fail2ban/jail.conf"));
        assert_eq!(jails_that_ban(dir.path()), [""; 0]);
        write("old.local", "[sshbox]\nenabled = true\n");
        assert!(jails_that_ban(dir.path())[0].ends_with("/old.local"));
        assert_eq!(jails_that_ban(Path::new("/nonexistent")), [""; 0]);
    }
}
