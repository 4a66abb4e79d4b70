//! The name servers that boxes use: those of the host. The engine's resolver in a box sends queries to them from
//! the box's own network namespace, so the rules must let them pass.

use std::net::IpAddr;

/// The name servers of the host.
pub const HOST_RESOLVERS: &str = "/etc/resolv.conf";

/// The name servers of systemd-resolved, which the engine uses if the host's file names only that service.
pub const ENGINE_RESOLVERS: &str = "/run/systemd/resolve/resolv.conf";

/// The address of systemd-resolved in the host's file.
const STUB: &str = "127.0.0.53";

/// The most name servers that get a rule.
const MOST: usize = 16;

/// The name servers to which boxes send queries. `host` and `engine` are the contents of [`HOST_RESOLVERS`] and
/// [`ENGINE_RESOLVERS`]. A name server on the host's loopback is left out: the engine asks it from the host's own
/// namespace.
#[must_use]
pub fn resolvers(host: &str, engine: &str) -> Vec<IpAddr> {
    let listed = if name_servers(host).eq([STUB]) { engine } else { host };
    let mut found = Vec::new();
    for address in name_servers(listed).filter_map(|name| name.parse::<IpAddr>().ok()) {
        if !address.is_loopback() && !found.contains(&address) && found.len() < MOST {
            found.push(address);
        }
    }
    found
}

fn name_servers(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_servers_of_the_host_or_those_behind_its_stub() {
        let found = |host: &str, engine: &str| {
            resolvers(host, engine).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let host = "# nameserver 9.9.9.9\nsearch x\nnameserver 10.0.0.2\nnameserver\tfd00::53 \nnameserver 10.0.0.2\n";
        assert_eq!(found(host, "nameserver 10.0.0.9\n"), ["10.0.0.2", "fd00::53"]);
        assert_eq!(found("nameserver 127.0.0.53\noptions edns0\n", "nameserver 10.0.0.9\n"), ["10.0.0.9"]);
        assert_eq!(found("nameserver 127.0.0.1\nnameserver ::1\n", "nameserver 10.0.0.9\n"), [""; 0]);
        assert_eq!(
            found("nameserver fe80::1%eth0\nnameserver x\nnameserver\nnameservers 10.0.0.1\n", ""),
            [""; 0]
        );
        let many: Vec<_> = (0..200).map(|n| format!("nameserver 10.0.0.{n}")).collect();
        assert_eq!(found(&many.join("\n"), "").len(), MOST);
    }
}
