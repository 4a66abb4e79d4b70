//! The shape of the source, as ARCHITECTURE.md promises it: who may know whom.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// All source files below `src`, by the module at their top.
fn files() -> BTreeMap<String, Vec<String>> {
    let mut modules: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
            let top =
                inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
            modules.entry(top.to_owned()).or_default().push(fs::read_to_string(&path).unwrap());
        }
    }
    modules
}

/// The same with the files of a module put together.
fn modules() -> BTreeMap<String, String> {
    files().into_iter().map(|(module, sources)| (module, sources.concat())).collect()
}

/// The lists in `lib.rs`: apps, edges, rules.
fn lists() -> [Vec<String>; 3] {
    let lib = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let list = |title: &str| {
        let section = lib.split(&format!("// {title}")).nth(1).unwrap();
        let section = section.split("\n\n").next().unwrap();
        section
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod "))
            .map(|name| name.trim_end_matches(';').to_owned())
            .collect()
    };
    [list("Apps"), list("Edges"), list("Rules")]
}

fn knows(source: &str, module: &str) -> bool {
    [format!("crate::{module}::"), format!("crate::{module};"), format!("sshbox::{module}::")]
        .iter()
        .any(|path| source.contains(path))
}

#[test]
fn arrows_point_down() {
    let (modules, [apps, edges, rules]) = (modules(), lists());
    assert!(apps.len() >= 5 && edges.len() >= 8 && rules.len() >= 5);
    let listed = apps.len() + edges.len() + rules.len();
    assert_eq!(modules.len(), listed + 2, "each module is in a list; the rest are lib.rs and bin/");
    for app in &apps {
        for other in apps.iter().filter(|other| *other != app) {
            assert!(!knows(&modules[app], other), "app {app} knows app {other}");
        }
    }
    for edge in &edges {
        for other in apps.iter().chain(edges.iter().filter(|other| *other != edge)) {
            // Two exceptions: a reading of the clock is a value that others keep, and all who keep
            // files replace them in one way.
            let allowed = other == "clock" && ["cache", "sessions"].contains(&&**edge)
                || other == "atomic" && ["cache", "home", "presence"].contains(&&**edge);
            assert!(allowed || !knows(&modules[edge], other), "edge {edge} knows {other}");
        }
    }
    for rule in &rules {
        for other in apps.iter().chain(&edges) {
            // A failure carries the reference that the journal made.
            let allowed = rule == "exit" && other == "journal";
            assert!(allowed || !knows(&modules[rule], other), "rule {rule} knows {other}");
        }
    }
}

#[test]
fn each_outside_party_is_known_in_one_place() {
    let only = |word: &str, place: &str| {
        for (module, source) in modules() {
            assert_eq!(source.contains(word), module == place, "{word} in {module}");
        }
    };
    only("bollard::", "engine");
    only("ureq::", "source");
    only("unsafe {", "process");
}

#[test]
fn what_runs_as_the_user_knows_no_engine_and_no_network() {
    let modules = modules();
    for module in ["shell", "init", "wire", "tty", "presence", "process", "waiting"] {
        for word in ["tokio", "crate::engine", "crate::source", "crate::config", "TcpStream"] {
            assert!(!modules[module].contains(word), "{module} knows {word}");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut count = 0;
    for (module, sources) in files() {
        for source in sources {
            assert!(source.starts_with("//!"), "{module}: {source:.60}");
            count += 1;
        }
    }
    assert!(count > 25, "{count}");
}

#[test]
fn bins_are_doorbells() {
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin")).unwrap() {
        let source = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(source.lines().count() <= 6, "{source}");
    }
}
