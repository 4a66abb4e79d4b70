//! Addresses that many users share: what sshd, the rules for packets, the journal, fail2ban and doctor do with
//! `listen.trusted_proxies`. `tests/life/proxied.rs` attacks through such an address.

use crate::harness::{CONFIG, Changed, Undo, User, alice, journal, run, text, world_alone};
use std::fs;
use std::process::Command;

/// Opens this many connections to sshd from this address, and prints how many were accepted at once.
fn connections_from(address: &str, count: u32) -> u32 {
    let script = format!(
        "import socket
held = []
for _ in range({count}):
    client = socket.socket()
    client.settimeout(0.05)
    client.bind((\"{address}\", 0))
    try: client.connect((\"127.0.0.1\", 2200)); held.append(client)
    except OSError: client.close()
print(len(held))"
    );
    run("python3", &["-c", &script]).trim().parse().unwrap()
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
    assert_eq!(connections_from("127.0.0.1", 150), 150);
    let accepted = connections_from("127.0.0.9", 150);
    assert!((100..120).contains(&accepted), "{accepted}");
    assert!(!from("127.0.0.9"), "its connections count");
    assert!(from("127.0.0.1") && from("127.0.0.10"), "those of others do not");

    // What the journal says of both.
    let entries: Vec<String> = journal().lines().map(str::to_owned).collect();
    let last =
        |word: &str| entries.iter().rfind(|line| line.starts_with("login accepted") && line.contains(word));
    let (proxy, client) = (last(" proxy=\"127.0.0.1\"").unwrap(), last(" address=\"127.0.0.10\"").unwrap());
    assert!(!proxy.contains(" address=") && !client.contains(" proxy="), "{proxy}\n{client}");

    // fail2ban asks, and is told by the configuration.
    let contain =
        |address: &str| Command::new("sshbox").args(["proxies", "contain", address]).status().unwrap().code();
    assert_eq!(
        (contain("127.0.0.1"), contain("2001:db8::7"), contain("127.0.0.9")),
        (Some(0), Some(0), Some(1))
    );
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
    trust(&before, "[]");
    assert_eq!(limits(), shipped);
    let listed = Command::new("nft").args(["list", "chain", "inet", "sshbox", "sshd"]).output().unwrap();
    assert!(!listed.status.success(), "{listed:?}");
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
    assert!(doctor().contains("as if it were one client"), "{}", doctor());
    assert!(user.ssh().run("@help").status.success());
}
