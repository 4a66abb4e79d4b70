//! The subcommand `sshbox keys` shows how the program `sshbox-keys` would decide about the keys of a user
//! now, step by step. It runs `sshbox-keys --explain`, and also checks whether the running sshd resolves
//! the login name. It changes nothing.

use super::names::{self, NameLookup};
use super::{explain, output, parse_login};
use clap::Args;
use host::account::{Account, TOO_LONG};
use host::explanation::{CachedAnswer, Explanation, FailedLookup, KeySource, PrintedKey, SourceAnswer};
use identity::Login;
use serde::Serialize;
use session::escape::{printable, visible};
use session::exit::{ExitStatus, Failure};
use session::presence::{TEMPORARY_USER_PREFIX, is_reserved};
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

/// The output.
#[derive(Debug, Serialize)]
struct KeysReport {
    #[serde(rename = "name")]
    resolution: NameResolution,
    #[serde(flatten)]
    explanation: Explanation,
}

/// Whether the running sshd resolves the login name. For a name that does not resolve, sshd does not run
/// `sshbox-keys`.
#[derive(Debug, Serialize)]
struct NameResolution {
    /// `known`, `unknown`, or `untested` if no sshd runs or the lookup failed.
    #[serde(rename = "is")]
    state: &'static str,
    /// The uid that sshbox computes for the name, even if the name does not resolve.
    uid: u32,
    /// What the admin should do about an unknown name, or why the name was not tested.
    advice: Option<String>,
}

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    if is_reserved(&arguments.user) {
        let cause = format!("names that begin with {TEMPORARY_USER_PREFIX} are reserved for sshbox doctor");
        return Err(Failure { cause, ..Failure::new(ExitStatus::Refused, "nobody can log in with them") });
    }
    let (no_options, no_interrupt) = (&[], None);
    let explanation = explain::explain(config, &arguments.user, no_options, no_interrupt)?;
    let report = KeysReport { resolution: resolve(&arguments.user), explanation };
    if arguments.json { output::print_json(&report) } else { output::print(&text(&report)) }
}

fn resolve(user: &Login) -> NameResolution {
    let (state, advice) = match names::listener() {
        None => ("untested", Some("sshbox-sshd does not run".to_owned())),
        Some(listener) => match names::look_up(Some(&listener), user).map(NameLookup::advice) {
            Ok(None) => ("known", None),
            Ok(Some(advice)) => ("unknown", Some(advice.to_owned())),
            Err(error) => ("untested", Some(error)),
        },
    };
    NameResolution { state, uid: user.uid(), advice }
}

fn text(report: &KeysReport) -> String {
    let duration = |seconds: u64| short_duration(Duration::from_secs(seconds));
    let KeysReport { resolution: NameResolution { state, uid, advice }, explanation } = report;
    let advice = advice.as_deref().unwrap_or_default();
    let mut lines = vec![(
        "name",
        match *state {
            "known" => format!("resolves to uid {uid} in the running sshd"),
            "unknown" => format!(
                "does not resolve in the running sshd, which refuses logins with it as an invalid user: {advice}"
            ),
            _ => format!("not tested: {advice}"),
        },
    )];
    lines.push(("runs as", explanation.runs_as.clone()));
    lines.push((
        "cache",
        match &explanation.cache {
            None => "holds no answer".to_owned(),
            Some(CachedAnswer { seconds_ago, serves, account }) => format!(
                "answer received {}: {}; {}",
                // `None`: the wall clock has been set back, and the host has rebooted.
                seconds_ago.map_or("in the future".to_owned(), |ago| format!("{} ago", duration(ago))),
                described(account),
                match (seconds_ago, serves) {
                    (_, true) => "used if there is no answer now",
                    (Some(_), false) => "too old to be used",
                    (None, false) => "not used",
                }
            ),
        },
    ));
    if let Some(FailedLookup { outcome, seconds_ago }) = &explanation.recent {
        let ago = duration(*seconds_ago);
        lines.push(("", format!("last lookup that found no account: {outcome}, {ago} ago")));
    }
    lines.push(("asks", explanation.url.clone()));
    let token = explanation.token_file.as_ref().map(|path| format!("with the token in {}", path.display()));
    lines.push((
        "",
        format!(
            "{}, for at most {} ms",
            token.as_deref().unwrap_or("without a token"),
            explanation.timeout_ms
        ),
    ));
    let (answer, left_out) = match &explanation.answer {
        SourceAnswer::Account { account, left_out, .. } => (described(account), &**left_out),
        SourceAnswer::Refusal { reason, left_out } => (format!("no: {reason}"), &**left_out),
        SourceAnswer::Nothing { error } => (format!("none: {error}"), &[][..]),
    };
    lines.push(("answer", format!("{answer} (after {} ms)", explanation.took_ms)));
    if let SourceAnswer::Account { account, .. } = &explanation.answer {
        let names: Vec<_> = account.env.names().collect();
        let variables =
            (!names.is_empty()).then(|| format!("sessions get the variables {}", names.join(", ")));
        let directory = account.directory.as_ref().map(|directory| format!("sessions begin in {directory}"));
        lines.extend(variables.into_iter().chain(directory).map(|line| ("", line)));
    }
    lines.extend(left_out.iter().map(|reason| ("", format!("left out: {reason}"))));
    if let SourceAnswer::Account { bounded: Some(reason), .. } = &explanation.answer {
        lines.push(("", reason.clone()));
    }
    if matches!(&explanation.answer, SourceAnswer::Refusal { reason, .. } if reason == TOO_LONG) {
        lines.push(("", "the web app must send a shorter one: an account has at most 100 keys".to_owned()));
    }
    lines.push((
        "uses",
        match (explanation.serves, &explanation.answer) {
            (KeySource::Answer, _) => "the answer; a login would write it to the cache".to_owned(),
            (KeySource::Cache, _) => "the answer in the cache".to_owned(),
            (_, SourceAnswer::Refusal { .. }) => {
                "nothing: a login would be refused, and the answer removed from the cache".to_owned()
            }
            _ => "nothing: a login would be refused".to_owned(),
        },
    ));
    if explanation.prints.is_empty() {
        lines.push(("prints", "no key".to_owned()));
    }
    let text = lines.into_iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<8} {}", printable(value.as_bytes()));
        text
    });
    // Not `printable`, which cuts long text: a key line is longer.
    let show = |text: &str| visible(text.as_bytes());
    explanation.prints.iter().fold(text, |mut text, PrintedKey { fingerprint, line }| {
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

    fn report(answer: SourceAnswer, cache: Option<CachedAnswer>, serves: KeySource) -> KeysReport {
        let user = parse_login("alice").unwrap();
        let key = PrintedKey {
            fingerprint: FINGERPRINT.to_owned(),
            line: format!("restrict,pty,port-forwarding,agent-forwarding {KEY}"),
        };
        let explanation = Explanation {
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
        let resolution = NameResolution { state: "known", uid: user.uid(), advice: None };
        KeysReport { resolution, explanation }
    }

    fn cached(serves: bool) -> CachedAnswer {
        CachedAnswer { seconds_ago: Some(310), serves, account: account() }
    }

    #[test]
    fn an_answer_is_used_and_its_invalid_keys_are_left_out() {
        let left_out = vec!["key 2: not 'type base64 [comment]' (options are not taken)".to_owned()];
        let answer = SourceAnswer::Account { account: account(), left_out, bounded: None };
        assert_snapshot!(text(&report(answer, None, KeySource::Answer)), @"
        name     resolves to uid 2098369249 in the running sshd
        runs as  sshbox-keys (uid 998)
        cache    holds no answer
        asks     https://site.example/alice
                 with the token in /etc/sshbox/token, for at most 1500 ms
        answer   id 42, 1 key (after 12 ms)
                 left out: key 2: not 'type base64 [comment]' (options are not taken)
        uses     the answer; a login would write it to the cache
        prints   for SHA256:/wqoxesgZdYhWspI+0Zta65yzER0nk0AyJ32fjuf1gs
                 restrict,pty,port-forwarding,agent-forwarding ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI
        ");
    }

    #[test]
    fn a16_what_the_site_gives_to_sessions_is_named_without_values() {
        let mut account = serde_json::to_value(account()).unwrap();
        account["env"] = serde_json::json!({"SITE_TOKEN": "s3cret", "SITE_URL": "s3cret"});
        account["directory"] = "proj/\x1b[31m".into();
        let account = serde_json::from_value(account).unwrap();
        let answer = SourceAnswer::Account { account, left_out: vec![], bounded: None };
        let shown = text(&report(answer, None, KeySource::Answer));
        assert!(!shown.contains("s3cret"));
        assert_snapshot!(shown.lines().skip(5).take(3).collect::<Vec<_>>().join("\n"), @r"
        answer   id 42, 1 key (after 12 ms)
                 sessions get the variables SITE_TOKEN, SITE_URL
                 sessions begin in proj/\x1b[31m
        ");
    }

    #[test]
    fn without_an_answer_the_text_shows_that_the_cache_is_used_or_too_old() {
        let error = "the web app cannot be asked: \x1b[31mrefused".to_owned();
        let nothing = || SourceAnswer::Nothing { error: error.clone() };
        assert_snapshot!(text(&report(nothing(), Some(cached(true)), KeySource::Cache)), @r"
        name     resolves to uid 2098369249 in the running sshd
        runs as  sshbox-keys (uid 998)
        cache    answer received 5m 10s ago: id 42, 1 key; used if there is no answer now
        asks     https://site.example/alice
                 with the token in /etc/sshbox/token, for at most 1500 ms
        answer   none: the web app cannot be asked: \x1b[31mrefused (after 12 ms)
        uses     the answer in the cache
        prints   for SHA256:/wqoxesgZdYhWspI+0Zta65yzER0nk0AyJ32fjuf1gs
                 restrict,pty,port-forwarding,agent-forwarding ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI
        ");
        let refused = text(&report(nothing(), Some(cached(false)), KeySource::Nothing));
        assert!(refused.contains("id 42, 1 key; too old to be used\n"), "{refused}");
        assert!(refused.contains("\nuses     nothing: a login would be refused\n"), "{refused}");
    }

    #[test]
    fn p3_a_refusal_is_an_answer_so_the_cache_is_not_used() {
        let refusal = SourceAnswer::Refusal { reason: "HTTP 404".to_owned(), left_out: vec![] };
        assert_snapshot!(text(&report(refusal, Some(cached(true)), KeySource::Nothing)), @"
        name     resolves to uid 2098369249 in the running sshd
        runs as  sshbox-keys (uid 998)
        cache    answer received 5m 10s ago: id 42, 1 key; used if there is no answer now
        asks     https://site.example/alice
                 with the token in /etc/sshbox/token, for at most 1500 ms
        answer   no: HTTP 404 (after 12 ms)
        uses     nothing: a login would be refused, and the answer removed from the cache
        prints   no key
        ");
        let refusal = SourceAnswer::Refusal { reason: TOO_LONG.to_owned(), left_out: vec![] };
        let shown = text(&report(refusal, Some(cached(true)), KeySource::Nothing));
        assert_snapshot!(shown.lines().skip(5).collect::<Vec<_>>().join("\n"), @"
        answer   no: the answer is longer than 256 KiB (after 12 ms)
                 the web app must send a shorter one: an account has at most 100 keys
        uses     nothing: a login would be refused, and the answer removed from the cache
        prints   no key
        ");
    }
}
