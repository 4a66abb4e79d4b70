//! The `sshbox` command with real boxes and sessions. Snapshots of its output are in `crates/admin`.

mod keys_and_config;
mod list_and_status;
mod sessions;
mod start_and_stop;

use crate::harness::{User, text};
use serde_json::Value;
use std::process::{Command, Output};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/sbin/sshbox");
    command.args(arguments);
    command
}

fn sshbox(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Output of a command that must succeed and write nothing to stderr.
fn output_of(arguments: &[&str]) -> String {
    let output = sshbox(arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    let said = output_of(&[arguments, &["--json"]].concat());
    assert!(said.bytes().all(|byte| byte == b'\n' || (0x20..=0x7e).contains(&byte)), "{said:?}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Exit status and stderr of a command that prints nothing else.
fn refusal_of(arguments: &[&str]) -> (i32, String) {
    let output = sshbox(arguments);
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    (output.status.code().unwrap(), text(&output.stderr))
}

/// The entry of this user in a list.
fn entry(list: &Value, user: &User) -> Value {
    let found = list.as_array().unwrap().iter().find(|one| one["user"] == *user.name);
    found.unwrap_or_else(|| panic!("no {} in {list}", user.name)).clone()
}

/// Cells of the row that begins with this word.
fn row<'a>(table: &'a str, word: &str) -> Vec<&'a str> {
    let found = table.lines().find(|line| line.split_whitespace().next() == Some(word));
    let line = found.unwrap_or_else(|| panic!("no {word} in {table}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}
