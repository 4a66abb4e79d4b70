//! The container engine: whether it answers, and whether it can create and limit boxes.

use super::report::{CheckResult, fail, ok, warn};
use super::{Checked, Doctor};
use lifecycle::engine::{About, EngineError};
use session::exit::chain;

/// The oldest API that the tests cover.
const OLDEST: (u32, u32) = (1, 41);

/// `docker`: does the engine answer, with an API that is new enough?
pub fn docker(doctor: &Doctor) -> Checked {
    if let Err(error) = doctor.connected()? {
        return Ok(unreachable(error));
    }
    Ok(judge_version(doctor.about()?))
}

fn unreachable(error: &EngineError) -> CheckResult {
    let fix = match error {
        EngineError::Timeout(..) => {
            "it hangs: journalctl -u docker; sessions in running boxes continue meanwhile"
        }
        _ => "install it (apt install docker.io), start it (systemctl start docker), or set engine.socket",
    };
    fail(chain(error), fix)
}

fn judge_version(about: &About) -> CheckResult {
    let api =
        about.api.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let seen = format!("container engine {}, API {}", about.version, about.api);
    match api {
        Some(api) if api >= OLDEST => ok(seen),
        _ => fail(seen, "sshbox needs API 1.41 (Docker 20.10) or newer: upgrade the container engine"),
    }
}

/// `live-restore`: do sessions survive a restart of the engine?
pub fn live_restore(doctor: &Doctor) -> Checked {
    Ok(judge_live_restore(doctor.about()?.live_restore))
}

fn judge_live_restore(on: bool) -> CheckResult {
    if on {
        return ok("on: sessions survive a restart of the container engine");
    }
    warn(
        "off: a restart or upgrade of the container engine ends all sessions",
        "set \"live-restore\": true in /etc/docker/daemon.json, then systemctl reload docker",
    )
}

/// `cgroups`: can boxes be limited?
pub fn cgroups(doctor: &Doctor) -> Checked {
    let about = doctor.about()?;
    let file = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    Ok(judge_cgroups(&about.cgroups, &about.no_limits, file.trim()))
}

fn judge_cgroups(version: &str, no_limits: &[&str], controllers: &str) -> CheckResult {
    let seen = match controllers {
        "" => format!("version {version}"),
        controllers => format!("version {version}, with {controllers}"),
    };
    match no_limits {
        [] => ok(seen),
        // Without swap accounting a box may swap; every other limit holds.
        ["swap"] => warn(
            format!("{seen}; no limit on swap"),
            "boot with swapaccount=1, or without swap: a box may use more than its memory",
        ),
        missing => fail(
            format!("{seen}; the container engine cannot limit {}", missing.join(", ")),
            "boot with the memory, cpu and pids controllers: otherwise one box can use up the whole host",
        ),
    }
}

/// `image`: can new boxes be created?
pub fn image(doctor: &Doctor) -> Checked {
    let (config, engine) = (doctor.config()?, doctor.engine()?);
    let image = &config.container.image;
    let id = doctor.wait(engine.image_id(image)).map_err(|error| fail(chain(&error), "see docker"))?;
    Ok(match id {
        Some(id) => ok(format!("{image}, {}", id.chars().take(19).collect::<String>())),
        None => fail(
            format!("{image} is not on this host, and is never pulled"),
            "build it (packaging/image/build), pull it by hand, or set box.image",
        ),
    })
}

/// `network`: are boxes kept from reaching each other?
pub fn network(doctor: &Doctor) -> Checked {
    let (config, engine) = (doctor.config()?, doctor.engine()?);
    let name = &config.container.network;
    let apart = doctor.wait(engine.keeps_apart(name)).map_err(|error| fail(chain(&error), "see docker"))?;
    Ok(judge_network(name, apart))
}

fn judge_network(name: &str, apart: Option<bool>) -> CheckResult {
    match apart {
        Some(true) => ok(format!("{name} keeps boxes apart")),
        Some(false) => fail(
            format!("{name} lets boxes reach each other"),
            format!(
                "create it again while no box runs: docker network rm {name}; \
                 docker network create -o com.docker.network.bridge.enable_icc=false {name}"
            ),
        ),
        None => ok(format!("{name} is not there yet: the first box creates it")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    #[test]
    fn an_api_that_is_too_old_is_a_failure() {
        let judge = |api: &str| judge_version(&About { api: api.to_owned(), ..About::default() }).state;
        for (api, state) in [
            ("1.41", CheckState::Ok),
            ("1.54", CheckState::Ok),
            ("2.0", CheckState::Ok),
            ("1.40", CheckState::Fail),
            ("", CheckState::Fail),
        ] {
            assert_eq!(judge(api), state, "{api}");
        }
    }

    #[test]
    fn limits_that_cannot_be_set_are_reported() {
        assert_eq!(judge_cgroups("2", &[], "cpu memory pids").seen, "version 2, with cpu memory pids");
        assert_eq!(judge_cgroups("1", &["swap"], "").state, CheckState::Warn);
        assert_eq!(
            judge_cgroups("1", &["memory", "swap"], "").seen,
            "version 1; the container engine cannot limit memory, swap"
        );
    }

    #[test]
    fn a_network_keeps_boxes_apart_or_is_missing() {
        assert_eq!(judge_network("sshbox", Some(true)).state, CheckState::Ok);
        assert_eq!(judge_network("sshbox", Some(false)).state, CheckState::Fail);
        assert_eq!(judge_network("sshbox", None).state, CheckState::Ok);
        assert_eq!(judge_live_restore(false).state, CheckState::Warn);
    }
}
