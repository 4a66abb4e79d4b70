//! Replies of a web app: invalid ones are no answer, refusals are final, hostile keys are skipped.

use crate::{Behaviour, KEY, Site, TIMEOUT, account, fingerprint, good, json, raw, respond, text};
use host::explanation::{Explanation, KeySource, SourceAnswer};
use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Invalid replies, each with a name for the message of a failed test.
fn invalid_replies() -> Vec<(&'static str, Behaviour)> {
    let key = format!("\"{KEY}\"");
    let endless = |chunk: &'static [u8], head: &'static [u8]| -> Behaviour {
        Box::new(move |mut stream, _| {
            let _ = stream.write_all(head);
            while stream.write_all(chunk).is_ok() {}
        })
    };
    let slow = |head: &'static [u8]| -> Behaviour {
        Box::new(move |mut stream, _| {
            for byte in head.iter().cycle().take(200) {
                let _ = stream.write_all(&[*byte]);
                thread::sleep(Duration::from_millis(100));
            }
        })
    };
    vec![
        ("silence", Box::new(|_stream, _| thread::sleep(Duration::from_secs(20)))),
        ("closed at once", Box::new(raw(b""))),
        ("half closed", Box::new(|stream, _| {
            let _ = stream.shutdown(Shutdown::Write);
            thread::sleep(Duration::from_secs(20));
        })),
        ("a head byte by byte", slow(b"HTTP/1.1 200 OK\r\nX-Slow: yes\r\n")),
        ("a body byte by byte", Box::new(|mut stream, _| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n");
            for _ in 0..200 {
                let _ = stream.write_all(b" ");
                thread::sleep(Duration::from_millis(100));
            }
        })),
        ("endless head", endless(b"X-More: and more\r\n", b"HTTP/1.1 200 OK\r\n")),
        ("endless head line", endless(b"xxxxxxxxxxxxxxxx", b"HTTP/1.1 200 OK\r\nX: ")),
        ("endless page", endless(b"                ", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")),
        ("endless error", endless(b"                ", b"HTTP/1.1 500 No\r\nContent-Type: application/json\r\n\r\n")),
        ("endless 100 Continue", endless(b"HTTP/1.1 100 Continue\r\n\r\n", b"")),
        ("body shorter than said", Box::new(raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{\"user\":\"alice\""))),
        ("bad chunk", Box::new(raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"))),
        ("no HTTP at all", Box::new(raw(b"SSH-2.0-OpenSSH_9.2\r\n"))),
        ("no status line", Box::new(raw(b"ssh-ed25519 AAAA\n"))),
        ("status without a number", Box::new(raw(b"HTTP/1.1 OK\r\n\r\n"))),
        ("redirect", Box::new(|mut stream, request| {
            if request.contains("/elsewhere") {
                good(stream, request);
            } else {
                let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
            }
        })),
        ("500", Box::new(raw(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"))),
        ("503", Box::new(raw(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"))),
        ("401", Box::new(raw(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"))),
        ("429", Box::new(raw(b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"))),
        ("204", Box::new(raw(b"HTTP/1.1 204 Nothing\r\n\r\n"))),
        ("a page", Box::new(|stream, _| respond(stream, "text/html", b"<h1>Sign in</h1>"))),
        ("no content type", Box::new(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))),
        ("gzip", Box::new(|mut stream, _| {
            let body = b"\x1f\x8b\x08\0\0\0\0\0\0\x03";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        })),
        ("another user", Box::new(json(account(&key).replace("alice", "mallory")))),
        ("a list", Box::new(json("[]".to_owned()))),
        ("wrong types", Box::new(json(account(&key).replace("42", "{}")))),
        ("a mark in front", Box::new(json(format!("\u{feff}{}", account(&key))))),
        ("not UTF-8", Box::new(|stream, _| respond(stream, "text/plain", b"\xff\xfe\0s\0s\0h"))),
    ]
}

#[test]
fn a4_an_invalid_reply_is_no_answer_and_every_request_ends_in_time() {
    let logins: Vec<_> = invalid_replies()
        .into_iter()
        .map(|(name, behaviour)| {
            thread::spawn(move || {
                let site = Site::new("http", "");
                site.behaves(behaviour);
                // Without a cached answer the login is refused.
                let began = Instant::now();
                assert!(!site.lets_in(), "{name}");
                // More time for a busy machine; a request without a timeout would take 20 s.
                assert!(began.elapsed() < TIMEOUT + Duration::from_secs(8), "{name}: {:?}", began.elapsed());
                // With a cached answer the login succeeds, and the answer stays cached.
                let before = site.behaviour.lock().unwrap().clone();
                site.behaves(good);
                assert!(site.lets_in(), "{name}");
                *site.behaviour.lock().unwrap() = before;
                assert!(site.lets_in(), "{name}");
                assert!(site.lets_in(), "{name}");
            })
        })
        .collect();
    assert!(logins.len() >= 25, "{}", logins.len());
    for login in logins {
        login.join().unwrap();
    }
}

#[test]
fn p3_a_refusal_is_an_answer_and_clears_the_cache() {
    let key = format!("\"{KEY}\"");
    let answers: Vec<(&str, Behaviour)> = vec![
        ("403", Box::new(raw(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"))),
        ("404", Box::new(raw(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"))),
        ("410", Box::new(raw(b"HTTP/1.1 410 No\r\nContent-Length: 0\r\n\r\n"))),
        ("no keys", Box::new(json(account("")))),
        ("inactive", Box::new(json(account(&key).replace("42", "42,\"active\":false")))),
        ("an empty text", Box::new(|stream, _| respond(stream, "text/plain", b""))),
    ];
    for (name, behaviour) in answers {
        let site = Site::new("http", "");
        assert!(site.lets_in(), "{name}");
        site.behaves(behaviour);
        assert!(!site.lets_in(), "{name}");
        site.behaves(|_stream, _| ());
        assert!(!site.lets_in(), "{name}: the cache has not forgotten");
        site.behaves(good);
        assert!(site.lets_in(), "{name}");
    }
}

/// A user makes the answer long, with many keys, to go on using one that was removed.
#[test]
fn p3_an_answer_that_is_too_long_refuses_the_user_and_clears_the_cache() {
    let key = format!("\"{KEY}\"");
    // Large chunks: small ones would take longer than the timeout.
    let endless = |chunk: String, head: &'static [u8]| -> Behaviour {
        Box::new(move |mut stream, _| {
            let _ = stream.write_all(head);
            while stream.write_all(chunk.as_bytes()).is_ok() {}
        })
    };
    let spaces = |length: usize| account(&key) + &" ".repeat(length);
    let keys = |count: usize| vec![key.clone(); count].join(",");
    let most = 256 * 1024;
    let answers: Vec<(&str, Behaviour)> = vec![
        ("a byte more", Box::new(json(spaces(most + 1 - account(&key).len())))),
        ("many keys", Box::new(json(account(&keys(4000))))),
        (
            "key lines",
            Box::new(move |stream, _| {
                respond(stream, "text/plain", format!("{KEY}\n").repeat(4000).as_bytes());
            }),
        ),
        (
            "endless body",
            endless(" ".repeat(4096), b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"),
        ),
        (
            "endless chunks",
            endless(
                format!("1000\r\n{}\r\n", " ".repeat(4096)),
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
        ),
    ];
    for (name, behaviour) in answers {
        let site = Site::new("http", "");
        assert!(site.lets_in(), "{name}");
        site.behaves(behaviour);
        let (found, _) = explained(&site, &[]);
        assert_eq!((found.status, found.serves), (Some(200), KeySource::Nothing), "{name}");
        let SourceAnswer::Refusal { reason, .. } = found.answer else { panic!("{:?}", found.answer) };
        assert_eq!(reason, "the answer is longer than 256 KiB", "{name}");
        assert!(!site.lets_in(), "{name}");
        site.behaves(|_stream, _| ());
        assert!(!site.lets_in(), "{name}: the cache has not forgotten");
        site.behaves(good);
        assert!(site.lets_in(), "{name}");
    }
    // The longest answer that is read.
    let site = Site::new("http", "");
    site.behaves(json(spaces(most - account(&key).len())));
    assert!(site.lets_in());
}

#[test]
fn p3_one_invalid_value_does_not_keep_a_removed_key_alive() {
    for field in [r#""limits":{"cpus":0}"#, r#""limits":7"#, r#""idle_timeout":"soon""#, r#""image":"a b""#] {
        let site = Site::new("http", "");
        assert!(site.lets_in());
        // The account has another key now, and a value that makes no sense.
        let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIcgzVXjOoTJ3PWhG8oJFcvLrhMTTkfVPuuXvrZ0Lz5z";
        site.behaves(json(account(&format!("\"{other}\"")).replace("42", &format!("42,{field}"))));
        assert!(!site.lets_in(), "{field}");
        let printed = text(&site.login(&fingerprint(other)).stdout);
        assert_eq!(printed, format!("restrict,pty,port-forwarding,agent-forwarding {other}\n"), "{field}");
        let SourceAnswer::Account { left_out, .. } = explained(&site, &[]).0.answer else {
            panic!("{field}")
        };
        assert_eq!(left_out.len(), 1, "{left_out:?}");
    }
}

#[test]
fn a3_hostile_keys_are_skipped_and_valid_ones_are_kept() {
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIcgzVXjOoTJ3PWhG8oJFcvLrhMTTkfVPuuXvrZ0Lz5z";
    let lines = [
        format!("command=\\\"id\\\" {other}"),
        format!("cert-authority {other}"),
        format!("restrict,port-forwarding {other}"),
        format!("environment=\\\"A=B\\\" {other}"),
        format!("{other}\\n{other}"),
        format!("{other}\\u0000"),
        format!("\\ufeff{other}"),
        format!("# {other}"),
        "ssh-ed25519".to_owned(),
        "ssh-dss AAAAB3NzaC1kc3M=".to_owned(),
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAQQDRrA==".to_owned(),
        String::new(),
    ];
    let site = Site::new("http", "");
    for line in lines {
        site.behaves(json(account(&format!("\"{line}\",\"{KEY}\""))));
        assert!(site.lets_in(), "{line}");
        assert_eq!(site.login(&fingerprint(other)).stdout, b"", "{line}");
    }
}

#[test]
fn the_key_list_of_a_code_forge_works_unchanged() {
    let site = Site::new("http", "");
    site.behaves(|stream, _| {
        respond(stream, "text/plain; charset=utf-8", format!("{KEY}\nssh-dss x\n").as_bytes());
    });
    assert!(site.lets_in());
}

#[test]
fn f35_an_idle_timeout_that_is_too_long_is_capped_and_the_login_works() {
    let site = Site::new("http", "");
    site.behaves(|stream, _| {
        let account = format!(r#"{{"user":"alice","keys":["{KEY}"],"idle_timeout":"9999y"}}"#);
        respond(stream, "application/json", account.as_bytes());
    });
    assert!(site.lets_in());
    let kept = fs::read_to_string(site.dir.path().join("cache/alice.json")).unwrap();
    assert!(kept.contains(r#""idle_timeout":"10years""#), "{kept}");
}

/// Output of `sshbox-keys --explain --json`, parsed as `sshbox keys` parses it, and its text.
fn explained(site: &Site, options: &[&str]) -> (Explanation, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sshbox-keys"))
        .arg("--config")
        .arg(site.config())
        .args(["--explain", "--json"])
        .args(options)
        .args(["--", "alice"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = text(&output.stdout);
    (serde_json::from_str(&printed).unwrap(), printed)
}

#[test]
fn an_explanation_gives_the_reason_and_changes_nothing() {
    let site = Site::new("http", "");
    let cache = || fs::read_dir(site.dir.path().join("cache")).unwrap().count();
    let (found, printed) = explained(&site, &["--fingerprint", &fingerprint(KEY)]);
    assert_eq!((found.status, found.serves, found.cache), (Some(200), KeySource::Answer, None));
    assert_eq!(found.prints[0].line, format!("restrict,pty,port-forwarding,agent-forwarding {KEY}"));
    assert!(found.offered.unwrap().accepted && !printed.contains("canary-token"), "{printed}");
    assert_eq!((site.requests.load(Ordering::SeqCst), cache()), (1, 0));
    assert!(!explained(&site, &["--fingerprint", "SHA256:other"]).0.offered.unwrap().accepted);

    // Without an answer the cached one is used.
    assert!(site.lets_in());
    let files = cache();
    site.behaves(raw(b"HTTP/1.1 302 x\r\nLocation: /\r\n\r\n"));
    let (found, _) = explained(&site, &[]);
    assert_eq!((found.status, found.serves), (Some(302), KeySource::Cache));
    assert!(found.why.contains("younger than accounts.stale"), "{}", found.why);
    let SourceAnswer::Nothing { error } = found.answer else { panic!("{:?}", found.answer) };
    assert_eq!(error, "the web app answered HTTP 302");
    // A refusal would clear the cache during a login, but not here.
    site.behaves(raw(b"HTTP/1.1 404 x\r\n\r\n"));
    let (found, _) = explained(&site, &[]);
    assert_eq!((found.status, found.serves), (Some(404), KeySource::Nothing));
    assert!(found.cache.unwrap().serves);
    assert_eq!(cache(), files);

    // Without the token the request has none.
    site.behaves(|stream, request| {
        assert!(!request.contains("canary-token"), "{request}");
        good(stream, request);
    });
    let (found, _) = explained(&site, &["--without-token"]);
    assert_eq!((found.serves, found.token_file), (KeySource::Answer, None));
}
