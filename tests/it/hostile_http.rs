//! `sshbox-keys` with a web app that sends invalid replies, hangs, floods or closes the connection: the key of the
//! last valid answer is used, nothing else is ever printed, and every request ends in time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, its helpers too"
)]

use host::explanation::{Explanation, KeySource, SourceAnswer};
use std::fs;
use std::io::{BufRead as _, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";
const TIMEOUT: Duration = Duration::from_secs(1);

type Behaviour = Box<dyn Fn(TcpStream, &str) + Send + Sync>;

/// A web app whose behaviour can be changed between two logins.
struct Site {
    dir: tempfile::TempDir,
    behaviour: Arc<Mutex<Arc<Behaviour>>>,
    requests: Arc<AtomicUsize>,
}

impl Site {
    fn new(scheme: &str, more: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("cache")).unwrap();
        fs::write(dir.path().join("token"), "canary-token\n").unwrap();
        let path = dir.path().display();
        let config = format!(
            "[accounts]\nurl = '{scheme}://127.0.0.1:{port}/{{user}}'\ntoken_file = '{path}/token'\ncache = '{path}/cache'\ntimeout = '1s'\n{more}"
        );
        fs::write(dir.path().join("sshbox.toml"), config).unwrap();
        let behaviour: Arc<Mutex<Arc<Behaviour>>> = Arc::new(Mutex::new(Arc::new(Box::new(good))));
        let requests = Arc::new(AtomicUsize::new(0));
        let site = Self { dir, behaviour: Arc::clone(&behaviour), requests: Arc::clone(&requests) };
        // Ends with the test program.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let behaviour = Arc::clone(&behaviour.lock().unwrap());
                let requests = Arc::clone(&requests);
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    let mut request = String::new();
                    let mut lines = BufReader::new(stream.try_clone().unwrap());
                    while lines.read_line(&mut request).is_ok_and(|count| count > 2) {}
                    requests.fetch_add(1, Ordering::SeqCst);
                    behaviour(stream, &request);
                });
            }
        });
        site
    }

    fn behaves(&self, behaviour: impl Fn(TcpStream, &str) + Send + Sync + 'static) {
        *self.behaviour.lock().unwrap() = Arc::new(Box::new(behaviour));
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("sshbox.toml")
    }

    /// Runs `sshbox-keys` as sshd does for a login of alice with this key.
    fn login(&self, fingerprint: &str) -> Output {
        keys(&self.config(), fingerprint, "alice")
    }

    fn lets_in(&self) -> bool {
        let output = self.login(&fingerprint(KEY));
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.is_empty() || printed == format!("restrict,pty {KEY}\n"), "{printed:?}");
        !printed.is_empty()
    }
}

/// Each run gets a parent of its own, as each login has its own sshd, so that the answer to an earlier login does not
/// count as fresh.
fn keys(config: &Path, fingerprint: &str, user: &str) -> Output {
    thread::sleep(Duration::from_millis(30));
    Command::new("sh")
        .args(["-c", "sleep 0.03; \"$@\"; exit $?", "sh", env!("CARGO_BIN_EXE_sshbox-keys"), "--config"])
        .arg(config)
        .args(["--fingerprint", fingerprint, "--", user])
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fingerprint(line: &str) -> String {
    session::authorized_key::AuthorizedKey::parse(line).unwrap().fingerprint().to_owned()
}

fn account(keys: &str) -> String {
    format!(r#"{{"user":"alice","id":42,"keys":[{keys}]}}"#)
}

fn good(stream: TcpStream, _request: &str) {
    respond(stream, "application/json", account(&format!("\"{KEY}\"")).as_bytes());
}

fn respond(mut stream: impl Write, kind: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn raw(bytes: &'static [u8]) -> impl Fn(TcpStream, &str) + Send + Sync + 'static {
    move |mut stream, _| {
        let _ = stream.write_all(bytes);
    }
}

fn json(body: String) -> impl Fn(TcpStream, &str) + Send + Sync + 'static {
    move |stream, _| respond(stream, "application/json", body.as_bytes())
}

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
        ("endless body", endless(b"                ", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")),
        ("endless chunks", endless(b"4\r\n    \r\n", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")),
        ("endless 100 Continue", endless(b"HTTP/1.1 100 Continue\r\n\r\n", b"")),
        ("body too large", Box::new(json(account(&key) + &" ".repeat(300 * 1024)))),
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
fn a16_the_token_is_sent_to_the_site_only() {
    let site = Site::new("http", "");
    site.behaves(|stream, request| {
        let asked = request.to_ascii_lowercase().contains("authorization: bearer canary-token")
            && request.starts_with("GET /alice ");
        if asked {
            good(stream, request);
        }
    });
    assert!(site.lets_in());
    let cached = fs::read_to_string(site.dir.path().join("cache/alice.json")).unwrap();
    assert!(!cached.contains("canary"), "{cached}");
}

#[test]
fn a4_https_requires_a_certificate_that_can_be_verified() {
    // The site speaks plain HTTP where TLS is expected, and none of the CAs has signed for it.
    let site = Site::new("https", "ca_file = '/etc/ssl/certs/ca-certificates.crt'\n");
    assert!(!site.lets_in());
    let site = Site::new("https", "ca_file = '/dev/null'\n");
    assert!(!site.lets_in());
}

#[test]
fn f30_fifty_concurrent_logins_make_at_most_five_requests() {
    let site = Arc::new(Site::new("http", ""));
    site.behaves(|stream, request| {
        thread::sleep(Duration::from_millis(300));
        good(stream, request);
    });
    let logins: Vec<_> = (0..50)
        .map(|_| {
            let site = Arc::clone(&site);
            thread::spawn(move || site.lets_in())
        })
        .collect();
    assert!(logins.into_iter().all(|login| login.join().unwrap()));
    // All logins started before the first reply, except for some on a slow machine.
    let asked = site.requests.load(Ordering::SeqCst);
    assert!(asked <= 5, "{asked} requests");
}

#[test]
fn a1_ten_thousand_names_cause_no_file_and_no_request() {
    let site = Site::new("http", "");
    let mut state = 42_u64;
    let mut names = Vec::new();
    for _ in 0..10_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = (state >> 60) + 1;
        let name: Vec<u8> = (0..length)
            .map(|n| {
                state.to_le_bytes()[usize::try_from(n % 8).unwrap()]
                    .rotate_left(u32::try_from(n / 8).unwrap())
            })
            .collect();
        names.push(name);
    }
    let (good, bad): (Vec<_>, Vec<_>) = names.iter().partition(|name| identity::is_login(name));
    assert!(bad.len() > 9_000, "{} bad, {} good", bad.len(), good.len());
    // The pure function checks all names, the program a sample of them.
    for name in bad.iter().filter(|name| !name.contains(&0)).step_by(200) {
        use std::os::unix::ffi::OsStrExt as _;
        let output = Command::new(env!("CARGO_BIN_EXE_sshbox-keys"))
            .args([
                "--config".as_ref(),
                site.config().as_os_str(),
                "--fingerprint".as_ref(),
                "x".as_ref(),
                "--".as_ref(),
            ])
            .arg(std::ffi::OsStr::from_bytes(name))
            .output()
            .unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b""[..]), "{name:?}");
    }
    assert_eq!(site.requests.load(Ordering::SeqCst), 0);
    assert_eq!(fs::read_dir(site.dir.path().join("cache")).unwrap().count(), 0);
}

/// A login of alice with these limits of prlimit(1). It runs as another user than root, to whom they do not apply.
fn login_within(site: &Site, limits: &[String]) -> Output {
    let mut words: Vec<String> = ["-c", "sleep 0.03; \"$@\"; exit $?", "sh"].map(str::to_owned).into();
    if nix::unistd::geteuid().is_root() {
        let mut chown = Command::new("chown");
        chown.args(["-R", "65534:65534"]).arg(site.dir.path());
        assert!(chown.status().unwrap().success());
        words.extend(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned));
    }
    words.push("prlimit".to_owned());
    words.extend_from_slice(limits);
    words.push(env!("CARGO_BIN_EXE_sshbox-keys").to_owned());
    let mut command = Command::new("sh");
    command.args(words).arg("--config").arg(site.config());
    thread::sleep(Duration::from_millis(30));
    command.args(["--fingerprint", &fingerprint(KEY), "--", "alice"]).output().unwrap()
}

#[test]
fn f34_without_threads_files_or_memory_the_cached_answer_is_used_or_the_exit_status_reports_it() {
    let site = Site::new("http", "");
    assert!(site.lets_in());
    // From here on the cached answer is used.
    site.behaves(raw(b"HTTP/1.1 500 x\r\n\r\n"));
    let served = |limits: &[String]| {
        let output = login_within(&site, limits);
        let printed = text(&output.stdout);
        match output.status.code() {
            Some(0) => assert_eq!(printed, format!("restrict,pty {KEY}\n"), "{limits:?}: {output:?}"),
            Some(75) => assert_eq!(printed, "", "{limits:?}"),
            _ => panic!("{limits:?}: {output:?}"),
        }
        output.status.success()
    };
    assert!(served(&[]));
    assert!(served(&["--nproc=0".to_owned()]), "the cached answer needs no thread");
    // Find the lowest limit with which the program starts.
    let starts = |limit: &str| {
        let program = env!("CARGO_BIN_EXE_sshbox-keys");
        let output = Command::new("prlimit").args([limit, program, "--version"]).output().unwrap();
        output.status.success() && !output.stdout.is_empty()
    };
    let files = (3..64).find(|files| starts(&format!("--nofile={files}"))).unwrap();
    let outcomes: Vec<_> = (files..files + 8).map(|files| served(&[format!("--nofile={files}")])).collect();
    assert!(outcomes.contains(&true) && outcomes.contains(&false), "{outcomes:?}");
    let memory = (1..4096).map(|n| n << 18).find(|bytes| starts(&format!("--as={bytes}"))).unwrap();
    let outcomes: Vec<_> = (0..24).map(|n| served(&[format!("--as={}", memory + (n << 17))])).collect();
    assert!(outcomes.contains(&true), "{outcomes:?}");
}

#[test]
fn f33_without_a_cache_each_login_makes_a_request_and_none_is_refused() {
    let site = Site::new("http", "");
    let cache = site.dir.path().join("cache");
    for defect in ["missing", "a file", "full of nothing that can be written"] {
        let _ = fs::remove_dir_all(&cache).or_else(|_| fs::remove_file(&cache));
        match defect {
            "missing" => {}
            "a file" => fs::write(&cache, "").unwrap(),
            _ => {
                // Directories in place of the files: not even root can write them.
                for name in [".lock", ".recent", ".check", "alice.json", ".alice.json.new"] {
                    fs::create_dir_all(cache.join(name)).unwrap();
                }
            }
        }
        let before = site.requests.load(Ordering::SeqCst);
        assert!(site.lets_in() && site.lets_in(), "{defect}");
        assert_eq!(site.requests.load(Ordering::SeqCst), before + 2, "{defect}");
        assert_eq!(text(&site.login("SHA256:of-another-key").stdout), "", "{defect}");
        // --check reports it, but does not fail.
        let check = Command::new(env!("CARGO_BIN_EXE_sshbox-keys"))
            .args(["--check".as_ref(), "--config".as_ref(), site.config().as_os_str()])
            .output()
            .unwrap();
        assert!(text(&check.stderr).contains("cannot be written"), "{defect}: {check:?}");
    }
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

#[test]
fn a19_files_that_others_can_change_are_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new("http", "");
    let set = |name: &str, mode| {
        fs::set_permissions(site.dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    set("token", 0o622);
    assert!(!site.lets_in());
    set("token", 0o600);
    assert!(site.lets_in());
    set("sshbox.toml", 0o666);
    assert_eq!(site.login(&fingerprint(KEY)).status.code(), Some(78));
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
    assert_eq!(found.prints[0].line, format!("restrict,pty {KEY}"));
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
