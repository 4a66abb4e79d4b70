//! Addresses in the configuration: subnets of proxies, subnets that boxes must not reach, and services that they may.

use crate::serde_text::deserialize_from_str;
use serde::{Serialize, Serializer};
use session::proxies::share_prefix;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Addresses with a common prefix, written like `10.0.0.0/24`; or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

/// One address, or several with a common prefix, at one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedService {
    /// The addresses.
    pub subnet: Subnet,
    /// The port.
    pub port: u16,
    /// Whether it is a port of UDP, and not of TCP.
    pub udp: bool,
}

const SUBNET: &str = "expected an address or a subnet, like \"198.51.100.7\" or \"2001:db8::/48\"";
const SERVICE: &str =
    "expected an address and a port, like \"10.0.0.5:3000\", \"10.0.0.0/24:53/udp\" or \"[fd00::5]:3000\"";
const FIRST_ADDRESS: &str = "expected the first address of the subnet, like \"10.0.0.0/24\"";

impl Subnet {
    /// Whether the addresses are of IPv6.
    #[must_use]
    pub fn is_ipv6(self) -> bool {
        self.address.is_ipv6()
    }

    /// Whether this address is one of them.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        share_prefix(self.address, address, self.prefix)
    }

    /// The first address, and how many bits all of them share.
    #[must_use]
    pub fn parts(self) -> (IpAddr, u8) {
        (self.address, self.prefix)
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| SUBNET)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            // Not "+8" or "08", which parse as a number too.
            Some(text) => {
                let prefix: u8 = text.parse().map_err(|_| SUBNET)?;
                if prefix > most || prefix.to_string() != text {
                    return Err(SUBNET);
                }
                prefix
            }
        };
        let (bits, width) = match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let host_bits = u32::from(most.saturating_sub(prefix));
        let mask = if host_bits >= width { u128::MAX } else { (1_u128 << host_bits).saturating_sub(1) };
        if bits & mask != 0 {
            return Err(FIRST_ADDRESS);
        }
        if matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
            return Err("expected an IPv4 address without \"::ffff:\" before it");
        }
        Ok(Self { address, prefix })
    }

    fn is_everything(self) -> bool {
        self.prefix == 0
    }
}

impl AllowedService {
    /// Whether connections of TCP to this address and port are allowed.
    #[must_use]
    pub fn covers(&self, address: IpAddr, port: u16) -> bool {
        !self.udp && self.port == port && self.subnet.contains(address)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.is_ipv6() { 128 } else { 32 };
        match self.prefix {
            prefix if prefix == whole => self.address.fmt(f),
            prefix => write!(f, "{}/{prefix}", self.address),
        }
    }
}

impl FromStr for Subnet {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::parse(text)? {
            subnet if subnet.is_everything() => Err(
                "this is every address; name smaller subnets (to keep boxes off the internet, set network.internet = false)",
            ),
            subnet => Ok(subnet),
        }
    }
}

impl FromStr for AllowedService {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rest, udp) = match text.strip_suffix("/udp") {
            Some(rest) => (rest, true),
            None => (text.strip_suffix("/tcp").unwrap_or(text), false),
        };
        let (subnet, port) = match rest.strip_prefix('[') {
            Some(rest) => rest.rsplit_once("]:").ok_or(SERVICE)?,
            None => rest.rsplit_once(':').ok_or(SERVICE)?,
        };
        let subnet = Subnet::parse(subnet).map_err(|problem| match problem {
            SUBNET => SERVICE,
            problem => problem,
        })?;
        if subnet.is_ipv6() != rest.starts_with('[') {
            return Err(SERVICE);
        }
        let number: u16 = port.parse().map_err(|_| SERVICE)?;
        if number == 0 || number.to_string() != port {
            return Err(SERVICE);
        }
        if subnet.is_everything() {
            return Err("this allows every address, those of the host too; name the services");
        }
        if subnet.address.is_loopback() || subnet.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            return Err("a box cannot reach the host's loopback; let the service listen on another address");
        }
        if subnet.address.is_multicast() || subnet.address.is_unspecified() {
            return Err(SERVICE);
        }
        Ok(Self { subnet, port: number, udp })
    }
}

impl fmt::Display for AllowedService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.udp { "/udp" } else { "" };
        if self.subnet.is_ipv6() {
            write!(f, "[{}]:{}{protocol}", self.subnet, self.port)
        } else {
            write!(f, "{}:{}{protocol}", self.subnet, self.port)
        }
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for AllowedService {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

deserialize_from_str!(Subnet, AllowedService);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parsed_is_written_in_one_form() {
        for (text, written) in [
            ("10.0.0.5:3000", "10.0.0.5:3000"),
            ("10.0.0.5/32:3000/tcp", "10.0.0.5:3000"),
            ("10.0.0.0/24:53/udp", "10.0.0.0/24:53/udp"),
            ("[fd00::5]:3000", "[fd00::5]:3000"),
            ("[fd00:0:0::/64]:65535/udp", "[fd00::/64]:65535/udp"),
        ] {
            let service: AllowedService = text.parse().unwrap();
            assert_eq!(service.to_string(), written);
            assert_eq!(service.to_string().parse(), Ok(service), "{text}");
        }
        for (text, written) in [("192.0.2.7", "192.0.2.7"), ("2001:DB8::/32", "2001:db8::/32")] {
            assert_eq!(text.parse::<Subnet>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn a_subnet_contains_the_addresses_with_its_prefix() {
        for (subnet, inside, outside) in [
            ("10.0.0.0/24", "10.0.0.255", "10.0.1.0"),
            ("10.0.0.5", "10.0.0.5", "10.0.0.4"),
            ("fd00::/64", "fd00::ffff", "fd00:0:0:1::"),
            ("128.0.0.0/1", "255.0.0.1", "127.0.0.1"),
            ("8000::/1", "ffff::", "255.255.255.255"),
        ] {
            let subnet: Subnet = subnet.parse().unwrap();
            assert!(subnet.contains(inside.parse().unwrap()), "{subnet} {inside}");
            assert!(!subnet.contains(outside.parse().unwrap()), "{subnet} {outside}");
        }
    }

    #[test]
    fn a13_nonsense_is_refused() {
        for text in [
            "",
            ":",
            "10.0.0.5",
            "10.0.0.5:",
            "10.0.0.5:0",
            "10.0.0.5:65536",
            "10.0.0.5:+80",
            "10.0.0.5:080",
            "10.0.0.5:80/icmp",
            "10.0.0.5/33:80",
            "10.0.0.5/24:80",
            "10.0.0.0/08:80",
            "10.0.0.0/-1:80",
            "10.0.5:80",
            "forge:80",
            "fd00::5:80",
            "[10.0.0.5]:80",
            "[fd00::5]",
            "[fd00::5]80",
            "[fd00::5/64]:80",
            "[fe80::1%eth0]:80",
            "0.0.0.0/0:80",
            "[::/0]:80",
            "127.0.0.1:80",
            "[::1]:80",
            "224.0.0.1:80",
            "[::ffff:10.0.0.5]:80",
            "10.0.0.5:80 ",
            "10.0.0.5:80;accept",
            "10.0.0.5:80\n",
        ] {
            assert!(text.parse::<AllowedService>().is_err(), "{text}");
        }
        for text in
            ["", "example.org", "10.0.0.0/33", "10.0.0.1/8", "::1/0", "0.0.0.0/0", "::/0", "10.0.0.0/8 "]
        {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
