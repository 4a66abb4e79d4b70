//! `sshbox keys`: how `sshbox-keys` would decide about the keys of a user now, step by step.
//! `sshbox-keys` itself explains it; this command adds what the login name is to sshd.

use super::{explain, names, output, parse_login};
use clap::Args;
use host::account::Account;
use host::explanation::{CachedAnswer, Explanation, FailedLookup, KeySource, PrintedKey, SourceAnswer};
use identity::Login;
use serde::Serialize;
use session::escape::{printable, visible};
use session::exit::Failure;
use session::times::short_duration;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Show which keys would let a user in, step by step
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login name
    #[arg(value_parser = parse_login)]
    user: Login,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// All steps.
#[derive(Debug, Serialize)]
struct Steps {
    name: Resolved,
    #[serde(flatten)]
    keys: Explanation,
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

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let keys = explain::explain(config, &arguments.user, &[], None)?;
    let steps = Steps { name: resolved(&arguments.user), keys };
    if arguments.json { output::print_json(&steps) } else { output::print(&text(&steps)) }
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

fn text(steps: &Steps) -> String {
    let seconds = |seconds: u64| short_duration(Duration::from_secs(seconds));
    let Steps { name: Resolved { is, uid, advice }, keys } = steps;
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
    lines.push(("runs as", keys.runs_as.clone()));
    lines.push((
        "cache",
        match &keys.cache {
            None => "holds no answer".to_owned(),
            Some(CachedAnswer { seconds_ago, serves, account }) => format!(
                "answered {}: {}; {}",
                seconds_ago.map_or("in the future".to_owned(), |ago| format!("{} ago", seconds(ago))),
                described(account),
                if *serves { "serves if there is no answer now" } else { "too old to serve" }
            ),
        },
    ));
    if let Some(FailedLookup { outcome, seconds_ago }) = &keys.recent {
        lines
            .push(("", format!("the last login without an account {outcome} {} ago", seconds(*seconds_ago))));
    }
    lines.push(("asks", keys.url.clone()));
    let token = keys.token_file.as_ref().map(|path| format!("with the token in {}", path.display()));
    lines.push((
        "",
        format!("{}, for at most {} ms", token.as_deref().unwrap_or("without a token"), keys.timeout_ms),
    ));
    let (answer, left_out) = match &keys.answer {
        SourceAnswer::Account { account, left_out, .. } => (described(account), &**left_out),
        SourceAnswer::Refusal { reason, left_out } => (format!("no: {reason}"), &**left_out),
        SourceAnswer::Nothing { error } => (format!("none: {error}"), &[][..]),
    };
    lines.push(("answer", format!("{answer} (after {} ms)", keys.took_ms)));
    lines.extend(left_out.iter().map(|reason| ("", format!("left out: {reason}"))));
    if let SourceAnswer::Account { bounded: Some(reason), .. } = &keys.answer {
        lines.push(("", reason.clone()));
    }
    lines.push((
        "serves",
        match (keys.serves, &keys.answer) {
            (KeySource::Answer, _) => "the answer; a login would write it to the cache".to_owned(),
            (KeySource::Cache, _) => "the answer in the cache".to_owned(),
            (_, SourceAnswer::Refusal { .. }) => {
                "nothing: the login is refused, and the cache forgets".to_owned()
            }
            _ => "nothing: the login is refused".to_owned(),
        },
    ));
    if keys.prints.is_empty() {
        lines.push(("prints", "nothing, for any key".to_owned()));
    }
    let text = lines.into_iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<8} {}", printable(value.as_bytes()));
        text
    });
    // `printable` would cut a key line.
    let show = |text: &str| visible(text.as_bytes());
    keys.prints.iter().fold(text, |mut text, PrintedKey { fingerprint, line }| {
        let _ = writeln!(text, "{:<8} for {}\n{:<8} {}", "prints", show(fingerprint), "", show(line));
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
    use insta::assert_snapshot;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";
    const FINGERPRINT: &str = "SHA256:/wqoxesgZdYhWspI+0Zta65yzER0nk0AyJ32fjuf1gs";

    fn account() -> Account {
        serde_json::from_str(&format!(r#"{{"user":"alice","id":42,"keys":["{KEY}"]}}"#)).unwrap()
    }

    fn steps(answer: SourceAnswer, cache: Option<CachedAnswer>, serves: KeySource) -> Steps {
        let user = parse_login("alice").unwrap();
        let key = PrintedKey { fingerprint: FINGERPRINT.to_owned(), line: format!("restrict,pty {KEY}") };
        let keys = Explanation {
            user: user.to_string(),
            config: "/etc/sshbox/sshbox.toml".into(),
            runs_as: "sshbox-keys (uid 998)".to_owned(),
            cache,
            recent: None,
            url: "https://site.example/alice".to_owned(),
            token_file: Some("/etc/sshbox/token".into()),
            timeout_ms: 1500,
            took_ms: 12,
            status: Some(200),
            answer,
            serves,
            why: String::new(),
            prints: if serves == KeySource::Nothing { vec![] } else { vec![key] },
            offered: None,
        };
        Steps { name: Resolved { is: "known", uid: user.uid(), advice: None }, keys }
    }

    fn cached(serves: bool) -> CachedAnswer {
        CachedAnswer { seconds_ago: Some(310), serves, account: account() }
    }

    #[test]
    fn an_answer_serves_with_the_keys_that_are_keys() {
        let left_out = vec!["key 2: not 'type base64 [comment]' (options are not taken)".to_owned()];
        let answer = SourceAnswer::Account { account: account(), left_out, bounded: None };
        assert_snapshot!(text(&steps(answer, None, KeySource::Answer)), @"
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
        let error = "the web app cannot be asked: \x1b[31mrefused".to_owned();
        let nothing = || SourceAnswer::Nothing { error: error.clone() };
        assert_snapshot!(text(&steps(nothing(), Some(cached(true)), KeySource::Cache)), @r"
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
        let refused = text(&steps(nothing(), Some(cached(false)), KeySource::Nothing));
        assert!(refused.contains("id 42, 1 key; too old to serve\n"), "{refused}");
        assert!(refused.contains("\nserves   nothing: the login is refused\n"), "{refused}");
    }

    #[test]
    fn p3_a_no_is_an_answer() {
        let no = SourceAnswer::Refusal { reason: "HTTP 404".to_owned(), left_out: vec![] };
        assert_snapshot!(text(&steps(no, Some(cached(true)), KeySource::Nothing)), @"
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
