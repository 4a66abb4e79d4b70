//! `sshbox-keys --check`: checks what every login needs. The systemd unit of sshd runs it as user
//! `sshbox-keys` before sshd starts.

use crate::source::{self, SourceError};
use host::cache::Cache;
use host::config;
use identity::GID;
use nix::unistd::Group;
use session::exit::{ExitStatus, chain};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Run all checks, and print each failure with its fix.
pub fn run(config: &Path) -> ExitCode {
    let errors: Vec<String> = [check_config(config), check_group()].into_iter().flatten().collect();
    // Logins work without a cache, so a failure of that check does not change the exit status.
    for error in errors.iter().chain(&check_cache(config)) {
        let _ = writeln!(io::stderr(), "sshbox-keys: {error}");
    }
    if errors.is_empty() { ExitCode::SUCCESS } else { ExitStatus::Config.code().into() }
}

/// Check the configuration, the token and the CA file. Return what is wrong.
fn check_config(path: &Path) -> Option<String> {
    let config = match config::load(path) {
        Ok(config) => config.accounts,
        Err(error) => return Some(format!("{}; see sshbox.toml(5)", chain(&error))),
    };
    let error = source::check_files(&config).err()?;
    let fix = match &error {
        SourceError::Read(file, _) | SourceError::Token(file) | SourceError::Untrusted(file, _)
            if *file == config.token_file =>
        {
            format!(
                "; write the token of the web app: \
                 install -m 0400 -o sshbox-keys -g sshbox-keys /dev/stdin {}; or set token_file = \"\"",
                file.display()
            )
        }
        _ => "; see accounts.ca_file in sshbox.toml(5)".to_owned(),
    };
    Some(chain(&error) + &fix)
}

/// Check that the cache can be written. Return what is wrong.
fn check_cache(path: &Path) -> Option<String> {
    let dir = config::load(path).ok()?.accounts.cache;
    let error = Cache::new(&dir).check_writable().err()?;
    Some(format!(
        "the cache {} cannot be written: {error}; logins still work, but after a reboot only while the web app \
         answers: run systemd-tmpfiles --create sshbox.conf, or free disk space",
        dir.display()
    ))
}

/// Check the group of all logins. Return what is wrong.
fn check_group() -> Option<String> {
    match Group::from_name("sshbox").ok().flatten().map(|group| group.gid.as_raw()) {
        Some(GID) => None,
        Some(other) => Some(format!(
            "group sshbox has the number {other} and must have {GID}: delete it and run dpkg --configure --pending \
             or systemd-sysusers sshbox.conf"
        )),
        None => Some("group sshbox does not exist: run systemd-sysusers sshbox.conf".to_owned()),
    }
}
