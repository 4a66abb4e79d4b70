//! Decides what `sshbox-wake` must do next with a container until its box accepts sessions. A function
//! without side effects.

use crate::container::{Container, ContainerState};
use crate::spec::BoxSpec;

/// What to do next with the container of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStep {
    /// There is no container: create it.
    Create,
    /// The container is stopped: start it.
    Start,
    /// The container is running: check whether it accepts sessions.
    Probe,
    /// The container is paused: unpause it.
    Unpause,
    /// Another process is changing the container: wait a moment and find it again.
    Wait,
    /// The container is broken, or its spec has changed: remove it and create it again. The home stays.
    Recreate,
    /// The image is gone, and the container has another user or network than the box must have now: change
    /// nothing.
    RefuseWithoutImage,
    /// The container was created for another user, or by another program: change nothing.
    Refuse,
}

/// Decides about the next step. `container` is the one with the name in `spec`, if it exists. A running
/// box is kept even if `spec` has changed.
#[must_use]
pub fn start_step(container: Option<&Container>, spec: &BoxSpec) -> StartStep {
    let Some(container) = container else {
        return StartStep::Create;
    };
    let Some(labels) = container.labels.as_ref().filter(|labels| labels.user == spec.user()) else {
        return StartStep::Refuse;
    };
    match container.state {
        ContainerState::Running => StartStep::Probe,
        ContainerState::Paused => StartStep::Unpause,
        ContainerState::Busy => StartStep::Wait,
        // If the image no longer exists, the container cannot be created again, but it can be started.
        ContainerState::Stopped if spec.image_id.is_empty() => {
            let keeps_apart =
                container.user == spec.config.process.user.to_string() && container.network == spec.network;
            if keeps_apart { StartStep::Start } else { StartStep::RefuseWithoutImage }
        }
        // An update may have changed the limits since the container was created.
        ContainerState::Stopped if labels.spec == spec.hash() && container.limits == spec.limits() => {
            StartStep::Start
        }
        ContainerState::Stopped | ContainerState::Dead => StartStep::Recreate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::BoxLabels;
    use crate::spec::HostSide;
    use host::config::{Config, UidGid};
    use host::features::HostFeatures;
    use identity::Login;
    use std::path::Path;

    fn spec() -> BoxSpec {
        let account = serde_json::from_str(r#"{"user":"alice","id":42,"keys":[]}"#).unwrap();
        let features = HostFeatures::default();
        let user = UidGid { uid: 1_700_000_042, gid: 1_700_000_042 };
        let (home, run) = (Path::new("/h"), Path::new("/r"));
        let host = HostSide { name: "sshbox-00112233aabbccdd", user, home, run, features: &features };
        let login = Login::parse(b"alice").unwrap();
        BoxSpec::new(&Config::default().container, &login, &account, host).of_image("sha256:1")
    }

    fn container(state: ContainerState, labels: Option<BoxLabels>) -> Container {
        let (user, network) = ("1700000042:1700000042".to_owned(), "sshbox0".to_owned());
        let (id, limits) = ("x".to_owned(), spec().limits());
        Container { id, state, labels, limits, user, network, ..Container::default() }
    }

    fn labels(user: &str, spec: &str) -> BoxLabels {
        BoxLabels { user: user.to_owned(), account: "42".to_owned(), spec: spec.to_owned() }
    }

    #[test]
    fn f5_each_state_has_its_step() {
        let spec = spec();
        let current = Some(labels("alice", &spec.hash()));
        assert_eq!(start_step(None, &spec), StartStep::Create);
        for (state, step) in [
            (ContainerState::Stopped, StartStep::Start),
            (ContainerState::Running, StartStep::Probe),
            (ContainerState::Paused, StartStep::Unpause),
            (ContainerState::Busy, StartStep::Wait),
            (ContainerState::Dead, StartStep::Recreate),
        ] {
            assert_eq!(start_step(Some(&container(state, current.clone())), &spec), step);
        }
    }

    #[test]
    fn f8_a_box_of_another_spec_is_created_anew_when_it_does_not_run() {
        let spec = spec();
        let old = Some(labels("alice", &spec.clone().of_image("sha256:0").hash()));
        let step = |state| start_step(Some(&container(state, old.clone())), &spec);
        assert_eq!(step(ContainerState::Stopped), StartStep::Recreate);
        assert_eq!(step(ContainerState::Running), StartStep::Probe);
    }

    #[test]
    fn f9_a_stopped_box_whose_limits_were_changed_is_created_anew() {
        let spec = spec();
        let mut container = container(ContainerState::Stopped, Some(labels("alice", &spec.hash())));
        assert_eq!(start_step(Some(&container), &spec), StartStep::Start);
        container.limits.pids += 1;
        assert_eq!(start_step(Some(&container), &spec), StartStep::Recreate);
        container.state = ContainerState::Running;
        assert_eq!(start_step(Some(&container), &spec), StartStep::Probe);
    }

    #[test]
    fn a_stopped_box_whose_image_is_gone_starts_as_it_is() {
        let spec = spec();
        let current = Some(labels("alice", &spec.hash()));
        let without_image = spec.of_image("");
        let step = |state| start_step(Some(&container(state, current.clone())), &without_image);
        assert_eq!(step(ContainerState::Stopped), StartStep::Start);
        assert_eq!(step(ContainerState::Dead), StartStep::Recreate);
        // But not with the files of another user, or with another way out.
        let change = |change: fn(&mut Container)| {
            let mut container = container(ContainerState::Stopped, current.clone());
            change(&mut container);
            start_step(Some(&container), &without_image)
        };
        assert_eq!(change(|found| found.user = "1000:1000".to_owned()), StartStep::RefuseWithoutImage);
        assert_eq!(change(|found| found.network = "bridge".to_owned()), StartStep::RefuseWithoutImage);
    }

    #[test]
    fn a2_a_foreign_container_is_left_alone_in_every_state() {
        let spec = spec();
        for state in [
            ContainerState::Stopped,
            ContainerState::Running,
            ContainerState::Paused,
            ContainerState::Busy,
            ContainerState::Dead,
        ] {
            assert_eq!(start_step(Some(&container(state, None)), &spec), StartStep::Refuse);
            let of_bob = Some(labels("bob", &spec.hash()));
            assert_eq!(start_step(Some(&container(state, of_bob)), &spec), StartStep::Refuse);
        }
    }
}
