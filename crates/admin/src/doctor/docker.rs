//! The container engine: whether it answers, whether it can create, limit and isolate boxes, and whether
//! they survive its restart.

use super::report::{CheckResult, fail, ok, warn};
use super::uids::named;
use super::{Checked, Doctor};
use host::cache::Cache;
use host::config::Config;
use host::home;
use host::sys::cgroup;
use lifecycle::engine::{EngineError, advice};
use session::exit::chain;

/// Length of an image id that is shown: `sha256:` and 12 digits.
const SHORT_ID: usize = 19;

/// `docker`: does the engine answer?
pub fn docker(doctor: &Doctor) -> Checked {
    // Two results: `?` returns if there is no valid configuration; the inner error is the engine's.
    let connection = doctor.connection()?;
    if let Err(error) = connection {
        let fix = match error {
            EngineError::Timeout(..) => advice::HANGS,
            _ => advice::INSTALL,
        };
        return Ok(fail(chain(error), fix));
    }
    let about = doctor.about()?;
    Ok(ok(format!("container engine {}, API {}", about.version, about.api)))
}

/// `live-restore`: do sessions survive a restart of the engine?
pub fn live_restore(doctor: &Doctor) -> Checked {
    if doctor.about()?.live_restore {
        return Ok(ok("on: sessions survive a restart of the container engine"));
    }
    Ok(warn("off: a restart or upgrade of the container engine ends all sessions", advice::SET_LIVE_RESTORE))
}

/// `cgroups`: can boxes be limited?
pub fn cgroups(doctor: &Doctor) -> Checked {
    let about = doctor.about()?;
    Ok(judge_cgroups(&about.cgroup_version, &about.unsupported_limits, cgroup::has_io_weight()))
}

fn judge_cgroups(version: &str, unsupported_limits: &[&str], io_weight: bool) -> CheckResult {
    match unsupported_limits {
        [] if io_weight => ok(format!("version {version}")),
        [] => ok(format!(
            "version {version}; the kernel does not share disks by weight: io_weight has no effect"
        )),
        // A box can then use any amount of swap; every other limit holds.
        ["swap"] => warn(
            format!("version {version}; no limit on swap"),
            "boot with swapaccount=1 or turn swap off; until then a box can use swap beyond its memory limit",
        ),
        missing => fail(
            format!("version {version}; the container engine cannot limit {}", missing.join(", ")),
            "boot with the memory, cpu and pids controllers: otherwise one box can use up the whole host",
        ),
    }
}

/// `image`: can new boxes be created?
pub fn image(doctor: &Doctor) -> Checked {
    let (config, engine) = (doctor.config()?, doctor.engine()?);
    let image = &config.container.image;
    let id = doctor.wait(engine.image_id(image)).map_err(|error| fail(chain(&error), "see check docker"))?;
    let Some(id) = id else {
        return Ok(fail(
            format!("{image} is not on this host, and sshbox pulls no image"),
            "build it (packaging/image/build), pull it by hand, or set box.image",
        ));
    };
    let not_allowed = not_allowed(config);
    Ok(if not_allowed.is_empty() {
        ok(format!("{image}, {}", id.chars().take(SHORT_ID).collect::<String>()))
    } else {
        fail(
            format!("accounts name images that box.images does not allow: {}", named(&not_allowed)),
            "add these images to box.images: these users cannot start a box",
        )
    })
}

/// The users with a home whose account names an image that is not allowed, each with the image.
fn not_allowed(config: &Config) -> Vec<String> {
    let cache = Cache::new(&config.accounts.cache);
    let users = home::owners(&config.container.home).unwrap_or_default().into_iter().map(|(login, _)| login);
    let refused = users.filter_map(|login| {
        let image = cache.read(&login)?.account.image;
        let refused = config.container.image_for(image.as_deref()).err()?;
        Some(format!("{login} ({refused})"))
    });
    refused.collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    #[test]
    fn limits_that_cannot_be_set_are_reported() {
        assert_eq!(judge_cgroups("2", &[], true).finding, "version 2");
        let no_weight = judge_cgroups("2", &[], false);
        assert_eq!(no_weight.state, CheckState::Ok);
        assert!(no_weight.finding.contains("io_weight has no effect"), "{}", no_weight.finding);
        assert_eq!(judge_cgroups("1", &["swap"], true).state, CheckState::Warn);
        let missing = judge_cgroups("1", &["memory", "swap"], true);
        assert_eq!(missing.state, CheckState::Fail);
        assert_eq!(missing.finding, "version 1; the container engine cannot limit memory, swap");
    }
}
