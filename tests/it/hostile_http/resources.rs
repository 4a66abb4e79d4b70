//! Logins without threads, file descriptors, memory or a cache, and with files that others can change.

use crate::{KEY, Site, fingerprint, raw, text};
use std::fs;
use std::process::{Command, Output};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

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
            Some(0) => assert_eq!(
                printed,
                format!("restrict,pty,port-forwarding,agent-forwarding {KEY}\n"),
                "{limits:?}: {output:?}"
            ),
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
