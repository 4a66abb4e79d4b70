//! The systemd units of sshbox: its sshd, the socket of `sshbox-wake`, and the timers of `sshbox-reap` and
//! `sshbox recheck`.

use super::files::FileState;
use super::report::{CheckResult, Remedy, fail, mend, ok, skip, warn};
use super::{Checked, Doctor};
use identity::GID;
use session::deadlines::HOST_PROGRAM;
use session::presence::WAKE_SOCKET;
use session::procfs;
use std::path::Path;
use std::process::Command;

const ENABLE_WAKE: Remedy = Remedy::Run(&["systemctl", "enable", "--now", "sshbox-wake.socket"]);
const ENABLE_REAP: Remedy = Remedy::Run(&["systemctl", "enable", "--now", "sshbox-reap.timer"]);
const START_RECHECK: Remedy = Remedy::Run(&["systemctl", "start", "sshbox-recheck.timer"]);

/// The properties of a unit, as `systemctl show` prints them.
fn properties(doctor: &Doctor, unit: &str) -> Result<String, CheckResult> {
    if !Path::new("/run/systemd/system").exists() {
        return Err(skip("systemd does not run on this host: check by hand what starts sshbox"));
    }
    let names = "--property=ActiveState,UnitFileState";
    Ok(doctor.must(Command::new("systemctl").args(["show", names, unit]), HOST_PROGRAM)?.out)
}

/// Whether the unit is active and starts at boot. `off` makes the result for a unit that is not active.
fn judge_unit(unit: &str, properties: &str, off: impl Fn(String) -> CheckResult) -> CheckResult {
    let get = |name: &str| {
        let of_name = |line| str::split_once(line, '=').filter(|(key, _)| *key == name);
        properties.lines().find_map(of_name).map_or("", |(_, value)| value)
    };
    match (get("ActiveState"), get("UnitFileState")) {
        ("active", "enabled") => ok("active, enabled"),
        // Another unit starts it.
        ("active", "static") => ok("active"),
        ("active", file) => warn(
            format!("{unit} is active, {file}: it does not start at boot"),
            format!("systemctl enable {unit}"),
        ),
        (active, "") => off(format!("{unit} is {active}, not installed")),
        (active, file) => off(format!("{unit} is {active}, {file}")),
    }
}

/// `sshd-service`: does sshbox's sshd run, and start at boot?
pub fn sshd(doctor: &Doctor) -> Checked {
    let unit = "sshbox-sshd.service";
    let start = "systemctl enable --now sshbox-sshd.service; journalctl -u sshbox-sshd shows why it ended";
    Ok(judge_unit(unit, &properties(doctor, unit)?, |finding| fail(finding, start)))
}

/// `reap-timer`: are idle boxes stopped?
pub fn reap(doctor: &Doctor) -> Checked {
    let unit = "sshbox-reap.timer";
    let off = |finding| mend(format!("{finding}: no box is ever stopped"), vec![ENABLE_REAP]);
    Ok(judge_unit(unit, &properties(doctor, unit)?, off))
}

/// `recheck-timer`: are the connections of removed users and keys closed?
pub fn recheck(doctor: &Doctor) -> Checked {
    let unit = "sshbox-recheck.timer";
    let off = |finding| {
        mend(format!("{finding}: a removed user or key keeps its open connections"), vec![START_RECHECK])
    };
    Ok(judge_unit(unit, &properties(doctor, unit)?, off))
}

/// `wake-socket`: can sessions request the start of their box?
pub fn wake(doctor: &Doctor) -> Checked {
    let unit = "sshbox-wake.socket";
    if let Ok(properties) = properties(doctor, unit) {
        let result = judge_unit(unit, &properties, |finding| mend(finding, vec![ENABLE_WAKE]));
        if result.fix.is_some() {
            return Ok(result);
        }
    }
    let listens = procfs::has_unix_listener(WAKE_SOCKET);
    Ok(judge_wake(FileState::at(Path::new(WAKE_SOCKET)), listens))
}

fn judge_wake(found: Option<FileState>, listens: bool) -> CheckResult {
    let start = "systemctl restart sshbox-wake.socket";
    match found {
        None => fail(format!("there is no {WAKE_SOCKET}: no box can be started"), start),
        Some(_) if !listens => fail(format!("nobody listens at {WAKE_SOCKET}: no box can be started"), start),
        Some(FileState { uid: 0, gid: GID, mode: 0o660, .. }) => {
            ok(format!("{WAKE_SOCKET} listens, for group sshbox"))
        }
        Some(found) => {
            fail(format!("{WAKE_SOCKET} belongs to {found}, not to 0:{GID} with mode 0660"), start)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    #[test]
    fn a_unit_must_be_active_and_start_at_boot() {
        for (active, file, state, finding) in [
            ("active", "enabled", CheckState::Ok, "active, enabled"),
            ("active", "static", CheckState::Ok, "active"),
            ("active", "disabled", CheckState::Warn, "x is active, disabled: it does not start at boot"),
            ("failed", "enabled", CheckState::Fail, "x is failed, enabled"),
            ("inactive", "", CheckState::Fail, "x is inactive, not installed"),
        ] {
            let properties = format!("ActiveState={active}\nUnitFileState={file}\n");
            let result = judge_unit("x", &properties, |finding| fail(finding, "start it"));
            assert_eq!((result.state, &*result.finding), (state, finding));
        }
    }

    #[test]
    fn the_wake_socket_is_for_the_group_and_has_a_listener() {
        let socket = |uid, gid, mode| Some(FileState { directory: false, uid, gid, mode });
        assert_eq!(judge_wake(socket(0, GID, 0o660), true).state, CheckState::Ok);
        for (found, listens) in [
            (None, false),
            (socket(0, GID, 0o660), false),
            (socket(0, GID, 0o666), true),
            (socket(0, 0, 0o660), true),
            (socket(1, GID, 0o660), true),
        ] {
            assert_eq!(judge_wake(found, listens).state, CheckState::Fail, "{found:?} {listens}");
        }
    }
}
