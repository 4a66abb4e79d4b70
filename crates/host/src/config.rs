//! `/etc/sshbox/sshbox.toml`. Every key has a default, which the shipped file shows. A mistake in the
//! file is an error with its line and column, and a program that cannot read the file does nothing.

mod constraints;
mod durations;
mod file;
mod sections;
mod values;

pub use durations::{IdleTimeout, TimeSpan};
pub use file::{ConfigError, PATH, Setting, load, parse, settings};
pub use sections::{AccountsConfig, Config, ContainerConfig, EngineConfig, ReapConfig};
pub use values::{AccountUrl, EngineRuntime, Hostname, ManageUrl, Template, UidGid};
