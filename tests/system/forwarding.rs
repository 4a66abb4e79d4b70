//! Forwarding of an unmodified client: `-L`, `-D`, `-R`, `-W`, `-J` and `-N` start and end in the box of the user, and
//! never reach the host.

mod churn;
mod connections;
mod shared;
mod walls;
mod ways;

use crate::harness::{Running, Ssh, User};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Listens on every address of the host and counts who reaches it. Serves for as long as the tests run.
struct Canary {
    port: u16,
    reached: Arc<AtomicUsize>,
}

impl Canary {
    fn new() -> Self {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let reached = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reached);
        thread::spawn(move || {
            for client in listener.incoming() {
                // Its descriptor is closed at once.
                count.fetch_add(usize::from(client.is_ok()), Ordering::SeqCst);
            }
        });
        let canary = Self { port, reached };
        // The test can fail: whoever is in the network of the host reaches it.
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        crate::harness::until("the canary counts", || canary.reached.swap(0, Ordering::SeqCst) == 1);
        canary
    }

    fn assert_not_reached(&self, what: &str) {
        assert_eq!(self.reached.load(Ordering::SeqCst), 0, "{what}: the host was reached");
    }
}

/// What a client of this port gets, without a request; empty if it is refused or closed.
fn read_from(port: u16) -> String {
    ask(port, "")
}

/// What a client of this port gets after a request; empty if it is refused or closed.
fn ask(port: u16, request: &str) -> String {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut text = Vec::new();
    if let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(20)) {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_end(&mut text);
    }
    crate::harness::text(&text)
}

/// A server in the box that says "inside the box" to each client at this address.
fn serve(user: &User, address: &str, port: u16) -> Running {
    let mut server = user.ssh().begin(&[&format!("exec {}", server(address, port))]);
    assert_eq!(server.line(), "up");
    server
}

/// The command of that server.
fn server(address: &str, port: u16) -> String {
    format!(
        "python3 -u -c 'import socket\n\
         s = socket.socket(socket.AF_INET6 if \":\" in \"{address}\" else socket.AF_INET)\n\
         s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.bind((\"{address}\", {port}))\n\
         s.listen(64)\n\
         print(\"up\")\n\
         while True:\n    \
             c, _ = s.accept()\n    \
             c.sendall(b\"SSH-2.0-inside-the-box\\r\\n\")\n    \
             c.close()'"
    )
}

/// What the server says.
const INSIDE: &str = "SSH-2.0-inside-the-box\r\n";

/// `ssh -W TARGET`: connects standard input and output with the target.
fn through(ssh: Ssh, target: &str) -> Output {
    let client = ssh.args(&["-W", target]).begin(&[]);
    client.ends()
}
