//! The rules in the kernel: compares them with those that should be there, and loads them. The only place that
//! runs nft(8).
//!
//! It runs every 30 seconds as root. It reads the configuration, two files of the host about name servers, and
//! what nft(8) lists without the elements of sets, so no box decides how much there is to read.

use crate::tool::{self, Ended};
use host::config::NetworkConfig;
use host::network_rules::{
    BRIDGE_TABLE, ENGINE_RESOLVERS, HOST_RESOLVERS, LoadedRules, Mended, TABLE, bridge_script, resolvers,
    script,
};
use serde::Serialize;
use session::deadlines::HOST_PROGRAM;
use session::proxies::Proxies;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

/// The program that loads and lists rules.
const NFT: &str = "/usr/sbin/nft";

/// The most of a file about name servers that is read, in bytes.
const RESOLVERS_MAX: u64 = 64 * 1024;

/// What was found in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RulesState {
    /// The rules that should be there are there.
    Loaded,
    /// None were loaded since boot.
    NotLoaded,
    /// Another program has removed them.
    Missing,
    /// Another program has changed them.
    Changed,
    /// Configuration or name servers have changed since they were loaded.
    Outdated,
}

/// The rules in the kernel, and those that should be there.
#[derive(Debug)]
pub struct Rules {
    pub state: RulesState,
    /// The input of nft(8) that should be loaded.
    pub script: String,
    /// The name servers that boxes may ask.
    pub resolvers: Vec<IpAddr>,
    /// What was loaded last.
    pub noted: Option<LoadedRules>,
    /// Whether the table for routed packets is as it should be.
    pub is_routed_whole: bool,
}

/// How nft(8) lists the tables in the kernel, without counters and the elements of sets. `None` if one is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Listed {
    routed: Option<String>,
    /// `None` also if the kernel cannot load it.
    bridged: Option<String>,
}

impl Rules {
    /// The rules that this configuration and the proxies that sshd trusts require. Runs nothing.
    pub fn wanted(config: &NetworkConfig, run: &Path) -> Self {
        let resolvers = resolvers(&read(HOST_RESOLVERS), &read(ENGINE_RESOLVERS));
        let script = script(config, &resolvers, &Proxies::read(run));
        Self { state: RulesState::NotLoaded, script, resolvers, noted: None, is_routed_whole: false }
    }

    /// Compares them with those in the kernel.
    ///
    /// # Errors
    /// Why nft(8) cannot tell.
    pub fn compared(self, run: &Path) -> Result<Self, String> {
        let noted = LoadedRules::read(run);
        let within_bridges = noted.as_ref().is_some_and(|noted| noted.within_bridges);
        let listed = listed(within_bridges)?;
        let state = judge(noted.as_ref(), &self.script, &listed);
        let is_routed_whole =
            noted.as_ref().is_some_and(|noted| is_routed_whole(noted, &self.script, &listed));
        Ok(Self { state, noted, is_routed_whole, ..self })
    }

    /// Loads them, and notes that. Leaves the table for routed packets alone if it is as it should be: to replace it
    /// would empty the sets with the connections of boxes, and each box could open as many again. On an error the note of rules that are no longer there is removed, so that
    /// no box starts without them.
    ///
    /// # Errors
    /// Why nft(8) rejects them or the note cannot be written.
    pub fn load(&self, run: &Path) -> Result<LoadedRules, String> {
        self.try_to_load(run).inspect_err(|_| {
            let are_there = matches!(self.state, RulesState::Loaded | RulesState::Outdated);
            if !are_there {
                // If it stays, there is nothing else to do: the error is reported.
                let _ = LoadedRules::remove(run);
            }
        })
    }

    fn try_to_load(&self, run: &Path) -> Result<LoadedRules, String> {
        if !self.is_routed_whole {
            succeeded(nft(&["-f", "-"], &self.script)?)?;
        }
        // This table has no sets.
        let within_bridges = nft(&["-f", "-"], &bridge_script())?.succeeded();
        let listed = listed(within_bridges)?;
        let (Some(listing), true) = (listed.routed, listed.bridged.is_some() == within_bridges) else {
            return Err("the rules were gone again at once".to_owned());
        };
        let bridge_listing = listed.bridged.unwrap_or_default();
        let before = self.noted.as_ref().and_then(|noted| noted.mended.as_ref());
        let mended = match self.state {
            RulesState::Missing => Some(Mended::again(before, "missing")),
            RulesState::Changed => Some(Mended::again(before, "changed")),
            RulesState::Loaded | RulesState::NotLoaded | RulesState::Outdated => before.cloned(),
        };
        let script = self.script.clone();
        let loaded = LoadedRules { script, listing, bridge_listing, within_bridges, mended };
        if self.noted.as_ref() != Some(&loaded) {
            loaded.write(run).map_err(|error| format!("cannot write to {}: {error}", run.display()))?;
        }
        Ok(loaded)
    }
}

/// `listed` is what the kernel has now.
fn judge(noted: Option<&LoadedRules>, script: &str, listed: &Listed) -> RulesState {
    let Some(noted) = noted else { return RulesState::NotLoaded };
    let (routed, bridged) = (listed.routed.as_ref(), listed.bridged.as_ref());
    let is_missing = routed.is_none() || noted.within_bridges && bridged.is_none();
    let has_bridge_changed = noted.within_bridges && bridged != Some(&noted.bridge_listing);
    if is_missing {
        RulesState::Missing
    } else if routed != Some(&noted.listing) || has_bridge_changed {
        RulesState::Changed
    } else if noted.script != script {
        RulesState::Outdated
    } else {
        RulesState::Loaded
    }
}

/// Whether the table for routed packets is as it should be, whatever the other one is like.
fn is_routed_whole(noted: &LoadedRules, script: &str, listed: &Listed) -> bool {
    noted.script == script && listed.routed.as_ref() == Some(&noted.listing)
}

/// The tables in the kernel.
fn listed(within_bridges: bool) -> Result<Listed, String> {
    let bridged = if within_bridges { listing(BRIDGE_TABLE)? } else { None };
    Ok(Listed { routed: listing(TABLE)?, bridged })
}

fn listing(table: &str) -> Result<Option<String>, String> {
    let words = ["-s", "-t", "list", "table"].into_iter().chain(table.split(' '));
    let ended = nft(&words.collect::<Vec<_>>(), "")?;
    if !ended.succeeded() && ended.err.contains("No such file or directory") {
        return Ok(None);
    }
    Ok(Some(succeeded(ended)?.out))
}

fn nft(arguments: &[&str], input: &str) -> Result<Ended, String> {
    tool::run(Command::new(NFT).args(arguments), input, HOST_PROGRAM, None).map_err(|error| error.to_string())
}

fn succeeded(ended: Ended) -> Result<Ended, String> {
    if ended.succeeded() {
        return Ok(ended);
    }
    // The first line names the error, the next ones show the place in the input.
    let first = ended.err.lines().next().map_or_else(|| ended.last_words(), str::to_owned);
    Err(format!("nft: {first}"))
}

/// The beginning of a file; nothing if it cannot be read.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    let read = |file: File| file.take(RESOLVERS_MAX).read_to_end(&mut bytes);
    let _: io::Result<usize> = File::open(path).and_then(read);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a13_rules_that_are_missing_changed_or_outdated_are_found() {
        let noted =
            LoadedRules { script: "new".to_owned(), listing: "rules".to_owned(), ..LoadedRules::default() };
        for (noted, script, listing, state) in [
            (None, "new", None, RulesState::NotLoaded),
            // A note from before a boot does not exist; rules without a note are loaded again.
            (None, "new", Some("rules"), RulesState::NotLoaded),
            (Some(&noted), "new", None, RulesState::Missing),
            (Some(&noted), "newer", None, RulesState::Missing),
            (Some(&noted), "new", Some("ru"), RulesState::Changed),
            (Some(&noted), "newer", Some("rules"), RulesState::Outdated),
            (Some(&noted), "new", Some("rules"), RulesState::Loaded),
        ] {
            let listed = Listed { routed: listing.map(str::to_owned), bridged: None };
            assert_eq!(judge(noted, script, &listed), state, "{script} {listing:?}");
        }
    }

    #[test]
    fn a13_the_table_with_the_connections_of_boxes_stays_if_only_the_other_one_is_not_right() {
        let whole = LoadedRules {
            script: "new".to_owned(),
            listing: "rules".to_owned(),
            bridge_listing: "bridges".to_owned(),
            within_bridges: true,
            ..LoadedRules::default()
        };
        let not_filtered =
            LoadedRules { within_bridges: false, bridge_listing: String::new(), ..whole.clone() };
        for (noted, script, routed, bridged, state, stays) in [
            (&whole, "new", Some("rules"), Some("bridges"), RulesState::Loaded, true),
            (&whole, "new", Some("rules"), Some("bri"), RulesState::Changed, true),
            (&whole, "new", Some("rules"), None, RulesState::Missing, true),
            (&not_filtered, "new", Some("rules"), None, RulesState::Loaded, true),
            (&whole, "new", None, Some("bridges"), RulesState::Missing, false),
            (&whole, "new", Some("ru"), Some("bridges"), RulesState::Changed, false),
            (&whole, "newer", Some("rules"), Some("bridges"), RulesState::Outdated, false),
        ] {
            let listed = Listed { routed: routed.map(str::to_owned), bridged: bridged.map(str::to_owned) };
            assert_eq!(judge(Some(noted), script, &listed), state, "{listed:?}");
            assert_eq!(is_routed_whole(noted, script, &listed), stays, "{listed:?}");
        }
    }
}
