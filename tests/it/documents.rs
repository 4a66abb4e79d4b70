//! The documents of the project: links lead somewhere, the book contains every page, and the
//! tests and numbers that a page names exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SUMMARY: &str = "docs/src/SUMMARY.md";

/// All files below `folder` with this extension, relative to the project.
fn files(folder: &str, extension: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.insert(path.strip_prefix(ROOT).unwrap().to_owned());
            }
        }
    }
    found
}

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A page without its blocks of code, fenced or indented, and without code in a line.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.starts_with("    ") {
            lines.push(line.split('`').step_by(2).collect::<Vec<_>>().join("code"));
        }
    }
    lines.join("\n")
}

/// Targets of the links and pictures of a page.
fn links(text: &str) -> Vec<String> {
    let text = prose(text);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The anchors that a forge and mdBook give to the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        if !fenced && heading.len() < line.len() && heading.starts_with(' ') {
            let kept = heading.trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
            found.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

/// `folder/../file` without the detour.
fn plain(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path {
        if part == ".." {
            assert!(parts.pop(), "{} leaves the project", path.display());
        } else {
            parts.push(part);
        }
    }
    parts
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = files("", "md");
    let mut count = 0;
    for page in &pages {
        let text = read(page);
        for link in links(&text).iter().filter(|link| !link.starts_with("https://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => plain(&page.parent().unwrap().join(file)),
            };
            let exists = Path::new(ROOT).join(&target).exists();
            assert!(exists, "{}: {link} leads nowhere", page.display());
            if !anchor.is_empty() {
                assert!(anchors(&read(&target)).contains(anchor), "{}: no heading {link}", page.display());
            }
            count += 1;
        }
    }
    assert!(pages.len() > 40 && count > 100, "{} pages, {count} links", pages.len());
}

#[test]
fn the_book_has_every_page_once() {
    let listed: Vec<PathBuf> =
        links(&read(SUMMARY)).iter().map(|link| plain(&Path::new("docs/src").join(link))).collect();
    let once: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "a page stands twice in {SUMMARY}");
    let mut pages = files("docs/src", "md");
    pages.remove(Path::new(SUMMARY));
    let missing: Vec<_> = pages.difference(&once).collect();
    assert!(missing.is_empty(), "not in {SUMMARY}: {missing:?}");
}

/// The package keeps the places of pages to each other, so that their links work there too.
#[test]
fn the_package_ships_the_pages_where_their_links_expect_them() {
    let text = read("Cargo.toml");
    for folder in ["docs/src/", "docs/src/decisions/", "docs/src/man/"] {
        let place = format!("{folder}*.md\", \"usr/share/doc/sshbox/{folder}\"");
        assert!(text.contains(&place), "no asset {place}");
    }
}

/// What manual pages, units and scripts say about where a page is on a host.
#[test]
fn every_page_that_a_text_places_on_a_host_is_shipped() {
    const PLACE: &str = "/usr/share/doc/sshbox/";
    let folders =
        ["packaging/deb", "packaging/log", "packaging/fail2ban", "systemd", "docs/src", "docs/src/man"];
    let mut count = 0;
    for folder in folders {
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Some(text) = path.is_file().then(|| fs::read_to_string(&path).unwrap()) else {
                continue;
            };
            for (at, _) in text.match_indices(PLACE) {
                let end = |c: char| !c.is_ascii_alphanumeric() && !"/-_.".contains(c);
                let page = text[at + PLACE.len()..].split(end).next().unwrap().trim_end_matches('.');
                if Path::new(page).extension().is_some_and(|found| found == "md") {
                    assert!(Path::new(ROOT).join(page).is_file(), "{}: no {page}", path.display());
                    count += 1;
                }
            }
        }
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn the_first_pages_are_short() {
    for (page, most) in [("README.md", 130), ("ARCHITECTURE.md", 150)] {
        let lines = read(page).lines().count();
        assert!(lines <= most, "{page} has {lines} lines, more than {most}");
    }
}

#[test]
fn every_path_and_module_that_a_page_names_exists() {
    let exists = |path: &str| Path::new(ROOT).join(path).exists();
    let mut count = 0;
    for page in ["ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "README.md"] {
        for line in read(page).lines() {
            let code: Vec<_> = line.split('`').skip(1).step_by(2).collect();
            for path in code.iter().filter(|code| code.contains('/') && !code.contains([' ', '…'])) {
                let folder = path.split('/').next().unwrap();
                let ours = !folder.is_empty() && folder != "target" && exists(folder);
                assert!(!ours || exists(path), "{page} names {path}, which does not exist");
                count += usize::from(ours);
            }
            // The code map: modules of a crate.
            if let Some(crate_folder) = code.first().filter(|_| line.starts_with("| `crates/")) {
                let contents = line.split(" | ").nth(1).unwrap().split('`').skip(1).step_by(2);
                let is_module = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                for module in contents.filter(is_module).filter(|name| *name != "sshbox") {
                    let file = format!("{crate_folder}/src/{module}.rs");
                    assert!(exists(&file), "{page} names the module {module}, but there is no {file}");
                    count += 1;
                }
            }
        }
    }
    assert!(count > 50, "{count}");
}

/// Names of functions in all Rust sources and of methods in the tests of the app.
fn functions() -> BTreeSet<String> {
    let sources = files("", "rs").into_iter().chain(files("", "py"));
    let mut names = BTreeSet::new();
    for source in sources.map(read) {
        for line in source.lines().map(str::trim_start) {
            let line = line.trim_start_matches("pub ").trim_start_matches("async ");
            let Some(rest) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("def ")) else {
                continue;
            };
            names.insert(rest.split(['(', '<']).next().unwrap().to_owned());
        }
    }
    names
}

#[test]
fn every_test_that_a_page_names_exists() {
    let known = functions();
    let mut count = 0;
    for page in ["ARCHITECTURE.md", "SECURITY.md"] {
        for code in read(page).split('`').skip(1).step_by(2) {
            let is_name = code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            if is_name && code.matches('_').count() >= 2 {
                assert!(known.contains(code), "{page} names {code}, which no test is called");
                count += 1;
            }
        }
    }
    assert!(count > 90, "{count}");
}

/// The P, A and F numbers at the beginning of a name, or after one another: `p7_a14_…`.
fn numbers(name: &str) -> impl Iterator<Item = String> {
    let is_number = |part: &&str| {
        let digits = part.trim_start_matches(['p', 'a', 'f']);
        part.len() == digits.len() + 1 && !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
    };
    name.split('_').filter(is_number).map(str::to_uppercase)
}

#[test]
fn one_table_explains_every_number_in_the_names_of_tests() {
    let table = read("docs/src/promises.md");
    let explained = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let explained: BTreeSet<_> =
        explained.filter(|number| numbers(&number.to_lowercase()).next().is_some()).collect();
    let used: BTreeSet<_> = functions().iter().flat_map(|name| numbers(name).collect::<Vec<_>>()).collect();
    let used: BTreeSet<_> = used.iter().map(String::as_str).collect();
    let missing: Vec<_> = used.difference(&explained).collect();
    assert!(missing.is_empty(), "docs/src/promises.md does not explain {missing:?}");
    let security = read("SECURITY.md");
    let named: BTreeSet<_> = security.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    for number in &explained {
        assert!(used.contains(number) || named.contains(number), "nothing uses {number}");
    }
}
