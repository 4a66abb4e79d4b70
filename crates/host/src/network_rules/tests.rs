//! The rules as text. tests/system/network loads them and sends packets.

use super::*;

fn config(text: &str) -> NetworkConfig {
    crate::config::parse("x".as_ref(), text).unwrap().network
}

/// The content of a chain, without indentation.
fn chain(script: &str, name: &str) -> String {
    let begin = script.find(&format!("    chain {name} {{\n")).unwrap();
    let body = script[begin..].split_once('\n').unwrap().1.split("    }\n").next().unwrap();
    body.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn a13_the_rules_by_default() {
    let script = script(&NetworkConfig::default(), &["10.0.0.53".parse().unwrap()], &Proxies::default());
    insta::assert_snapshot!(chain(&script, "open"), @"
    jump allowed
    jump names
    ip daddr { 0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16, 169.254.0.0/16, 172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 224.0.0.0/3 } goto refuse
    ip6 daddr { ::/3, 2001::/32, 2002::/16, 4000::/2, 8000::/1 } goto refuse
    tcp dport 25 goto refuse
    goto count
    ");
    insta::assert_snapshot!(chain(&script, "names"), @"
    meta l4proto udp ct original ip daddr 10.0.0.53 ct original proto-dst 53 goto count
    meta l4proto tcp ct original ip daddr 10.0.0.53 ct original proto-dst 53 goto count
    ");
    insta::assert_snapshot!(chain(&script, "allowed"), @"
    ct state invalid drop
    meta l4proto { icmp, ipv6-icmp } ct state related accept
    ");
    insta::assert_snapshot!(chain(&script, "forward"), @r#"
    type filter hook forward priority filter - 10; policy accept;
    iifname { "sshbox0", "sshbox1" } oifname { "sshbox0", "sshbox1" } counter drop
    oifname { "sshbox0", "sshbox1" } ct direction reply ct state established,related accept
    oifname { "sshbox0", "sshbox1" } counter drop
    iifname { "sshbox0", "sshbox1" } ct direction reply drop
    iifname "sshbox0" goto open
    iifname "sshbox1" goto closed
    "#);
    insta::assert_snapshot!(chain(&script, "host"), @r#"
    ct direction reply ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    jump allowed
    iifname "sshbox0" jump names
    goto refuse
    "#);
}

#[test]
fn a13_each_setting_changes_its_rule() {
    let rules = |text: &str| {
        script(&config(&format!("[network]\n{text}")), &["fd00::53".parse().unwrap()], &Proxies::default())
    };
    let allow = rules("allow = ['10.0.0.5:3000', '10.1.0.0/16:53/udp', '[fd00::/64]:443']");
    insta::assert_snapshot!(chain(&allow, "allowed"), @"
    ct state invalid drop
    meta l4proto { icmp, ipv6-icmp } ct state related accept
    meta l4proto tcp ct original ip daddr 10.0.0.5 ct original proto-dst 3000 goto count
    meta l4proto udp ct original ip daddr 10.1.0.0/16 ct original proto-dst 53 goto count
    meta l4proto tcp ct original ip6 daddr fd00::/64 ct original proto-dst 443 goto count
    ");
    let deny = chain(&rules("deny = ['198.51.100.0/24', '2001:db8::7']"), "open");
    assert!(
        deny.contains("ip daddr 198.51.100.0/24 goto refuse\nip6 daddr 2001:db8::7 goto refuse\n"),
        "{deny}"
    );
    assert!(!chain(&rules("smtp = true"), "open").contains("dport 25"));
    let limits = chain(&rules("connections = 7\nnew_connections = 9"), "count");
    assert!(limits.contains("ct count over 7 }") && limits.contains("limit rate over 9/second"), "{limits}");
    // Nothing passes without the internet but what is allowed, not even a query for a name.
    let closed = rules("internet = false");
    assert_eq!(chain(&closed, "open"), "jump allowed\njump names\ngoto refuse");
    assert_eq!((&*chain(&closed, "names"), &*chain(&closed, "closed")), ("", "jump allowed\ngoto refuse"));
}

#[test]
fn a_script_replaces_its_table() {
    for (script, table) in [
        (script(&NetworkConfig::default(), &[], &Proxies::default()), TABLE),
        (bridge_script(), BRIDGE_TABLE),
    ] {
        assert!(
            script.starts_with(&format!("table {table}\ndelete table {table}\ntable {table} {{\n")),
            "{script}"
        );
        assert_eq!(script.matches('{').count(), script.matches('}').count());
    }
}

#[test]
fn a17_without_a_limit_of_sshd_the_rules_limit_each_address_that_is_not_trusted() {
    let proxies = |subnets: &[(&str, u8)], ports: &[u16]| Proxies {
        subnets: subnets.iter().map(|(address, prefix)| (address.parse().unwrap(), *prefix)).collect(),
        ports: ports.to_vec(),
    };
    let rules = |proxies: &Proxies| script(&NetworkConfig::default(), &[], proxies);
    let two = rules(&proxies(&[("10.0.0.0", 8), ("2001:db8::1", 128)], &[22, 2200]));
    insta::assert_snapshot!(chain(&two, "sshd"), @"
    type filter hook input priority filter - 9; policy accept;
    meta l4proto != tcp accept
    tcp dport != { 22, 2200 } accept
    ct state != new accept
    ip saddr 10.0.0.0/8 accept
    ip6 saddr 2001:db8::1/128 accept
    update @sources4 { ip saddr limit rate over 100/minute burst 100 packets } counter drop
    update @sources6 { ip6 saddr & ffff:ffff:ffff:ffff:: limit rate over 100/minute burst 100 packets } counter drop
    ");
    // Otherwise nobody's connections are counted.
    for none in [Proxies::default(), proxies(&[], &[2200]), proxies(&[("10.0.0.0", 8)], &[])] {
        assert!(!rules(&none).contains("sshd"), "{none:?}");
    }
}
