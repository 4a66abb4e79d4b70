//! A container that `sshbox adopt` may set aside: what was found, whether it may be adopted, and how
//! that is shown. Changes nothing.

use crate::account;
use host::account::Account;
use host::box_user;
use host::config::{Config, Template, UidGid};
use host::home::{self, HomeError};
use identity::Login;
use lifecycle::adoption::{self, AdoptionTarget};
use lifecycle::container::ContainerState;
use lifecycle::container::ForeignContainer;
use lifecycle::engine::{Engine, EngineError};
use session::escape::printable;
use session::exit::chain;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

/// How many processes and changed paths are shown.
const MAX_SHOWN: usize = 3;

/// How many characters of each are shown.
const MAX_CHARACTERS: usize = 40;

/// The container with the name of a user's box, and the reasons against its adoption.
pub struct Candidate {
    /// The user.
    pub login: Login,
    /// The container's name.
    pub name: String,
    /// The home on the host.
    home: PathBuf,
    /// Where the home is mounted in a box.
    mount: PathBuf,
    /// `None` if no container has this name.
    pub container: Option<ForeignContainer>,
    /// The account from the web app.
    pub account: Option<Account>,
    /// The owner of the home if it is not that of the box, and the new owner if that is known yet.
    moves: Option<((u32, u32), Option<UidGid>)>,
    /// The processes in the container; `None` if the engine could not list them.
    pub processes: Option<Vec<String>>,
    /// Changed paths outside the home; `None` if the engine could not list them.
    changes: Option<Vec<String>>,
    /// Reasons against the adoption.
    objections: Vec<String>,
}

/// Whether a container may be adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptionDecision {
    /// It may be set aside.
    Adopt,
    /// It is a box of sshbox: there is nothing to do.
    AlreadyOurs,
    /// There are objections.
    Refuse,
}

impl Candidate {
    /// Inspects the container and the home of a user.
    pub async fn inspect(
        engine: &Engine,
        config_file: &Path,
        config: &Config,
        (login, names): (Login, &Template),
    ) -> Result<Self, EngineError> {
        let name = names.fill(&login);
        let mut candidate = Self {
            home: config.container.home.fill(&login).into(),
            mount: config.container.mount.clone(),
            container: engine.find_foreign(&name).await?,
            account: None,
            moves: None,
            processes: Some(Vec::new()),
            changes: None,
            objections: Vec::new(),
            name,
            login,
        };
        let Some(container) = candidate.container.clone() else {
            candidate
                .objections
                .push("no container has this name; check the login name and box.name".to_owned());
            return Ok(candidate);
        };
        if container.is_box {
            return Ok(candidate);
        }
        if matches!(container.state, ContainerState::Running | ContainerState::Paused) {
            candidate.processes = engine.processes(&container.id).await.ok();
        }
        let changes = engine.changes(&container.id).await.ok();
        candidate.changes =
            changes.map(|changes| adoption::changes_worth_keeping(changes, &container.mounts));
        candidate.collect_objections(&container, config_file, config);
        Ok(candidate)
    }

    /// Collects every objection, so that an admin can mend all of them at once.
    fn collect_objections(&mut self, container: &ForeignContainer, config_file: &Path, config: &Config) {
        let target = AdoptionTarget { home: &self.home, mount: &self.mount };
        let mut objections = adoption::objections(container, &target);
        let account = account::ask(config_file, config, &self.login);
        let known = account.as_ref().ok();
        match home::inspect(&config.container.home, &self.login) {
            Err(error) => objections.push(chain(&error)),
            Ok(found) => {
                objections.extend(adoption::owner_objection(found.owner.0, &target));
                let claims = Path::new(box_user::DIRECTORY);
                match box_user::look(&config.container, &self.login, known, claims) {
                    Ok(Some(user)) if user.uid == found.owner.0 => {}
                    Ok(user) => self.moves = Some((found.owner, user)),
                    Err(error) => objections.push(chain(&error)),
                }
                if let (Some(now), Some(was)) = (known.and_then(|account| account.id.clone()), found.account)
                    && now != was
                {
                    let home = self.home.clone();
                    objections.push(HomeError::OtherAccount { home, was, now }.to_string());
                }
            }
        }
        match account {
            Ok(account) => self.account = Some(account),
            Err(objection) => objections.push(objection),
        }
        self.objections = objections;
    }

    /// Decides from what was found.
    pub fn decision(&self) -> AdoptionDecision {
        match &self.container {
            Some(container) if container.is_box => AdoptionDecision::AlreadyOurs,
            _ if self.objections.is_empty() => AdoptionDecision::Adopt,
            _ => AdoptionDecision::Refuse,
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |text: &str| printable(text.as_bytes());
        writeln!(f, "{}", escaped(&self.name))?;
        if let Some(container) = self.container.as_ref().filter(|container| !container.is_box) {
            writeln!(f, "  image      {}", escaped(&container.image))?;
            let state = match container.state {
                ContainerState::Running => "running",
                ContainerState::Paused => "paused",
                ContainerState::Stopped => "stopped",
                ContainerState::Busy => "changing",
                ContainerState::Dead => "dead",
            };
            writeln!(f, "  state      {state}, restart policy {}", container.restart)?;
            for mounted in &container.mounts {
                let (source, target) = (mounted.source.display(), mounted.target.display());
                let access = if mounted.writable { "" } else { ", read-only" };
                let line = format!("{} {source} at {target}{access}", mounted.kind);
                writeln!(f, "  mount      {}", escaped(&line))?;
            }
            if let Some(id) = self.account.as_ref().and_then(|account| account.id.as_ref()) {
                writeln!(f, "  account    {}", escaped(id))?;
            }
            if let Some(((uid, gid), new)) = self.moves {
                let new = new.map_or_else(|| "a uid of its own".to_owned(), |user| user.to_string());
                writeln!(f, "  home       belongs to {uid}:{gid}, which will be {new}")?;
            }
            let processes = count_and_examples(self.processes.as_deref(), " will end: ");
            writeln!(f, "  processes  {processes}")?;
            let changes =
                count_and_examples(self.changes.as_deref(), " outside the home, which the box will lack: ");
            writeln!(f, "  changes    {changes}")?;
        }
        match self.decision() {
            AdoptionDecision::Adopt => writeln!(f, "  verdict    can be set aside"),
            AdoptionDecision::AlreadyOurs => writeln!(f, "  verdict    already a box of sshbox"),
            AdoptionDecision::Refuse => self
                .objections
                .iter()
                .try_for_each(|objection| writeln!(f, "  refused    {}", escaped(objection))),
        }
    }
}

/// The number of items, `text`, and the first few items.
fn count_and_examples(items: Option<&[String]>, text: &str) -> String {
    let Some(items) = items else {
        return "unknown".to_owned();
    };
    let mut line = items.len().to_string();
    for (number, item) in items.iter().take(MAX_SHOWN).enumerate() {
        let short: String = item.chars().take(MAX_CHARACTERS).collect();
        let before = if number == 0 { text } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(line, "{before}{}", printable(short.as_bytes()));
    }
    if items.len() > MAX_SHOWN {
        line.push_str(", ...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use lifecycle::container::ForeignMount;

    fn candidate() -> Candidate {
        let home = ForeignMount {
            kind: "bind".to_owned(),
            source: "/app/data/users/Ada-L".into(),
            target: "/home/user".into(),
            writable: true,
        };
        Candidate {
            login: Login::parse(b"Ada-L").unwrap(),
            name: "scitex-user-Ada-L".to_owned(),
            home: home.source.clone(),
            mount: home.target.clone(),
            container: Some(ForeignContainer {
                id: "x".to_owned(),
                state: ContainerState::Running,
                image: "scitex-user-workspace:latest".to_owned(),
                restart: "always".to_owned(),
                mounts: vec![home],
                ..ForeignContainer::default()
            }),
            account: Some(serde_json::from_str(r#"{"user":"Ada-L","id":7,"keys":[]}"#).unwrap()),
            moves: Some(((1000, 1000), Some(UidGid { uid: 1_700_000_007, gid: 1_700_000_007 }))),
            processes: Some(["sleep infinity", "bash", "vim \u{1b}[31m", "top"].map(str::to_owned).to_vec()),
            changes: Some(vec!["/etc/apt.conf".to_owned()]),
            objections: Vec::new(),
        }
    }

    #[test]
    fn a_candidate_is_shown_with_all_that_was_found() {
        assert_snapshot!(candidate(), @r#"
        scitex-user-Ada-L
          image      scitex-user-workspace:latest
          state      running, restart policy always
          mount      bind /app/data/users/Ada-L at /home/user
          account    7
          home       belongs to 1000:1000, which will be 1700000007:1700000007
          processes  4 will end: sleep infinity, bash, vim \x1b[31m, ...
          changes    1 outside the home, which the box will lack: /etc/apt.conf
          verdict    can be set aside
        "#);
        let refused = Candidate {
            objections: vec!["it is being removed".to_owned(), "and more".to_owned()],
            processes: None,
            account: None,
            moves: Some(((1000, 1000), None)),
            ..candidate()
        };
        assert_snapshot!(refused, @"
        scitex-user-Ada-L
          image      scitex-user-workspace:latest
          state      running, restart policy always
          mount      bind /app/data/users/Ada-L at /home/user
          home       belongs to 1000:1000, which will be a uid of its own
          processes  unknown
          changes    1 outside the home, which the box will lack: /etc/apt.conf
          refused    it is being removed
          refused    and more
        ");
    }

    #[test]
    fn a_box_and_a_missing_container_are_recognised() {
        let ours = ForeignContainer { is_box: true, ..candidate().container.unwrap() };
        assert_snapshot!(Candidate { container: Some(ours), ..candidate() }, @"
        scitex-user-Ada-L
          verdict    already a box of sshbox
        ");
        let missing = Candidate { container: None, objections: vec!["none".to_owned()], ..candidate() };
        assert_snapshot!(missing, @"
        scitex-user-Ada-L
          refused    none
        ");
    }
}
