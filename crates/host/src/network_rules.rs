//! The rules for packets from and to boxes: from the configuration to the input of nft(8). A function without
//! side effects. It is the only place that knows what a box may reach.
//!
//! The rules name the bridges, not the boxes, so they are loaded once and before any box exists. Both address
//! families have the same rules. What the rules here accept can still be dropped by others on the host.

mod loaded;
mod resolvers;

pub use loaded::{LoadedRules, Mended};
pub use resolvers::{ENGINE_RESOLVERS, HOST_RESOLVERS, resolvers};

use crate::config::{AllowedService, NetworkConfig, Subnet};
use crate::networks::{CLOSED_NETWORK, OPEN_NETWORK};
use session::proxies::Proxies;
use std::fmt::Write as _;
use std::net::IpAddr;

/// The table of the rules for routed packets.
pub const TABLE: &str = "inet sshbox";

/// The table that keeps boxes apart within a bridge. A kernel without the module `nft_meta_bridge` cannot load
/// it; then the first table does the same while `net.bridge.bridge-nf-call-iptables` and `…-ip6tables` are 1.
pub const BRIDGE_TABLE: &str = "bridge sshbox";

/// Connections to sshd that one address may open at once, and then in a minute, while sshd itself has no limit for
/// an address.
const SOURCE_BURST: u32 = 100;
const SOURCE_RATE: u32 = 100;

/// Addresses of IPv4 that no box reaches: this host, private and link-local networks, those of carriers (RFC
/// 6598), metadata services of cloud providers, multicast and what is reserved.
const NEVER_IPV4: [&str; 10] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "224.0.0.0/3",
];

/// The same for IPv6: all that is not global unicast (RFC 4291), and the two ranges in it that contain an
/// address of IPv4, Teredo and 6to4.
const NEVER_IPV6: [&str; 5] = ["::/3", "2001::/32", "2002::/16", "4000::/2", "8000::/1"];

/// The rules for routed packets, as input of nft(8). They replace those that are loaded, in one step.
#[must_use]
pub fn script(config: &NetworkConfig, resolvers: &[IpAddr], proxies: &Proxies) -> String {
    let NetworkConfig { internet, smtp, allow, deny, connections, new_connections } = config;
    let allowed: String = allow.iter().map(allowed_rule).collect();
    let names: String = resolvers.iter().map(resolver_rule).collect();
    let denied: String = deny.iter().map(denied_rule).collect();
    let mail = if *smtp { "" } else { "        tcp dport 25 goto refuse\n" };
    let (never4, never6) = (NEVER_IPV4.join(", "), NEVER_IPV6.join(", "));
    let open = if *internet {
        format!(
            "{denied}        ip daddr {{ {never4} }} goto refuse
        ip6 daddr {{ {never6} }} goto refuse
{mail}        goto count
"
        )
    } else {
        "        goto refuse\n".to_owned()
    };
    // Without the internet, an answer of a name server would be a way out.
    let names = if *internet { names } else { String::new() };
    let sshd = sshd_rules(proxies);
    let both = format!("{{ \"{OPEN_NETWORK}\", \"{CLOSED_NETWORK}\" }}");
    replacing(
        TABLE,
        &format!(
            "    set rates4 {{
        type ipv4_addr; size 65535; flags dynamic,timeout; timeout 10s;
    }}
    set rates6 {{
        type ipv6_addr; size 65535; flags dynamic,timeout; timeout 10s;
    }}
    set flows4 {{
        type ipv4_addr; size 65535; flags dynamic;
    }}
    set flows6 {{
        type ipv6_addr; size 65535; flags dynamic;
    }}
    chain count {{
        ct state != new accept
        update @rates4 {{ ip saddr limit rate over {new_connections}/second burst {new_connections} packets }} counter drop
        update @rates6 {{ ip6 saddr limit rate over {new_connections}/second burst {new_connections} packets }} counter drop
        add @flows4 {{ ip saddr ct count over {connections} }} counter drop
        add @flows6 {{ ip6 saddr ct count over {connections} }} counter drop
        accept
    }}
    chain refuse {{
        counter
        meta l4proto tcp reject with tcp reset
        reject with icmpx type admin-prohibited
    }}
    chain allowed {{
        ct state invalid drop
        meta l4proto {{ icmp, ipv6-icmp }} ct state related accept
{allowed}    }}
    chain names {{
{names}    }}
    chain open {{
        jump allowed
        jump names
{open}    }}
    chain closed {{
        jump allowed
        goto refuse
    }}
    chain forward {{
        type filter hook forward priority filter - 10; policy accept;
        iifname {both} oifname {both} counter drop
        oifname {both} ct direction reply ct state established,related accept
        oifname {both} counter drop
        iifname {both} ct direction reply drop
        iifname \"{OPEN_NETWORK}\" goto open
        iifname \"{CLOSED_NETWORK}\" goto closed
    }}
    chain host {{
        ct direction reply ct state established,related accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        jump allowed
        iifname \"{OPEN_NETWORK}\" jump names
        goto refuse
    }}
    chain input {{
        type filter hook input priority filter - 10; policy accept;
        iifname {both} goto host
    }}
{sshd}"
        ),
    )
}

/// The rules that keep boxes apart within a bridge, as input of nft(8).
#[must_use]
pub fn bridge_script() -> String {
    replacing(
        BRIDGE_TABLE,
        &format!(
            "    chain forward {{
        type filter hook forward priority filter - 10; policy accept;
        meta ibrname {{ \"{OPEN_NETWORK}\", \"{CLOSED_NETWORK}\" }} counter drop
    }}
"
        ),
    )
}

/// Replaces a table: nft(8) deletes only a table that exists, so the first line creates it.
fn replacing(table: &str, content: &str) -> String {
    format!("table {table}\ndelete table {table}\ntable {table} {{\n{content}}}\n")
}

/// The limit for each address that connects to sshd, if sshd has none because it trusts a proxy: the first packet
/// of a connection beyond it is dropped. The client sends it again after a second, so a crowd behind one address
/// waits and is not refused. A client often has a whole /64 of IPv6, so all of it counts as one address.
fn sshd_rules(proxies: &Proxies) -> String {
    if proxies.subnets.is_empty() || proxies.ports.is_empty() {
        return String::new();
    }
    let ports: Vec<_> = proxies.ports.iter().map(u16::to_string).collect();
    let trusted = proxies.subnets.iter().fold(String::new(), |mut rules, (address, prefix)| {
        let family = if address.is_ipv6() { "ip6" } else { "ip" };
        // Writing to a String cannot fail.
        let _ = writeln!(rules, "        {family} saddr {address}/{prefix} accept");
        rules
    });
    let limit = format!("limit rate over {SOURCE_RATE}/minute burst {SOURCE_BURST} packets");
    format!(
        "    set sources4 {{
        type ipv4_addr; size 65535; flags dynamic,timeout; timeout 2m;
    }}
    set sources6 {{
        type ipv6_addr; size 65535; flags dynamic,timeout; timeout 2m;
    }}
    chain sshd {{
        type filter hook input priority filter - 9; policy accept;
        meta l4proto != tcp accept
        tcp dport != {{ {ports} }} accept
        ct state != new accept
{trusted}        update @sources4 {{ ip saddr {limit} }} counter drop
        update @sources6 {{ ip6 saddr & ffff:ffff:ffff:ffff:: {limit} }} counter drop
    }}
",
        ports = ports.join(", ")
    )
}

/// Compares the destination that the box has chosen, which is not the one in the packet if the host forwards the
/// port to a container.
fn to(subnet: impl std::fmt::Display, is_ipv6: bool) -> String {
    format!("ct original {} daddr {subnet}", if is_ipv6 { "ip6" } else { "ip" })
}

fn allowed_rule(service: &AllowedService) -> String {
    let AllowedService { subnet, port, udp } = service;
    let (protocol, to) = (if *udp { "udp" } else { "tcp" }, to(subnet, subnet.is_ipv6()));
    format!("        meta l4proto {protocol} {to} ct original proto-dst {port} goto count\n")
}

fn resolver_rule(resolver: &IpAddr) -> String {
    let to = to(resolver, resolver.is_ipv6());
    ["udp", "tcp"].iter().fold(String::new(), |mut rules, protocol| {
        // Writing to a String cannot fail.
        let _ = writeln!(rules, "        meta l4proto {protocol} {to} ct original proto-dst 53 goto count");
        rules
    })
}

fn denied_rule(subnet: &Subnet) -> String {
    let family = if subnet.is_ipv6() { "ip6" } else { "ip" };
    format!("        {family} daddr {subnet} goto refuse\n")
}

#[cfg(test)]
mod tests;
