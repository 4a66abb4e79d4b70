//! `sshbox chown`: gives a user's home, and what is in it, to the uid of the user's box. The box must be
//! stopped, and both its locks are held, so that no login starts it meanwhile.

use super::{account, boxes, load_config, log_admin_action, output, parse_login, with_engine};
use clap::Args;
use host::account::Account;
use host::box_user;
use host::cache::Cache;
use host::config::{Config, UidGid};
use host::home::change_owner::{self, EntryCount, OwnerChange};
use host::home::{self, HomeError, HomeInfo};
use host::quota;
use identity::Login;
use lifecycle::container::ContainerState;
use session::deadlines::TRANSITION;
use session::disk_client;
use session::exit::{ExitStatus, Failure};
use session::presence::{LockGuard, RUN, UserRuntimeDir};
use session::texts;
use session::waiting::Waiting;
use session::wire::DiskVerb;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Give a user's home to the uid of the user's box
#[derive(Debug, Args)]
pub struct Arguments {
    /// Login name
    #[arg(value_parser = parse_login)]
    user: Login,
    /// Change the entries of this uid. By default that of the home directory
    #[arg(long, value_name = "UID")]
    from: Option<u32>,
    /// Count what would be changed and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, config_file: &Path) -> Result<ExitCode, Failure> {
    let (config, user) = (load_config(config_file)?, &arguments.user);
    let account = current_account(config_file, &config, user)?;
    let _locks = lock_stopped(&config, user)?;
    mount(&config, user)?;
    let found = inspect(&config, user, &account)?;
    let claims = Path::new(box_user::DIRECTORY);
    let to = if arguments.dry_run {
        box_user::look(&config.container, user, Some(&account), claims)
            .and_then(|known| known.map_or_else(|| Ok(UidGid { uid: 0, gid: 0 }), Ok))
    } else {
        box_user::claim(&config.container, user, &account, claims)
    };
    let to = to.map_err(|error| Failure::because(ExitStatus::Refused, "", &error))?;
    let home = config.container.home.fill(user);
    let (uid, gid) = found.owner;
    if arguments.from.is_none() && uid == to.uid {
        return output::print(&format!("{home} belongs to {to} already\n"));
    }
    if arguments.from.is_none() && uid == 0 {
        let cause = format!("{home} belongs to root");
        let advice = "see what is in it; if all of it is the user's, add --from 0";
        return Err(Failure { cause, ..Failure::new(ExitStatus::Refused, advice) });
    }
    let change = OwnerChange { from_uid: arguments.from.unwrap_or(uid), from_gid: gid, to };
    let counted =
        change_owner::count(&config.container.home, user, change).map_err(|error| failed(&error))?;
    if arguments.dry_run {
        let new = if to.uid == 0 { "a uid that is free".to_owned() } else { to.to_string() };
        return output::print(&format!("{home}: {}\n", sentence(counted, change.from_uid, &new, true)));
    }
    let waiting = Waiting::begin(texts::ADMIN_CHOWN, |_| ());
    let total = counted.total();
    let changed = change_owner::change(&config.container.home, user, change, &mut |count| {
        if let Some(waiting) = &waiting {
            waiting.show_step(&progress(count, total));
        }
    });
    drop(waiting);
    let action = format!("chown {home} from {} to {to}", change.from_uid);
    let error = changed.as_ref().err().map(|error| session::exit::chain(error));
    log_admin_action(user, &action, error.as_deref());
    let changed = changed.map_err(|error| failed(&error))?;
    output::print(&format!("{home}: {}\n", sentence(changed, change.from_uid, &to.to_string(), false)))
}

/// The account that decides about the uid: what the web app says now, or what it said last.
fn current_account(config_file: &Path, config: &Config, user: &Login) -> Result<Account, Failure> {
    account::ask(config_file, config, user).or_else(|problem| {
        let cached = Cache::new(&config.accounts.cache).read(user).map(|record| record.account);
        cached.ok_or_else(|| Failure::new(ExitStatus::Unavailable, problem))
    })
}

/// Takes both locks of a box that is stopped and has no session.
fn lock_stopped(config: &Config, user: &Login) -> Result<(LockGuard, LockGuard), Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), user);
    let busy = |error: &dyn Error| {
        Failure::because(ExitStatus::TryAgain, "the box is being started or stopped; try again", error)
    };
    runtime_dir.prepare().map_err(|error| busy(&error))?;
    let state = runtime_dir.lock_state(TRANSITION).map_err(|error| busy(&error))?;
    let live = runtime_dir.try_lock_live().map_err(|error| busy(&error))?;
    let in_use = |what: &str| {
        let cause = format!("{user} {what}");
        Failure { cause, ..Failure::new(ExitStatus::TryAgain, format!("first run: sshbox stop {user}")) }
    };
    let live = live.ok_or_else(|| in_use("has an open session"))?;
    let found = with_engine(async { boxes::observer(config).await?.one(user).await.map_err(boxes::failed) })?;
    let is_stopped = |state: &str| {
        [ContainerState::Stopped, ContainerState::Dead].iter().any(|stopped| stopped.name() == state)
    };
    match found {
        Some(one) if one.container.is_some() && !is_stopped(&one.status.state) => {
            Err(in_use("has a box that runs"))
        }
        _ => Ok((state, live)),
    }
}

/// Mounts the home if it is in an image that is not mounted: after a reboot its mount point belongs to root.
fn mount(config: &Config, user: &Login) -> Result<(), Failure> {
    if quota::is_unmounted(config, user) {
        disk_client::ask(user, DiskVerb::Prepare)?;
    }
    if quota::is_unmounted(config, user) {
        let cause = format!("the image of {user}'s home is not mounted");
        let advice = "see what sshbox-disk wrote to the journal";
        return Err(Failure { cause, ..Failure::new(ExitStatus::Unavailable, advice) });
    }
    Ok(())
}

/// The home, if it is one and belongs to this account.
fn inspect(config: &Config, user: &Login, account: &Account) -> Result<HomeInfo, Failure> {
    let refused = |error: HomeError| Failure::because(ExitStatus::Refused, "", &error);
    let found = home::inspect(&config.container.home, user).map_err(refused)?;
    match (&found.account, &account.id) {
        (Some(was), Some(now)) if was != now => {
            let home = config.container.home.fill(user).into();
            Err(refused(HomeError::OtherAccount { home, was: was.clone(), now: now.clone() }))
        }
        _ => Ok(found),
    }
}

fn failed(error: &change_owner::ChangeOwnerError) -> Failure {
    let advice = "remove the cause and run it again: it continues where it ended";
    Failure::because(ExitStatus::TryAgain, advice, error)
}

fn progress(count: u64, total: u64) -> String {
    let percent = count.saturating_mul(100).checked_div(total).unwrap_or(100).min(100);
    format!("{count} of {total} entries, {percent} %")
}

/// What was changed, or would be.
fn sentence(counted: EntryCount, from: u32, to: &str, dry_run: bool) -> String {
    let EntryCount { changed, unchanged, foreign } = counted;
    let entries = |count: u64| if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") };
    let verb = if dry_run { "would be given" } else { "given" };
    let mut text = format!("{} of {from} {verb} to {to}", entries(changed));
    // Writing to a String cannot fail.
    if unchanged > 0 {
        let _ = write!(text, "; {} had that owner before", entries(unchanged));
    }
    if foreign > 0 {
        let _ = write!(text, "; {} of other owners, or mounted there, left alone", entries(foreign));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn the_result_names_all_that_was_found() {
        let all = EntryCount { changed: 12, unchanged: 1, foreign: 2 };
        assert_snapshot!(sentence(all, 1000, "1700000042:1700000042", false), @"12 entries of 1000 given to 1700000042:1700000042; 1 entry had that owner before; 2 entries of other owners, or mounted there, left alone");
        let one = EntryCount { changed: 1, unchanged: 0, foreign: 0 };
        assert_snapshot!(sentence(one, 1000, "7:7", true), @"1 entry of 1000 would be given to 7:7");
    }

    #[test]
    fn the_progress_never_exceeds_the_whole() {
        assert_eq!(progress(1000, 3000), "1000 of 3000 entries, 33 %");
        assert_eq!(progress(4000, 3000), "4000 of 3000 entries, 100 %");
        assert_eq!(progress(0, 0), "0 of 0 entries, 100 %");
    }
}
