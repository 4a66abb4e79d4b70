//! One box cannot fill the kernel's table of connections, nor open them faster than it may.

use super::Spaces;
use crate::harness::world;
use std::process::Stdio;

/// Opens so many connections to port 80, and keeps them; prints how many a moment later.
const TCP: &str = "
import selectors, socket, sys, time
clients, connected = [], 0
selector = selectors.DefaultSelector()
for _ in range(int(sys.argv[1])):
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(('203.0.113.10', 80))
    selector.register(client, selectors.EVENT_WRITE)
    clients.append(client)
end = time.monotonic() + 2
while time.monotonic() < end:
    for key, _ in selector.select(0.1):
        connected += 1
        selector.unregister(key.fileobj)
print(connected, flush=True)
sys.stdin.readline()
";

/// Sends one packet from each of 60,000 ports to this port.
const UDP: &str = "
import socket, sys
for port in range(2000, 62000):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(('', port))
        client.connect(('203.0.113.10', int(sys.argv[1])))
        try: client.send(b'x')
        except OSError: pass
";

impl Spaces {
    /// Floods this port from a box. Returns the number of entries in the host's table of connections then.
    fn flood(&self, port: &str) -> usize {
        self.run("a", &["python3", "-c", UDP, port], "");
        let count = self.run("host", &["cat", "/proc/sys/net/netfilter/nf_conntrack_count"], "");
        count.trim().parse().unwrap()
    }
}

#[test]
fn a23_sixty_thousand_flows_of_a_box_stay_below_its_limit() {
    let _world = world();
    let mut spaces = Spaces::new("flows");
    spaces.serve("w", &["203.0.113.10 80 81 82 83".to_owned()]);
    // With a rate that never matters, to reach the limit of connections.
    spaces.load("[network]\nconnections = 500\nnew_connections = 1000000\n");
    let limited = spaces.flood("80");
    let others = spaces.probe("b", &["tcp 203.0.113.10 81".to_owned(), "udp 203.0.113.10 81".to_owned()]);
    assert!((400..=510).contains(&limited), "{limited}");
    assert_eq!(others, ["open", "open"], "another box");
    // With the defaults the box has its 500 already, and may have 2048.
    spaces.load("");
    let by_default = spaces.flood("82");
    assert!(by_default <= 500 + 2048 + 10, "{by_default}");
    // The same flood without rules.
    spaces.run("host", &["nft", "delete", "table", "inet", "sshbox"], "");
    let without = spaces.flood("83");
    eprintln!(
        "network: 60,000 flows of one box are {limited} entries with connections = 500, then {by_default} by default, \
         and {without} without rules"
    );
    assert!(without > 30_000, "{without}");
}

#[test]
fn a23_a_box_opens_as_many_connections_as_it_may_and_no_more() {
    let _world = world();
    let mut spaces = Spaces::new("rate");
    spaces.serve("w", &["203.0.113.10 80 81".to_owned()]);
    for (settings, most) in [
        ("connections = 50\nnew_connections = 1000", 50..=50),
        ("connections = 1000\nnew_connections = 20", 20..=160),
    ] {
        spaces.load(&format!("[network]\n{settings}\n"));
        let mut client = spaces.command("a", &["python3", "-c", TCP, "200"]);
        let child =
            client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut client = crate::harness::Running::of(child);
        let connected: usize = client.line().parse().unwrap();
        assert!(most.contains(&connected), "{settings}: {connected}");
        // Another box has its own limits.
        assert_eq!(spaces.probe("b", &["tcp 203.0.113.10 81".to_owned()]), ["open"]);
        client.kill();
    }
}
