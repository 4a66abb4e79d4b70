//! The account source: whether it answers, whether it accepts the token, and whether the connection is
//! safe. As at a login, `sshbox-keys` asks it; this program runs `sshbox-keys --explain`.

use super::files::keys_user;
use super::report::{CheckResult, fail, ok, skip, warn};
use super::{Checked, Doctor};
use crate::explain::explain;
use host::account::TOO_LONG;
use host::explanation::{Explanation, SourceAnswer};
use std::net::IpAddr;

const LOGS: &str = "look at the web app and its log; journalctl -t sshbox-keys shows what logins receive";

/// What the account source answers for a name that no user has.
pub type Answer = Result<Explanation, String>;

/// Asks the account source. The name has no key file yet, so that it is asked: see the order of CHECKS.
fn ask(doctor: &Doctor, options: &[&str]) -> Answer {
    explain(&doctor.config_path, &doctor.temporary_user, options, Some(&doctor.interrupt))
        .map_err(|failure| failure.cause)
}

/// The answer to a request like that of a login.
fn answer(doctor: &Doctor) -> Result<&Answer, CheckResult> {
    doctor.config()?;
    keys_user().ok_or_else(|| skip("there is no user sshbox-keys, see check users"))?;
    Ok(doctor.answer.get_or_init(|| ask(doctor, &[])))
}

/// HTTP status of the answer to a request like that of a login; `None` if the account source is a file.
fn status(doctor: &Doctor) -> Result<Option<u16>, CheckResult> {
    match answer(doctor)? {
        Ok(Explanation { status: None, answer: SourceAnswer::Nothing { .. }, .. }) | Err(_) => {
            Err(skip("the account source does not answer, see check site"))
        }
        Ok(explanation) => Ok(explanation.status),
    }
}

/// `site`: does the account source answer?
pub fn site(doctor: &Doctor) -> Checked {
    let url = doctor.config()?.accounts.url.as_str();
    Ok(match answer(doctor)? {
        Ok(explanation) => judge_site(url, explanation.status, &explanation.answer),
        Err(error) => fail(error, "try it: sshbox keys NAME"),
    })
}

fn judge_site(url: &str, status: Option<u16>, answer: &SourceAnswer) -> CheckResult {
    match (status, answer) {
        (None, SourceAnswer::Nothing { error }) => fail(
            format!("{url}: {error}"),
            format!("check accounts.url, accounts.token_file and the network; {LOGS}"),
        ),
        (_, SourceAnswer::Refusal { reason, .. }) if reason == TOO_LONG => fail(
            format!("{url}: {TOO_LONG}"),
            "accounts.url must lead to the account of {user} alone, with at most 100 keys",
        ),
        (None, SourceAnswer::Refusal { .. }) => {
            ok(format!("{url}: no file for a name that no user has, as it should be"))
        }
        (Some(status @ (401 | 403 | 404 | 410)), _) => ok(format!("{url} answers (HTTP {status})")),
        (None | Some(200), _) => fail(
            format!("{url} has an account for a name that no user has"),
            "accounts.url must lead to the account of {user}, and to 404 where there is none",
        ),
        (Some(status @ 300..=399), _) => fail(
            format!("{url} redirects (HTTP {status})"),
            "set accounts.url to the target of the redirect: the token is not sent there",
        ),
        (Some(503), _) => {
            fail(format!("{url} answers HTTP 503"), format!("is the token set in the web app? {LOGS}"))
        }
        (Some(status), _) => fail(format!("{url} answers HTTP {status}"), LOGS),
    }
}

/// `site-token`: does the web app accept the token?
pub fn token(doctor: &Doctor) -> Checked {
    let sent = !doctor.config()?.accounts.token_file.as_os_str().is_empty();
    let status = status(doctor)?;
    let without = || ask(doctor, &["--without-token"]).ok()?.status;
    // An unknown name and a wrong URL both give 404; only the first asks for a token.
    let without = matches!(status, Some(404 | 410)).then(without).flatten();
    Ok(judge_token(status, without, sent))
}

fn judge_token(status: Option<u16>, without: Option<u16>, sent: bool) -> CheckResult {
    match status {
        None => skip("a file needs no token"),
        Some(404 | 410) if sent && status == without => warn(
            format!("not tested: HTTP {} with the token and without", without.unwrap_or_default()),
            "accounts.url may lead elsewhere; if the web app answers everybody, set accounts.token_file to \"\"",
        ),
        Some(404 | 410) if sent => ok("accepted: without the token the answer is another"),
        Some(404 | 410) => ok("the web app needs none"),
        Some(403) => warn(
            "HTTP 403 for a name that no user has: it may refuse the token or the name",
            "answer 401 to a wrong token and 404 to an unknown name",
        ),
        Some(401) => fail(
            "the web app does not accept the token (HTTP 401)",
            "put the same text into accounts.token_file and into the web app (SSHBOX_TOKEN_FILE in Django)",
        ),
        Some(status) => skip(format!("HTTP {status} does not tell, see check site")),
    }
}

/// `tls`: is the connection safe?
pub fn tls(doctor: &Doctor) -> Checked {
    let url = doctor.config()?.accounts.url.as_str();
    if url.starts_with("https://") {
        status(doctor)?;
        return Ok(ok("https: sshbox-keys has verified the certificate"));
    }
    Ok(judge_plain(url))
}

fn judge_plain(url: &str) -> CheckResult {
    let Some(rest) = url.strip_prefix("http://") else {
        return skip("a file needs none");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => authority.split(':').next(),
    };
    let loopback = |host: &str| host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if host.is_some_and(|host| host == "localhost" || loopback(host)) {
        return ok("http:// on loopback: nothing leaves this host");
    }
    warn(
        "http:// sends the token and the keys in the clear",
        "use https:// in accounts.url: anyone who can change the answer can log in as any user",
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    #[test]
    fn the_right_answer_for_an_unknown_name_is_a_refusal() {
        let nothing = SourceAnswer::Nothing { error: "no answer within 1.5s".to_owned() };
        let judge = |status| judge_site("http://x/{user}", status, &nothing);
        for status in [401, 403, 404, 410] {
            assert_eq!(judge(Some(status)).state, CheckState::Ok, "{status}");
        }
        for (status, word) in
            [(200, "an account for a name"), (302, "redirects"), (500, "HTTP 500"), (503, "503")]
        {
            let result = judge(Some(status));
            assert_eq!(result.state, CheckState::Fail);
            assert!(result.finding.contains(word), "{result:?}");
        }
        assert!(judge(None).finding.ends_with("no answer within 1.5s"));
        let too_long = SourceAnswer::Refusal { reason: TOO_LONG.to_owned(), left_out: Vec::new() };
        for status in [None, Some(200)] {
            let result = judge_site("http://x/{user}", status, &too_long);
            assert_eq!(result.state, CheckState::Fail);
            assert!(result.finding.ends_with("longer than 256 KiB"), "{result:?}");
        }
    }

    #[test]
    fn a_token_is_accepted_when_only_the_name_is_refused() {
        let judge = |with, without| judge_token(with, without, true).state;
        assert_eq!(judge(Some(404), Some(401)), CheckState::Ok);
        assert_eq!(judge(Some(404), Some(404)), CheckState::Warn, "a wrong path answers 404 to all");
        assert_eq!(judge_token(Some(404), Some(404), false).state, CheckState::Ok);
        assert_eq!(judge(Some(401), Some(401)), CheckState::Fail);
        assert_eq!(judge(Some(403), Some(403)), CheckState::Warn);
        assert_eq!(judge(Some(500), None), CheckState::Skip);
        assert_eq!(judge(None, None), CheckState::Skip);
    }

    #[test]
    fn http_is_safe_on_loopback_only() {
        for (url, state) in [
            ("http://127.0.0.1:8000/{user}", CheckState::Ok),
            ("http://[::1]:8000/{user}", CheckState::Ok),
            ("http://localhost/{user}", CheckState::Ok),
            ("http://10.0.0.7/{user}", CheckState::Warn),
            ("http://127.0.0.1@site.example?x=/", CheckState::Warn),
            ("http://127.0.0.1.example/{user}", CheckState::Warn),
            ("file:///etc/keys/{user}", CheckState::Skip),
        ] {
            assert_eq!(judge_plain(url).state, state, "{url}");
        }
    }
}
