//! Special commands as users type them, and the messages about the end of a box. Snapshots of the texts are in
//! `crates/session/src/texts.rs` and the `observe` module of `crates/lifecycle`.

mod commands;
mod messages;
mod other_users;

use crate::harness::User;
use serde_json::Value;

/// Parsed output of `@status --json`, which must succeed and write nothing to stderr.
fn json(user: &User) -> Value {
    serde_json::from_str(&user.says("@status --json")).unwrap()
}

/// The line of this name in `@status`.
fn line(status: &str, name: &str) -> String {
    let found = status.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}
