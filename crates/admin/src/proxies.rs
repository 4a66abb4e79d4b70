//! `sshbox proxies`: tells sshd and the rules for packets which addresses many users share (`listen.trusted_proxies`).
//! The unit of sshd runs `apply` before it starts or reloads sshd.

use super::output;
use super::tool;
use super::{load_config, names, network};
use clap::{Args, Subcommand};
use host::config::Config;
use host::sshd_limits::{max_attack_rate, settings};
use session::atomic;
use session::deadlines::HOST_PROGRAM;
use session::exit::{ExitStatus, Failure};
use session::presence::RUN;
use session::proxies::Proxies;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

/// Trust the addresses of proxies, from which the connections of many users come
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the limits of sshd and the rules for packets; sshd's unit does this before it reads its configuration
    Apply,
    /// Exit with status 0 if this address belongs to a trusted proxy, else with 1; for fail2ban
    Contain {
        /// The address
        address: IpAddr,
    },
}

/// What sshd reads first, by `Include` in its configuration: a file in the runtime directory.
pub const SETTINGS: &str = "sshd_proxies.conf";

/// Runs the command.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    match arguments.action {
        Action::Apply => apply(&load_config(config)?),
        // Those that sshd was told, as for the journal and the rules. With a typo in the configuration, fail2ban would
        // get no answer and ban the proxy.
        Action::Contain { address } => Ok(if Proxies::read(Path::new(RUN)).contain(address) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }),
    }
}

/// The proxies of this configuration, without ports.
pub fn configured(config: &Config) -> Proxies {
    let subnets = config.listen.trusted_proxies.iter().map(|subnet| subnet.parts()).collect();
    Proxies { subnets, ports: Vec::new() }
}

fn apply(config: &Config) -> Result<ExitCode, Failure> {
    let run = Path::new(RUN);
    let failed = |error: String| Failure { cause: error, ..Failure::new(ExitStatus::Unavailable, "") };
    let write = |proxies: &Proxies| {
        proxies.write(run).map_err(|error| failed(format!("cannot write to {RUN}: {error}")))
    };
    let before = Proxies::read(run);
    if config.listen.trusted_proxies.is_empty() {
        // First sshd's own limit is back, then the rules that stood in for it go.
        atomic::remove(&run.join(SETTINGS))
            .map_err(|error| failed(format!("cannot remove {RUN}/{SETTINGS}: {error}")))?;
        write(&Proxies::default())?;
        if before != Proxies::default() {
            network::load(config)?;
        }
        return output::print("no address is trusted\n");
    }
    let sshd = effective().map_err(failed)?;
    // Without its ports, the rules could not limit what sshd no longer limits.
    let ports = ports(&sshd).map_err(|cause| {
        let advice = format!("check Port and ListenAddress in {}; nothing has changed", names::SSHD_CONFIG);
        Failure { cause, ..Failure::new(ExitStatus::Unavailable, advice) }
    })?;
    let proxies = Proxies { ports, ..configured(config) };
    write(&proxies)?;
    // Before sshd loses its limit for an address. Without the rules it keeps it.
    network::load(config)?;
    let memory = memory();
    let has_penalties = sshd.lines().any(|line| line.starts_with("persourcepenalties "));
    let lines = settings(&config.listen.trusted_proxies, memory, has_penalties);
    let replace = |directory| atomic::replace(directory, SETTINGS, lines.as_bytes(), 0o644, None);
    atomic::directory(run)
        .and_then(replace)
        .map_err(|error| failed(format!("cannot write {RUN}/{SETTINGS}: {error}")))?;
    // The checks of sshd's unit have already run, and sshd ends if it reads a file that it refuses.
    if let Err(error) = effective() {
        // A failure to remove it is rarer still, and sshd's error says more.
        let _ = atomic::remove(&run.join(SETTINGS));
        return Err(failed(format!("sshd refuses {RUN}/{SETTINGS}, so it was removed: {error}")));
    }
    let trusted: Vec<_> = config.listen.trusted_proxies.iter().map(ToString::to_string).collect();
    output::print(&format!(
        "trusted: {}\nup to {} connections a second that never log in leave room for users\n",
        trusted.join(" "),
        max_attack_rate(memory)
    ))
}

/// The settings of sshbox's sshd, as `sshd -T` prints them.
fn effective() -> Result<String, String> {
    let ended = tool::run(&mut names::print_settings(), "", HOST_PROGRAM, None);
    let ended = ended.map_err(|error| error.to_string())?;
    if ended.succeeded() { Ok(ended.out) } else { Err(ended.last_words()) }
}

/// The ports at which sshd listens. Fails if it cannot tell all of them.
fn ports(settings: &str) -> Result<Vec<u16>, String> {
    let addresses = settings.lines().filter_map(|line| line.strip_prefix("listenaddress "));
    let found = addresses.map(|address| {
        port(address)
            .ok_or_else(|| format!("sshd -T prints an address without a port: listenaddress {address}"))
    });
    let found = found.collect::<Result<BTreeSet<_>, _>>()?;
    if found.is_empty() {
        return Err("sshd -T prints no address at which sshd listens".to_owned());
    }
    Ok(found.into_iter().collect())
}

/// The port of such an address: `0.0.0.0:2200`, `[fe80::1%eth0]:2200`, `0.0.0.0:2200 rdomain x`.
fn port(address: &str) -> Option<u16> {
    let (host, port) = address.split_whitespace().next()?.rsplit_once(':')?;
    // Otherwise what follows the last colon is a part of the address.
    let is_whole = host.ends_with(']') || !host.contains(':');
    port.parse().ok().filter(|port| is_whole && *port != 0)
}

/// The memory of this host, in bytes.
pub fn memory() -> u64 {
    let found = rustix::system::sysinfo();
    u64::from(found.mem_unit).saturating_mul(found.totalram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_sshd_are_those_of_its_addresses() {
        let listens =
            "port 2200\nlistenaddress [::]:2200\nlistenaddress 0.0.0.0:2200\nlistenaddress 192.0.2.7:22\n";
        assert_eq!(ports(listens).unwrap(), [22, 2200]);
        let link_local_and_rdomain =
            "listenaddress [fe80::1%eth0]:2201\nlistenaddress 0.0.0.0:2202 rdomain x\n";
        assert_eq!(ports(link_local_and_rdomain).unwrap(), [2201, 2202]);
        assert!(memory() > 1 << 20);
    }

    #[test]
    fn without_all_ports_of_sshd_there_are_none() {
        assert!(ports("port 2200\n").unwrap_err().contains("no address"));
        for address in
            ["192.0.2.7", "[::1]", "::1", "192.0.2.7:", "192.0.2.7:ssh", "192.0.2.7:70000", "[::]:0", ""]
        {
            let listens = format!("listenaddress 0.0.0.0:2200\nlistenaddress {address}\n");
            let refused = ports(&listens).unwrap_err();
            assert!(refused.ends_with(&format!("listenaddress {address}")), "{refused}");
        }
    }
}
