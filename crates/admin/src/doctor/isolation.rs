//! What a program in a box may do and reach. Found with commands that run in a box.

use super::logins::{INSPECT, first_login};
use super::report::{CheckResult, fail, ok, skip, warn};
use super::{Checked, Doctor, missing};
use host::box_user;
use host::config::AllowedService;
use lifecycle::engine::advice;
use session::deadlines::{HOST_PROGRAM, LOGIN};
use session::procfs;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// The most ports of the host to which a connection is tried.
const MAX_PORTS: usize = 12;

/// The metadata service of cloud providers, which gives out credentials of the host.
const METADATA: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);

/// `box`: is the box confined as it should be?
pub fn confined(doctor: &Doctor) -> Checked {
    let (users, output) = first_login(doctor)?;
    let (config, [name, _]) = (&doctor.config()?.container, &users.names);
    // Its home exists by now.
    let user = box_user::look(config, name, None, Path::new(box_user::DIRECTORY));
    let user = user.ok().flatten().ok_or_else(|| skip("the uid of the box is not known"))?;
    Ok(judge_box(output, user.uid))
}

/// The value of a field in the form of `proc_pid_status(5)`, or "" if the output has none.
fn field<'a>(output: &'a str, name: &str) -> &'a str {
    let of_name = |line: &'a str| line.split_once(":\t").filter(|(key, _)| *key == name);
    output.lines().find_map(of_name).map_or("", |(_, value)| value)
}

fn judge_box(output: &str, owner: u32) -> CheckResult {
    let field = |name: &str| field(output, name);
    let mut wrong = Vec::new();
    for (name, expected, why) in [
        ("CapEff", "0000000000000000", "it has capabilities"),
        ("CapBnd", "0000000000000000", "it can get capabilities"),
        ("NoNewPrivs", "1", "setuid programs work"),
        ("Seccomp", "2", "it may make every system call"),
    ] {
        if field(name) != expected {
            wrong.push(format!("{name} is '{}': {why}", field(name)));
        }
    }
    let uid = field("Uid").split_whitespace().next().unwrap_or_default();
    if uid != owner.to_string() {
        wrong.push(format!("its user is {uid}, not {owner} (box.user, box.uids)"));
    }
    if !wrong.is_empty() {
        return fail(wrong.join("; "), advice::COMPARE_RIGHTS);
    }
    let shown = format!("uid {uid}, no capability, no new privileges, seccomp");
    match field("Profile") {
        "" => warn(format!("{shown}, but neither AppArmor nor SELinux"), advice::INSTALL_APPARMOR),
        // A context of SELinux has colons.
        profile if profile.contains(':') && !profile.contains("unconfined") => {
            ok(format!("{shown}, SELinux {profile}"))
        }
        profile if profile.ends_with(" (enforce)") => ok(format!("{shown}, AppArmor {profile}")),
        profile => warn(format!("{shown}, AppArmor {profile}"), advice::ENFORCE_PROFILE),
    }
}

/// `isolation`: can a box reach another box, the host's ports or the metadata service?
pub fn isolation(doctor: &Doctor) -> Checked {
    let (users, own) = first_login(doctor)?;
    let [name, other] = &users.names;
    let theirs = doctor.must(&mut users.client.ssh(&[], other, "key", INSPECT), LOGIN)?;
    let neighbour = addresses_of(&theirs.out, &doctor.config()?.container.hostname.fill(other));
    if neighbour.is_empty() {
        return Err(skip("the second box has no address to try"));
    }
    let mut targets: Vec<_> = neighbour.iter().map(|address| (*address, 1)).chain([METADATA]).collect();
    let gateway = gateway(own);
    if let Some(gateway) = gateway {
        let ports = reachable_ports(&procfs::tcp_listeners(), gateway);
        let allowed = |port: u16| {
            let covers = |service: &&AllowedService| service.covers(IpAddr::V4(gateway), port);
            doctor.config().is_ok_and(|config| config.network.allow.iter().any(|service| covers(&service)))
        };
        let ports = ports.into_iter().filter(|port| !allowed(*port));
        targets.extend(ports.map(|port| (IpAddr::V4(gateway), port)));
    }
    let mut client = users.client.ssh(&[], name, "key", "bash -s");
    let ended =
        doctor.tool(&mut client, &script(&targets), HOST_PROGRAM * 3).map_err(|error| missing(&error))?;
    if !ended.succeeded() {
        return Ok(skip(format!("the image has no bash and timeout to try with: {}", ended.last_words())));
    }
    Ok(judge_reach(&ended.out, &neighbour, gateway))
}

/// The script that bash runs in the box: it tries all connections at once, each for at most two seconds.
fn script(targets: &[(IpAddr, u16)]) -> String {
    let mut script = r#"
command -v timeout >/dev/null || exit 3
try() {
    words=$(LC_ALL=C timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>&1)
    case $?:$words in
    0:*) echo "$1 $2 open" ;;
    *refused*) echo "$1 $2 refused" ;;
    *) echo "$1 $2 closed" ;;
    esac
}
"#
    .to_owned();
    for (address, port) in targets {
        // Writing to a String cannot fail.
        let _ = writeln!(script, "try {address} {port} &");
    }
    script + "wait\n"
}

/// The addresses of the box with this host name in its own `/etc/hosts`: one, or two with IPv6.
fn addresses_of(output: &str, name: &str) -> Vec<IpAddr> {
    let of_name = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word == name).then_some(address)
    };
    output.lines().filter_map(of_name).collect()
}

/// The default gateway in `/proc/net/route` of a box. It is the host's address on the boxes' network.
fn gateway(output: &str) -> Option<Ipv4Addr> {
    output.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [_, "00000000", gateway, ..] = words.as_slice() else { return None };
        // Network byte order, printed as a number of this machine.
        let gateway = u32::from_str_radix(gateway, 16).ok().filter(|gateway| *gateway != 0)?;
        Some(Ipv4Addr::from(gateway.to_be()))
    })
}

/// The first [`MAX_PORTS`] ports at which programs of the host listen on every address or on this one.
fn reachable_ports(listeners: &[SocketAddr], at: Ipv4Addr) -> Vec<u16> {
    let reachable = |listener: &&SocketAddr| listener.ip().is_unspecified() || listener.ip() == at;
    let ports: BTreeSet<_> = listeners.iter().filter(reachable).map(SocketAddr::port).collect();
    ports.into_iter().take(MAX_PORTS).collect()
}

fn judge_reach(answers: &str, neighbour: &[IpAddr], gateway: Option<Ipv4Addr>) -> CheckResult {
    let mut tried = 0;
    let mut reached = Vec::new();
    let mut ports = Vec::new();
    for line in answers.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [address, port, answer] = words.as_slice() else { continue };
        let Ok(address) = address.parse::<IpAddr>() else { continue };
        if neighbour.contains(&address) {
            // The engine drops packets between boxes without an answer. So a refusal came from the other box.
            if *answer != "closed" {
                return fail("a box reaches another box", "see check network");
            }
            tried += 1;
        } else if *answer == "open" && address == METADATA.0 {
            reached.push(format!("the metadata service at {address}"));
        } else if *answer == "open" && gateway.is_some_and(|gateway| address == gateway) {
            ports.push(*port);
        }
    }
    if let (Some(gateway), false) = (gateway, ports.is_empty()) {
        reached.push(format!("the host at {gateway}, ports {}", ports.join(" ")));
    }
    if tried < neighbour.len() {
        return skip("the connections from inside a box gave no answer");
    }
    if reached.is_empty() {
        let host = if gateway.is_some() { ", the host's open ports" } else { "" };
        return ok(format!("another box{host} and 169.254.169.254 are out of reach"));
    }
    fail(
        format!("another box is out of reach; a box reaches {}", reached.join(", and ")),
        "see checks network and network-rules",
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    const OUTPUT: &str = "Name:\tcat\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n\
        CapBnd:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n127.0.0.1\tlocalhost\n172.18.0.2\ttempuser\n\
        Iface\tDestination\tGateway \tFlags\neth0\t00000000\t010012AC\t0003\neth0\t000012AC\t00000000\t0001\n\
        Profile:\tdocker-default (enforce)\n";

    #[test]
    fn a_box_is_confined_or_it_is_reported() {
        let good = judge_box(OUTPUT, 1000);
        assert_eq!(
            (good.state, good.finding.as_str()),
            (
                CheckState::Ok,
                "uid 1000, no capability, no new privileges, seccomp, AppArmor docker-default (enforce)"
            )
        );
        for (from, to) in [
            ("CapEff:\t0000", "CapEff:\t0020"),
            ("CapBnd:\t0000", "CapBnd:\t0020"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
            ("Seccomp:\t2", "Seccomp:\t0"),
            ("Uid:\t1000", "Uid:\t0"),
        ] {
            assert_eq!(judge_box(&OUTPUT.replace(from, to), 1000).state, CheckState::Fail, "{to}");
        }
        assert_eq!(judge_box("", 1000).state, CheckState::Fail);
        for (profile, state) in [
            ("docker-default (complain)", CheckState::Warn),
            ("unconfined", CheckState::Warn),
            ("system_u:system_r:unconfined_t:s0", CheckState::Warn),
            ("", CheckState::Warn),
            ("system_u:system_r:container_t:s0:c1,c2", CheckState::Ok),
        ] {
            let result = judge_box(&OUTPUT.replace("docker-default (enforce)", profile), 1000);
            assert_eq!(result.state, state, "{result:?}");
        }
    }

    #[test]
    fn the_addresses_of_a_box_and_of_the_host() {
        assert_eq!(addresses_of(OUTPUT, "tempuser"), ["172.18.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses_of(&format!("{OUTPUT}fd00::2\ttempuser\n"), "tempuser").len(), 2);
        assert_eq!(addresses_of(OUTPUT, "nobody"), [] as [IpAddr; 0]);
        assert_eq!(gateway(OUTPUT), Some(Ipv4Addr::new(172, 18, 0, 1)));
        assert_eq!(gateway("eth0\t000012AC\t00000000\t0001\n"), None);
    }

    #[test]
    fn the_ports_of_the_host_that_boxes_may_reach() {
        let listeners =
            ["0.0.0.0:2200", "127.0.0.1:8000", "172.18.0.1:53", "172.19.0.1:54", "[::]:22", "[::1]:25"];
        let listeners = listeners.map(|address| address.parse().unwrap());
        assert_eq!(reachable_ports(&listeners, Ipv4Addr::new(172, 18, 0, 1)), [22, 53, 2200]);
    }

    #[test]
    fn what_a_box_reaches_is_reported() {
        let neighbour = ["172.18.0.3".parse().unwrap()];
        let judge = |answers: &str| judge_reach(answers, &neighbour, Some(Ipv4Addr::new(172, 18, 0, 1)));
        let apart = "172.18.0.3 1 closed\n169.254.169.254 80 refused\n172.18.0.1 22 closed\n";
        assert_eq!(judge(apart).state, CheckState::Ok);
        assert_eq!(judge("172.18.0.3 1 refused\n").state, CheckState::Fail);
        // What was not tried is not out of reach.
        assert_eq!(judge("").state, CheckState::Skip);
        let both = [neighbour[0], "fd00::3".parse().unwrap()];
        let judge_both = |answers: &str| judge_reach(answers, &both, None);
        assert_eq!(judge_both("172.18.0.3 1 closed\n").state, CheckState::Skip);
        assert_eq!(judge_both("172.18.0.3 1 closed\nfd00::3 1 refused\n").state, CheckState::Fail);
        assert_eq!(
            judge_both("172.18.0.3 1 closed\nfd00::3 1 closed\n").finding,
            "another box and 169.254.169.254 are out of reach"
        );
        assert_eq!(
            judge("172.18.0.3 1 closed\n169.254.169.254 80 open\n172.18.0.1 22 open\n172.18.0.1 8000 open\n")
                .finding,
            "another box is out of reach; a box reaches the metadata service at 169.254.169.254, and the host at 172.18.0.1, ports 22 8000"
        );
    }
}
