//! The sections of the configuration file with their keys and defaults. Add a key here.

use super::addresses::{AllowedService, Subnet};
use super::durations::{IdleTimeout, TimeSpan};
use super::names::{ContainerName, ImagePattern};
use super::values::{AccountUrl, BoxUser, EngineRuntime, Hostname, ManageUrl, QuotaMode, Template, UidRange};
use crate::limits::{Limits, deserialize_ceilings};
use crate::networks::OPEN_NETWORK;
use serde::{Deserialize, Serialize};
use session::authorized_key::Forwarding;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The account source.
    pub accounts: AccountsConfig,
    /// The container engine.
    pub engine: EngineConfig,
    /// The users' containers.
    #[serde(rename = "box")]
    pub container: ContainerConfig,
    /// Where connections come from.
    pub listen: ListenConfig,
    /// Limits of the homes on the disk.
    pub disk: DiskConfig,
    /// What users may forward over SSH.
    pub forward: ForwardConfig,
    /// What containers may reach.
    pub network: NetworkConfig,
    /// Stopping idle containers.
    pub reap: ReapConfig,
}

/// `[accounts]`: where keys and limits come from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsConfig {
    /// Address of an account: `http://`, `https://` or `file://`, with `{user}` in it.
    pub url: AccountUrl,
    /// File with the Bearer token. If empty, no token is sent.
    pub token_file: PathBuf,
    /// PEM file with the certificate authorities that may sign the certificate of an `https://` server.
    pub ca_file: PathBuf,
    /// How long the login that requested a reply may use it without another request.
    pub fresh: TimeSpan,
    /// How long later logins may use a reply while the web app does not reply. May be zero.
    pub stale: TimeSpan,
    /// Deadline of one request, from name resolution to the last byte of the reply.
    pub timeout: TimeSpan,
    /// How old an answer may be for a user with an open connection before the web app is asked again.
    pub recheck: TimeSpan,
    /// Directory of the account cache.
    pub cache: PathBuf,
    /// Web page where users manage their keys. `@keys` shows it; if empty, `@keys` shows none.
    pub manage_url: ManageUrl,
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self {
            url: AccountUrl("http://127.0.0.1:8000/sshbox/accounts/{user}".to_owned()),
            token_file: "/etc/sshbox/token".into(),
            ca_file: "/etc/ssl/certs/ca-certificates.crt".into(),
            fresh: TimeSpan::seconds(5),
            stale: TimeSpan::seconds(24 * 3600),
            timeout: TimeSpan(Duration::from_millis(1500)),
            recheck: TimeSpan::seconds(300),
            cache: "/var/cache/sshbox".into(),
            manage_url: ManageUrl(String::new()),
        }
    }
}

impl AccountsConfig {
    /// The configuration for a temporary user of `sshbox doctor`, whose public key is in `key_file`.
    #[must_use]
    pub fn for_doctor(self, key_file: &Path) -> Self {
        Self { url: AccountUrl(format!("file://{}", key_file.display())), ..self }.without_token()
    }

    /// The same configuration without the token.
    #[must_use]
    pub fn without_token(self) -> Self {
        Self { token_file: PathBuf::new(), ..self }
    }
}

/// `[engine]`: the container engine.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Socket of the engine's API.
    pub socket: PathBuf,
    /// The engine's program that starts a container's processes.
    pub runtime: EngineRuntime,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { socket: "/run/docker.sock".into(), runtime: EngineRuntime::EngineDefault }
    }
}

/// `[box]`: how a user's container is created.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerConfig {
    /// Image. It must exist on the host; sshbox does not pull it.
    pub image: String,
    /// Images that an account may name besides `image`.
    pub images: Vec<ImagePattern>,
    /// Name of the container.
    pub name: ContainerName,
    /// Home directory on the host.
    pub home: Template,
    /// Mount point of the home in the container.
    pub mount: PathBuf,
    /// User and group of the user's processes.
    pub user: BoxUser,
    /// The uids and gids of boxes, where each has its own.
    pub uids: UidRange,
    /// Host name in the container.
    pub hostname: Hostname,
    /// Network. If it does not exist, it is created with traffic between containers blocked.
    pub network: String,
    /// Limits where the account requests none.
    pub limits: Limits,
    /// Upper bounds of all limits, whatever the account requests.
    #[serde(deserialize_with = "deserialize_ceilings")]
    pub ceilings: Limits,
}

impl Default for ContainerConfig {
    fn default() -> Self {
        Self {
            image: "sshbox-user:latest".to_owned(),
            images: Vec::new(),
            name: ContainerName("sshbox-{digest}".to_owned()),
            home: Template("/var/lib/sshbox/homes/{user}".to_owned()),
            mount: "/home/user".into(),
            user: BoxUser::Own,
            uids: UidRange { first: 1_700_000_000, last: 1_799_999_999 },
            hostname: Hostname("box".to_owned()),
            network: OPEN_NETWORK.to_owned(),
            limits: Limits::default(),
            ceilings: Limits::ceilings(),
        }
    }
}

impl ContainerConfig {
    /// The image of a box whose account names this one, or none. The error is the name of an image that
    /// accounts may not name.
    ///
    /// # Errors
    /// The name.
    pub fn image_for<'a>(&'a self, named: Option<&'a str>) -> Result<&'a str, &'a str> {
        match named {
            None => Ok(&self.image),
            Some(named) if named == self.image => Ok(named),
            Some(named) if self.images.iter().any(|pattern| pattern.matches(named)) => Ok(named),
            Some(named) => Err(named),
        }
    }
}

/// `[listen]`: where connections come from.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// Addresses from which the connections of many users come: of a tunnel, a balancer, or a NAT.
    pub trusted_proxies: Vec<Subnet>,
}

/// `[forward]`: what users may forward over SSH. What they forward starts and ends in their container.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardConfig {
    /// Whether users may forward TCP ports.
    pub enabled: bool,
    /// How long a connection waits for the start of the container to forward into it. Then it goes on without.
    pub wait: TimeSpan,
    /// Whether users may forward their SSH agent.
    pub agent: bool,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        Self { enabled: true, wait: TimeSpan::seconds(3), agent: true }
    }
}

impl ForwardConfig {
    /// What the keys of an account may forward whose own switch is this.
    #[must_use]
    pub fn of(&self, account: Option<bool>) -> Forwarding {
        let allowed = account.unwrap_or(true);
        Forwarding { ports: allowed && self.enabled, agent: allowed && self.agent }
    }
}

/// `[network]`: what containers may reach, on the networks that sshbox filters.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Whether containers may reach the internet.
    pub internet: bool,
    /// Whether containers may send mail to other servers, at TCP port 25.
    pub smtp: bool,
    /// Services that all containers may reach, on private addresses and on the host too.
    pub allow: Vec<AllowedService>,
    /// Addresses that no container may reach, besides those that are never reachable.
    pub deny: Vec<Subnet>,
    /// Connections that one container may have at a time.
    pub connections: u32,
    /// Connections that one container may open in a second.
    pub new_connections: u32,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            internet: true,
            smtp: false,
            allow: Vec::new(),
            deny: Vec::new(),
            connections: 2048,
            new_connections: 200,
        }
    }
}

/// `[disk]`: how the limit of each home is enforced.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    /// What enforces the limit.
    pub quota: QuotaMode,
    /// Image of a home, for `quota = "image"`.
    pub image: Template,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self { quota: QuotaMode::Auto, image: Template("/var/lib/sshbox/images/{user}.img".to_owned()) }
    }
}

/// `[reap]`: when an idle container is stopped.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReapConfig {
    /// How long a container runs without a session, unless the account sets its own timeout.
    pub idle_timeout: IdleTimeout,
    /// Time between SIGTERM and SIGKILL for the processes of a container.
    pub grace: TimeSpan,
}

impl Default for ReapConfig {
    fn default() -> Self {
        Self { idle_timeout: IdleTimeout(Some(Duration::from_secs(30 * 60))), grace: TimeSpan::seconds(10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_forwards_what_both_configuration_and_account_allow() {
        let all = ForwardConfig::default();
        let (both, nothing) = (Forwarding { ports: true, agent: true }, Forwarding::default());
        assert_eq!([None, Some(true), Some(false)].map(|account| all.of(account)), [both, both, nothing]);
        let agent_only = ForwardConfig { enabled: false, ..all };
        assert_eq!(agent_only.of(None), Forwarding { ports: false, agent: true });
        assert_eq!(agent_only.of(Some(false)), nothing);
    }
}
