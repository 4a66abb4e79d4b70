//! Trusted proxies: do sshd, fail2ban and the texts for users treat their addresses as those of many users? The rules
//! for packets are judged with all others, in `network`.

use super::report::{CheckResult, fail, ok, warn};
use super::ssh::{SSHD_CONFIG, values};
use super::{Checked, Doctor};
use crate::proxies::{configured, memory};
use host::sshd_limits::bearable_rate;
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
            "systemctl reload sshbox-sshd",
        );
    }
    if found.configured.subnets.is_empty() {
        return ok("no address is trusted: each has the limits of one client");
    }
    if values(found.settings, "persourcemaxstartups") != ["none"] {
        return fail(
            "sshd limits each proxy as if it were one client, so a crowd behind it is refused",
            format!(
                "put the line Include {RUN}/sshd_proxies.conf before all others in {SSHD_CONFIG} and after \
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
        bearable_rate(found.memory)
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

    #[test]
    fn each_part_that_does_not_know_the_proxies_is_named() {
        let one = || Proxies { subnets: vec![("127.0.0.1".parse().unwrap(), 32)], ports: Vec::new() };
        let applied = Proxies { ports: vec![2200], ..one() };
        let judged = |configured, applied: &Proxies, settings, jails: &[&str]| {
            let jails = jails.iter().map(|jail| (*jail).to_owned()).collect();
            judge(&Found { configured, applied: applied.clone(), settings, jails, memory: 8 << 30 })
        };
        let set = "persourcemaxstartups none\nsetenv SSHBOX_HOST=box.example.org\n";
        for (result, state, says) in [
            (judged(Proxies::default(), &Proxies::default(), "", &["a"]), CheckState::Ok, "no address"),
            (judged(Proxies::default(), &applied, set, &[]), CheckState::Fail, "has changed"),
            (judged(one(), &Proxies::default(), set, &[]), CheckState::Fail, "has changed"),
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
