//! `sshbox quota`: gives the home of a user a limit, or the limit that the account has now. Stops the box and
//! keeps it stopped meanwhile. The home that is copied into an image is kept.

use super::tool::Interrupt;
use super::{boxes, load_config, log_admin_action, output, parse_login, power, require_known, with_engine};
use clap::Args;
use disk::convert::{Converted, convert};
use host::cache::Cache;
use host::config::Config;
use host::quota::{Backend, DiskLimit};
use identity::Login;
use session::box_status::bytes;
use session::deadlines::TRANSITION;
use session::exit::{ExitStatus, Failure};
use session::presence::{RUN, UserRuntimeDir};
use session::texts;
use session::waiting::Waiting;
use session::wire::Verb;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Give the home of a user a limit on the disk, or change it; stops the box
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login name
    #[arg(value_parser = parse_login)]
    user: Login,
}

/// Runs the command.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let (config, user) = (load_config(config)?, &arguments.user);
    require_known(&config, user, false)?;
    // A signal must not end a program that moves the user's data.
    let _held = Interrupt::watch().map_err(|error| Failure::because(ExitStatus::TryAgain, "", &error))?;
    let result = apply(&config, user);
    log_admin_action(user, "quota", result.as_ref().err().map(|failure| &*failure.cause));
    output::print(&result?)
}

fn apply(config: &Config, user: &Login) -> Result<String, Failure> {
    if Backend::of(config) == Backend::None && !Path::new(&config.disk.image.fill(user)).exists() {
        return Err(unlimited(user));
    }
    let waiting = Waiting::begin(texts::ADMIN_STOPPING, |_| ());
    power::request(user, Verb::Stop, waiting.as_ref())?;
    drop(waiting);
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), user);
    let busy = |error| Failure::because(ExitStatus::TryAgain, "try again in a minute", &error);
    // No login can start the box until both are dropped.
    let _state_lock = runtime_dir.lock_state(TRANSITION).map_err(busy)?;
    let _live_lock = runtime_dir.try_lock_live().map_err(busy)?.ok_or_else(|| in_use(user))?;
    let found = with_engine(boxes::one(config, user))?;
    if found.is_some_and(|found| !matches!(&*found.status.state, "stopped" | "missing" | "broken")) {
        return Err(in_use(user));
    }
    let record = Cache::new(&config.accounts.cache).read(user);
    let record = record.ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::NO_ACCOUNT))?;
    let limit = DiskLimit::of(&config.container, &record.account);
    let waiting = Waiting::begin("setting the limit of the home", |_| ());
    let converted = convert(config, user, limit).map_err(|error| {
        let Failure { cause, .. } = error.failure();
        Failure { cause, ..Failure::new(ExitStatus::Unavailable, "the home is as it was") }
    });
    drop(waiting);
    let converted = converted?;
    if converted.backend == Backend::None {
        return Err(unlimited(user));
    }
    Ok(text(user, limit, &converted))
}

fn unlimited(user: &Login) -> Failure {
    let advice = "set disk.quota to \"project\" or \"image\"; see sshbox.toml(5)";
    let cause = format!("nothing limits the home of {user} on this host");
    Failure { cause, ..Failure::new(ExitStatus::Config, advice) }
}

fn in_use(user: &Login) -> Failure {
    let cause = format!("{user} has logged in again, so the home is in use");
    Failure { cause, ..Failure::new(ExitStatus::TryAgain, "try again") }
}

fn text(user: &Login, limit: DiskLimit, Converted { backend, kept, note }: &Converted) -> String {
    let by = match backend {
        Backend::Image => "its image",
        _ => "a project quota",
    };
    let mut text = format!("the home of {user} is limited to {} by {by}\n", bytes(limit.bytes));
    if let Some(kept) = kept {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "the home before is kept in {}; remove it when you need it no more",
            kept.display()
        );
    }
    if let Some(note) = note {
        let _ = writeln!(text, "{note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn an_admin_reads_what_limits_the_home_and_what_is_kept() {
        let user = Login::parse(b"alice").unwrap();
        let limit = DiskLimit::of_bytes(50 << 30);
        let copied = Converted {
            backend: Backend::Image,
            kept: Some("/homes/.alice.sshbox-before-quota".into()),
            note: None,
        };
        let marked =
            Converted { backend: Backend::Project, kept: None, note: Some("it did not shrink".to_owned()) };
        assert_snapshot!(text(&user, limit, &copied) + &text(&user, limit, &marked), @"
        the home of alice is limited to 50.0 GiB by its image
        the home before is kept in /homes/.alice.sshbox-before-quota; remove it when you need it no more
        the home of alice is limited to 50.0 GiB by a project quota
        it did not shrink
        ");
    }
}
