//! The manual pages document every option, command and configuration key, and none that does not
//! exist. The tests read the Markdown sources.

use clap::Command;
use host::config;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn page(name: &str) -> String {
    fs::read_to_string(project("docs/src/man").join(format!("{name}.md"))).unwrap()
}

/// All words of the form `--option`.
fn options_in(text: &str) -> BTreeSet<String> {
    let named = |word: &str| {
        let end = word.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(word.len());
        (end > 0).then(|| word[..end].to_owned())
    };
    text.split(|c: char| c.is_whitespace() || "[]`\"=|".contains(c))
        .filter_map(|word| word.strip_prefix("--").and_then(named))
        .collect()
}

/// The options of a command itself, without those of all commands.
fn options_of(command: &Command) -> BTreeSet<String> {
    let names = command.get_arguments().filter(|argument| !argument.is_global_set());
    let names = names.filter_map(|argument| argument.get_long()).map(str::to_owned);
    names.filter(|name| name != "help" && name != "version").collect()
}

/// The text between a heading and the next heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let begin = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no \"{heading}\""));
    let rest = &page[begin + heading.len() + 2..];
    rest.find("\n#").map_or(rest, |end| &rest[..end])
}

#[test]
fn every_option_of_every_program_is_in_its_page_and_no_other() {
    for (name, command) in [
        ("sshbox-keys.8", Some(site::authorized_keys::command())),
        ("sshbox-wake.8", Some(lifecycle::wake::command())),
        ("sshbox-reap.8", Some(lifecycle::reap::command())),
        ("sshbox-disk.8", Some(disk::service::command())),
        // These take none; `--json` is part of a word that a user types.
        ("sshbox-init.8", None),
        ("sshbox-shell.8", None),
    ] {
        let mut known: BTreeSet<String> = match command {
            Some(mut command) => {
                command.build();
                ["help", "version"].map(str::to_owned).into_iter().chain(options_of(&command)).collect()
            }
            None => BTreeSet::new(),
        };
        if name == "sshbox-shell.8" {
            known.insert("json".to_owned());
        }
        assert_eq!(options_in(&page(name)), known, "{name}");
    }
}

/// Commands of the admin that have a page of their own.
const HAVE_PAGES: [&str; 4] = ["adopt", "doctor", "logs", "quota"];

#[test]
fn every_command_of_the_admin_is_in_the_page_with_its_options_and_no_other() {
    let mut command = admin::command();
    command.build();
    let page = page("sshbox.8");
    let global = ["config", "help", "version"].map(str::to_owned);
    assert_eq!(options_in(section(&page, "## OPTIONS")), BTreeSet::from(global.clone()));
    let commands: Vec<_> = command.get_subcommands().filter(|command| command.get_name() != "help").collect();
    assert!(commands.len() >= 10);
    for command in &commands {
        let name = command.get_name();
        let text = section(&page, &format!("### {name}"));
        let mut known = options_of(command);
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            assert!(text.contains(&format!("\n`{}`", below.get_name())), "{name} {}", below.get_name());
            known.extend(options_of(below));
        }
        if HAVE_PAGES.contains(&name) {
            assert!(text.contains(&format!("sshbox-{name}(8)")), "{name}");
            let page = self::page(&format!("sshbox-{name}.8"));
            let told = &options_in(section(&page, "## OPTIONS")) - &BTreeSet::from(global.clone());
            assert_eq!(told, known, "{name}");
        } else {
            assert_eq!(options_in(text), known, "{name}");
        }
    }
    let told: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let there: Vec<_> = commands.iter().map(|command| command.get_name()).collect();
    assert_eq!(told, there, "commands of the page, in order");
}

#[test]
fn every_key_of_the_configuration_is_in_the_page_and_no_other() {
    let page = page("sshbox.toml.5");
    let keys =
        config::settings(&project("packaging/sshbox.toml")).unwrap().into_iter().map(|setting| setting.key);
    // These are told of together with their like.
    let keys: BTreeSet<String> = keys.filter(|key| !key.starts_with("box.ceilings.")).collect();
    let mut told = BTreeSet::new();
    let mut below = "";
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("### [").and_then(|rest| rest.strip_suffix(']')) {
            below = name;
        } else if let Some((name, rest)) = line.strip_prefix('`').and_then(|rest| rest.split_once('`'))
            && rest.starts_with(" (")
        {
            told.insert(format!("{below}.{name}"));
        }
    }
    assert_eq!(told, keys);
}
