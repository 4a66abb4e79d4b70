//! Whether a session may begin over a connection that is open already: the key and the user may have been
//! removed since the login, and one user may begin only so many sessions in a time. sshd asks only once per
//! connection. Special commands have no turn: a user needs them most when a program floods sshd.

use super::login_key::login_key;
use crate::authorized_key::AuthorizedKey;
use crate::clock;
use crate::exit::{ExitStatus, Failure};
use crate::presence::{LoginAnswer, SESSIONS_DEFAULT, Turn, UserRuntimeDir};
use crate::texts;
use std::io;
use std::thread::sleep;
use std::time::Duration;

/// How long a session that has no turn waits before it is refused: it began too fast.
const BEFORE_REFUSAL: Duration = Duration::from_secs(1);

/// The most sessions that this user may have open. Fails if the user or the key of this login is refused
/// since the login.
pub(super) fn admit(runtime_dir: &UserRuntimeDir) -> Result<u32, Failure> {
    let answer = runtime_dir.login_answer();
    let key = login_key();
    let fingerprint = key.as_ref().map(AuthorizedKey::fingerprint);
    if let Some(why) = refusal(answer.as_ref(), fingerprint) {
        return Err(Failure::new(ExitStatus::Refused, why));
    }
    Ok(match answer {
        Some(LoginAnswer::Accepted { sessions, .. }) => sessions,
        _ => SESSIONS_DEFAULT,
    })
}

/// Waits for the turn of this session. Fails if too many others wait for theirs.
pub(super) fn wait_for_turn(runtime_dir: &UserRuntimeDir) -> Result<(), Failure> {
    match wait_of(runtime_dir.turn_to_begin(clock::boottime())) {
        Ok(wait) => sleep(wait),
        Err(failure) => {
            sleep(BEFORE_REFUSAL);
            return Err(failure);
        }
    }
    Ok(())
}

/// How long a session with this turn waits. Without a turn it is refused: a flood could otherwise skip the
/// wait by keeping the lock busy.
fn wait_of(turn: io::Result<Turn>) -> Result<Duration, Failure> {
    match turn {
        Ok(Turn::After(wait)) => Ok(wait),
        Ok(Turn::Never) => Err(Failure::new(ExitStatus::TryAgain, texts::TOO_FAST)),
        // The first session since boot: the file is created when the container starts.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Duration::ZERO),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(Failure::because(ExitStatus::TryAgain, texts::TOO_FAST, &error))
        }
        Err(error) => Err(Failure::because(ExitStatus::TryAgain, texts::NO_SESSION_FILES, &error)),
    }
}

/// Why this connection is closed now.
pub(super) fn why_closed(runtime_dir: &UserRuntimeDir) -> Failure {
    let key = login_key();
    let fingerprint = key.as_ref().map(AuthorizedKey::fingerprint);
    let why = refusal(runtime_dir.login_answer().as_ref(), fingerprint);
    Failure::new(ExitStatus::Refused, why.unwrap_or_else(|| texts::NO_LONGER_ACCEPTED.to_owned()))
}

/// Why the account source refuses a login with this key by now; `None` if it does not, or if that is unknown.
fn refusal(answer: Option<&LoginAnswer>, fingerprint: Option<&str>) -> Option<String> {
    match (answer?, fingerprint) {
        (LoginAnswer::Refused, _) => Some(texts::ACCOUNT_REFUSED.to_owned()),
        (LoginAnswer::Accepted { fingerprints, .. }, Some(fingerprint)) => {
            let accepted = fingerprints.iter().any(|known| known == fingerprint);
            (!accepted).then(|| texts::key_removed(fingerprint))
        }
        (LoginAnswer::Accepted { .. }, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::Login;
    use std::fs;
    use std::path::Path;

    #[test]
    fn p14_a_removed_key_or_user_is_refused_and_the_unknown_is_not() {
        let fingerprints = vec!["SHA256:a".to_owned()];
        let accepted = LoginAnswer::Accepted { sessions: 50, connections: 20, forward: None, fingerprints };
        assert_eq!(refusal(Some(&accepted), Some("SHA256:a")), None);
        assert_eq!(refusal(Some(&accepted), Some("SHA256:b")), Some(texts::key_removed("SHA256:b")));
        assert_eq!(refusal(Some(&accepted), None), None);
        assert_eq!(refusal(Some(&LoginAnswer::Refused), None), Some(texts::ACCOUNT_REFUSED.to_owned()));
        assert_eq!(refusal(None, Some("SHA256:a")), None);
    }

    /// The directories of a user whose sessions have used up all turns.
    fn without_a_turn(run: &Path) -> UserRuntimeDir {
        for folder in ["users", "boxes", "accounts"] {
            fs::create_dir_all(run.join(folder)).unwrap();
        }
        let runtime_dir = UserRuntimeDir::of(run, &Login::parse(b"alice").unwrap());
        runtime_dir.prepare().unwrap();
        while runtime_dir.turn_to_begin(clock::boottime()).unwrap() != Turn::Never {}
        runtime_dir
    }

    #[test]
    fn a17_a_user_without_a_turn_begins_no_session_and_special_commands_need_none() {
        let dir = tempfile::tempdir().unwrap();
        let runtime_dir = without_a_turn(dir.path());
        let failure = wait_for_turn(&runtime_dir).unwrap_err();
        assert_eq!((failure.status, &*failure.advice), (ExitStatus::TryAgain, texts::TOO_FAST));
        // All that `serve` asks before a special command.
        let began = clock::boottime();
        assert_eq!(admit(&runtime_dir).unwrap(), SESSIONS_DEFAULT);
        assert!(clock::boottime().saturating_sub(began) < BEFORE_REFUSAL);
    }

    #[test]
    fn a17_a_session_without_a_turn_is_refused_unless_it_is_the_first_since_boot() {
        let wait = Duration::from_millis(50);
        assert_eq!(wait_of(Ok(Turn::After(wait))).unwrap(), wait);
        assert_eq!(wait_of(Err(io::ErrorKind::NotFound.into())).unwrap(), Duration::ZERO);
        for (turn, advice) in [
            (Ok(Turn::Never), texts::TOO_FAST),
            (Err(io::ErrorKind::TimedOut.into()), texts::TOO_FAST),
            (Err(io::ErrorKind::PermissionDenied.into()), texts::NO_SESSION_FILES),
        ] {
            let refused = wait_of(turn).unwrap_err();
            assert_eq!((refused.status, refused.advice.as_str()), (ExitStatus::TryAgain, advice));
        }
    }
}
