//! What systemd does for sshbox: the server, the socket, the timer, and how far their
//! programs are fenced in.

use super::verdict::{Remedy, State, Verdict, fail, mend, ok, skip, warn};
use super::{Doctor, Judged, SMALL};
use identity::GID;
use session::presence::WAKE_SOCKET;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::process::Command;

/// The units whose exposure is measured, and the most that is theirs
/// (`systemd-analyze security`; 0 is best, 10 worst).
const EXPOSURE: [(&str, f64); 3] =
    [("sshbox-sshd.service", 5.1), ("sshbox-wake@.service", 2.0), ("sshbox-reap.service", 2.0)];

/// Where the package puts them.
const UNITS: &str = "/usr/lib/systemd/system";

const ENABLE_WAKE: Remedy = Remedy::Run(&["systemctl", "enable", "--now", "sshbox-wake.socket"]);
const ENABLE_REAP: Remedy = Remedy::Run(&["systemctl", "enable", "--now", "sshbox-reap.timer"]);

/// What systemd says of a unit.
fn show(doctor: &Doctor, unit: &str) -> Result<Shown, Verdict> {
    if !Path::new("/run/systemd/system").exists() {
        return Err(skip("this host is not run by systemd: what starts it must be looked at by hand"));
    }
    let properties = "--property=ActiveState,SubState,UnitFileState,Result,LastTriggerUSec,NeedDaemonReload";
    let ended = doctor.must(Command::new("systemctl").args(["show", properties, unit]), SMALL)?;
    Ok(Shown(ended.out))
}

/// Lines of `systemctl show`.
struct Shown(String);

impl Shown {
    fn get(&self, name: &str) -> &str {
        let of_name = |line| str::split_once(line, '=').filter(|(key, _)| *key == name);
        self.0.lines().find_map(of_name).map_or("", |(_, value)| value)
    }

    /// Whether it is active and starts with the host.
    fn is_on(&self) -> bool {
        self.get("ActiveState") == "active" && self.get("UnitFileState") == "enabled"
    }

    fn state(&self) -> String {
        let unit = match self.get("UnitFileState") {
            "" => "not installed",
            state => state,
        };
        format!("{}, {unit}", self.get("ActiveState"))
    }
}

/// `sshd-service`: does our sshd run, and start with the host?
pub fn sshd(doctor: &Doctor) -> Judged {
    Ok(judge_sshd(&show(doctor, "sshbox-sshd.service")?))
}

fn judge_sshd(shown: &Shown) -> Verdict {
    let start = "systemctl enable --now sshbox-sshd.service; journalctl -u sshbox-sshd says why if it ends";
    match shown {
        shown if shown.get("NeedDaemonReload") == "yes" => warn(
            "its unit file has changed since systemd read it",
            "systemctl daemon-reload; systemctl restart sshbox-sshd",
        ),
        shown if shown.is_on() => ok("active, enabled"),
        shown if shown.get("ActiveState") == "active" => {
            warn(format!("sshbox-sshd.service is {}: it does not start with the host", shown.state()), start)
        }
        shown => fail(format!("sshbox-sshd.service is {}", shown.state()), start),
    }
}

/// `wake-socket`: can sessions ask for their box?
pub fn wake(doctor: &Doctor) -> Judged {
    let seen = std::fs::symlink_metadata(WAKE_SOCKET).ok();
    let seen = seen
        .filter(|meta| meta.file_type().is_socket())
        .map(|meta| (meta.uid(), meta.gid(), meta.mode() & 0o777));
    let listens = listens(WAKE_SOCKET, &std::fs::read_to_string("/proc/net/unix").unwrap_or_default());
    Ok(match show(doctor, "sshbox-wake.socket") {
        Ok(shown) if !shown.is_on() => {
            mend(State::Fail, format!("sshbox-wake.socket is {}", shown.state()), vec![ENABLE_WAKE])
        }
        // Without systemd the socket itself is what there is to see.
        _ => judge_wake(seen, listens),
    })
}

/// Whether somebody listens at this path, by `/proc/net/unix`: flags `__SO_ACCEPTCON` (bit 16).
fn listens(path: &str, table: &str) -> bool {
    table.lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.last() == Some(&path) && words.get(3) == Some(&"00010000")
    })
}

fn judge_wake(seen: Option<(u32, u32, u32)>, listens: bool) -> Verdict {
    let start = "systemctl restart sshbox-wake.socket";
    match seen {
        None => fail(format!("there is no {WAKE_SOCKET}: no box can be started"), start),
        Some(_) if !listens => fail(format!("nobody listens at {WAKE_SOCKET}: no box can be started"), start),
        Some((0, GID, 0o660)) => ok(format!("{WAKE_SOCKET} listens, for group sshbox")),
        Some((uid, gid, mode)) => fail(
            format!("{WAKE_SOCKET} belongs to {uid}:{gid} with mode {mode:04o}, not to 0:{GID} with 0660"),
            start,
        ),
    }
}

/// `reap-timer`: are idle boxes stopped?
pub fn reap(doctor: &Doctor) -> Judged {
    let timer = show(doctor, "sshbox-reap.timer")?;
    Ok(judge_reap(&timer, &show(doctor, "sshbox-reap.service")?))
}

fn judge_reap(timer: &Shown, service: &Shown) -> Verdict {
    if !timer.is_on() {
        let seen = format!("sshbox-reap.timer is {}: no box is ever stopped", timer.state());
        return mend(State::Fail, seen, vec![ENABLE_REAP]);
    }
    let last = timer.get("LastTriggerUSec");
    if !matches!(service.get("Result"), "success" | "") {
        return fail(
            format!("its last run failed ({}), {last}", service.get("Result")),
            "journalctl -u sshbox-reap says why; sshbox-reap --dry-run says what it would do",
        );
    }
    if matches!(last, "" | "n/a" | "0") {
        ok("active; has not run yet")
    } else {
        ok(format!("active, last run {last}"))
    }
}

/// `exposure`: are the units fenced in as far as the package promises?
pub fn exposure(doctor: &Doctor) -> Judged {
    let mut scores = Vec::new();
    for (unit, most) in EXPOSURE {
        // From the files alone where systemd does not run; else with what the admin has added.
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--no-pager"]);
        if Path::new("/run/systemd/system").exists() {
            command.arg(unit.replace('@', "@doctor"));
        } else {
            command.args(["--offline=true", &format!("{UNITS}/{unit}")]);
        }
        let ended = doctor.must(&mut command, SMALL * 3)?;
        scores.push((unit, most, score(&ended.out).ok_or_else(|| ended.last_words())));
    }
    Ok(judge_exposure(&scores))
}

/// The number in `→ Overall exposure level for sshbox-sshd.service: 4.8 OK`.
fn score(text: &str) -> Option<f64> {
    let (_, rest) = text.rsplit_once("Overall exposure level for ")?;
    rest.split_once(": ")?.1.split_whitespace().next()?.parse().ok()
}

fn judge_exposure(scores: &[(&str, f64, Result<f64, String>)]) -> Verdict {
    let mut shown = Vec::new();
    let mut over = false;
    for (unit, most, score) in scores {
        match score {
            Ok(score) => {
                over |= score > most;
                shown.push(format!("{unit} {score:.1} (at most {most:.1})"));
            }
            Err(error) => return skip(format!("systemd-analyze does not tell of {unit}: {error}")),
        }
    }
    if over {
        return warn(
            shown.join(", "),
            "systemctl cat shows what was added to the unit; take away what opens it",
        );
    }
    ok(shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Shown {
        Shown(text.to_owned())
    }

    const ON: &str = "ActiveState=active\nSubState=running\nUnitFileState=enabled\nNeedDaemonReload=no\n";

    #[test]
    fn a_server_that_does_not_run_or_would_not_start_again_is_told() {
        assert_eq!(judge_sshd(&shown(ON)).state, State::Ok);
        let failed = judge_sshd(&shown("ActiveState=failed\nUnitFileState=enabled\nResult=exit-code\n"));
        assert_eq!(
            (failed.state, failed.seen.as_str()),
            (State::Fail, "sshbox-sshd.service is failed, enabled")
        );
        let disabled = judge_sshd(&shown("ActiveState=active\nUnitFileState=disabled\n"));
        assert!(disabled.seen.ends_with("does not start with the host"), "{disabled:?}");
        let missing = judge_sshd(&shown("ActiveState=inactive\nUnitFileState=\n"));
        assert_eq!(missing.seen, "sshbox-sshd.service is inactive, not installed");
        assert_eq!(judge_sshd(&shown(&ON.replace("Reload=no", "Reload=yes"))).state, State::Warn);
    }

    #[test]
    fn a_timer_that_is_off_and_a_run_that_failed_are_told() {
        let timer = format!("{ON}LastTriggerUSec=Tue 2026-03-03 10:05:00 UTC\n");
        let good = judge_reap(&shown(&timer), &shown("Result=success\n"));
        assert_eq!(good.seen, "active, last run Tue 2026-03-03 10:05:00 UTC");
        let bad = judge_reap(&shown(&timer), &shown("Result=exit-code\n"));
        assert_eq!(bad.seen, "its last run failed (exit-code), Tue 2026-03-03 10:05:00 UTC");
        let off = judge_reap(&shown("ActiveState=inactive\nUnitFileState=disabled\n"), &shown(""));
        assert_eq!((off.state, off.remedies), (State::Fail, vec![ENABLE_REAP]));
        let never = judge_reap(&shown(&format!("{ON}LastTriggerUSec=n/a\n")), &shown("Result=success\n"));
        assert_eq!(never.seen, "active; has not run yet");
    }

    #[test]
    fn the_wake_socket_is_for_the_group_and_has_a_listener() {
        assert_eq!(judge_wake(Some((0, GID, 0o660)), true).state, State::Ok);
        for (seen, listens) in [
            (None, false),
            (Some((0, GID, 0o660)), false),
            (Some((0, GID, 0o666)), true),
            (Some((0, 0, 0o660)), true),
            (Some((1, GID, 0o660)), true),
        ] {
            assert_eq!(judge_wake(seen, listens).state, State::Fail, "{seen:?} {listens}");
        }
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0000000000000000: 00000002 00000000 00010000 0005 01 71 /run/sshbox/wake.sock\n\
                     0000000000000000: 00000003 00000000 00000000 0005 03 72 /run/other\n";
        assert!(listens("/run/sshbox/wake.sock", table));
        assert!(!listens("/run/other", table));
    }

    #[test]
    fn exposure_may_not_rise() {
        let text = "...\n\n→ Overall exposure level for sshbox-sshd.service: 4.8 OK 🙂\n";
        assert_eq!(score(text), Some(4.8));
        assert_eq!(score("Failed"), None);
        let judge = |score| judge_exposure(&[("x.service", 2.0, score)]);
        assert_eq!(judge(Ok(2.0)).state, State::Ok);
        assert_eq!(judge(Ok(2.1)).seen, "x.service 2.1 (at most 2.0)");
        assert_eq!(judge(Ok(9.6)).state, State::Warn);
        assert_eq!(judge(Err("no such unit".to_owned())).state, State::Skip);
    }
}
