//! `sshbox keys`: what `sshbox-keys` would do at a login of this user now, step by step and
//! under its uid, but without writing to the cache or telling anybody.

use super::{because, load, login, names, show};
use clap::Args;
use host::account::{Account, Answer, Parsed};
use host::cache::{Cache, LookupOutcome};
use host::config::AccountsConfig;
use identity::Login;
use nix::unistd::{User, initgroups, setgid, setuid};
use serde::Serialize;
use session::authorized_key::AuthorizedKey;
use session::clock;
use session::escape::printable;
use session::exit::{ExitStatus, Failure, chain};
use session::texts::span;
use site::source::{self, SourceError};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Whom sshd runs `sshbox-keys` as (`AuthorizedKeysCommandUser`).
const RUNS_AS: &str = "sshbox-keys";

/// Show which keys would let a user in, step by step
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login name
    #[arg(value_parser = login)]
    user: Login,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All steps.
#[derive(Debug, Serialize)]
struct Steps {
    user: String,
    name: Resolved,
    runs_as: String,
    /// The last answer; `None` when there is none.
    cache: Option<Cached>,
    /// What the last login without an account came to, if that was since boot.
    recent: Option<Recent>,
    url: String,
    token_file: Option<PathBuf>,
    timeout_ms: u128,
    took_ms: u128,
    answer: Answered,
    /// `answer`, `cache` or `nothing`.
    serves: &'static str,
    /// What would be printed, and for which fingerprint.
    prints: Vec<Printed>,
}

/// What the login name is to the running sshd. Where it is unknown, no key is ever asked for.
#[derive(Debug, Serialize)]
struct Resolved {
    /// `known`, `unknown`, or `untested` when no sshd runs or the look-up failed.
    is: &'static str,
    uid: u32,
    /// What went wrong, or what to do.
    advice: Option<String>,
}

#[derive(Debug, Serialize)]
struct Cached {
    /// `None`: it is from the future, and not believed.
    seconds_ago: Option<u64>,
    /// Whether it serves if there is no answer.
    serves: bool,
    account: Account,
}

#[derive(Debug, Serialize)]
struct Recent {
    /// `refused` or `failed`.
    outcome: &'static str,
    seconds_ago: u64,
}

#[derive(Debug, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum Answered {
    /// The web app knows the user.
    Account { account: Account, left_out: Vec<String>, bounded: Option<String> },
    /// The web app says no.
    Refusal { reason: &'static str, left_out: Vec<String> },
    /// There is no answer.
    Nothing { error: String },
}

#[derive(Debug, Serialize)]
struct Printed {
    fingerprint: String,
    line: String,
}

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    // Only root can look into the namespace of sshd.
    let name = resolved(&arguments.user);
    let runs_as = become_keys()?;
    // From here on as sshd would have it done: the files too are opened under that uid.
    let config = load(config)?.accounts;
    let steps = take(&config, &arguments.user, name, runs_as);
    if arguments.json { show::json(&steps) } else { show::say(&text(&steps)) }
}

fn resolved(user: &Login) -> Resolved {
    let (is, advice) = match names::listener() {
        None => ("untested", Some("sshbox-sshd does not run".to_owned())),
        Some(pid) => match names::look_up(Some(pid), user) {
            Ok(name) => (name.fix().map_or("known", |_| "unknown"), name.fix().map(str::to_owned)),
            Err(error) => ("untested", Some(error)),
        },
    };
    Resolved { is, uid: user.uid(), advice }
}

/// Becomes the user that asks at a login, for good.
fn become_keys() -> Result<String, Failure> {
    let advice = "the package makes this user: run systemd-sysusers sshbox.conf";
    let user = User::from_name(RUNS_AS).ok().flatten().ok_or_else(|| Failure {
        cause: format!("there is no user {RUNS_AS}"),
        ..Failure::new(ExitStatus::Config, advice)
    })?;
    initgroups(c"sshbox-keys", user.gid)
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .map_err(|errno| because(ExitStatus::Internal, "", &errno))?;
    Ok(format!("{RUNS_AS} (uid {})", user.uid))
}

fn take(config: &AccountsConfig, user: &Login, name: Resolved, runs_as: String) -> Steps {
    let cache = Cache::new(&config.cache);
    let now = clock::now();
    let record = cache.read(user);
    let recent = cache.recent(user, &now).map(|(outcome, asked)| Recent {
        outcome: match outcome {
            LookupOutcome::Refused => "refused",
            LookupOutcome::Failed => "failed",
        },
        seconds_ago: now.boottime.saturating_sub(asked).as_secs(),
    });
    let cached = record.map(|record| Cached {
        seconds_ago: record.age(&now).map(|age| age.as_secs()),
        serves: record.serves(&now, config.stale),
        account: record.account,
    });
    let began = Instant::now();
    let answer = answered(source::ask(config, user, config.timeout.0));
    let took = began.elapsed();
    let (serves, keys) = settle(&answer, cached.as_ref());
    Steps {
        user: user.to_string(),
        name,
        runs_as,
        prints: printed(keys),
        recent,
        url: config.url.fill(user),
        token_file: Some(config.token_file.clone()).filter(|path| !path.as_os_str().is_empty()),
        timeout_ms: config.timeout.0.as_millis(),
        took_ms: took.as_millis(),
        serves,
        answer,
        cache: cached,
    }
}

/// What serves, and the keys in it.
fn settle<'a>(answer: &'a Answered, cached: Option<&'a Cached>) -> (&'static str, &'a [String]) {
    match (answer, cached) {
        (Answered::Account { account, .. }, _) => ("answer", &account.keys),
        (Answered::Nothing { .. }, Some(cached)) if cached.serves => ("cache", &cached.account.keys),
        _ => ("nothing", &[]),
    }
}

fn printed(keys: &[String]) -> Vec<Printed> {
    let keys = keys.iter().filter_map(|line| AuthorizedKey::parse(line).ok());
    let printed =
        keys.map(|key| Printed { fingerprint: key.fingerprint().to_owned(), line: key.authorized() });
    printed.collect()
}

fn answered(answer: Result<Parsed, SourceError>) -> Answered {
    match answer {
        Ok(Parsed { answer: Answer::Known(account), left_out, bounded }) => {
            Answered::Account { account, left_out, bounded }
        }
        Ok(Parsed { answer: Answer::Refused(reason), left_out, .. }) => {
            Answered::Refusal { reason, left_out }
        }
        Err(error) => Answered::Nothing { error: chain(&error) },
    }
}

fn text(steps: &Steps) -> String {
    let seconds = |seconds: u64| span(Duration::from_secs(seconds));
    let Resolved { is, uid, advice } = &steps.name;
    let advice = advice.as_deref().unwrap_or_default();
    let mut lines = vec![(
        "name",
        match *is {
            "known" => format!("resolves to uid {uid} in the running sshd"),
            "unknown" => format!(
                "does not resolve in the running sshd, which refuses every login as an invalid user: {advice}"
            ),
            _ => format!("not tested: {advice}"),
        },
    )];
    lines.push(("runs as", steps.runs_as.clone()));
    lines.push((
        "cache",
        match &steps.cache {
            None => "holds no answer".to_owned(),
            Some(Cached { seconds_ago, serves, account }) => format!(
                "answered {}: {}; {}",
                seconds_ago.map_or("in the future".to_owned(), |ago| format!("{} ago", seconds(ago))),
                described(account),
                if *serves { "serves if there is no answer now" } else { "too old to serve" }
            ),
        },
    ));
    if let Some(Recent { outcome, seconds_ago }) = &steps.recent {
        lines
            .push(("", format!("the last login without an account {outcome} {} ago", seconds(*seconds_ago))));
    }
    lines.push(("asks", steps.url.clone()));
    let token = steps.token_file.as_ref().map(|path| format!("with the token in {}", path.display()));
    lines.push((
        "",
        format!("{}, for at most {} ms", token.as_deref().unwrap_or("without a token"), steps.timeout_ms),
    ));
    let (answer, left_out) = match &steps.answer {
        Answered::Account { account, left_out, .. } => (described(account), &**left_out),
        Answered::Refusal { reason, left_out } => (format!("no: {reason}"), &**left_out),
        Answered::Nothing { error } => (format!("none: {error}"), &[][..]),
    };
    lines.push(("answer", format!("{answer} (after {} ms)", steps.took_ms)));
    lines.extend(left_out.iter().map(|reason| ("", format!("left out: {reason}"))));
    if let Answered::Account { bounded: Some(reason), .. } = &steps.answer {
        lines.push(("", reason.clone()));
    }
    lines.push((
        "serves",
        match (steps.serves, &steps.answer) {
            ("answer", _) => "the answer; a login would write it to the cache".to_owned(),
            ("cache", _) => "the answer in the cache".to_owned(),
            (_, Answered::Refusal { .. }) => {
                "nothing: the login is refused, and the cache forgets".to_owned()
            }
            _ => "nothing: the login is refused".to_owned(),
        },
    ));
    if steps.prints.is_empty() {
        lines.push(("prints", "nothing, for any key".to_owned()));
    }
    let text = lines.into_iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<8} {}", printable(value.as_bytes()));
        text
    });
    // Keys are encoded by us, and too long to be cut.
    steps.prints.iter().fold(text, |mut text, Printed { fingerprint, line }| {
        let _ = writeln!(text, "{:<8} for {fingerprint}\n{:<8} {line}", "prints", "");
        text
    })
}

fn described(account: &Account) -> String {
    let id = account.id.as_ref().map_or("no id".to_owned(), |id| format!("id {id}"));
    let keys = match account.keys.len() {
        1 => "1 key".to_owned(),
        many => format!("{many} keys"),
    };
    format!("{id}, {keys}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::account::{Format, parse};
    use host::config::Config;
    use insta::assert_snapshot;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";

    fn alice() -> Login {
        login("alice").unwrap()
    }

    fn account(keys: &str) -> Answered {
        answered(Ok(parse(
            &alice(),
            Format::Json,
            format!(r#"{{"user":"alice","id":42,"keys":[{keys}]}}"#).as_bytes(),
        )
        .unwrap()))
    }

    fn steps(answer: Answered, cached: Option<Cached>) -> Steps {
        let dir = tempfile::tempdir().unwrap();
        let file = format!("file://{}/{{user}}", dir.path().display());
        let config = AccountsConfig {
            cache: dir.path().to_owned(),
            url: file.parse().unwrap(),
            ..Config::default().accounts
        };
        let name = Resolved { is: "known", uid: alice().uid(), advice: None };
        let steps = take(&config, &alice(), name, "sshbox-keys (uid 998)".to_owned());
        // A look leaves nothing behind.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let (serves, keys) = settle(&answer, cached.as_ref());
        let prints = printed(keys);
        Steps {
            url: "https://site.example/alice".to_owned(),
            took_ms: 12,
            answer,
            serves,
            prints,
            cache: cached,
            ..steps
        }
    }

    fn cached(serves: bool) -> Cached {
        let Answered::Account { account, .. } = account(&format!("\"{KEY}\"")) else { panic!() };
        Cached { seconds_ago: Some(310), serves, account }
    }

    #[test]
    fn an_answer_serves_with_the_keys_that_are_keys() {
        let answer = account(&format!(r#""{KEY} laptop","command=\"x\" {KEY}""#));
        assert_snapshot!(text(&steps(answer, None)), @"
        name     resolves to uid 2098369249 in the running sshd
        runs as  sshbox-keys (uid 998)
        cache    holds no answer
        asks     https://site.example/alice
                 with the token in /etc/sshbox/token, for at most 1500 ms
        answer   id 42, 1 key (after 12 ms)
                 left out: key 2: not 'type base64 [comment]' (options are not taken)
        serves   the answer; a login would write it to the cache
        prints   for SHA256:/wqoxesgZdYhWspI+0Zta65yzER0nk0AyJ32fjuf1gs
                 restrict,pty ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI
        ");
    }

    #[test]
    fn without_an_answer_the_cache_serves_unless_it_is_too_old() {
        let nothing =
            || Answered::Nothing { error: "the web app cannot be asked: \x1b[31mrefused".to_owned() };
        assert_snapshot!(text(&steps(nothing(), Some(cached(true)))), @r"
        name     resolves to uid 2098369249 in the running sshd
        runs as  sshbox-keys (uid 998)
        cache    answered 5m 10s ago: id 42, 1 key; serves if there is no answer now
        asks     https://site.example/alice
                 with the token in /etc/sshbox/token, for at most 1500 ms
        answer   none: the web app cannot be asked: \x1b[31mrefused (after 12 ms)
        serves   the answer in the cache
        prints   for SHA256:/wqoxesgZdYhWspI+0Zta65yzER0nk0AyJ32fjuf1gs
                 restrict,pty ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI
        ");
        assert_eq!(steps(nothing(), Some(cached(false))).serves, "nothing");
        assert_eq!(steps(nothing(), None).serves, "nothing");
    }

    #[test]
    fn p3_a_no_is_an_answer() {
        let no = || Answered::Refusal { reason: "HTTP 404", left_out: vec![] };
        assert_snapshot!(text(&steps(no(), Some(cached(true)))), @"
        name     resolves to uid 2098369249 in the running sshd
        runs as  sshbox-keys (uid 998)
        cache    answered 5m 10s ago: id 42, 1 key; serves if there is no answer now
        asks     https://site.example/alice
                 with the token in /etc/sshbox/token, for at most 1500 ms
        answer   no: HTTP 404 (after 12 ms)
        serves   nothing: the login is refused, and the cache forgets
        prints   nothing, for any key
        ");
    }
}
