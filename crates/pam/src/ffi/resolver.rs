//! Which name servers the C library asks in this process and in those that it forks. sshd reads the host's
//! `/etc/resolv.conf`, whose name servers the network of a box often cannot reach: 127.0.0.53 is the host itself.
//! The C library keeps what a program has changed in its resolver's state (resolver(3), `_res`).

use libc::{AF_INET, c_int, c_ulong, in_addr, sockaddr_in};
use std::net::Ipv4Addr;

/// Port of a name server.
const PORT: u16 = 53;

/// `RES_DEFNAMES` and `RES_DNSRCH`: the search list of the host is tried, too.
const SEARCH: c_ulong = 0x0000_0280;

/// `RES_NORELOAD`: the state does not follow later changes of the file.
const NO_RELOAD: c_ulong = 0x0200_0000;

/// The first fields of `struct __res_state` in `resolv.h`: part of the C library's stable interface.
#[repr(C)]
struct ResolverState {
    retransmission: c_int,
    retry: c_int,
    options: c_ulong,
    count: c_int,
    name_servers: [sockaddr_in; 3],
}

unsafe extern "C" {
    fn __res_init() -> c_int;
    fn __res_state() -> *mut ResolverState;
}

/// Asks these name servers from now on, or nobody if there are none: those of the host are not asked from the network
/// of a box.
pub(super) fn use_name_servers(addresses: &[Ipv4Addr]) {
    let addresses = if addresses.is_empty() { &[Ipv4Addr::LOCALHOST] } else { addresses };
    // SAFETY: reads the resolver's configuration into this thread's own state.
    let state = unsafe {
        if __res_init() != 0 {
            return;
        }
        __res_state()
    };
    // SAFETY: the state of this thread lives as long as the thread, nothing else refers to it during this
    // function, and its first fields are those of the type.
    let Some(state) = (unsafe { state.as_mut() }) else { return };
    let mut count = 0;
    for (server, address) in state.name_servers.iter_mut().zip(addresses) {
        *server = sockaddr_in {
            sin_family: u16::try_from(AF_INET).unwrap_or_default(),
            sin_port: PORT.to_be(),
            sin_addr: in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
            sin_zero: [0; 8],
        };
        count += 1;
    }
    state.count = count;
    state.options = (state.options | NO_RELOAD) & !SEARCH;
}
