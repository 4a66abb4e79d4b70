//! Known holes of the engine and its runtime that concern boxes, by version. A distribution mends
//! them under old versions: what its package says it has mended counts as mended.

use super::verdict::{Verdict, ok, skip, warn};
use super::{Doctor, Judged, SMALL};
use std::path::Path;
use std::process::Command;

/// State of the table.
const AS_OF: &str = "2026-09";

/// A hole, the versions that mended it (one per line of releases), and what it is.
struct Advisory {
    component: &'static str,
    ids: &'static [&'static str],
    mended: &'static [&'static str],
    what: &'static str,
}

/// Holes by which a box could get out, or a tool of the admin be turned against the host. What
/// concerns building, pulling or Kubernetes is not here.
const TABLE: &[Advisory] = &[
    Advisory {
        component: "runc",
        ids: &["CVE-2024-21626"],
        mended: &["1.1.12"],
        what: "a descriptor of the host leaks into containers",
    },
    Advisory {
        component: "runc",
        ids: &["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"],
        mended: &["1.2.8", "1.3.3"],
        what: "races at the start of a container lead out of it",
    },
    Advisory {
        component: "containerd",
        ids: &["CVE-2024-25621"],
        mended: &["1.7.29", "2.0.7", "2.1.5", "2.2.0"],
        what: "local users reach into its directories",
    },
    Advisory {
        component: "Engine",
        ids: &["CVE-2024-41110"],
        mended: &["23.0.15", "25.0.6", "26.1.5", "27.1.1"],
        what: "authorization plugins can be passed by",
    },
    Advisory {
        component: "Engine",
        ids: &["CVE-2026-34040"],
        mended: &["29.3.1"],
        what: "authorization plugins can be passed by",
    },
    Advisory {
        component: "Engine",
        ids: &["CVE-2026-41567", "CVE-2026-41568", "CVE-2026-42306"],
        mended: &["29.5.1"],
        what: "docker cp into a hostile box runs or writes on the host; do not use it until then",
    },
];

/// The packages of Debian and Ubuntu, by component. Docker's own carry the versions of the table.
const PACKAGES: [(&str, &str); 3] = [("runc", "runc"), ("containerd", "containerd"), ("Engine", "docker.io")];

/// `advisories`: are known holes mended?
pub fn advisories(doctor: &Doctor) -> Judged {
    let about = doctor.about()?;
    let mut open = Vec::new();
    let mut versions = Vec::new();
    for (component, package) in PACKAGES {
        let Some((_, version)) = about.components.iter().find(|(name, _)| name == component) else {
            continue;
        };
        versions.push(format!("{component} {version}"));
        let holes: Vec<_> = holes(component, version).collect();
        if holes.is_empty() {
            continue;
        }
        let packaged = packaged(doctor, package, version)?;
        for id in holes {
            if !packaged.as_ref().is_some_and(|packaged| packaged.mended(id.1)) {
                open.push((id, packaged.as_ref().map(|packaged| packaged.version.clone())));
            }
        }
    }
    Ok(judge(&versions, &open))
}

/// The holes in this version of a component: what they are, and their numbers.
fn holes(component: &str, version: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_component = TABLE.iter().filter(move |advisory| advisory.component == component);
    let version = numbers(version);
    of_component
        .filter(move |advisory| !is_mended(&version, advisory.mended))
        .flat_map(|advisory| advisory.ids.iter().map(|id| (advisory.what, *id)))
}

/// The leading numbers of a version: `1.1.5+ds1` is 1, 1, 5.
fn numbers(version: &str) -> Vec<u32> {
    let text = version.trim_start_matches('v');
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    text.get(..end).unwrap_or_default().split('.').filter_map(|number| number.parse().ok()).collect()
}

/// Whether a version has what these have: it is of the same line of releases and not older, or
/// of a line younger than all of them.
fn is_mended(version: &[u32], mended: &[&str]) -> bool {
    let line = |version: &[u32]| version.iter().take(2).copied().collect::<Vec<_>>();
    let all: Vec<_> = mended.iter().map(|text| numbers(text)).collect();
    match all.iter().find(|one| line(one) == line(version)) {
        Some(one) => version >= one.as_slice(),
        None => all.iter().all(|one| line(version) > line(one)),
    }
}

/// A package of the distribution that a component comes from.
struct Packaged {
    version: String,
    changes: String,
}

impl Packaged {
    /// Whether its list of changes names the hole.
    fn mended(&self, id: &str) -> bool {
        self.changes.contains(id)
    }
}

/// The package, if it is what runs: of the same version.
fn packaged(doctor: &Doctor, package: &str, running: &str) -> Result<Option<Packaged>, Verdict> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${db:Status-Status} ${Version}", package]);
    let Ok(ended) = doctor.tool(&mut query, "", SMALL) else {
        return Ok(None);
    };
    let Some(version) = ended.out.strip_prefix("installed ").filter(|version| is_of(version, running)) else {
        return Ok(None);
    };
    let path = format!("/usr/share/doc/{package}/changelog.Debian.gz");
    let changes = if Path::new(&path).exists() {
        doctor.must(Command::new("zcat").arg(path), SMALL)?.out
    } else {
        String::new()
    };
    Ok(Some(Packaged { version: version.to_owned(), changes }))
}

/// Whether a version of a package (`1:20.10.24+dfsg1-1`) is one of this version upstream.
fn is_of(package: &str, upstream: &str) -> bool {
    let package = package.split_once(':').map_or(package, |(_, version)| version);
    numbers(package) == numbers(upstream)
}

fn judge(versions: &[String], open: &[((&str, &str), Option<String>)]) -> Verdict {
    if versions.is_empty() {
        return skip("the engine does not tell its parts and their versions");
    }
    let versions = versions.join(", ");
    if open.is_empty() {
        return ok(format!("{versions}: none known as of {AS_OF}"));
    }
    let mut lines: Vec<String> = Vec::new();
    for ((what, id), package) in open {
        let place = package.as_ref().map(|version| format!(", package {version}")).unwrap_or_default();
        match lines.iter_mut().find(|line| line.ends_with(&format!(" ({what}{place})"))) {
            Some(line) => *line = format!("{id}, {line}"),
            None => lines.push(format!("{id} ({what}{place})")),
        }
    }
    let packaged = open.iter().any(|(_, package)| package.is_some());
    let fix = if packaged {
        "apt upgrade; by version alone: your distribution may have mended it without saying so in the package's list of changes, see security-tracker.debian.org or ubuntu.com/security"
    } else {
        "upgrade Docker, containerd and runc"
    };
    warn(format!("{versions}: {}", lines.join("; ")), fix)
}

#[cfg(test)]
mod tests {
    use super::super::verdict::State;
    use super::*;

    fn ids(component: &str, version: &str) -> Vec<&'static str> {
        holes(component, version).map(|(_, id)| id).collect()
    }

    #[test]
    fn holes_go_by_version() {
        let races = ["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"];
        assert_eq!(ids("runc", "1.1.5+ds1"), [&["CVE-2024-21626"], races.as_slice()].concat());
        assert_eq!(ids("runc", "1.1.12"), races);
        assert_eq!(ids("runc", "1.2.7"), races);
        assert_eq!(ids("runc", "1.3.2"), races);
        for mended in ["1.2.8", "1.2.10", "1.3.3", "1.4.0", "2.0.0"] {
            assert_eq!(ids("runc", mended), [""; 0], "{mended}");
        }
        assert_eq!(ids("containerd", "1.6.20~ds1"), ["CVE-2024-25621"]);
        assert_eq!(ids("containerd", "v2.0.6"), ["CVE-2024-25621"]);
        assert_eq!(ids("containerd", "v2.3.5"), [""; 0]);
        assert_eq!(ids("Engine", "20.10.24+dfsg1").len(), 5);
        assert_eq!(ids("Engine", "24.0.9").len(), 5, "a line that nobody mended any more");
        assert_eq!(ids("Engine", "29.7.1"), [""; 0]);
        assert_eq!(ids("crun", "1.0"), [""; 0]);
    }

    #[test]
    fn a_table_entry_has_all_that_it_needs() {
        for advisory in TABLE {
            assert!(PACKAGES.iter().any(|(component, _)| *component == advisory.component));
            assert!(advisory.ids.iter().all(|id| id.starts_with("CVE-")));
            assert!(advisory.mended.iter().all(|version| numbers(version).len() == 3));
        }
    }

    #[test]
    fn what_the_distribution_has_mended_counts() {
        let packaged = Packaged {
            version: "1.1.5+ds1-1+deb12u1".to_owned(),
            changes: "runc (1.1.5+ds1-1+deb12u1)\n  * Fix CVE-2024-21626\n".to_owned(),
        };
        assert!(packaged.mended("CVE-2024-21626") && !packaged.mended("CVE-2025-31133"));
        assert!(is_of("1.1.5+ds1-1+deb12u1", "1.1.5+ds1"));
        assert!(is_of("1:20.10.24+dfsg1-1", "20.10.24+dfsg1"));
        assert!(!is_of("20.10.24+dfsg1-1", "28.2.2"));
    }

    #[test]
    fn holes_are_told_by_what_they_are() {
        let version = Some("1.1.5-1".to_owned());
        let open = [
            (("it leaks", "CVE-1"), version.clone()),
            (("races", "CVE-2"), version.clone()),
            (("races", "CVE-3"), version),
        ];
        let verdict = judge(&["runc 1.1.5".to_owned()], &open);
        assert_eq!(
            verdict.seen,
            "runc 1.1.5: CVE-1 (it leaks, package 1.1.5-1); CVE-3, CVE-2 (races, package 1.1.5-1)"
        );
        assert!(verdict.fix.unwrap().contains("by version alone"));
        assert_eq!(judge(&["runc 1.4.0".to_owned()], &[]).state, State::Ok);
    }
}
