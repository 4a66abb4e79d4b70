//! Checks of the host: configuration, users, files, homes, security updates and units.

use super::{Found, SSHD_CONFIG, TOKEN, check, doctor, folder, mode, run_doctor, without};
use crate::harness::{Changed, Undo, run, to_the_end, world_alone};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn an_invalid_configuration() {
    let _world = world_alone();
    {
        let _changed = Changed::config("url = ", "urll = ");
        check("config").says("fail", "line ", "sshbox.toml(5)");
        check("site").says("skip", "see check config", "");
    }
    let _mode = mode("/etc/sshbox/sshbox.toml", 0o666);
    check("config").says(
        "fail",
        "sshbox.toml belongs to 0:0 with mode 0666",
        "chmod 0644 /etc/sshbox/sshbox.toml",
    );
    let (found, status) = run_doctor(&["--fix", "config"]);
    assert_eq!((&*found[0].state, &*found[0].fixed, status), ("ok", "chmod 0644 /etc/sshbox/sshbox.toml", 0));
}

#[test]
fn missing_system_users() {
    let _world = world_alone();
    {
        let _changed = Changed::file("/etc/passwd", "sshbox-keys:", "sshbox-kees:");
        check("users").says("fail", "there is no user sshbox-keys", "systemd-sysusers sshbox.conf");
        check("token").says("skip", "see check users", "");
    }
    {
        let _changed = Changed::file("/etc/group", "sshbox:x:1879048192", "sshbox:x:1879048193");
        check("users").says("fail", "has the number 1879048193", "groupmod --gid 1879048192");
    }
    check("users").says("ok", "", "");
}

#[test]
fn files_and_directories_that_other_users_can_change() {
    let _world = world_alone();
    for (path, wrong, id, seen) in [
        ("/var/cache/sshbox", 0o777, "directories", "with mode 0777, not to "),
        ("/usr/lib/sshbox/sshbox-keys", 0o775, "programs", "sshbox-keys belongs to 0:0 with mode 0775"),
        (TOKEN, 0o644, "token", "with mode 0644"),
    ] {
        let _mode = mode(path, wrong);
        check(id).says("fail", seen, "");
        let (found, status) = run_doctor(&["--fix", id]);
        assert_eq!((&*found[0].state, status), ("ok", 0), "{found:?}");
        assert!(!found[0].fixed.is_empty() && !found[0].fixed.contains("failed"), "{found:?}");
        check(id).says("ok", "", "");
    }
    let _mode = mode("/usr/lib/sshbox", 0o777);
    check("programs").says("fail", "/usr/lib/sshbox can be changed by others than root", "chmod go-w");
}

#[test]
fn missing_files_directories_and_packages() {
    let _world = world_alone();
    {
        let _gone = without("/usr/lib/sshbox/sshbox-reap");
        check("programs").says("fail", "sshbox-reap is missing", "reinstall sshbox");
    }
    {
        let _gone = without(SSHD_CONFIG);
        check("sshd-config").says("fail", "is missing", "reinstall");
        check("sshd-settings").says("skip", "see check sshd-config", "");
    }
    {
        let _gone = without(TOKEN);
        check("token").says("fail", "is missing", "install -m 0400");
        check("site").says("fail", "cannot read /etc/sshbox/token", "accounts.token_file");
    }
    let _gone = without("/run/sshbox/boxes");
    check("directories").says(
        "fail",
        "/run/sshbox/boxes is missing",
        "systemd-tmpfiles --create sshbox.conf",
    );
    run_doctor(&["--fix", "directories"]).0.remove(0).says("ok", "", "");
    fs::remove_dir("/run/sshbox/boxes").unwrap();
}

#[test]
fn homes_that_other_users_can_change() {
    let _world = world_alone();
    let homes = "/var/lib/sshbox/homes";
    {
        let _mode = mode(homes, 0o755);
        check("homes").says("warn", "can be entered by every local user", "chmod 0700");
    }
    {
        let _mode = mode(homes, 0o777);
        check("homes").says("fail", "can be changed by others than root", "chmod go-w");
    }
    {
        let _owner = Undo(|| drop(run("chown", &["root", homes])));
        run("chown", &["sshbox-keys", homes]);
        check("homes").says("fail", "can be changed by others than root", "chown root");
    }
    let _changed = Changed::config("home = \"/var/lib/sshbox/homes/{user}\"", "home = \"/nowhere/{user}\"");
    check("homes").says("fail", "/nowhere is no directory", "install -d -m 0700");
}

/// Creates a fake of this program until the first value is dropped. The second value is a PATH that contains it.
fn fake(name: &str, script: &str) -> (Undo<impl Fn() + use<>>, String) {
    let folder = folder("/run/sshbox-tests/fake");
    let path = format!("/run/sshbox-tests/fake/{name}");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, format!("/run/sshbox-tests/fake:{}", std::env::var("PATH").unwrap()))
}

#[test]
fn pending_security_updates_are_listed_without_network_access() {
    let _world = world_alone();
    let check = |apt: &str| {
        let (_fake, path) = fake("apt-get", &format!("#!/bin/sh\n{apt}\n"));
        let mut command = doctor(&["--json", "updates"]);
        command.env("PATH", path);
        let report: Value = serde_json::from_slice(&to_the_end(command, Vec::new()).stdout).unwrap();
        Found::of(&report["checks"][0])
    };
    let asked = "echo \"$*\" > /run/sshbox-tests/fake-asked";
    let origin = "Debian-Security:12/oldstable-security [amd64]";
    check(&format!("{asked}; echo 'Inst runc [1.1.5-1] (1.1.5-1+deb12u1 {origin})'")).says(
        "warn",
        "pending security updates: runc 1.1.5-1+deb12u1",
        "apt install runc",
    );
    let asked = fs::read_to_string("/run/sshbox-tests/fake-asked").unwrap();
    assert!(asked.starts_with("--simulate ") && !asked.contains("update "), "{asked}");
    check("exit 100").says("skip", "cannot tell", "");
    // An update that is not a security update, and one of a package that boxes do not need.
    let found = check("echo 'Inst runc [1] (2 Debian:12.11/oldstable [amd64])'");
    assert!(!found.seen.contains("wait:"), "{found:?}");
    let found = check(&format!("echo 'Inst jq [1] (2 {origin})'"));
    assert!(!found.seen.contains("wait:"), "{found:?}");
}

#[test]
fn disabled_units() {
    let _world = world_alone();
    // No systemd runs here: a fake shows that the doctor asks systemd and acts on the replies.
    let _system = folder("/run/systemd/system");
    let systemctl = "#!/bin/sh\necho \"$*\" >> /run/sshbox-tests/fake/asked\n\
        [ \"$1\" = show ] && printf 'ActiveState=inactive\\nUnitFileState=disabled\\n'\nexit 0\n";
    let (_fake, path) = fake("systemctl", systemctl);
    let mut command =
        doctor(&["--json", "--fix", "sshd-service", "wake-socket", "reap-timer", "recheck-timer"]);
    command.env("PATH", path);
    let output = to_the_end(command, Vec::new());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let units = ["sshbox-sshd.service", "sshbox-wake.socket", "sshbox-reap.timer", "sshbox-recheck.timer"];
    for (index, unit) in units.iter().enumerate() {
        let found = Found::of(&report["checks"][index]);
        assert_eq!(found.fixed.is_empty(), index == 0, "{found:?}");
        // sshbox-wake.socket starts it at boot.
        let starts = if index == 3 { "start" } else { "enable --now" };
        found.says("fail", &format!("{unit} is inactive, disabled"), &format!("systemctl {starts} {unit}"));
    }
    let asked = fs::read_to_string("/run/sshbox-tests/fake/asked").unwrap();
    let enabled: Vec<_> = asked.lines().filter(|line| line.starts_with("enable")).collect();
    let expected = units[1..3].iter().map(|unit| format!("enable --now {unit}"));
    assert_eq!(enabled, expected.collect::<Vec<_>>());
}
