//! Records which network namespace the running box has, so that connections can forward into it. The start does
//! not depend on it.

use super::PROGRAM;
use crate::container::Container;
use identity::Login;
use session::journal::{Event, Field, FieldValue, log};
use session::presence::{BoxNetwork, UserRuntimeDir};
use std::fs::File;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::Path;

/// How much of a resolv.conf(5) is read, in bytes.
const RESOLV_CONF_MAX: u64 = 8192;

/// Records the network of this container; forgets the last one if that fails.
pub(super) fn write(runtime_dir: &UserRuntimeDir, login: &Login, container: Option<&Container>) {
    let Some(Container { pid: Some(pid), network_namespace: Some(namespace), resolv_conf, .. }) = container
    else {
        let _ = runtime_dir.remove_box_network();
        return;
    };
    let name_servers = resolv_conf.as_deref().map(name_servers).unwrap_or_default();
    let written = BoxNetwork::of(namespace, *pid, &name_servers)
        .and_then(|network| runtime_dir.write_box_network(&network));
    if let Err(error) = written {
        let _ = runtime_dir.remove_box_network();
        let fields: [FieldValue<'_>; 2] =
            [(Field::User, &login.as_str()), (Field::Error, &error.to_string())];
        log(PROGRAM, Event::ForwardingUnavailable, &fields);
    }
}

/// Forgets the network of a box that was stopped. Logs that the open connections of its user, without `own`, no
/// longer forward.
pub(super) fn removed(runtime_dir: &UserRuntimeDir, login: &Login, own: usize) {
    let _ = runtime_dir.remove_box_network();
    let open = runtime_dir.open_connections().unwrap_or_default().saturating_sub(own);
    if open > 0 {
        let reason = format!("the box was stopped; open connections, which forward no longer: {open}");
        let fields: [FieldValue<'_>; 2] = [(Field::User, &login.as_str()), (Field::Reason, &reason)];
        log(PROGRAM, Event::ForwardingUnavailable, &fields);
    }
}

/// The IPv4 name servers in this file, which the engine writes and only root can change.
fn name_servers(file: &Path) -> Vec<Ipv4Addr> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(RESOLV_CONF_MAX).read_to_string(&mut text));
    // Without name servers, forwarding to addresses works nevertheless.
    read.map(|_| servers_of(&text)).unwrap_or_default()
}

fn servers_of(text: &str) -> Vec<Ipv4Addr> {
    let addresses = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok());
    addresses.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_from_the_file_of_the_box() {
        let text = "search example.org\nnameserver 127.0.0.11\nnameserver ::1\nnameserver\t192.0.2.1\n# nameserver x\n";
        assert_eq!(servers_of(text), [Ipv4Addr::new(127, 0, 0, 11), Ipv4Addr::new(192, 0, 2, 1)]);
        assert_eq!(name_servers(Path::new("/nowhere")), Vec::<Ipv4Addr>::new());
    }
}
