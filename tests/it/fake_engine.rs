//! A container engine's HTTP server at a socket of its own. A test decides what it replies.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

/// The server, which runs until the test program ends.
pub struct FakeEngine {
    dir: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeEngine {
    /// A server of this version of the API. `reply` gets the first line of each request, in a thread of
    /// the connection, and returns the HTTP status and the body.
    pub fn new(
        version: (u32, u32),
        reply: impl Fn(&str) -> (u16, String) + Clone + Send + Sync + 'static,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("docker.sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (noted, reply) = (Arc::clone(&noted), reply.clone());
                thread::spawn(move || serve(version, &reply, stream.unwrap(), &noted));
            }
        });
        Self { dir, asked }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// The first lines of all requests until now.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    version: (u32, u32),
    reply: &impl Fn(&str) -> (u16, String),
    stream: UnixStream,
    asked: &Mutex<Vec<String>>,
) {
    let mut out = stream.try_clone().unwrap();
    let mut lines = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if !lines.read_line(&mut request).is_ok_and(|count| count > 0) {
            return;
        }
        let mut length = 0;
        loop {
            let mut header = String::new();
            lines.read_line(&mut header).unwrap();
            if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).unwrap();
        asked.lock().unwrap().push(request.trim().to_owned());
        let (status, body) = reply(&request);
        let mut head = format!("HTTP/1.1 {status} Said\r\nApi-Version: {}.{}\r\n", version.0, version.1);
        if status != 204 && status != 304 {
            let _ = write!(head, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        // A client that has ended does not read the reply.
        let _ = out.write_all(format!("{head}\r\n{body}").as_bytes());
    }
}
