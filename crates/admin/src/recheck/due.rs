//! Which users have a connection open, and how old the last answer about each of them is.

use host::cache::Cache;
use host::sys::connections::may_be_open;
use identity::Login;
use session::clock::Now;
use session::presence::UserRuntimeDir;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The longest time until the next check: `OnUnitInactiveSec=` and `AccuracySec=` of `sshbox-recheck.timer`.
const UNTIL_NEXT_CHECK: Duration = Duration::from_secs(65);

/// A user with an open connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownUser {
    /// The user.
    pub login: Login,
    /// How old the last answer is; `None` if there is none, or if that is unknown.
    pub age: Option<Duration>,
}

impl KnownUser {
    /// Whether the account source is asked again: at the next check, the answer would be older than `recheck`.
    pub fn is_due(&self, recheck: Duration) -> bool {
        self.age.is_none_or(|age| age.saturating_add(UNTIL_NEXT_CHECK) >= recheck)
    }
}

/// The users who have an open connection, the oldest answer first.
///
/// # Errors
/// The list of users cannot be read.
pub fn with_connections(run: &Path, cache: &Cache, now: &Now) -> io::Result<Vec<KnownUser>> {
    let has_connection = |login: &Login| {
        let records = UserRuntimeDir::of(run, login).connection_records().unwrap_or_default();
        records.iter().any(may_be_open)
    };
    let users = UserRuntimeDir::users(run)?.into_iter().filter(has_connection);
    let mut users: Vec<_> = users
        .map(|login| KnownUser { age: cache.read(&login).and_then(|record| record.age(now)), login })
        .collect();
    users.sort_by_key(|user| std::cmp::Reverse(user.age.unwrap_or(Duration::MAX)));
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use session::presence::ConnectionRecord;
    use session::procfs::Stat;
    use std::fs;

    #[test]
    fn p14_users_with_an_open_connection_are_asked_about_when_the_answer_is_old() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["users", "boxes", "accounts"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let pid = i32::try_from(std::process::id()).unwrap();
        let began = Stat::of(pid).unwrap().start().unwrap();
        for (name, began) in [("open", began), ("ended", began + Duration::from_secs(9))] {
            let runtime_dir = UserRuntimeDir::of(dir.path(), &Login::parse(name.as_bytes()).unwrap());
            runtime_dir.prepare().unwrap();
            let session = runtime_dir.lock_live_shared(Duration::ZERO).unwrap();
            let slot = session.take_slot(1).unwrap().unwrap();
            let record = ConnectionRecord { pid, began, fingerprint: None };
            runtime_dir.write_connection_record(slot, &record).unwrap();
        }
        fs::create_dir(dir.path().join("users/..not-a-login")).unwrap();
        let users = with_connections(dir.path(), &Cache::new(dir.path()), &session::clock::now()).unwrap();
        assert_eq!(users, [KnownUser { login: Login::parse(b"open").unwrap(), age: None }]);
        let aged = |seconds| KnownUser { age: Some(Duration::from_secs(seconds)), ..users[0].clone() };
        let recheck = Duration::from_secs(300);
        assert!(users[0].is_due(recheck) && aged(235).is_due(recheck) && !aged(234).is_due(recheck));
        // The shortest that the configuration allows: every check asks.
        assert!(aged(0).is_due(Duration::from_secs(60)));
    }
}
