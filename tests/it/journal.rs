//! What is written down of the journal, beside the events and fields that there are.

use session::journal::{Event, Field, Level};
use std::fs;
use std::process::Command;

fn text(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_manual_has_every_event_and_field_and_no_other() {
    let manual = text("docs/src/man/sshbox-journal.7.md");
    let level = |event: &Event| match event.level() {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
    };
    let events: Vec<String> = Event::ALL
        .iter()
        .map(|event| format!("\n**{}** ({}), `{}`\n: ", event.text(), level(event), event.id()))
        .collect();
    for event in &events {
        assert!(manual.contains(event), "{event}");
    }
    assert_eq!(manual.matches("\n**").count(), events.len());
    let mut words: Vec<&str> = manual
        .split(|letter: char| !(letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'))
        .filter(|word| word.starts_with("SSHBOX_") && *word != "SSHBOX_")
        .collect();
    words.sort_unstable();
    words.dedup();
    let mut keys: Vec<String> = Field::ALL.iter().map(|field| field.key()).collect();
    keys.sort_unstable();
    assert_eq!(words, keys);
}

#[test]
fn the_catalog_explains_every_event_and_no_other() {
    let catalog = text("packaging/log/sshbox.catalog");
    let entries: Vec<&str> = catalog.split("\n-- ").skip(1).collect();
    assert_eq!(entries.len(), Event::ALL.len());
    for (entry, event) in entries.iter().zip(Event::ALL) {
        let head = format!("{}\nSubject: sshbox: {}\n", event.id(), event.text());
        assert!(entry.starts_with(&head), "{entry}");
    }
}

#[test]
fn f35_a_forged_timestamp_does_not_hide_the_other_lines_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let line = |moment: &str| {
        format!(
            "{{\"MESSAGE\":\"box started\",\"SYSLOG_IDENTIFIER\":\"sshbox-wake\",\"__REALTIME_TIMESTAMP\":\"{moment}\"}}\n"
        )
    };
    let forged = ["18446744073709551615", "253402300800000000"].map(line).concat();
    fs::write(&path, forged + &line("1772366400000000")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_sshbox"))
        .args(["logs", "--all", "--file"])
        .arg(&path)
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shown.lines().count(), 3, "{shown}{:?}", output.status);
    assert!(shown.starts_with("(invalid time) ") && shown.contains("\n2026-03-01T12:00:00Z "), "{shown}");
}
