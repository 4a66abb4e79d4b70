//! `/etc/sshbox/sshbox.toml`. Every key has a default, which the shipped file shows. A mistake in the
//! file is an error with its line and column, and a program that cannot read the file does nothing.

mod addresses;
mod constraints;
mod durations;
mod file;
mod names;
mod sections;
mod values;

pub use addresses::{AllowedService, Subnet};
pub use durations::{IdleTimeout, TimeSpan};
pub use file::{ConfigError, PATH, Setting, load, parse, settings};
pub use names::{ContainerName, ImagePattern};
pub use sections::{
    AccountsConfig, Config, ContainerConfig, DiskConfig, EngineConfig, ForwardConfig, ListenConfig,
    NetworkConfig, ReapConfig,
};
pub use values::{
    AccountUrl, BoxUser, EngineRuntime, Hostname, ManageUrl, QuotaMode, Template, UidGid, UidRange,
};
