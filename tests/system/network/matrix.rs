//! The matrix: from a box to each kind of destination, with TCP, UDP and ICMP, over IPv4 and IPv6.

use super::Spaces;
use crate::harness::world;
use std::fmt::Write as _;

const SETTINGS: &str = r#"
[network]
allow = ["10.0.0.5:3000", "[fd00:f::5]:3000", "10.0.0.53:53/udp", "172.30.0.1:80", "198.51.100.1:3001"]
deny = ["203.0.113.99", "2001:db8:9::/48"]
"#;

/// Who reaches a destination.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    /// No box.
    None,
    /// Boxes on the open network.
    Open,
    /// Boxes on both networks.
    Both,
}

struct Row {
    what: &'static str,
    /// IPv4 and IPv6; empty if the destination has no address of this family.
    addresses: [&'static str; 2],
    port: u16,
    /// With TCP, UDP, ICMP.
    reached: [Who; 3],
}

const NONE: [Who; 3] = [Who::None; 3];

const fn row(what: &'static str, addresses: [&'static str; 2], port: u16, reached: [Who; 3]) -> Row {
    Row { what, addresses, port, reached }
}

const ROWS: [Row; 21] = [
    row("another box", ["172.30.0.3", "fd00:b0::3"], 3000, NONE),
    row("the host at the gateway", ["172.30.0.1", "fd00:b0::1"], 2200, NONE),
    row("the host's other bridge", ["172.30.1.1", "fd00:b0:1::1"], 2200, NONE),
    row("the host's other address", ["198.51.100.1", "2001:db8:1::1"], 22, NONE),
    row("the host, its uplink", ["192.0.2.1", "2001:db8:ffff::1"], 22, NONE),
    row("metadata", ["169.254.169.254", "fd00:ec2::254"], 80, NONE),
    row("metadata of Azure", ["168.63.129.16", ""], 80, NONE),
    row("10.0.0.0/8, unique local", ["10.1.2.3", "fd00:1::1"], 80, NONE),
    row("172.16.0.0/12", ["172.31.0.9", ""], 80, NONE),
    row("192.168.0.0/16", ["192.168.7.7", ""], 80, NONE),
    row("carrier-grade NAT", ["100.64.1.1", ""], 80, NONE),
    row("IPv4 within IPv6 (NAT64)", ["", "64:ff9b::a00:5"], 80, NONE),
    row("IPv4 within IPv6 (6to4)", ["", "2002:a00:5::1"], 80, NONE),
    row("denied", ["203.0.113.99", "2001:db8:9::9"], 80, NONE),
    row("internet", ["203.0.113.10", "2001:db8:2::10"], 80, [Who::Open; 3]),
    row("internet, port 25", ["203.0.113.10", "2001:db8:2::10"], 25, [Who::None, Who::Open, Who::Open]),
    row("forge, allowed", ["10.0.0.5", "fd00:f::5"], 3000, [Who::Both, Who::None, Who::None]),
    row("forge, another port", ["10.0.0.5", "fd00:f::5"], 22, NONE),
    row("name server, allowed", ["10.0.0.53", ""], 53, [Who::None, Who::Both, Who::None]),
    row("the host, allowed port", ["172.30.0.1", ""], 80, [Who::Both, Who::None, Who::None]),
    row("forwarded to the forge", ["198.51.100.1", ""], 3001, [Who::Both, Who::None, Who::None]),
];

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "icmp"];

/// All cells, as lines for probe.py, with who reaches them.
fn cells() -> Vec<(String, &'static Row, Who)> {
    let cells = ROWS.iter().flat_map(|row| {
        row.addresses.iter().filter(|address| !address.is_empty()).flat_map(move |address| {
            PROTOCOLS.iter().zip(row.reached).filter_map(move |(protocol, who)| {
                // Only TCP is forwarded.
                let exists = row.port != 3001 || *protocol == "tcp";
                let port = if *protocol == "icmp" { 0 } else { row.port };
                exists.then(|| (format!("{protocol} {address} {port}"), row, who))
            })
        })
    });
    cells.collect()
}

fn servers(spaces: &mut Spaces) {
    let at = |addresses: &[&str], ports: &str| -> Vec<String> {
        addresses.iter().map(|address| format!("{address} {ports}")).collect()
    };
    let host = ["172.30.0.1", "172.30.1.1", "198.51.100.1", "192.0.2.1"];
    let host6 = ["fd00:b0::1", "fd00:b0:1::1", "2001:db8:1::1", "2001:db8:ffff::1"];
    spaces.serve("host", &[at(&host, "22 80 2200"), at(&host6, "22 80 2200")].concat());
    for (space, addresses) in [
        ("a", ["172.30.0.2", "fd00:b0::2"]),
        ("b", ["172.30.0.3", "fd00:b0::3"]),
        ("c", ["172.30.1.2", "fd00:b0:1::2"]),
    ] {
        spaces.serve(space, &at(&addresses, "3000"));
    }
    let is_outside = |row: &&Row| row.what != "another box" && !row.what.starts_with("the host");
    let addresses = ROWS.iter().filter(is_outside).flat_map(|row| row.addresses);
    let mut addresses: Vec<_> =
        addresses.filter(|address| !address.is_empty() && *address != "198.51.100.1").collect();
    addresses.sort_unstable();
    addresses.dedup();
    spaces.serve("w", &at(&addresses, "22 25 53 80 3000"));
}

/// The table for the log.
fn table(open: &[String], closed: &[String], cells: &[(String, &Row, Who)]) -> String {
    let mut text = String::new();
    for row in &ROWS {
        let mut line = format!("{:26}", row.what);
        for (family, colon) in [("v4", false), ("v6", true)] {
            let of_row = cells
                .iter()
                .enumerate()
                .filter(|(_, (cell, found, _))| std::ptr::eq(*found, row) && cell.contains(':') == colon);
            let results = of_row.map(|(at, (cell, ..))| {
                format!(" {} {}/{}", cell.split(' ').next().unwrap(), open[at], closed[at])
            });
            let results: String = results.collect();
            if !results.is_empty() {
                let _ = write!(line, " | {family}{results}");
            }
        }
        let _ = writeln!(text, "network: {line}");
    }
    text
}

#[test]
fn a13_the_matrix_of_what_boxes_reach() {
    let _world = world();
    let mut spaces = Spaces::new("matrix");
    servers(&mut spaces);
    let cells = cells();
    let targets: Vec<_> = cells.iter().map(|(cell, ..)| cell.clone()).collect();
    // Each destination answers: what is closed below, the rules have closed.
    for space in ["a", "c"] {
        let results = spaces.probe(space, &targets);
        let wrong: Vec<_> = targets.iter().zip(&results).filter(|(_, result)| *result != "open").collect();
        assert!(wrong.is_empty(), "without rules, from {space}: {wrong:?}");
    }
    spaces.load(SETTINGS);
    let (open, closed) = (spaces.probe("a", &targets), spaces.probe("c", &targets));
    eprintln!("network: from a box with / without the internet\n{}", table(&open, &closed, &cells));
    let mut wrong = Vec::new();
    for (at, (cell, row, who)) in cells.iter().enumerate() {
        for (from, result, reaches) in
            [("a", &open[at], *who != Who::None), ("c", &closed[at], *who == Who::Both)]
        {
            if (result == "open") != reaches {
                wrong.push(format!("{cell} ({}) from {from}: {result}", row.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A program is told at once that it cannot connect: except to boxes, of which it learns nothing. The kernel
    // limits how often it says so for other protocols than TCP.
    let slow = cells.iter().zip(&open).filter(|((cell, row, _), result)| {
        *result == "silent" && cell.starts_with("tcp") && row.what != "another box"
    });
    assert_eq!(slow.count(), 0, "{}", table(&open, &closed, &cells));
}

#[test]
fn a13_link_local_addresses_lead_to_no_box_and_not_to_the_host() {
    let _world = world();
    let mut spaces = Spaces::new("linklocal");
    spaces.serve("host", &["fe80::1%sshbox0 22 2200".to_owned()]);
    spaces.serve("b", &["fe80::3%eth0 3000".to_owned()]);
    let cells = ["fe80::1%eth0 22", "fe80::1%eth0 2200", "fe80::3%eth0 3000"];
    let targets: Vec<_> =
        cells.iter().flat_map(|cell| ["tcp", "udp"].map(|kind| format!("{kind} {cell}"))).collect();
    let targets =
        [targets, ["icmp fe80::1%eth0 0", "icmp fe80::3%eth0 0"].map(str::to_owned).into()].concat();
    assert_eq!(spaces.probe("a", &targets), ["open"; 8]);
    spaces.load(SETTINGS);
    let results = spaces.probe("a", &targets);
    assert!(results.iter().all(|result| result != "open"), "{results:?}");
}

#[test]
fn a13_nothing_outside_opens_a_connection_to_a_box_but_the_host_does() {
    let _world = world();
    let mut spaces = Spaces::new("inward");
    servers(&mut spaces);
    spaces.load(SETTINGS);
    let targets: Vec<String> = ["172.30.0.2 3000", "fd00:b0::2 3000", "172.30.1.2 3000"]
        .iter()
        .flat_map(|target| ["tcp", "udp"].map(|protocol| format!("{protocol} {target}")))
        .collect();
    assert_eq!(spaces.probe("w", &targets), ["silent"; 6]);
    assert_eq!(spaces.probe("host", &targets), ["open"; 6]);
}

#[test]
fn a13_settings_open_and_close() {
    let _world = world();
    let mut spaces = Spaces::new("settings");
    servers(&mut spaces);
    let targets = ["tcp 203.0.113.10 80", "tcp 203.0.113.10 25", "tcp 10.0.0.5 3000", "udp 10.0.0.53 53"];
    let targets = targets.map(str::to_owned);
    for (settings, expected) in [
        ("", [true, false, false, false]),
        ("smtp = true", [true, true, false, false]),
        ("internet = false", [false; 4]),
        ("internet = false\nallow = ['10.0.0.5:3000']", [false, false, true, false]),
        ("allow = ['10.0.0.0/24:53/udp']", [true, false, false, true]),
    ] {
        spaces.load(&format!("[network]\n{settings}\n"));
        let open: Vec<_> = spaces.probe("a", &targets).iter().map(|result| result == "open").collect();
        assert_eq!(open, expected, "{settings}");
    }
}

#[test]
fn a13_a_connection_that_was_open_before_the_rules_ends_with_them() {
    let _world = world();
    let mut spaces = Spaces::new("before");
    servers(&mut spaces);
    let script = "
import socket, sys
open_ = socket.create_connection(('10.1.2.3', 80))
allowed = socket.create_connection(('203.0.113.10', 80))
print('connected', flush=True)
sys.stdin.readline()
for connection in open_, allowed:
    connection.settimeout(2)
    try:
        connection.send(b'x')
        connection.recv(1)
    except TimeoutError: print('lives')
    except OSError: print('ended')
";
    let mut connected = crate::harness::Running::of(
        spaces
            .command("a", &["python3", "-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap(),
    );
    assert_eq!(connected.line(), "connected");
    spaces.load("");
    connected.write(b"\n");
    assert_eq!((connected.line(), connected.line()), ("ended".to_owned(), "lives".to_owned()));
    connected.kill();
}
