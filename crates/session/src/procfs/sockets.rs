//! Listening sockets of this network namespace, from `/proc/net`: see `proc_net_tcp(5)` and unix(7).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// State of a listening TCP socket (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// Flags of a listening Unix socket (`__SO_ACCEPTCON`).
const ACCEPTS_CONNECTIONS: &str = "00010000";

/// The addresses at which programs listen with TCP. Empty if they cannot be read.
#[must_use]
pub fn tcp_listeners() -> Vec<SocketAddr> {
    // A kernel without IPv6 has no second file.
    let tables = ["tcp", "tcp6"].map(table);
    tables.iter().flat_map(|table| table.lines()).filter_map(parse_tcp_listener).collect()
}

/// Whether a program listens at the Unix socket with this path.
#[must_use]
pub fn has_unix_listener(path: &str) -> bool {
    is_unix_listener_in(&table("unix"), path)
}

fn table(name: &str) -> String {
    fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default()
}

/// Parses a line such as `0: 010012AC:0035 00000000:0000 0A …`; `None` if the socket does not listen.
fn parse_tcp_listener(line: &str) -> Option<SocketAddr> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let (address, port) = words.get(1)?.split_once(':')?;
    let listens = *words.get(3)? == LISTEN;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(network_order::<4>(address)?)),
        32 => IpAddr::V6(Ipv6Addr::from(network_order::<16>(address)?)),
        _ => return None,
    };
    listens.then_some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

/// The bytes of an address: the kernel prints each 32-bit word as a number of this machine.
fn network_order<const LENGTH: usize>(digits: &str) -> Option<[u8; LENGTH]> {
    let words = (0..digits.len()).step_by(8).map(|at| u32::from_str_radix(digits.get(at..at + 8)?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    bytes.try_into().ok()
}

fn is_unix_listener_in(table: &str, path: &str) -> bool {
    table.lines().any(|line| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        words.last() == Some(&path) && words.get(3) == Some(&ACCEPTS_CONNECTIONS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soon::soon;

    #[test]
    fn listening_tcp_sockets_are_parsed() {
        let table = "  sl  local_address rem_address   st\n\
            0: 00000000:0898 00000000:0000 0A\n   1: 0100007F:1F40 00000000:0000 0A\n\
            2: 010012AC:0035 00000000:0000 0A\n   3: 00000000:0016 0100007F:C000 01\n\
            0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A\n\
            1: 00000000000000000000000001000000:0019 00000000000000000000000000000000:0000 0A\n";
        let found: Vec<_> =
            table.lines().filter_map(parse_tcp_listener).map(|address| address.to_string()).collect();
        // The numbers in the table are those of a little-endian machine.
        if cfg!(target_endian = "little") {
            let expected = ["0.0.0.0:2200", "127.0.0.1:8000", "172.18.0.1:53", "[::]:22", "[::1]:25"];
            assert_eq!(found, expected);
        }
        for broken in ["", "0: 0:0 0:0 0A", "0: 0000000x:0016 0:0 0A", "0: 00000000:x 0:0 0A"] {
            assert_eq!(parse_tcp_listener(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(tcp_listeners().contains(&tcp.local_addr().unwrap()));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(has_unix_listener(path.to_str().unwrap()));
        drop((tcp, unix));
        soon(|| !has_unix_listener(path.to_str().unwrap()));
    }

    #[test]
    fn only_listening_unix_sockets_count() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                     0000000000000000: 00000002 00000000 00010000 0005 01 71 /run/sshbox/wake.sock\n\
                     0000000000000000: 00000003 00000000 00000000 0005 03 72 /run/other\n";
        assert!(is_unix_listener_in(table, "/run/sshbox/wake.sock"));
        assert!(!is_unix_listener_in(table, "/run/other"));
    }
}
