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

mod replies;
mod requests;
mod resources;

use std::fs;
use std::io::{BufRead as _, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

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
        assert!(
            printed.is_empty() || printed == format!("restrict,pty,port-forwarding,agent-forwarding {KEY}\n"),
            "{printed:?}"
        );
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
