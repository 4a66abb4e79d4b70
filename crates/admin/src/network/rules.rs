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
}

impl Rules {
    /// The rules that this configuration requires. Runs nothing.
    pub fn wanted(config: &NetworkConfig) -> Self {
        let resolvers = resolvers(&read(HOST_RESOLVERS), &read(ENGINE_RESOLVERS));
        let script = script(config, &resolvers);
        Self { state: RulesState::NotLoaded, script, resolvers, noted: None }
    }

    /// Compares them with those in the kernel.
    ///
    /// # Errors
    /// Why nft(8) cannot tell.
    pub fn compared(self, run: &Path) -> Result<Self, String> {
        let noted = LoadedRules::read(run);
        let within_bridges = noted.as_ref().is_some_and(|noted| noted.within_bridges);
        let state = judge(noted.as_ref(), &self.script, listing(within_bridges)?.as_deref());
        Ok(Self { state, noted, ..self })
    }

    /// Loads them, and notes that. On an error the note of rules that are no longer there is removed, so that
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
        succeeded(nft(&["-f", "-"], &self.script)?)?;
        let within_bridges = nft(&["-f", "-"], &bridge_script())?.succeeded();
        let listing = listing(within_bridges)?.ok_or("the rules were gone again at once")?;
        let before = self.noted.as_ref().and_then(|noted| noted.mended.as_ref());
        let mended = match self.state {
            RulesState::Missing => Some(Mended::again(before, "missing")),
            RulesState::Changed => Some(Mended::again(before, "changed")),
            RulesState::Loaded | RulesState::NotLoaded | RulesState::Outdated => before.cloned(),
        };
        let loaded = LoadedRules { script: self.script.clone(), listing, within_bridges, mended };
        loaded.write(run).map_err(|error| format!("cannot write to {}: {error}", run.display()))?;
        Ok(loaded)
    }
}

/// `listing` is what the kernel has now, if it has the table.
fn judge(noted: Option<&LoadedRules>, script: &str, listing: Option<&str>) -> RulesState {
    match (noted, listing) {
        (None, _) => RulesState::NotLoaded,
        (Some(_), None) => RulesState::Missing,
        (Some(noted), Some(listing)) if noted.listing != listing => RulesState::Changed,
        (Some(noted), Some(_)) if noted.script != script => RulesState::Outdated,
        (Some(_), Some(_)) => RulesState::Loaded,
    }
}

/// The rules in the kernel, without counters and the elements of sets. `None` if a table is missing.
fn listing(within_bridges: bool) -> Result<Option<String>, String> {
    let mut listing = String::new();
    for table in [TABLE].into_iter().chain(within_bridges.then_some(BRIDGE_TABLE)) {
        let words = ["-s", "-t", "list", "table"].into_iter().chain(table.split(' '));
        let ended = nft(&words.collect::<Vec<_>>(), "")?;
        if !ended.succeeded() && ended.err.contains("No such file or directory") {
            return Ok(None);
        }
        listing += &succeeded(ended)?.out;
    }
    Ok(Some(listing))
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
            assert_eq!(judge(noted, script, listing), state, "{script} {listing:?}");
        }
    }
}
