//! Which users have a connection open, how old the last answer about each of them is, and who is asked about
//! first.

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
    /// When the account source was last asked, since boot; `None` if that is unknown.
    pub asked: Option<Duration>,
}

impl KnownUser {
    /// Whether the account source is asked again: at the next check, the answer would be older than `recheck`.
    pub fn is_due(&self, recheck: Duration) -> bool {
        self.age.is_none_or(|age| age.saturating_add(UNTIL_NEXT_CHECK) >= recheck)
    }
}

/// The users who have an open connection. First are those about whom nobody has asked for the longest time:
/// a user about whom there is never an answer comes after all others who are due.
///
/// # Errors
/// The list of users cannot be read.
pub fn with_connections(run: &Path, cache: &Cache, now: &Now) -> io::Result<Vec<KnownUser>> {
    let has_connection = |login: &Login| {
        let records = UserRuntimeDir::of(run, login).connection_records().unwrap_or_default();
        records.iter().any(may_be_open)
    };
    let users = UserRuntimeDir::users(run)?.into_iter().filter(has_connection);
    let known = |login: Login| {
        let record = cache.read(&login);
        let noted = UserRuntimeDir::of(run, &login).asked().filter(|asked| *asked <= now.boottime);
        KnownUser {
            age: record.as_ref().and_then(|record| record.age(now)),
            asked: record.and_then(|record| record.requested(now)).max(noted),
            login,
        }
    };
    let mut users: Vec<_> = users.map(known).collect();
    users.sort_by_key(|user| user.asked);
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::cache::AccountRecord;
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
        let other = began + Duration::from_secs(9);
        for (name, began) in
            [("unanswered", began), ("open", began), ("ended", other), ("answered", began), ("new", began)]
        {
            let runtime_dir = UserRuntimeDir::of(dir.path(), &Login::parse(name.as_bytes()).unwrap());
            runtime_dir.prepare().unwrap();
            let session = runtime_dir.lock_live_shared(Duration::ZERO).unwrap();
            let slot = session.take_session_slot(1).unwrap().unwrap();
            let record = ConnectionRecord { pid, began, fingerprint: None };
            runtime_dir.write_session_record(slot, &record).unwrap();
        }
        fs::create_dir(dir.path().join("users/..not-a-login")).unwrap();
        let (cache, now) = (Cache::new(dir.path()), session::clock::now());
        let ago = |seconds| now.boottime.saturating_sub(Duration::from_secs(seconds));
        // The answer about one user is the oldest, but there was a question since.
        for (name, requested) in [("unanswered", 900), ("open", 400), ("answered", 350)] {
            let text = format!("{{\"user\":\"{name}\",\"keys\":[]}}");
            let requested = Now { boottime: ago(requested), ..now.clone() };
            let record = AccountRecord::new(serde_json::from_str(&text).unwrap(), &requested);
            let text = serde_json::to_vec(&record).unwrap();
            fs::write(dir.path().join(format!("{name}.json")), text).unwrap();
        }
        let asked = |name: &str, seconds| {
            let login = Login::parse(name.as_bytes()).unwrap();
            UserRuntimeDir::of(dir.path(), &login).write_asked(ago(seconds)).unwrap();
        };
        asked("unanswered", 60);
        asked("answered", 380);
        let users = with_connections(dir.path(), &cache, &now).unwrap();
        let names: Vec<_> = users.iter().map(|user| user.login.as_str()).collect();
        assert_eq!(names, ["new", "open", "answered", "unanswered"]);
        assert_eq!(users[3].age, Some(Duration::from_secs(900)));
        assert_eq!(users[0], KnownUser { login: users[0].login.clone(), age: None, asked: None });
        let aged = |seconds| KnownUser { age: Some(Duration::from_secs(seconds)), ..users[0].clone() };
        let recheck = Duration::from_secs(300);
        assert!(users[0].is_due(recheck) && aged(235).is_due(recheck) && !aged(234).is_due(recheck));
        // The shortest that the configuration allows: every check asks.
        assert!(aged(0).is_due(Duration::from_secs(60)));
    }
}
