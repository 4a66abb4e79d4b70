//! The structure of the source, as ARCHITECTURE.md describes it: what each program links, which
//! crate may use which, and that the files of a crate do not depend on each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The packages that a package links, itself included, as `cargo tree` lists them.
fn linked_by(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--package", package])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).unwrap();
    listed.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

const WEB_CLIENT_AND_TLS: [&str; 6] =
    ["sshbox-site", "ureq", "rustls", "rustls-webpki", "hyper-rustls", "native-tls"];
const ENGINE_CLIENT: [&str; 5] = ["sshbox-lifecycle", "bollard", "tokio", "hyper", "http"];

#[test]
fn each_program_links_only_what_it_may() {
    let lacks = |package: &str, forbidden: &[&str]| {
        let linked = linked_by(package);
        assert!(linked.contains(package), "{package}: {linked:?}");
        for name in forbidden {
            assert!(!linked.contains(*name), "{package} links {name}");
        }
    };
    // sshbox-shell and sshbox-init run as the user and in the container.
    lacks("sshbox-session", &WEB_CLIENT_AND_TLS);
    lacks("sshbox-session", &ENGINE_CLIENT);
    // pam_sshbox runs as root in sshd.
    lacks("sshbox-pam", &WEB_CLIENT_AND_TLS);
    lacks("sshbox-pam", &ENGINE_CLIENT);
    // sshbox-keys asks the web app. It parses HTTP, so `http` is its own.
    lacks("sshbox-site", &ENGINE_CLIENT[..4]);
    // sshbox-disk mounts, as root.
    lacks("sshbox-disk", &WEB_CLIENT_AND_TLS);
    lacks("sshbox-disk", &ENGINE_CLIENT);
    // sshbox-wake, sshbox-reap and sshbox run as root.
    lacks("sshbox-lifecycle", &WEB_CLIENT_AND_TLS);
    lacks("sshbox", &WEB_CLIENT_AND_TLS);
    // The lists above name what the programs that may link it do link.
    assert!(["ureq", "rustls", "rustls-webpki"].iter().all(|name| linked_by("sshbox-site").contains(*name)));
    assert!(ENGINE_CLIENT.iter().all(|name| linked_by("sshbox").contains(*name)));
}

#[test]
fn each_crate_uses_only_the_crates_below_it() {
    for (package, below) in [
        ("sshbox-identity", &[][..]),
        ("sshbox-nss", &["identity"]),
        ("sshbox-session", &["identity"]),
        ("sshbox-pam", &["identity", "session"]),
        ("sshbox-host", &["identity", "session"]),
        ("sshbox-site", &["host", "identity", "session"]),
        ("sshbox-lifecycle", &["host", "identity", "session"]),
        ("sshbox-disk", &["host", "identity", "session"]),
        ("sshbox-admin", &["disk", "host", "identity", "lifecycle", "session"]),
    ] {
        let linked = linked_by(package);
        let ours: Vec<&str> = linked
            .iter()
            .filter_map(|name| name.strip_prefix("sshbox-"))
            .filter(|name| format!("sshbox-{name}") != package)
            .collect();
        assert_eq!(ours, below, "{package}");
    }
}

/// All source files, by their path below the project.
fn sources() -> BTreeMap<PathBuf, String> {
    files_below(&["crates", "src"])
}

/// All Rust files in these directories, by their path below the project.
fn files_below(directories: &[&str]) -> BTreeMap<PathBuf, String> {
    let mut sources = BTreeMap::new();
    let mut folders: Vec<PathBuf> = directories.iter().map(|name| Path::new(ROOT).join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.insert(path.strip_prefix(ROOT).unwrap().to_owned(), text);
            }
        }
    }
    sources
}

/// The files of one crate, by the path of their module: `["wake", "start"]`.
fn modules(name: &str) -> BTreeMap<Vec<String>, String> {
    let root = Path::new("crates").join(name).join("src");
    let module = |path: &Path| -> Option<Vec<String>> {
        let inside = path.strip_prefix(&root).ok()?.with_extension("");
        let mut parts: Vec<String> =
            inside.components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect();
        if ["lib", "mod"].contains(&&**parts.last()?) {
            parts.pop();
        }
        Some(parts)
    };
    sources().into_iter().filter_map(|(path, text)| Some((module(&path)?, text))).collect()
}

/// The modules that a file names by `crate::…` and `super::…`, as paths from the crate's root.
fn named(module: &[String], source: &str) -> Vec<Vec<String>> {
    // What tests use does not count.
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let mut found = Vec::new();
    for (prefix, base) in [("crate::", &[][..]), ("super::", &module[..module.len().saturating_sub(1)])] {
        for (at, _) in source.match_indices(prefix) {
            let rest = &source[at + prefix.len()..];
            let group = rest.strip_prefix('{').map_or(rest, |rest| rest.split('}').next().unwrap());
            // `super::{one, two::Three}` names several modules, anything else one.
            let names = if rest.starts_with('{') { group.split(',').collect() } else { vec![rest] };
            for name in names {
                let path: String = name
                    .trim_start()
                    .chars()
                    .take_while(|letter| {
                        letter.is_ascii_lowercase() || matches!(letter, '_' | ':' | '0'..='9')
                    })
                    .collect();
                let parts = path.split("::").filter(|part| !part.is_empty()).map(str::to_owned);
                found.push(base.iter().cloned().chain(parts).collect());
            }
        }
    }
    found
}

#[test]
fn no_modules_depend_on_each_other_in_a_circle() {
    for name in ["session", "pam", "host", "site", "disk", "lifecycle", "admin"] {
        let modules = modules(name);
        assert!(modules.len() > 2, "{name}");
        let mut uses: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
        for (module, source) in &modules {
            for path in named(module, source) {
                // The module that is meant is the longest that there is.
                let target =
                    (0..=path.len()).rev().map(|end| &path[..end]).find(|path| modules.contains_key(*path));
                // What two modules have in common is the parent; below it they are siblings.
                let Some(target) = target else { continue };
                let common = module.iter().zip(target).take_while(|(one, other)| one == other).count();
                if let (Some(_), Some(_)) = (module.get(common), target.get(common)) {
                    uses.entry(module[..=common].to_vec()).or_default().insert(target[..=common].to_vec());
                }
            }
        }
        // Take away what uses nothing that is left, until nothing changes.
        loop {
            let free: Vec<_> = uses
                .iter()
                .filter(|(_, used)| !used.iter().any(|used| uses.contains_key(used)))
                .map(|(one, _)| one.clone())
                .collect();
            if free.is_empty() {
                break;
            }
            uses.retain(|one, _| !free.contains(one));
        }
        assert!(uses.is_empty(), "{name}: a circle among {uses:?}");
    }
}

#[test]
fn each_outside_party_is_known_in_one_place() {
    let only = |word: &str, places: &[&str]| {
        let mut found = false;
        for (path, source) in sources() {
            let path = path.to_str().unwrap();
            let allowed = places.iter().any(|place| path.starts_with(place));
            assert!(allowed || !source.contains(word), "{word} in {path}");
            found |= source.contains(word);
        }
        assert!(found, "{word}");
    };
    only("bollard::", &["crates/lifecycle/src/engine"]);
    for advice in ["status docker", "journalctl -u docker", "docker rm", "docker inspect", "daemon.json"] {
        only(advice, &["crates/lifecycle/src/engine/advice"]);
    }
    only("ureq::", &["crates/site/src/source"]);
    only("format!(\"/proc/{", &["crates/session/src/procfs"]);
    only("format!(\"/proc/net", &["crates/session/src/procfs"]);
    only("read_to_string(\"/proc", &["crates/session/src/procfs"]);
    only("read_dir(\"/proc", &["crates/session/src/procfs"]);
    only("unsafe {", &["crates/session/src/process", "crates/nss/src/ffi", "crates/pam/src/ffi"]);
}

/// Longer than 400 lines, each with its reason.
const LONG: [(&str, &str); 0] = [];

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let (sources, tests) = (sources(), files_below(&["tests"]));
    assert!(sources.len() > 60 && tests.len() > 60, "{}, {}", sources.len(), tests.len());
    for (path, source) in sources.into_iter().chain(tests) {
        assert!(source.starts_with("//!"), "{}: {source:.60}", path.display());
        let long = LONG.iter().any(|(name, _)| Path::new(name) == path);
        assert!(long || source.lines().count() <= 400, "{}: more than 400 lines", path.display());
    }
}

/// While sshd refuses its configuration, it keeps its limits, so the rules for packets must stay as they are too.
#[test]
fn what_sshd_is_told_about_proxies_changes_only_after_the_check_of_its_configuration() {
    let positions = |text: &str, what: &str| text.match_indices(what).map(|(at, _)| at).collect::<Vec<_>>();
    for (file, begins) in [
        ("systemd/sshbox-sshd.service", ["ExecStartPre=", "ExecReload="]),
        ("packaging/demo/without-systemd", ["\nlisten() {", "\nreload() {"]),
    ] {
        let text = fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
        let (checks, applies) = (
            positions(&text, "/usr/lib/sshbox/sshbox-sshd-check\n"),
            positions(&text, "sshbox proxies apply"),
        );
        for (number, begin) in begins.iter().enumerate() {
            assert!(
                text.find(begin).unwrap() < checks[number] && checks[number] < applies[number],
                "{file}: {begin}"
            );
        }
        assert_eq!((checks.len(), applies.len()), (2, 2), "{file}");
    }
}

#[test]
fn mains_are_three_lines() {
    for entry in fs::read_dir(Path::new(ROOT).join("src/bin")).unwrap() {
        let source = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(source.lines().count() <= 6, "{source}");
    }
}

/// Suites share one world, so a user that two tests have would have the home and the box of both.
#[test]
fn no_two_files_of_tests_have_a_user_in_common() {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, text) in files_below(&["tests"]) {
        for name in text.split("User::new(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            files.entry(name.to_owned()).or_default().insert(file.display().to_string());
        }
    }
    assert!(files.len() > 100, "{}", files.len());
    // The harness has one that many tests may use.
    files.retain(|name, of| of.len() > 1 && name != "alice");
    assert_eq!(files, BTreeMap::new());
}
