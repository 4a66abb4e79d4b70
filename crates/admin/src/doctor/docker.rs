//! Docker: whether it answers, and whether boxes are made as they are described to it.

use super::verdict::{Remedy, State, Verdict, fail, mend, ok, warn};
use super::{Doctor, Judged};
use lifecycle::engine::{About, EngineError};
use session::exit::chain;

/// The oldest API that the tests have met.
const OLDEST: (u32, u32) = (1, 41);

/// `docker`: does it answer, and speak our language?
pub fn docker(doctor: &Doctor) -> Judged {
    if let Err(error) = doctor.connected()? {
        return Ok(unreachable(error));
    }
    Ok(judge_version(doctor.about()?))
}

fn unreachable(error: &EngineError) -> Verdict {
    let fix = match error {
        EngineError::Timeout(..) => {
            "it hangs: journalctl -u docker; sessions in boxes that run go on meanwhile"
        }
        _ => "install it (apt install docker.io), start it (systemctl start docker), or set engine.socket",
    };
    fail(chain(error), fix)
}

fn judge_version(about: &About) -> Verdict {
    let api =
        about.api.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let seen = format!("Docker {}, API {}", about.version, about.api);
    match api {
        Some(api) if api >= OLDEST => ok(seen),
        _ => fail(seen, "sshbox needs API 1.41 (Docker 20.10) or newer: upgrade Docker"),
    }
}

/// `live-restore`: do sessions outlive dockerd?
pub fn live_restore(doctor: &Doctor) -> Judged {
    Ok(judge_live_restore(doctor.about()?.live_restore))
}

fn judge_live_restore(on: bool) -> Verdict {
    if on {
        return ok("on: sessions outlive a restart of dockerd");
    }
    warn(
        "off: a restart or upgrade of Docker ends all sessions",
        "set \"live-restore\": true in /etc/docker/daemon.json, then systemctl reload docker",
    )
}

/// `cgroups`: can boxes be limited?
pub fn cgroups(doctor: &Doctor) -> Judged {
    let about = doctor.about()?;
    let file = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    Ok(judge_cgroups(&about.cgroups, &about.no_limits, file.trim()))
}

fn judge_cgroups(version: &str, no_limits: &[&str], controllers: &str) -> Verdict {
    let seen = match controllers {
        "" => format!("version {version}"),
        controllers => format!("version {version}, with {controllers}"),
    };
    match no_limits {
        [] => ok(seen),
        // Without an account of swap a box may swap; all else holds.
        ["swap"] => warn(
            format!("{seen}; no limit on swap"),
            "boot with swapaccount=1, or without swap: a box may use more than its memory",
        ),
        missing => fail(
            format!("{seen}; Docker cannot limit {}", missing.join(", ")),
            "boot with cgroups that have memory, cpu and pids: one box can take the whole host else",
        ),
    }
}

/// `confinement`: does the kernel fence containers in?
pub fn confinement(doctor: &Doctor) -> Judged {
    Ok(judge_confinement(&doctor.about()?.security))
}

fn judge_confinement(options: &[String]) -> Verdict {
    let has = |name: &str| {
        options.iter().any(|option| option.split(',').any(|part| part == format!("name={name}")))
    };
    let open = options.iter().any(|option| option.contains("profile=unconfined"));
    if !has("seccomp") || open {
        return fail(
            "no seccomp profile: boxes may make every system call",
            "take \"seccomp-profile\" out of /etc/docker/daemon.json; the kernel needs CONFIG_SECCOMP_FILTER",
        );
    }
    let extra: Vec<_> = ["userns", "rootless"].into_iter().filter(|name| has(name)).collect();
    let extra = if extra.is_empty() { String::new() } else { format!(", {}", extra.join(", ")) };
    match ["apparmor", "selinux"].into_iter().find(|name| has(name)) {
        Some(name) => ok(format!("seccomp, {name}{extra}")),
        None => warn(
            format!("seccomp{extra}, but neither AppArmor nor SELinux"),
            "apt install apparmor and restart docker: it is a second fence if the first one breaks",
        ),
    }
}

/// `image`: can new boxes be made?
pub fn image(doctor: &Doctor) -> Judged {
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

/// `network`: do boxes not see each other?
pub fn network(doctor: &Doctor) -> Judged {
    let (config, engine) = (doctor.config()?, doctor.engine()?);
    let name = &config.container.network;
    let apart = doctor.wait(engine.keeps_apart(name)).map_err(|error| fail(chain(&error), "see docker"))?;
    Ok(judge_network(name, apart))
}

fn judge_network(name: &str, apart: Option<bool>) -> Verdict {
    match apart {
        Some(true) => ok(format!("{name} keeps boxes apart")),
        Some(false) => fail(
            format!("{name} lets boxes reach each other"),
            format!(
                "make it anew while no box runs: docker network rm {name}; {}",
                Remedy::Network(name.to_owned())
            ),
        ),
        None => {
            let seen = format!("{name} is not there yet: the first box makes it");
            mend(State::Ok, seen, vec![Remedy::Network(name.to_owned())])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_api_that_is_too_old_is_refused() {
        let judge = |api: &str| judge_version(&About { api: api.to_owned(), ..About::default() }).state;
        for (api, state) in [
            ("1.41", State::Ok),
            ("1.54", State::Ok),
            ("2.0", State::Ok),
            ("1.40", State::Fail),
            ("", State::Fail),
        ] {
            assert_eq!(judge(api), state, "{api}");
        }
    }

    #[test]
    fn limits_that_cannot_be_set_are_told() {
        assert_eq!(judge_cgroups("2", &[], "cpu memory pids").seen, "version 2, with cpu memory pids");
        assert_eq!(judge_cgroups("1", &["swap"], "").state, State::Warn);
        assert_eq!(
            judge_cgroups("1", &["memory", "swap"], "").seen,
            "version 1; Docker cannot limit memory, swap"
        );
    }

    #[test]
    fn what_fences_boxes_in_is_told() {
        let judge = |list: &[&str]| judge_confinement(&options(list));
        let both = judge(&["name=apparmor", "name=seccomp,profile=default", "name=cgroupns"]);
        assert_eq!((both.state, both.seen.as_str()), (State::Ok, "seccomp, apparmor"));
        assert_eq!(judge(&["name=seccomp,profile=builtin"]).state, State::Warn);
        assert_eq!(judge(&["name=apparmor"]).state, State::Fail);
        assert_eq!(judge(&["name=apparmor", "name=seccomp,profile=unconfined"]).state, State::Fail);
    }

    #[test]
    fn a_network_keeps_boxes_apart_or_is_made() {
        assert_eq!(judge_network("sshbox", Some(true)).state, State::Ok);
        assert_eq!(judge_network("sshbox", Some(false)).state, State::Fail);
        assert_eq!(judge_network("sshbox", None).remedies, [Remedy::Network("sshbox".to_owned())]);
        assert_eq!(judge_live_restore(false).state, State::Warn);
    }
}
