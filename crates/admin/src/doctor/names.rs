//! Names of containers: whether they can be computed, and whether they tell other boxes who the users are.

use super::report::{CheckResult, fail, ok, warn};
use super::{Checked, Doctor};
use crate::boxes::UNREADABLE_SECRET;
use host::box_names::BoxNames;
use host::config::ContainerConfig;
use identity::Login;
use session::exit::chain;

/// `names`: do the names of boxes keep their users to themselves?
pub fn names(doctor: &Doctor) -> Checked {
    let container = &doctor.config()?.container;
    if let Err(error) = BoxNames::load(&container.name) {
        return Ok(fail(chain(&error), UNREADABLE_SECRET));
    }
    Ok(judge_names(container, &doctor.temporary_user))
}

/// `user` stands for any user.
fn judge_names(container: &ContainerConfig, user: &Login) -> CheckResult {
    if !container.name.has_digest() {
        return warn(
            "user names can be looked up in DNS by every box: box.name contains {user}",
            "set box.name to \"sshbox-{digest}\"; boxes are renamed within five minutes, and no session ends",
        );
    }
    if container.hostname.fill(user).contains(user.as_str()) {
        return warn(
            "user names can be looked up in DNS by every box: box.hostname contains {user}",
            "set box.hostname to a name without {user}: container engines from version 25 on tell host names",
        );
    }
    ok("names of boxes do not tell who the users are")
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    #[test]
    fn a9_names_that_contain_the_login_name_are_reported() {
        let judge = |name: &str, hostname: &str| {
            let container = ContainerConfig {
                name: name.parse().unwrap(),
                hostname: hostname.parse().unwrap(),
                ..ContainerConfig::default()
            };
            judge_names(&container, &Login::parse(b"alice").unwrap())
        };
        assert_eq!(judge("sshbox-{digest}", "box").state, CheckState::Ok);
        for (name, hostname, word) in
            [("sshbox-{user}", "box", "box.name"), ("sshbox-{digest}", "{user}-box", "box.hostname")]
        {
            let result = judge(name, hostname);
            assert_eq!(result.state, CheckState::Warn, "{name} {hostname}");
            assert!(result.finding.contains(word), "{result:?}");
        }
    }
}
