//! Requests to the web app: what they contain, to whom they are sent, and how many there are.

use crate::{Site, good};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

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
