//! `sshbox-keys --explain --json`: explains which keys a login name would have now, and why. It asks the
//! account source as a login does, but writes nothing: no cache, no account id, no log entry. It shows the names
//! of the account's variables, and not their values.

use crate::source::{self, SourceReply};
use host::account::{Account, AccountReply, ParsedReply};
use host::cache::{Cache, LookupOutcome};
use host::config::{self, AccountsConfig, ForwardConfig};
use host::explanation::{
    CachedAnswer, Explanation, FailedLookup, KeySource, OfferedKey, PrintedKey, SourceAnswer,
};
use identity::Login;
use nix::unistd::{Uid, User};
use session::authorized_key::AuthorizedKey;
use session::clock;
use session::exit::{ExitStatus, Failure, chain};
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The options of the command line.
pub struct ExplainRequest<'a> {
    /// The configuration file.
    pub config: &'a Path,
    /// The login name, unchecked.
    pub user: &'a OsStr,
    /// The fingerprint of a key to check.
    pub fingerprint: Option<&'a str>,
    /// Whether to send no token.
    pub without_token: bool,
}

/// The program, when it is run with `--explain`.
pub fn run(request: &ExplainRequest<'_>) -> ExitCode {
    let explained = explain_request(request).and_then(|explanation| {
        serde_json::to_string(&explanation)
            .map_err(|error| Failure::because(ExitStatus::Internal, "", &error))
    });
    match explained {
        Ok(text) => match writeln!(io::stdout(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitStatus::TryAgain.code().into(),
        },
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{}: {}", super::PROGRAM, failure.cause.trim_end());
            failure.status.code().into()
        }
    }
}

fn explain_request(request: &ExplainRequest<'_>) -> Result<Explanation, Failure> {
    let login = Login::parse(request.user.as_bytes())
        .map_err(|error| Failure::because(ExitStatus::Usage, "", &error))?;
    let config =
        config::load(request.config).map_err(|error| Failure::because(ExitStatus::Config, "", &error))?;
    let mut accounts = super::account_source(&config, &login);
    if request.without_token {
        accounts = accounts.without_token();
    }
    let explanation = explain(request.config, &accounts, &config.forward, &login);
    let offered = request.fingerprint.map(|fingerprint| OfferedKey {
        fingerprint: fingerprint.to_owned(),
        accepted: explanation.prints.iter().any(|key| key.fingerprint == fingerprint),
    });
    Ok(Explanation { offered, ..explanation })
}

fn explain(path: &Path, config: &AccountsConfig, forward: &ForwardConfig, login: &Login) -> Explanation {
    let cache = Cache::new(&config.cache);
    let now = clock::now();
    let recent = cache.last_outcome(login, &now).map(|(outcome, asked)| FailedLookup {
        outcome: match outcome {
            LookupOutcome::Refused => "refused".to_owned(),
            LookupOutcome::Failed => "failed".to_owned(),
        },
        seconds_ago: now.boottime.saturating_sub(asked).as_secs(),
    });
    let cached = cache.read(login).map(|record| CachedAnswer {
        seconds_ago: record.age(&now).map(|age| age.as_secs()),
        serves: record.serves(&now, config.stale),
        account: record.account.shown(),
    });
    let began = Instant::now();
    let SourceReply { status, account: reply } = source::request(config, login, config.timeout.0);
    let took = began.elapsed();
    let answer = match reply {
        Ok(ParsedReply { reply: AccountReply::Known(account), left_out, ignored, bounded }) => {
            SourceAnswer::Account {
                account: account.shown(),
                left_out: [left_out, ignored].concat(),
                bounded,
            }
        }
        Ok(ParsedReply { reply: AccountReply::Refused(reason), left_out, .. }) => {
            SourceAnswer::Refusal { reason: reason.to_owned(), left_out }
        }
        Err(error) => SourceAnswer::Nothing { error: chain(&error) },
    };
    let (serves, why, account) = decide(&answer, cached.as_ref());
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Explanation {
        user: login.to_string(),
        config: path.to_owned(),
        runs_as: runs_as(),
        recent,
        url: config.url.fill(login),
        token_file: Some(config.token_file.clone()).filter(|path| !path.as_os_str().is_empty()),
        timeout_ms: millis(config.timeout.0),
        took_ms: millis(took),
        status,
        serves,
        why: why.to_owned(),
        prints: account.map(|account| printed(account, forward)).unwrap_or_default(),
        offered: None,
        answer,
        cache: cached,
    }
}

/// Where the keys come from, why, and the account with the keys.
fn decide<'a>(
    answer: &'a SourceAnswer,
    cached: Option<&'a CachedAnswer>,
) -> (KeySource, &'static str, Option<&'a Account>) {
    match (answer, cached) {
        (SourceAnswer::Account { account, .. }, _) => {
            (KeySource::Answer, "the account source answered with an account", Some(account))
        }
        (SourceAnswer::Refusal { .. }, _) => {
            (KeySource::Nothing, "the account source refused the user", None)
        }
        (SourceAnswer::Nothing { .. }, Some(cached)) if cached.serves => (
            KeySource::Cache,
            "the account source gave no answer, and the cached one is younger than accounts.stale",
            Some(&cached.account),
        ),
        (SourceAnswer::Nothing { .. }, Some(_)) => (
            KeySource::Nothing,
            "the account source gave no answer, and the cached one is too old (accounts.stale)",
            None,
        ),
        (SourceAnswer::Nothing { .. }, None) => {
            (KeySource::Nothing, "the account source gave no answer, and none is cached", None)
        }
    }
}

fn printed(account: &Account, forward: &ForwardConfig) -> Vec<PrintedKey> {
    let forwarding = forward.of(account.forward);
    let keys = account.keys.iter().filter_map(|line| AuthorizedKey::parse(line).ok());
    let printed = |key: AuthorizedKey| PrintedKey {
        fingerprint: key.fingerprint().to_owned(),
        line: key.authorized(forwarding),
    };
    keys.map(printed).collect()
}

fn runs_as() -> String {
    let uid = Uid::effective();
    let name = User::from_uid(uid).ok().flatten().map_or_else(|| "?".to_owned(), |user| user.name);
    format!("{name} (uid {uid})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::cache::AccountRecord;
    use host::config::Config;
    use std::fs;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";
    const FINGERPRINT: &str = "SHA256:/wqoxesgZdYhWspI+0Zta65yzER0nk0AyJ32fjuf1gs";

    fn alice() -> Login {
        Login::parse(b"alice").unwrap()
    }

    /// A source of files in this directory, which is the cache as well.
    fn files_in(dir: &Path) -> AccountsConfig {
        let url = format!("file://{}/{{user}}", dir.display()).parse().unwrap();
        AccountsConfig { cache: dir.to_owned(), url, ..Config::default().accounts }.without_token()
    }

    fn cached(serves: bool) -> CachedAnswer {
        let account = serde_json::from_str(&format!(r#"{{"user":"alice","keys":["{KEY}"]}}"#)).unwrap();
        CachedAnswer { seconds_ago: Some(310), serves, account }
    }

    #[test]
    fn an_explanation_names_each_key_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("alice"), format!("{KEY} laptop\nno key\n")).unwrap();
        let explanation =
            explain(Path::new("/c"), &files_in(dir.path()), &ForwardConfig::default(), &alice());
        assert_eq!(explanation.serves, KeySource::Answer);
        assert_eq!((explanation.status, &explanation.token_file), (None, &None));
        assert_eq!(explanation.prints[0].fingerprint, FINGERPRINT);
        assert_eq!(
            explanation.prints[0].line,
            format!("restrict,pty,port-forwarding,agent-forwarding {KEY}")
        );
        let SourceAnswer::Account { left_out, .. } = &explanation.answer else { panic!("{explanation:?}") };
        assert_eq!(left_out.len(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let text = serde_json::to_string(&explanation).unwrap();
        assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), explanation);
    }

    #[test]
    fn a16_no_explanation_shows_the_value_of_a_variable() {
        let dir = tempfile::tempdir().unwrap();
        let config = files_in(dir.path());
        fs::write(dir.path().join("alice"), KEY).unwrap();
        let account = format!(r#"{{"user":"alice","keys":["{KEY}"],"env":{{"TOKEN":"s3cret"}}}}"#);
        let record = AccountRecord::new(serde_json::from_str(&account).unwrap(), &clock::now());
        Cache::new(&config.cache).write_at_login(&alice(), &record, &clock::now(), config.stale).unwrap();
        let text =
            serde_json::to_string(&explain(Path::new("/c"), &config, &ForwardConfig::default(), &alice()))
                .unwrap();
        assert!(text.contains(r#""TOKEN":"(hidden)""#) && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn without_an_answer_the_cache_is_used_unless_it_is_too_old() {
        let nothing = SourceAnswer::Nothing { error: "refused".to_owned() };
        for (cached, source, keys) in [
            (Some(cached(true)), KeySource::Cache, 1),
            (Some(cached(false)), KeySource::Nothing, 0),
            (None, KeySource::Nothing, 0),
        ] {
            let (serves, why, account) = decide(&nothing, cached.as_ref());
            let printed = account.map(|account| printed(account, &ForwardConfig::default()).len());
            assert_eq!((serves, printed.unwrap_or_default()), (source, keys), "{why}");
        }
    }

    #[test]
    fn p3_a_refusal_is_an_answer_and_the_cache_is_not_used() {
        let refusal = SourceAnswer::Refusal { reason: "HTTP 404".to_owned(), left_out: vec![] };
        assert_eq!(decide(&refusal, Some(&cached(true))).0, KeySource::Nothing);
    }
}
