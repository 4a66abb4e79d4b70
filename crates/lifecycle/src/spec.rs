//! What a box is to be: the configuration and the account put together, and whether a box
//! that exists is that. Knows no engine.

use host::account::Account;
use host::config::{self, Limits, MemorySize, OpenFiles, Size};
use host::features::HostFeatures;
use identity::Login;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Raised whenever the engine is told something else for the same box, so that boxes of an
/// earlier release are made anew at their next cold start.
const VERSION: u32 = 2;

/// Everything that a box is made from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BoxSpec {
    version: u32,
    /// Name of the container.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// Which account, if the source tells.
    pub account: Option<String>,
    /// Image as it is called.
    pub image: String,
    /// Image as it was found.
    pub image_id: String,
    /// Who the user is in the box.
    pub owner: String,
    /// Home on the host.
    pub home: PathBuf,
    /// Home in the box.
    pub mount: PathBuf,
    /// Host name in the box.
    pub hostname: String,
    /// Directory of the boot socket on the host.
    pub run: PathBuf,
    /// Network.
    pub network: String,
    /// CPU time in billionths of a core.
    pub nano_cpus: i64,
    /// Memory in bytes, swap included.
    pub memory: i64,
    /// Tasks: processes and threads.
    pub pids: i64,
    /// Size of `/dev/shm` in bytes.
    pub shm: i64,
    /// Size of `/tmp`, and of `/var/tmp`, in bytes.
    pub tmp: i64,
    /// Open files of a process.
    pub nofile: OpenFiles,
    /// What the host has to offer.
    pub host: HostFeatures,
}

impl BoxSpec {
    /// The box of this user. The home is filled in by who made sure of it.
    #[must_use]
    pub fn new(
        config: &config::ContainerConfig,
        login: &Login,
        account: &Account,
        home: PathBuf,
        run: PathBuf,
    ) -> Self {
        let limits = limits(config, account);
        Self {
            version: VERSION,
            name: config.name.fill(login),
            user: login.as_str().to_owned(),
            account: account.id.clone(),
            image: image(config, account).to_owned(),
            image_id: String::new(),
            owner: config.user.to_string(),
            home,
            mount: config.mount.clone(),
            hostname: config.hostname.fill(login),
            run,
            network: config.network.clone(),
            nano_cpus: limits.cpus.nano(),
            memory: bytes(limits.memory),
            pids: i64::from(limits.pids),
            shm: bytes(limits.shm.of(limits.memory)),
            tmp: bytes(limits.tmp.of(limits.memory)),
            nofile: limits.nofile,
            host: HostFeatures::default(),
        }
    }

    /// The same, on a host that has this to offer.
    #[must_use]
    pub fn on_host(self, host: HostFeatures) -> Self {
        Self { host, ..self }
    }

    /// The same, on a host without lxcfs.
    #[must_use]
    pub fn without_lxcfs(self) -> Self {
        let host = HostFeatures { lxcfs: Vec::new(), ..self.host };
        Self { host, ..self }
    }

    /// The same, made from the image that was found under its name.
    #[must_use]
    pub fn of_image(self, image_id: &str) -> Self {
        Self { image_id: image_id.to_owned(), ..self }
    }

    /// What tells one spec from another: half a SHA-256, in hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        Sha256::digest(text).iter().take(16).fold(String::new(), |mut hash, byte| {
            let _ = write!(hash, "{byte:02x}");
            hash
        })
    }
}

fn image<'a>(config: &'a config::ContainerConfig, account: &'a Account) -> &'a str {
    account.image.as_deref().unwrap_or(&config.image)
}

/// What the account asks for, else what the config gives; at most what the config allows.
fn limits(config: &config::ContainerConfig, account: &Account) -> Limits {
    let (wanted, given, most) = (&account.limits, &config.limits, &config.ceilings);
    let memory = wanted.memory.unwrap_or(given.memory).min(most.memory);
    // Percentages are of this box's memory, those of ceilings too.
    let in_memory = |wanted: Option<MemorySize>, given: MemorySize, most: MemorySize| {
        MemorySize::Bytes(wanted.unwrap_or(given).of(memory).min(most.of(memory)))
    };
    Limits {
        cpus: wanted.cpus.unwrap_or(given.cpus).min(most.cpus),
        memory,
        // 0 and less mean "no limit" to the engine.
        pids: wanted.pids.unwrap_or(given.pids).clamp(1, most.pids.max(1)),
        shm: in_memory(wanted.shm, given.shm, most.shm),
        tmp: in_memory(wanted.tmp, given.tmp, most.tmp),
        nofile: OpenFiles {
            soft: given.nofile.soft.min(most.nofile.soft),
            hard: given.nofile.hard.min(most.nofile.hard),
        },
    }
}

fn bytes(size: Size) -> i64 {
    i64::try_from(size.0).unwrap_or(i64::MAX)
}

/// A container, as far as it concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Process id of its init on the host, while it runs.
    pub pid: Option<i32>,
    /// What it does.
    pub state: ContainerState,
    /// Our labels; `None` when it is not one of ours.
    pub labels: Option<BoxLabels>,
    /// How it ended last.
    pub exit_code: i64,
    /// Whether the kernel killed its init because it had no memory left.
    pub out_of_memory: bool,
    /// Last start and last end, RFC 3339, as the engine writes them; its zero is the year 1.
    pub started_at: String,
    /// See `started_at`.
    pub finished_at: String,
    /// Image as it is called.
    pub image: String,
    /// Limits: CPU time in billionths of a core, memory in bytes, tasks.
    pub limits: (i64, i64, i64),
}

/// Labels of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxLabels {
    /// `sshbox.user`
    pub user: String,
    /// `sshbox.id`; empty when the source has none.
    pub account: String,
    /// `sshbox.spec`
    pub spec: String,
}

/// What a container does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started; or ended.
    #[default]
    Stopped,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// On its way elsewhere: restarting or being removed.
    Busy,
    /// Cannot be started any more.
    Dead,
}

impl ContainerState {
    /// In one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Busy => "changing",
            Self::Dead => "broken",
        }
    }

    /// Whether there are processes in it.
    #[must_use]
    pub fn lives(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// What has to be done to get from a container to a box that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStep {
    /// There is none: make it.
    Create,
    /// Start it.
    Start,
    /// It runs: see whether it answers.
    Ask,
    /// Thaw it.
    Unpause,
    /// Look again in a moment.
    Wait,
    /// Remove it and make it anew; the home stays.
    Recreate,
    /// It is not ours: leave it alone.
    Refuse,
}

/// The next step. A box that runs stays as it is, even if it should be another by now.
#[must_use]
pub fn start_step(found: Option<&Container>, wanted: &BoxSpec) -> StartStep {
    let Some(found) = found else {
        return StartStep::Create;
    };
    let Some(labels) = found.labels.as_ref().filter(|labels| labels.user == wanted.user) else {
        return StartStep::Refuse;
    };
    match found.state {
        ContainerState::Running => StartStep::Ask,
        ContainerState::Paused => StartStep::Unpause,
        ContainerState::Busy => StartStep::Wait,
        ContainerState::Stopped if labels.spec == wanted.hash() => StartStep::Start,
        ContainerState::Stopped | ContainerState::Dead => StartStep::Recreate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::account::{Answer, Format, parse};
    use host::config::Config;

    fn login() -> Login {
        Login::parse(b"alice").unwrap()
    }

    fn account(limits: &str) -> Account {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";
        let body = format!(r#"{{"user":"alice","id":42,"keys":["{key}"],"limits":{limits}}}"#);
        match parse(&login(), Format::Json, body.as_bytes()).unwrap().answer {
            Answer::Known(account) => account,
            Answer::Refused(reason) => panic!("{reason}"),
        }
    }

    fn spec(limits: &str) -> BoxSpec {
        let config = Config::default().container;
        BoxSpec::new(&config, &login(), &account(limits), "/h".into(), "/r".into()).of_image("sha256:1")
    }

    fn found(state: ContainerState, labels: Option<BoxLabels>) -> Container {
        Container { id: "x".to_owned(), state, labels, ..Container::default() }
    }

    fn labels(user: &str, spec: &str) -> BoxLabels {
        BoxLabels { user: user.to_owned(), account: "42".to_owned(), spec: spec.to_owned() }
    }

    #[test]
    fn limits_are_the_accounts_up_to_the_ceiling() {
        let small = spec(r#"{"cpus":0.5,"memory":"512MiB","pids":64}"#);
        assert_eq!((small.nano_cpus, small.memory, small.pids), (500_000_000, 512 << 20, 64));
        let greedy = spec(r#"{"cpus":64,"memory":"1TiB","pids":100000}"#);
        assert_eq!(greedy, spec("{}"));
        assert_eq!((greedy.nano_cpus, greedy.memory, greedy.pids), (2_000_000_000, 8 << 30, 512));
        assert_eq!(spec(r#"{"pids":0}"#).pids, 1);
    }

    #[test]
    fn shm_and_tmp_are_parts_of_the_boxs_memory_up_to_the_ceiling() {
        let sizes = |limits: &str| {
            let spec = spec(limits);
            (spec.shm, spec.tmp)
        };
        assert_eq!(sizes("{}"), (4 << 30, 1 << 30));
        assert_eq!(sizes(r#"{"memory":"100MiB"}"#), (50 << 20, 1 << 30));
        assert_eq!(sizes(r#"{"shm":"64MiB","tmp":"1%"}"#), (64 << 20, 85_899_345));
        assert_eq!(sizes(r#"{"memory":"100MiB","shm":"100%","tmp":"1TiB"}"#), (50 << 20, 1 << 30));
    }

    #[test]
    fn f5_each_state_has_its_step() {
        let wanted = spec("{}");
        let current = Some(labels("alice", &wanted.hash()));
        assert_eq!(start_step(None, &wanted), StartStep::Create);
        for (state, step) in [
            (ContainerState::Stopped, StartStep::Start),
            (ContainerState::Running, StartStep::Ask),
            (ContainerState::Paused, StartStep::Unpause),
            (ContainerState::Busy, StartStep::Wait),
            (ContainerState::Dead, StartStep::Recreate),
        ] {
            assert_eq!(start_step(Some(&found(state, current.clone())), &wanted), step);
        }
    }

    #[test]
    fn f8_a_box_of_another_spec_is_made_anew_when_it_does_not_run() {
        let wanted = spec("{}");
        let old = Some(labels("alice", &wanted.clone().of_image("sha256:0").hash()));
        assert_eq!(
            start_step(Some(&found(ContainerState::Stopped, old.clone())), &wanted),
            StartStep::Recreate
        );
        assert_eq!(start_step(Some(&found(ContainerState::Running, old)), &wanted), StartStep::Ask);
    }

    #[test]
    fn a2_a_foreign_container_is_left_alone_in_every_state() {
        let wanted = spec("{}");
        for state in [
            ContainerState::Stopped,
            ContainerState::Running,
            ContainerState::Paused,
            ContainerState::Busy,
            ContainerState::Dead,
        ] {
            assert_eq!(start_step(Some(&found(state, None)), &wanted), StartStep::Refuse);
            assert_eq!(
                start_step(Some(&found(state, Some(labels("bob", &wanted.hash())))), &wanted),
                StartStep::Refuse
            );
        }
    }

    #[test]
    fn every_part_of_a_spec_counts() {
        let base = spec("{}");
        for other in [
            BoxSpec { account: None, ..base.clone() },
            BoxSpec { image_id: "sha256:2".to_owned(), ..base.clone() },
            BoxSpec { home: "/other".into(), ..base.clone() },
            BoxSpec { memory: 1, ..base.clone() },
            BoxSpec { shm: 1, ..base.clone() },
            BoxSpec { hostname: "other".to_owned(), ..base.clone() },
            base.clone().on_host(HostFeatures { ipv6: true, lxcfs: Vec::new() }),
            BoxSpec { network: "other".to_owned(), ..base.clone() },
        ] {
            assert_ne!(base.hash(), other.hash());
        }
        assert_eq!(base.hash().len(), 32);
    }
}
