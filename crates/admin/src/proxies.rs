//! `sshbox proxies`: tells sshd and the rules for packets which addresses many users share (`listen.trusted_proxies`).
//! The unit of sshd runs `apply` before it starts or reloads sshd.

use super::output;
use super::tool;
use super::{load_config, names, network};
use clap::{Args, Subcommand};
use host::config::Config;
use host::sshd_limits::{bearable_rate, settings};
use session::atomic;
use session::deadlines::HOST_PROGRAM;
use session::exit::{ExitStatus, Failure};
use session::presence::RUN;
use session::proxies::Proxies;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitCode};

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

/// What sshd reads first, by `Include` in its configuration.
const SETTINGS: &str = "sshd_proxies.conf";

/// Runs the command.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let config = load_config(config)?;
    match arguments.action {
        Action::Apply => apply(&config),
        Action::Contain { address } => {
            Ok(if configured(&config).contain(address) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
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
        if let Err(error) = fs::remove_file(run.join(SETTINGS))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(failed(format!("cannot remove {RUN}/{SETTINGS}: {error}")));
        }
        write(&Proxies::default())?;
        if before != Proxies::default() {
            network::load(config)?;
        }
        return output::print("no address is trusted\n");
    }
    let sshd = effective().map_err(failed)?;
    let proxies = Proxies { ports: ports(&sshd), ..configured(config) };
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
    let trusted: Vec<_> = config.listen.trusted_proxies.iter().map(ToString::to_string).collect();
    output::print(&format!(
        "trusted: {}\nup to {} connections a second that never log in leave room for users\n",
        trusted.join(" "),
        bearable_rate(memory)
    ))
}

/// The settings of sshbox's sshd, as `sshd -T` prints them.
fn effective() -> Result<String, String> {
    let mut command = Command::new(names::SSHD);
    command.args(["-T", "-f", names::SSHD_CONFIG]);
    let ended = tool::run(&mut command, "", HOST_PROGRAM, None).map_err(|error| error.to_string())?;
    if ended.succeeded() { Ok(ended.out) } else { Err(ended.last_words()) }
}

/// The ports at which sshd listens.
fn ports(settings: &str) -> Vec<u16> {
    let addresses = settings.lines().filter_map(|line| line.strip_prefix("listenaddress "));
    let ports =
        addresses.filter_map(|address| address.trim().parse().ok().map(|found: SocketAddr| found.port()));
    ports.collect::<BTreeSet<_>>().into_iter().collect()
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
        assert_eq!(ports(listens), [22, 2200]);
        assert_eq!(ports("port 2200\n"), [0; 0]);
        assert!(memory() > 1 << 20);
    }
}
