//! Addresses that many users share: what sshd, the rules for packets, the journal, fail2ban and doctor do with
//! `listen.trusted_proxies`. `tests/life/proxied.rs` attacks through such an address.

use crate::harness::{CONFIG, Changed, Undo, User, alice, journal, run, text, world_alone};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

/// Opens connections to sshd from an address, each within so many seconds; waits for the first words of sshd if it is
/// told to. Prints how many it has.
const CONNECTIONS: &str = "
import socket, sys
address, count, seconds, waits = sys.argv[1:]
held = []
for _ in range(int(count)):
    client = socket.socket()
    client.settimeout(float(seconds))
    client.bind((address, 0))
    try: client.connect(('127.0.0.1', 2200)); held.append(client)
    except OSError: client.close()
if waits == 'waits':
    for client in held: client.settimeout(15)
    held = [client for client in held if client.recv(4) == b'SSH-']
print(len(held))
";

/// Sends packets of UDP, then of ICMP, from an address to this host, each of them a flow of its own. Prints how many
/// arrived; stops at the first that does not.
const DATAGRAMS: &str = "
import socket, struct, sys
source, count = sys.argv[1], int(sys.argv[2])
is_ipv6 = ':' in source
family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
target = '::1' if is_ipv6 else '127.0.0.1'
server = socket.socket(family, socket.SOCK_DGRAM)
server.bind((target, 0))
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if is_ipv6 else socket.IPPROTO_ICMP)
raw.bind((source, 0))
for one in server, raw: one.settimeout(2)

def udp(number):
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.bind((source, 0))
        client.sendto(b'x', server.getsockname()[:2])
    server.recv(1)

def icmp(number):
    # The kernel computes the checksum for IPv6.
    asks, answers, total = (128, 129, 0) if is_ipv6 else (8, 0, 0xFFFF - 0x0800 - number)
    raw.sendto(struct.pack('!BBHHH', asks, 0, total, number, 0), (target, 0))
    while True:
        data = raw.recv(999)
        kind, _, _, found, _ = struct.unpack('!BBHHH', data[0 if is_ipv6 else 20:][:8])
        if kind == answers and found == number: return

for send in udp, icmp:
    arrived = 0
    try:
        for number in range(1, count + 1): send(number); arrived += 1
    except TimeoutError: pass
    print(arrived)
";

/// How many of so many connections sshd accepts at once from this address.
fn connections_from(address: &str, count: u32) -> u32 {
    let count = count.to_string();
    run("python3", &["-c", CONNECTIONS, address, &count, "0.05", ""]).trim().parse().unwrap()
}

/// Of how many of so many connections from this address sshd answers each, however long it takes to start a process.
fn answered_from(address: &str, count: u32) -> u32 {
    let count = count.to_string();
    run("python3", &["-c", CONNECTIONS, address, &count, "10", "waits"]).trim().parse().unwrap()
}

/// Whether the rules limit connections to sshd.
fn are_limited() -> bool {
    let listed = Command::new("nft").args(["list", "chain", "inet", "sshbox", "sshd"]).output().unwrap();
    listed.status.success()
}

fn trust(before: &str, list: &str) {
    let line = "trusted_proxies = []";
    assert!(before.contains(line));
    fs::write(CONFIG, before.replace(line, &format!("trusted_proxies = {list}"))).unwrap();
    run("packaging/demo/without-systemd", &["reload"]);
}

/// The settings of limits that sshd would use now.
fn limits() -> Vec<String> {
    let settings = run("/usr/sbin/sshd", &["-T", "-f", "/etc/sshbox/sshd_config"]);
    let of = |name: &str| settings.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    ["logingracetime ", "maxstartups ", "persourcemaxstartups "].map(of).into()
}

fn doctor() -> String {
    let output = Command::new("sshbox").args(["doctor", "proxies", "network-rules"]).output().unwrap();
    text(&output.stdout)
}

#[test]
fn a17_only_the_addresses_that_many_users_share_have_no_limit() {
    let _world = world_alone();
    let alice = alice();
    let from = |address: &str| {
        alice.ssh().args(&["-b", address, "-o", "ConnectTimeout=2"]).run("true").status.success()
    };
    let before = fs::read_to_string(CONFIG).unwrap();
    // The name that users type, as behind a proxy.
    let _named = Changed::file("/etc/sshbox/sshd_config", "#SetEnv SSHBOX_HOST", "SetEnv SSHBOX_HOST");
    let _undone = Undo(|| trust(&before, "[]"));
    let shipped = ["logingracetime 30", "maxstartups 150:30:300", "persourcemaxstartups 100"];
    assert_eq!(limits(), shipped);
    assert!(doctor().contains("no address is trusted"), "{}", doctor());

    trust(&before, "[\"127.0.0.1\", \"2001:db8::/64\"]");
    let found = limits();
    assert_eq!((&*found[0], &*found[2]), ("logingracetime 20", "persourcemaxstartups none"));
    assert!(found[1].contains(":100:"), "{found:?}");
    assert!(doctor().contains("connections a second that never log in leave room"), "{}", doctor());
    assert_eq!(answered_from("127.0.0.1", 150), 150);
    let accepted = connections_from("127.0.0.9", 150);
    assert!((100..120).contains(&accepted), "{accepted}");
    // Its quota grows by one connection in 0.6 s.
    let more = connections_from("127.0.0.9", 10);
    assert!(more < 10, "its connections count: {more}");
    for address in ["127.0.0.9", "::1"] {
        let arrived = run("python3", &["-c", DATAGRAMS, address, "150"]);
        assert_eq!(arrived, "150\n150\n", "only connections to sshd are limited: {address}");
    }
    assert!(from("127.0.0.1") && from("127.0.0.10"), "those of others do not");

    // What the journal says of both.
    let entries: Vec<String> = journal().lines().map(str::to_owned).collect();
    let last =
        |word: &str| entries.iter().rfind(|line| line.starts_with("login accepted") && line.contains(word));
    let (proxy, client) = (last(" proxy=\"127.0.0.1\"").unwrap(), last(" address=\"127.0.0.10\"").unwrap());
    assert!(!proxy.contains(" address=") && !client.contains(" proxy="), "{proxy}\n{client}");

    // fail2ban asks, and is told what sshd was told, whatever the configuration says by now.
    let contain =
        |address: &str| Command::new("sshbox").args(["proxies", "contain", address]).status().unwrap().code();
    for (from, to) in [("[listen]", "[listen]"), ("[listen]", "[listen"), ("[\"127.0.0.1\", ", "[")] {
        let _changed = Changed::config(from, to);
        assert_eq!(
            (contain("127.0.0.1"), contain("2001:db8::7"), contain("127.0.0.9")),
            (Some(0), Some(0), Some(1)),
            "{to}"
        );
    }
    let example = "/etc/fail2ban/jail.d/sshbox.local";
    fs::copy("/usr/share/doc/sshbox/examples/fail2ban-jail.conf", example).unwrap();
    let _off = Undo(|| fs::remove_file(example).unwrap());
    let asks = "/usr/sbin/sshbox proxies contain <ip>";
    assert!(run("fail2ban-client", &["-d"]).contains(asks));
    assert!(doctor().contains("leave room for users"), "{}", doctor());
    fs::write(example, "[sshbox]\nenabled = true\n").unwrap();
    assert!(doctor().contains("has no ignorecommand"), "{}", doctor());

    // A change counts when sshd reads it. Until then, doctor says so.
    fs::write(CONFIG, &before).unwrap();
    assert!(doctor().contains("has changed since sshd read"), "{}", doctor());
    // While sshd_config is wrong, sshd continues without a limit for an address, so the rules must stay.
    {
        let _wrong = Changed::file("/etc/sshbox/sshd_config", "\nPort 2200\n", "\nPort 2200\nWrong yes\n");
        let reload = Command::new("packaging/demo/without-systemd").arg("reload").output().unwrap();
        assert!(!reload.status.success(), "{reload:?}");
    }
    assert_eq!((&*limits()[2], are_limited()), ("persourcemaxstartups none", true));
    trust(&before, "[]");
    assert_eq!(limits(), shipped);
    assert!(!are_limited());
    assert!(from("127.0.0.9"));
}

#[test]
fn sshd_keeps_its_limit_for_an_address_if_the_rules_cannot_be_loaded() {
    let _world = world_alone();
    let user = User::new("no-rules");
    let before = fs::read_to_string(CONFIG).unwrap();
    let nft = "/usr/sbin/nft";
    let _undone = Undo(|| {
        if fs::exists("/usr/sbin/nft.away").unwrap() {
            fs::rename("/usr/sbin/nft.away", nft).unwrap();
        }
        trust(&before, "[]");
    });
    fs::rename(nft, "/usr/sbin/nft.away").unwrap();
    trust(&before, "[\"127.0.0.1\"]");
    assert_eq!(limits()[2], "persourcemaxstartups 100");
    assert!(doctor().contains("its limits behind a proxy could not be written"), "{}", doctor());
    assert!(user.ssh().run("@help").status.success());
}

#[test]
fn sshd_keeps_its_limit_for_an_address_if_it_refuses_those_behind_a_proxy() {
    let _world = world_alone();
    let (settings, sshd) = ("/run/sshbox/sshd_proxies.conf", "/usr/sbin/sshd");
    let before = fs::read_to_string(CONFIG).unwrap();
    let _undone = Undo(|| {
        if fs::exists("/usr/sbin/sshd.away").unwrap() {
            fs::rename("/usr/sbin/sshd.away", sshd).unwrap();
        }
        trust(&before, "[]");
    });
    // One that knows none of its settings.
    let other = format!(
        "#!/bin/sh\n[ ! -e {settings} ] || {{ echo unknown >&2; exit 1; }}\nexec {sshd}.away \"$@\"\n"
    );
    fs::rename(sshd, "/usr/sbin/sshd.away").unwrap();
    fs::write(sshd, other).unwrap();
    fs::set_permissions(sshd, Permissions::from_mode(0o755)).unwrap();
    let _listed = Changed::config("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1\"]");
    let output = Command::new("sshbox").args(["proxies", "apply"]).output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("sshd refuses") && said.contains("unknown"), "{said}");
    assert!(!fs::exists(settings).unwrap() && are_limited());
}
