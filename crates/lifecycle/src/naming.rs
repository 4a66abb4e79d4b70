//! Which container is the box of a user: the one with the name that the configuration gives it. If there is
//! none, a container with the labels of sshbox for this user, which was created under another name: by an
//! earlier version, with another `box.name`, or with another secret. It is renamed without a stop, so that an
//! upgrade ends no session.

use crate::container::Container;
use crate::engine::{Engine, EngineError, ListedBox};
use host::box_names::BoxNames;
use host::config::ContainerName;
use identity::Login;
use session::journal::{Event, Field, FieldValue, log};

/// The container that is the box of this user. If it has the name of the box, another program may have
/// created it. If it has another name, its labels are those of sshbox for this user.
///
/// # Errors
/// [`EngineError`]
pub async fn find_box(
    engine: &Engine,
    names: &BoxNames,
    login: &Login,
) -> Result<Option<Container>, EngineError> {
    let name = names.of(login);
    // An engine also finds a container by the beginning of its id.
    if let Some(found) = engine.find(&name).await?.filter(|found| found.name == name) {
        return Ok(Some(found));
    }
    let mut misnamed = Vec::new();
    for listed in engine.boxes_of(login).await? {
        misnamed.extend(engine.find(&listed.id).await?);
    }
    Ok(choose(misnamed, login))
}

/// The box among these containers, if one of them is. Of several, one with processes, then the one that was
/// started last.
fn choose(containers: Vec<Container>, login: &Login) -> Option<Container> {
    let boxes = containers.into_iter().filter(|found| found.is_complete_box_of(login.as_str()));
    boxes.max_by(|one, other| {
        let rank = |found: &Container| (found.state.has_processes(), found.started_at.clone());
        rank(one).cmp(&rank(other))
    })
}

/// Gives the box of this user its name, if it has another one. The caller holds the state lock of the user.
///
/// # Errors
/// [`EngineError`]; `Conflict` if another container has the name by now.
pub async fn ensure_name(
    engine: &Engine,
    program: &str,
    login: &Login,
    (id, old_name): (&str, &str),
    name: &str,
) -> Result<(), EngineError> {
    if old_name == name {
        return Ok(());
    }
    engine.rename(id, name).await?;
    let fields: [FieldValue<'_>; 2] =
        [(Field::User, &login.as_str()), (Field::Reason, &format!("it was named {old_name}"))];
    log(program, Event::BoxRenamed, &fields);
    Ok(())
}

/// The same for a listed box. After an error, the next run of the reaper or the next start tries again.
pub async fn ensure_name_of_listed(
    engine: &Engine,
    program: &str,
    template: &ContainerName,
    listed: &ListedBox,
) {
    let Ok(login) = Login::parse(listed.user.as_bytes()) else { return };
    let Ok(name) = BoxNames::load(template).map(|names| names.of(&login)) else { return };
    if listed.name == name {
        return;
    }
    let found = engine.find(&listed.id).await.ok().flatten();
    if let Some(found) = found.filter(|found| found.is_complete_box_of(login.as_str())) {
        let _ = ensure_name(engine, program, &login, (&found.id, &found.name), &name).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{BoxLabels, ContainerState};

    fn container(id: &str, user: &str, spec: &str, state: ContainerState, started_at: &str) -> Container {
        let labels = BoxLabels { user: user.to_owned(), account: String::new(), spec: spec.to_owned() };
        let started_at = started_at.to_owned();
        Container { id: id.to_owned(), labels: Some(labels), state, started_at, ..Container::default() }
    }

    #[test]
    fn a2_only_a_container_with_all_labels_is_chosen() {
        let login = Login::parse(b"alice").unwrap();
        let chosen = |containers: &[Container]| choose(containers.to_vec(), &login).map(|found| found.id);
        let stopped = container("stopped", "alice", "1", ContainerState::Stopped, "2026-01-02T00:00:00Z");
        let foreign = container("foreign", "alice", "", ContainerState::Running, "2026-01-09T00:00:00Z");
        let of_bob = container("of-bob", "bob", "1", ContainerState::Running, "2026-01-09T00:00:00Z");
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[foreign.clone(), of_bob, Container::default()]), None);
        assert_eq!(chosen(&[foreign, stopped.clone()]).as_deref(), Some("stopped"));
        let later = container("later", "alice", "1", ContainerState::Stopped, "2026-01-03T00:00:00Z");
        let paused = container("paused", "alice", "1", ContainerState::Paused, "2026-01-01T00:00:00Z");
        assert_eq!(chosen(&[later.clone(), stopped.clone()]).as_deref(), Some("later"));
        assert_eq!(chosen(&[later, paused, stopped]).as_deref(), Some("paused"));
    }
}
