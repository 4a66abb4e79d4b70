//! `sshbox network`: loads the rules for packets of boxes, and shows them. A timer runs `apply` every 30 seconds;
//! most often there is nothing to do.

pub mod rules;

use super::output;
use super::{PROGRAM, load_config};
use clap::{Args, Subcommand};
use host::config::Config;
use host::network_rules::{LoadedRules, Mended, bridge_script};
use host::networks::{CLOSED_NETWORK, OPEN_NETWORK};
use rules::{Rules, RulesState};
use serde_json::json;
use session::atomic;
use session::deadlines::HOST_PROGRAM;
use session::escape::printable;
use session::exit::{ExitStatus, Failure};
use session::journal::{Event, Field, log};
use session::presence::{RUN, network_lock};
use session::times::rfc3339;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Load the rules for what boxes can reach, or show them
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Load the rules unless they are loaded; the timer does this every 30 seconds
    Apply,
    /// Show what boxes can reach, and whether the rules are loaded
    Show(ShowArguments),
}

#[derive(Clone, Copy, Debug, Args)]
struct ShowArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the rules of this configuration as input of nft(8)
    #[arg(long, conflicts_with = "json")]
    script: bool,
}

/// The error of the last `apply`, while it fails: a file in the runtime directory.
const FAILURE: &str = "network.failure";

/// What the kernel lacks if it cannot load the rules within the bridges.
const NOT_WITHIN_BRIDGES: &str = "this kernel cannot filter within a bridge (nft_meta_bridge): boxes are kept \
                                  apart while net.bridge.bridge-nf-call-iptables and -ip6tables are 1";

/// Runs the command.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let config = load_config(config)?;
    match arguments.action {
        Action::Apply => output::print(&load(&config)?),
        Action::Show(show) if show.script => {
            output::print(&(Rules::wanted(&config.network, Path::new(RUN)).script + &bridge_script()))
        }
        Action::Show(show) => list(&config, show.json),
    }
}

/// Loads the rules unless they are loaded. Returns what was done, in words.
///
/// # Errors
/// The error of nft(8), or of the note about the rules. It is in the journal, once.
pub fn load(config: &Config) -> Result<String, Failure> {
    let run = Path::new(RUN);
    // Of two that load at the same time, one would note what the other has replaced.
    let _lock = network_lock(run, HOST_PROGRAM * 4)
        .map_err(|error| Failure::because(ExitStatus::TryAgain, "try again in a moment", &error))?;
    let apply = || {
        let rules = Rules::wanted(&config.network, run).compared(run)?;
        // A kernel module may have become available.
        let is_complete = rules.noted.as_ref().is_some_and(|noted| noted.within_bridges);
        let loaded = match (rules.state, is_complete, &rules.noted) {
            (RulesState::Loaded, true, Some(noted)) => noted.clone(),
            _ => rules.load(run)?,
        };
        Ok::<_, String>((rules.state, loaded))
    };
    let (found, loaded) = apply().map_err(|error| {
        // The timer tries again every 30 seconds: one entry for each error, not for each attempt.
        if is_new(run, &error) {
            log(PROGRAM, Event::NetworkRulesFailed, &[(Field::Error, &error)]);
        }
        let advice = "boxes do not start until the rules are loaded";
        Failure { cause: error, ..Failure::new(ExitStatus::Unavailable, advice) }
    })?;
    forget_failure(run);
    let said = match found {
        RulesState::Loaded => "the rules are loaded",
        RulesState::NotLoaded => "loaded the rules",
        RulesState::Outdated => "loaded the rules with the new settings",
        RulesState::Missing => "the rules were missing; loaded them again",
        RulesState::Changed => "another program had changed the rules; loaded them again",
    };
    if let (RulesState::Missing | RulesState::Changed, Some(mended)) = (found, &loaded.mended) {
        log(PROGRAM, Event::NetworkRulesRestored, &[(Field::Reason, &mended.found)]);
    }
    let note = if loaded.within_bridges { String::new() } else { format!("{NOT_WITHIN_BRIDGES}\n") };
    Ok(format!("{said}\n{note}"))
}

/// Whether the last attempt did not fail with this error. Notes the error. If that is not possible, it is new.
fn is_new(run: &Path, error: &str) -> bool {
    let is_noted = fs::read(run.join(FAILURE)).is_ok_and(|noted| noted == error.as_bytes());
    if !is_noted {
        let note = |directory| atomic::replace(directory, FAILURE, error.as_bytes(), 0o600, None);
        let _: io::Result<()> = atomic::directory(run).and_then(note);
    }
    !is_noted
}

/// The next failure is a new one.
fn forget_failure(run: &Path) {
    // Most often there is none.
    let _ = fs::remove_file(run.join(FAILURE));
}

fn list(config: &Config, as_json: bool) -> Result<ExitCode, Failure> {
    let rules = Rules::wanted(&config.network, Path::new(RUN)).compared(Path::new(RUN)).map_err(|cause| {
        Failure { cause, ..Failure::new(ExitStatus::Unavailable, "is the package nftables installed?") }
    })?;
    if !as_json {
        return output::print(&text(config, &rules));
    }
    let noted = rules.noted.clone().unwrap_or_default();
    let mended = noted.mended.as_ref();
    output::print_json(&json!({
        "state": rules.state,
        "within_bridges": noted.within_bridges,
        "restored": mended.map_or(0, |mended| mended.times),
        "last_restored": mended.and_then(|mended| rfc3339(mended.moment())),
        "resolvers": rules.resolvers,
        "settings": config.network,
    }))
}

fn text(config: &Config, rules: &Rules) -> String {
    let state = match rules.state {
        RulesState::Loaded => "loaded",
        RulesState::NotLoaded => "not loaded since boot: run sshbox network apply",
        RulesState::Missing => "missing: run sshbox network apply",
        RulesState::Changed => "changed by another program: run sshbox network apply",
        RulesState::Outdated => "loaded, with other settings than the present ones: run sshbox network apply",
    };
    let settings = &config.network;
    let LoadedRules { within_bridges, mended, .. } = rules.noted.clone().unwrap_or_default();
    let all = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(" ") };
    let internet = match (settings.internet, settings.smtp) {
        (true, false) => "the internet, except TCP port 25",
        (true, true) => "the internet",
        (false, _) => "no internet",
    };
    let lines = [
        ("rules", state.to_owned()),
        ("bridges", if within_bridges { "filtered" } else { NOT_WITHIN_BRIDGES }.to_owned()),
        ("restored", restored(mended.as_ref())),
        (OPEN_NETWORK, internet.to_owned()),
        (CLOSED_NETWORK, "only what is allowed".to_owned()),
        ("allow", all(settings.allow.iter().map(ToString::to_string).collect())),
        ("deny", all(settings.deny.iter().map(ToString::to_string).collect())),
        ("resolvers", all(rules.resolvers.iter().map(ToString::to_string).collect())),
        (
            "limits",
            format!("{} connections, {} new in a second", settings.connections, settings.new_connections),
        ),
    ];
    lines.into_iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<10} {}", printable(value.as_bytes()));
        text
    })
}

/// How often the rules were restored, and when last.
pub fn restored(mended: Option<&Mended>) -> String {
    let Some(mended) = mended else { return "never since boot".to_owned() };
    let moment = output::cell(rfc3339(mended.moment()));
    let times = if mended.times == 1 { "once".to_owned() } else { format!("{} times", mended.times) };
    format!("{times} since boot; they were {} at {moment}", mended.found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn a13_an_error_is_new_once_until_it_changes_or_the_rules_are_loaded() {
        let dir = tempfile::tempdir().unwrap();
        forget_failure(dir.path());
        assert!(is_new(dir.path(), "nft: a") && !is_new(dir.path(), "nft: a"));
        assert!(is_new(dir.path(), "nft: b") && is_new(dir.path(), "nft: a"));
        forget_failure(dir.path());
        assert!(is_new(dir.path(), "nft: a"));
        assert!(is_new(Path::new("/nonexistent"), "nft: a"));
    }

    #[test]
    fn what_boxes_can_reach_is_shown() {
        let settings =
            "[network]\nallow = ['10.0.0.5:3000', '[fd00::5]:53/udp']\ndeny = ['198.51.100.0/24']\n";
        let mut config = host::config::parse(Path::new("x"), settings).unwrap();
        let rules = |state, noted| Rules {
            state,
            script: String::new(),
            resolvers: vec!["10.0.0.53".parse().unwrap()],
            noted,
            is_routed_whole: false,
        };
        let mended = Mended { times: 2, last: 1_800_000_000, found: "missing".to_owned() };
        let noted = LoadedRules { within_bridges: true, mended: Some(mended), ..LoadedRules::default() };
        assert_snapshot!(text(&config, &rules(RulesState::Loaded, Some(noted))), @"
        rules      loaded
        bridges    filtered
        restored   2 times since boot; they were missing at 2027-01-15T08:00:00Z
        sshbox0    the internet, except TCP port 25
        sshbox1    only what is allowed
        allow      10.0.0.5:3000 [fd00::5]:53/udp
        deny       198.51.100.0/24
        resolvers  10.0.0.53
        limits     2048 connections, 200 new in a second
        ");
        config.network.internet = false;
        let text = text(&config, &rules(RulesState::NotLoaded, None));
        assert!(text.contains("not loaded since boot") && text.contains("sshbox0    no internet"), "{text}");
    }
}
