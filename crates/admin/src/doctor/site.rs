//! The account source: whether it answers, takes our token, agrees on the time, and can be
//! trusted on the way.

use super::files::keys;
use super::verdict::{Verdict, fail, ok, skip, warn};
use super::{Doctor, Judged, SMALL};
use serde::{Deserialize, Serialize};
use site::source::Head;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// From here on clocks disagree.
const APART: Duration = Duration::from_secs(30);

/// Days before the end of a certificate at which somebody should know.
const DAYS: u64 = 14;

const LOGS: &str = "look at the web app and its log; journalctl -t sshbox-keys has what logins hear";

/// How the account source answers for a name that nobody has.
#[derive(Debug, Deserialize, Serialize)]
pub struct Heads {
    /// Asked as logins ask.
    pub with: Result<Head, String>,
    /// Asked without a token.
    pub without: Result<Head, String>,
}

/// Asks as the user that logins ask as: so it can read what it needs, and root reads nothing for it.
fn heads(doctor: &Doctor) -> Result<&Heads, Verdict> {
    let config = doctor.config()?;
    let (uid, gid) = keys().ok_or_else(|| skip("there is no user sshbox-keys, see users"))?;
    if let Some(heads) = doctor.heads.get() {
        return Ok(heads);
    }
    let myself = std::env::current_exe().map_err(|error| skip(format!("cannot find myself: {error}")))?;
    let mut command = Command::new(myself);
    command.arg("--config").arg(&doctor.config_path).args(["doctor", "--ask", doctor.visitor.as_str()]);
    let ended = doctor
        .must(command.uid(uid).gid(gid), config.accounts.timeout.0.saturating_mul(2).saturating_add(SMALL))?;
    let nothing = |_| Heads { with: Err(ended.last_words()), without: Err(ended.last_words()) };
    let heads = serde_json::from_str(&ended.out).unwrap_or_else(nothing);
    Ok(doctor.heads.get_or_init(|| heads))
}

/// The answer that logins get.
fn head(doctor: &Doctor) -> Result<&Head, Verdict> {
    heads(doctor)?.with.as_ref().map_err(|_| skip("the account source does not answer, see site"))
}

/// `site`: does the account source answer?
pub fn site(doctor: &Doctor) -> Judged {
    let url = doctor.config()?.accounts.url.as_str().to_owned();
    Ok(judge_site(&url, &heads(doctor)?.with))
}

fn judge_site(url: &str, head: &Result<Head, String>) -> Verdict {
    let head = match head {
        Ok(head) => head,
        Err(error) => {
            return fail(
                format!("{url}: {error}"),
                format!("check accounts.url, accounts.token_file and the way there; {LOGS}"),
            );
        }
    };
    match head.status {
        None => ok(format!("{url}: no file for a name that nobody has, as it should be")),
        Some(status @ (401 | 403 | 404 | 410)) => ok(format!("{url} answers (HTTP {status})")),
        Some(200) => fail(
            format!("{url} has an account for a name that nobody has"),
            "accounts.url must lead to the account of {user}, and to 404 where there is none",
        ),
        Some(status @ 300..=399) => fail(
            format!("{url} redirects (HTTP {status})"),
            "set accounts.url to where it redirects to: the token is not carried elsewhere",
        ),
        Some(503) => fail(format!("{url} answers HTTP 503"), format!("is the token set on its side? {LOGS}")),
        Some(status) => fail(format!("{url} answers HTTP {status}"), LOGS),
    }
}

/// `site-token`: does the web app take our token?
pub fn token(doctor: &Doctor) -> Judged {
    let config = &doctor.config()?.accounts;
    let sent = !config.token_file.as_os_str().is_empty();
    let without = heads(doctor)?.without.as_ref().ok().and_then(|head| head.status);
    Ok(judge_token(head(doctor)?.status, without, sent))
}

fn judge_token(status: Option<u16>, without: Option<u16>, sent: bool) -> Verdict {
    match status {
        None => skip("files want no token"),
        Some(404 | 410) if sent && status == without => warn(
            format!("not looked at: HTTP {} with the token and without", without.unwrap_or_default()),
            "accounts.url may lead elsewhere; if the web app tells everybody, set accounts.token_file to \"\"",
        ),
        Some(404 | 410) if sent => ok("taken: without it the answer is another"),
        Some(404 | 410) => ok("the web app wants none"),
        Some(403) => warn(
            "HTTP 403 for a name that nobody has: a no to the token or to the name, which is not to tell",
            "answer 401 to a wrong token and 404 to an unknown name",
        ),
        Some(401) => fail(
            "the web app does not accept our token (HTTP 401)",
            "put the same text into accounts.token_file and into the web app (SSHBOX_TOKEN_FILE in Django)",
        ),
        Some(status) => skip(format!("HTTP {status} does not tell, see site")),
    }
}

/// `clock`: does the web app agree on the time?
pub fn clock(doctor: &Doctor) -> Judged {
    let head = head(doctor)?;
    let Some(date) = &head.date else {
        return Ok(skip("the account source tells no time"));
    };
    Ok(judge_clock(date, SystemTime::now()))
}

fn judge_clock(date: &str, now: SystemTime) -> Verdict {
    let Some(theirs) = parse_date(date) else {
        return skip("the web app's time cannot be understood");
    };
    let (apart, word) = match now.duration_since(theirs) {
        Ok(apart) => (apart, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    if apart < APART {
        return ok("agrees with the web app's");
    }
    let apart = humantime::format_duration(Duration::from_secs(apart.as_secs()));
    warn(
        format!("{apart} {word} the web app's"),
        "set both by NTP (timedatectl set-ntp true): certificates and stale accounts go by it",
    )
}

/// The moment in a `Date` header (RFC 9110, IMF-fixdate): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_date(date: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<_> = date.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = words.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

/// `tls`: is the way there safe, and for how long?
pub fn tls(doctor: &Doctor) -> Judged {
    let config = &doctor.config()?.accounts;
    let url = config.url.as_str();
    let Some(host) = url.strip_prefix("https://").and_then(authority) else {
        return Ok(judge_plain(url));
    };
    // That it is valid shows in the answer: sshbox-keys checks it each time.
    head(doctor)?;
    let (name, port) = host;
    let target = if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") };
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &target, "-servername", &name]);
    let shown = doctor.must(&mut client, SMALL)?.out;
    let mut reader = Command::new("openssl");
    reader.args(["x509", "-noout", "-enddate", "-dateopt", "iso_8601"]);
    let end = doctor.tool(&mut reader, &shown, SMALL).map_err(|error| super::missing(&error))?;
    Ok(judge_end(&end.out, SystemTime::now()))
}

/// Host and port of what follows the scheme of a URL.
fn authority(rest: &str) -> Option<(String, u16)> {
    let authority = rest.split(['/', '?']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            (host, after.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(443), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn judge_plain(url: &str) -> Verdict {
    let Some(rest) = url.strip_prefix("http://") else {
        return skip("files need none");
    };
    match authority(rest) {
        Some((host, _)) if is_loopback(&host) => ok("http:// on loopback: nothing leaves this host"),
        _ => warn(
            "http:// sends the token and the keys in the clear",
            "use https:// in accounts.url: who can change the answer can log in as anybody",
        ),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Judges `notAfter=2026-12-24 10:00:00Z`.
fn judge_end(text: &str, now: SystemTime) -> Verdict {
    let end = text.trim().strip_prefix("notAfter=").and_then(|end| humantime::parse_rfc3339_weak(end).ok());
    let Some(end) = end else {
        return skip("valid; openssl does not tell until when");
    };
    let days = end.duration_since(now).unwrap_or_default().as_secs() / (24 * 3600);
    if days < DAYS {
        return warn(
            format!("the certificate ends in {days} days"),
            "renew it: without it nobody new gets in, and others only while their last answer serves",
        );
    }
    ok(format!("valid, for {days} more days"))
}

#[cfg(test)]
mod tests {
    use super::super::verdict::State;
    use super::*;

    fn answered(status: u16) -> Result<Head, String> {
        Ok(Head { status: Some(status), date: None })
    }

    fn moment(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn an_answer_is_one_that_says_no() {
        let judge = |head| judge_site("http://x/{user}", &head);
        for status in [401, 403, 404, 410] {
            assert_eq!(judge(answered(status)).state, State::Ok, "{status}");
        }
        for (status, word) in
            [(200, "an account for a name"), (302, "redirects"), (500, "HTTP 500"), (503, "503")]
        {
            let verdict = judge(answered(status));
            assert_eq!(verdict.state, State::Fail);
            assert!(verdict.seen.contains(word), "{verdict:?}");
        }
        assert!(judge(Err("no answer within 1.5s".to_owned())).seen.ends_with("no answer within 1.5s"));
    }

    #[test]
    fn a_token_is_right_when_the_name_is_what_is_wrong() {
        let judge = |with, without| judge_token(with, without, true).state;
        assert_eq!(judge(Some(404), Some(401)), State::Ok);
        assert_eq!(judge(Some(404), Some(404)), State::Warn, "a wrong path says 404 to all");
        assert_eq!(judge_token(Some(404), Some(404), false).state, State::Ok);
        assert_eq!(judge(Some(401), Some(401)), State::Fail);
        assert_eq!(judge(Some(403), Some(403)), State::Warn);
        assert_eq!(judge(Some(500), None), State::Skip);
        assert_eq!(judge(None, None), State::Skip);
    }

    #[test]
    fn clocks_are_compared_in_both_directions() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(judge_clock(date, moment("1994-11-06T08:49:40Z")).state, State::Ok);
        assert_eq!(judge_clock(date, moment("1994-11-06T09:49:37Z")).seen, "1h ahead of the web app's");
        assert_eq!(judge_clock(date, moment("1994-11-06T08:48:37Z")).seen, "1m behind the web app's");
        assert_eq!(judge_clock("yesterday", moment("1994-11-06T08:48:37Z")).state, State::Skip);
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told() {
        let now = moment("2026-03-01T00:00:00Z");
        assert_eq!(judge_end("notAfter=2026-05-01 00:00:00Z\n", now).seen, "valid, for 61 more days");
        assert_eq!(judge_end("notAfter=2026-03-04 12:00:00Z\n", now).seen, "the certificate ends in 3 days");
        assert_eq!(judge_end("", now).state, State::Skip);
    }

    #[test]
    fn where_a_url_leads() {
        for (url, host, port) in [
            ("site.example/{user}", "site.example", 443),
            ("site.example:8443/a", "site.example", 8443),
            ("me:secret@site.example?x=/", "site.example", 443),
            ("[2001:db8::1]:444/", "2001:db8::1", 444),
            ("[::1]/", "::1", 443),
        ] {
            assert_eq!(authority(url), Some((host.to_owned(), port)), "{url}");
        }
        assert_eq!(authority("/x"), None);
        assert_eq!(authority("x:y/"), None);
    }

    #[test]
    fn what_is_in_the_clear_is_told() {
        for (url, state) in [
            ("http://127.0.0.1:8000/{user}", State::Ok),
            ("http://[::1]:8000/{user}", State::Ok),
            ("http://localhost/{user}", State::Ok),
            ("http://10.0.0.7/{user}", State::Warn),
            ("http://127.0.0.1.example/{user}", State::Warn),
            ("file:///etc/keys/{user}", State::Skip),
        ] {
            assert_eq!(judge_plain(url).state, state, "{url}");
        }
    }
}
