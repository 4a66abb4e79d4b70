//! The file `proxies` in the runtime directory: the proxies that the running sshd trusts (`listen.trusted_proxies`), and
//! the ports at which it listens. Root writes it when sshd starts or reads its configuration again. The rules for
//! packets and the journal are made from it, so they always agree with sshd. Without the file there are none.

use crate::atomic;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;

/// Name of the file.
const FILE: &str = "proxies";

/// Longest file that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Last line: a file without it is torn and says nothing.
const END: &str = "end";

/// The trusted proxies and the ports of sshd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Addresses with a common prefix, each as the first address and the length of the prefix in bits.
    pub subnets: Vec<(IpAddr, u8)>,
    /// The TCP ports at which sshd listens.
    pub ports: Vec<u16>,
}

/// Whether the first `prefix` bits of two addresses are the same.
#[must_use]
pub fn share_prefix(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let bits = |address| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    let width: u32 = if one.is_ipv6() { 128 } else { 32 };
    let shift = width.saturating_sub(prefix.into());
    // None where all bits are shifted out: then every address matches.
    let prefix_of = |address| bits(address).checked_shr(shift).unwrap_or(0);
    one.is_ipv6() == other.is_ipv6() && prefix_of(one) == prefix_of(other)
}

impl Proxies {
    /// Whether this is the address of a trusted proxy. An IPv4 address in the notation of IPv6 counts as IPv4.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.subnets.iter().any(|(first, prefix)| share_prefix(*first, address, *prefix))
    }

    /// Reads the file. Without a valid one, there is no proxy.
    #[must_use]
    pub fn read(run: &Path) -> Self {
        let mut text = String::new();
        let file = File::open(run.join(FILE));
        match file.and_then(|file| file.take(LONGEST).read_to_string(&mut text)) {
            Ok(_) => Self::parse(&text).unwrap_or_default(),
            Err(_) => Self::default(),
        }
    }

    /// Replaces the file; removes it if there is no proxy. For root.
    ///
    /// # Errors
    /// The I/O error.
    pub fn write(&self, run: &Path) -> io::Result<()> {
        if self.subnets.is_empty() {
            return atomic::remove(&run.join(FILE));
        }
        atomic::replace(atomic::directory(run)?, FILE, self.to_string().as_bytes(), 0o644, None)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines: Vec<&str> = text.strip_suffix('\n')?.lines().collect();
        if lines.pop() != Some(END) {
            return None;
        }
        let mut found = Self::default();
        for line in lines {
            match line.split_once(' ')? {
                ("proxy", subnet) => {
                    let (address, prefix) = subnet.split_once('/')?;
                    found.subnets.push((address.parse().ok()?, prefix.parse().ok()?));
                }
                ("port", port) => found.ports.push(port.parse().ok()?),
                // A line of a later release.
                _ => {}
            }
        }
        Some(found)
    }
}

impl fmt::Display for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (address, prefix) in &self.subnets {
            writeln!(f, "proxy {address}/{prefix}")?;
        }
        for port in &self.ports {
            writeln!(f, "port {port}")?;
        }
        f.write_str(END)?;
        f.write_char('\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn two() -> Proxies {
        let subnets = vec![("10.0.0.0".parse().unwrap(), 8), ("2001:db8::1".parse().unwrap(), 128)];
        Proxies { subnets, ports: vec![2200, 2222] }
    }

    #[test]
    fn an_address_is_a_proxy_if_a_subnet_contains_it() {
        for address in ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "2001:db8::1"] {
            assert!(two().contain(address.parse().unwrap()), "{address}");
        }
        for address in ["11.0.0.0", "::1", "2001:db8::2", "127.0.0.1", "::10.0.0.1"] {
            assert!(!two().contain(address.parse().unwrap()), "{address}");
        }
        assert!(!Proxies::default().contain("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn f32_what_is_written_is_read_and_a_torn_file_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Proxies::read(dir.path()), Proxies::default());
        two().write(dir.path()).unwrap();
        assert_eq!(Proxies::read(dir.path()), two());
        let path = dir.path().join(FILE);
        for torn in ["", "end", "proxy 10.0.0.0/8\n", "proxy 10.0.0.0\nend\n", "port x\nend\n", "a\nend\n"] {
            fs::write(&path, torn).unwrap();
            assert_eq!(Proxies::read(dir.path()), Proxies::default(), "{torn}");
        }
        fs::write(&path, "later x\nport 22\nend\n").unwrap();
        assert_eq!(Proxies::read(dir.path()).ports, [22]);
        Proxies::default().write(dir.path()).unwrap();
        Proxies::default().write(dir.path()).unwrap();
        assert!(!path.exists());
    }
}
