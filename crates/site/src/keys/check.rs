//! `sshbox-keys --check`: whether a login could be answered at all, before the first one comes.
//! The unit of sshd runs it as the same user and does not start otherwise.

use crate::source::{self, SourceError};
use host::cache::Cache;
use host::config;
use identity::GID;
use nix::unistd::Group;
use session::exit::{ExitStatus, chain};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// The program, when it is asked for nothing else. Every check is made, and each failure told.
pub fn run(path: &Path) -> ExitCode {
    let wrong: Vec<String> = [configuration(path), group()].into_iter().flatten().collect();
    // Logins go on without a cache, so it is told and no more.
    for text in wrong.iter().chain(&cache(path)) {
        let _ = writeln!(io::stderr(), "sshbox-keys: {text}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitStatus::Config.code().into() }
}

/// What is wrong with the configuration and the files that a question needs.
fn configuration(path: &Path) -> Option<String> {
    let config = match config::load(path) {
        Ok(config) => config.accounts,
        Err(error) => return Some(format!("{}; see sshbox.toml(5)", chain(&error))),
    };
    let error = source::prepared(&config).err()?;
    let advice = match &error {
        SourceError::Read(file, _) | SourceError::Token(file) | SourceError::Insecure(file, _)
            if *file == config.token_file =>
        {
            format!(
                "; write the token that the web app knows: \
                 install -m 0400 -o sshbox-keys -g sshbox-keys /dev/stdin {}; or set token_file = \"\"",
                file.display()
            )
        }
        _ => "; see accounts.ca_file in sshbox.toml(5)".to_owned(),
    };
    Some(chain(&error) + &advice)
}

/// What is wrong with the cache.
fn cache(path: &Path) -> Option<String> {
    let dir = config::load(path).ok()?.accounts.cache;
    let error = Cache::new(&dir).check().err()?;
    Some(format!(
        "the cache {} cannot be written: {error}; logins go on, but after a reboot none while the web app does not \
         answer: run systemd-tmpfiles --create sshbox.conf, or make room",
        dir.display()
    ))
}

/// What is wrong with the group of all logins.
fn group() -> Option<String> {
    match Group::from_name("sshbox").ok().flatten().map(|group| group.gid.as_raw()) {
        Some(GID) => None,
        Some(other) => Some(format!(
            "group sshbox has the number {other} and must have {GID}: delete it and run dpkg --configure --pending \
             or systemd-sysusers sshbox.conf"
        )),
        None => Some("there is no group sshbox: run systemd-sysusers sshbox.conf".to_owned()),
    }
}
