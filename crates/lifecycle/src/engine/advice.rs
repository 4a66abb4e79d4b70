//! Advice for an admin that depends on the engine: the commands that show what it does and the files that
//! configure it. All other texts say "the container engine".

use super::docker::NO_TRAFFIC_BETWEEN_CONTAINERS;

/// After an error of a call.
pub const CHECK: &str = "check whether the container engine runs: systemctl status docker";

/// When it answers, but not about itself.
pub const SEE_LOG: &str = "see its log: journalctl -u docker";

/// When it does not answer in time.
pub const HANGS: &str = "journalctl -u docker shows why it hangs; open sessions are not affected";

/// When nothing listens at its socket.
pub const INSTALL: &str =
    "install it (apt install docker.io), start it (systemctl start docker), or set engine.socket";

/// When its restart ends all containers.
pub const SET_LIVE_RESTORE: &str =
    "set \"live-restore\": true in /etc/docker/daemon.json, then systemctl reload docker";

/// When a box has more rights than it was created with.
pub const COMPARE_RIGHTS: &str =
    "compare docker inspect of a box with SECURITY.md; the runtime or daemon.json may weaken it";

/// When neither `AppArmor` nor `SELinux` confines boxes.
pub const INSTALL_APPARMOR: &str =
    "apt install apparmor and restart docker: it still confines boxes if another limit fails";

/// When the `AppArmor` profile of boxes is not in force: sshbox's own, or the engine's.
pub const ENFORCE_PROFILE: &str =
    "AppArmor does not confine boxes: aa-enforce sshbox-box (or docker-default); see docker info";

/// When a box reaches the host or the services of a cloud provider.
pub const FILTER_BRIDGE: &str = "filter what comes from the boxes' bridge: for the host in INPUT, for other \
                                 destinations in DOCKER-USER (SECURITY.md)";

/// About a container that is reported as dead.
pub const REMOVE_DEAD: &str = "the container engine cannot remove it and reports it as dead; try docker rm";

/// About a container that the engine removes when it stops.
pub const SAVE_BEFORE_STOP: &str = "it was started with --rm: stopping removes it and all that is only in it; \
                                    save what is needed, then docker stop it yourself";

/// When the containers of this network reach each other.
#[must_use]
pub fn create_network_again(name: &str) -> String {
    let (option, value) = NO_TRAFFIC_BETWEEN_CONTAINERS;
    format!(
        "create it again while no box runs: docker network rm {name}; \
         docker network create -o {option}={value} {name}"
    )
}
