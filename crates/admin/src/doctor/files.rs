//! Files, directories and users of the installation: whose they are and who may change them.

use super::verdict::{Remedy, State, Verdict, fail, mend, ok, skip, warn};
use super::{Doctor, Judged};
use host::cache::Cache;
use host::config::{ConfigError, InsecureFile};
use identity::GID;
use nix::unistd::{Group, User};
use session::exit::chain;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The user that asks the web app.
const KEYS: &str = "sshbox-keys";

/// Permissions of all but the owner.
const OTHERS: u32 = 0o077;

/// Programs that sshd and systemd start as root or for a user.
const PROGRAMS: [&str; 5] = [
    "/usr/lib/sshbox/sshbox-keys",
    "/usr/lib/sshbox/sshbox-shell",
    "/usr/lib/sshbox/sshbox-wake",
    "/usr/lib/sshbox/sshbox-reap",
    "/usr/lib/sshbox/sshbox-init",
];

const SYSUSERS: Remedy = Remedy::Run(&["systemd-sysusers", "sshbox.conf"]);
const TMPFILES: Remedy = Remedy::Run(&["systemd-tmpfiles", "--create", "sshbox.conf"]);

/// What is known of a file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// A directory, and no link to one.
    pub directory: bool,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions alone.
    pub mode: u32,
}

impl Seen {
    /// Looks; `None` when there is nothing.
    pub fn at(path: &Path) -> Option<Self> {
        let meta = fs::symlink_metadata(path).ok()?;
        Some(Self { directory: meta.is_dir(), uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777 })
    }

    /// Whether nobody but root can change it.
    pub fn is_roots(self) -> bool {
        self.uid == 0 && self.mode & 0o022 == 0
    }
}

/// `config`: can `sshbox.toml` be used?
pub fn config(doctor: &Doctor) -> Judged {
    let path = &doctor.config_path;
    // Read anew: a remedy may have mended it.
    Ok(match host::config::load(path) {
        Ok(_) => ok(path.display().to_string()),
        Err(error) => unusable(path, &error),
    })
}

fn unusable(path: &Path, error: &ConfigError) -> Verdict {
    let seen = one_line(&chain(error));
    match error {
        ConfigError::Owner(_, InsecureFile::Owner(_)) => {
            mend(State::Fail, seen, vec![Remedy::Owner(path.to_owned(), 0, 0)])
        }
        ConfigError::Owner(_, InsecureFile::Writable(_)) => {
            mend(State::Fail, seen, vec![Remedy::Mode(path.to_owned(), 0o644)])
        }
        _ => fail(seen, format!("correct {}; sshbox.toml(5) explains every key", path.display())),
    }
}

/// A text of several lines without the picture of where the mistake is.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|'));
    lines.collect::<Vec<_>>().join("; ")
}

/// `users`: are the group and the user of the installation there?
pub fn users(_doctor: &Doctor) -> Judged {
    let group = Group::from_name("sshbox").ok().flatten().map(|group| group.gid.as_raw());
    Ok(judge_users(group, keys().is_some()))
}

fn judge_users(group: Option<u32>, user: bool) -> Verdict {
    match group {
        Some(GID) if user => ok(format!("group sshbox is {GID}, user {KEYS} is there")),
        Some(other) if other != GID => fail(
            format!("group sshbox has the number {other}; the rule says {GID}"),
            format!("groupmod --gid {GID} sshbox, then systemd-tmpfiles --create sshbox.conf"),
        ),
        group => {
            let missing = if group.is_none() { "group sshbox" } else { "user sshbox-keys" };
            mend(State::Fail, format!("there is no {missing}"), vec![SYSUSERS])
        }
    }
}

/// The user that asks the web app, with its group.
pub fn keys() -> Option<(u32, u32)> {
    User::from_name(KEYS).ok().flatten().map(|user| (user.uid.as_raw(), user.gid.as_raw()))
}

/// `directories`: are the directories as tmpfiles.d makes them, and does the cache take an answer?
pub fn directories(doctor: &Doctor) -> Judged {
    let numbers = |user: &str, group: &str| {
        let user = User::from_name(user).ok().flatten()?;
        let group = Group::from_name(group).ok().flatten()?;
        Some((user.uid.as_raw(), group.gid.as_raw()))
    };
    let mut wrong = Vec::new();
    let wanted = wanted(include_str!("../../../../systemd/tmpfiles.conf"));
    for Directory { path, mode, user, group } in &wanted {
        let (uid, gid) = numbers(user, group).ok_or_else(|| skip("a user is missing, see users"))?;
        let should = Seen { directory: true, uid, gid, mode: *mode };
        wrong.extend(differs(path, Seen::at(path), should));
    }
    if !wrong.is_empty() {
        return Ok(mend(State::Fail, wrong.join("; "), vec![TMPFILES]));
    }
    let cache = &doctor.config()?.accounts.cache;
    Ok(match Cache::new(cache).check() {
        Ok(()) => ok(format!("{} as they should be", wanted.len())),
        Err(error) => warn(
            format!("the cache {} cannot be written: {error}", cache.display()),
            "make room, or mount it writable: after a reboot nobody gets in while the web app does not answer",
        ),
    })
}

#[derive(Debug, PartialEq)]
struct Directory {
    path: PathBuf,
    mode: u32,
    user: String,
    group: String,
}

/// The lines of a tmpfiles.d(5) that make a directory.
fn wanted(text: &str) -> Vec<Directory> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|kind| *kind == "d")?;
        Some(Directory {
            path: words.next()?.into(),
            mode: u32::from_str_radix(words.next()?, 8).ok()?,
            user: words.next()?.to_owned(),
            group: words.next()?.to_owned(),
        })
    };
    text.lines().filter_map(parse).collect()
}

fn differs(path: &Path, seen: Option<Seen>, should: Seen) -> Option<String> {
    let path = path.display();
    match seen {
        None => Some(format!("{path} is missing")),
        Some(seen) if !seen.directory => Some(format!("{path} is no directory")),
        Some(seen) if (seen.uid, seen.gid) != (should.uid, should.gid) => {
            Some(format!("{path} belongs to {}:{}, not {}:{}", seen.uid, seen.gid, should.uid, should.gid))
        }
        Some(seen) if seen.mode != should.mode => {
            Some(format!("{path} has mode {:04o}, not {:04o}", seen.mode, should.mode))
        }
        Some(_) => None,
    }
}

/// `programs`: are the programs there, and can nobody but root change them?
pub fn programs(_doctor: &Doctor) -> Judged {
    let mut wrong = Vec::new();
    let mut remedies = Vec::new();
    for path in PROGRAMS.map(Path::new) {
        for above in path.ancestors().skip(1) {
            if !Seen::at(above).is_some_and(Seen::is_roots) {
                return Ok(fail(
                    format!("{} can be changed by others than root", above.display()),
                    format!(
                        "chown root {0}; chmod go-w {0}: sshd runs nothing below it else",
                        above.display()
                    ),
                ));
            }
        }
        match Seen::at(path) {
            None => wrong.push(format!("{} is missing", path.display())),
            Some(seen) if seen.uid != 0 => {
                wrong.push(format!("{} belongs to uid {}", path.display(), seen.uid));
                remedies.push(Remedy::Owner(path.to_owned(), 0, 0));
            }
            Some(seen) if seen.mode != 0o755 => {
                wrong.push(format!("{} has mode {:04o}, not 0755", path.display(), seen.mode));
                remedies.push(Remedy::Mode(path.to_owned(), 0o755));
            }
            Some(_) => {}
        }
    }
    Ok(if wrong.is_empty() {
        ok(format!("{} in /usr/lib/sshbox, changeable by root alone", PROGRAMS.len()))
    } else if remedies.is_empty() {
        fail(wrong.join("; "), "apt install --reinstall sshbox")
    } else {
        mend(State::Fail, wrong.join("; "), remedies)
    })
}

/// `token`: can `sshbox-keys` read the token, and nobody else?
pub fn token(doctor: &Doctor) -> Judged {
    let path = &doctor.config()?.accounts.token_file;
    if path.as_os_str().is_empty() {
        return Ok(ok("accounts.token_file is empty: none is sent"));
    }
    let keys = keys().ok_or_else(|| skip("there is no user sshbox-keys, see users"))?;
    Ok(judge_token(path, Seen::at(path), keys))
}

fn judge_token(path: &Path, seen: Option<Seen>, (uid, gid): (u32, u32)) -> Verdict {
    let shown = path.display();
    let Some(seen) = seen else {
        return fail(
            format!("{shown} is missing"),
            format!("put the text that the web app knows into it: install -m 0400 -o {KEYS} FILE {shown}"),
        );
    };
    if seen.directory {
        return fail(format!("{shown} is a directory"), "accounts.token_file must name a file");
    }
    let theirs = seen.uid == uid && seen.mode & 0o400 != 0;
    let groups = seen.uid == 0 && seen.gid == gid && seen.mode & 0o040 != 0;
    let others = if groups { 0o037 } else { OTHERS };
    if (theirs || groups) && seen.mode & others == 0 {
        return ok(format!("{shown}, readable by {KEYS} alone"));
    }
    let seen = format!("{shown} belongs to {}:{} with mode {:04o}", seen.uid, seen.gid, seen.mode);
    mend(
        State::Fail,
        seen,
        vec![Remedy::Owner(path.to_owned(), uid, gid), Remedy::Mode(path.to_owned(), 0o400)],
    )
}

/// `homes`: is there a place for homes that nobody else can tamper with?
pub fn homes(doctor: &Doctor) -> Judged {
    let base = homes_of(doctor)?;
    Ok(judge_homes(&base, Seen::at(&base)))
}

/// The directory that holds the homes.
pub fn homes_of(doctor: &Doctor) -> Result<PathBuf, Verdict> {
    let home = PathBuf::from(doctor.config()?.container.home.fill(&doctor.visitor));
    home.parent().map(Path::to_owned).ok_or_else(|| skip("box.home has no parent"))
}

fn judge_homes(base: &Path, seen: Option<Seen>) -> Verdict {
    let shown = base.display();
    match seen {
        Some(seen) if seen.directory && seen.is_roots() && seen.mode & OTHERS == 0 => {
            ok(format!("{shown}, closed to all but root"))
        }
        Some(seen) if seen.directory && seen.is_roots() => warn(
            format!(
                "{shown} can be entered by every local user; a local user with the boxes' uid owns all homes"
            ),
            format!("chmod 0700 {shown}, unless other programs need it"),
        ),
        Some(seen) if seen.directory => fail(
            format!(
                "{shown} can be changed by others than root (owner {}, mode {:04o})",
                seen.uid, seen.mode
            ),
            format!(
                "chown root {shown}; chmod go-w {shown}: who can change it can put a link in a home's place"
            ),
        ),
        _ => fail(
            format!("{shown} is no directory"),
            format!(
                "install -d -m 0700 {shown}, and let the wake service write there: see box.home in sshbox.toml(5)"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(uid: u32, gid: u32, mode: u32) -> Option<Seen> {
        Some(Seen { directory: false, uid, gid, mode })
    }

    fn directory(uid: u32, mode: u32) -> Option<Seen> {
        Some(Seen { directory: true, uid, gid: 0, mode })
    }

    #[test]
    fn a_token_is_for_sshbox_keys_alone() {
        let judge = |seen| judge_token(Path::new("/t"), seen, (997, 996));
        for good in [file(997, 996, 0o400), file(997, 0, 0o600), file(0, 996, 0o440), file(0, 996, 0o640)] {
            assert_eq!(judge(good).state, State::Ok, "{good:?}");
        }
        for bad in [
            file(0, 0, 0o600),
            file(0, 0, 0o644),
            file(1000, 996, 0o400),
            file(997, 996, 0o640),
            file(0, 996, 0o660),
            file(997, 996, 0o000),
        ] {
            let verdict = judge(bad);
            assert_eq!(verdict.state, State::Fail, "{bad:?}");
            assert_eq!(verdict.fix.unwrap(), "chown 997:996 /t; chmod 0400 /t");
        }
        assert_eq!(judge(None).remedies, []);
        assert_eq!(judge(directory(0, 0o700)).state, State::Fail);
    }

    #[test]
    fn the_group_has_the_number_of_the_rule() {
        assert_eq!(judge_users(Some(GID), true).state, State::Ok);
        assert_eq!(judge_users(Some(GID), false).remedies, [SYSUSERS]);
        assert_eq!(judge_users(None, true).seen, "there is no group sshbox");
        assert_eq!(judge_users(Some(1001), true).remedies, []);
    }

    #[test]
    fn directories_are_those_of_the_package() {
        let wanted = wanted(include_str!("../../../../systemd/tmpfiles.conf"));
        assert!(wanted.len() >= 7);
        let cache = wanted.iter().find(|one| one.path == Path::new("/var/cache/sshbox")).unwrap();
        assert_eq!((cache.mode, cache.user.as_str()), (0o700, KEYS));
    }

    #[test]
    fn a_directory_that_is_otherwise_is_told() {
        let should = Seen { directory: true, uid: 0, gid: 0, mode: 0o700 };
        let differs = |seen| differs(Path::new("/d"), seen, should);
        assert_eq!(differs(Some(should)), None);
        assert_eq!(differs(None).unwrap(), "/d is missing");
        assert_eq!(differs(directory(7, 0o700)).unwrap(), "/d belongs to 7:0, not 0:0");
        assert_eq!(differs(directory(0, 0o755)).unwrap(), "/d has mode 0755, not 0700");
        assert_eq!(differs(file(0, 0, 0o700)).unwrap(), "/d is no directory");
    }

    #[test]
    fn homes_belong_into_a_place_of_roots() {
        let judge = |seen| judge_homes(Path::new("/h"), seen).state;
        assert_eq!(judge(directory(0, 0o700)), State::Ok);
        assert_eq!(judge(directory(0, 0o755)), State::Warn);
        assert_eq!(judge(directory(0, 0o775)), State::Fail);
        assert_eq!(judge(directory(1000, 0o700)), State::Fail);
        assert_eq!(judge(None), State::Fail);
    }

    #[test]
    fn a_mistake_is_told_in_one_line() {
        let error = "sshbox.toml is not valid: TOML parse error at line 2, column 1\n  |\n2 | urll = 'x'\n  | ^^^^\nunknown field `urll`\n";
        assert_eq!(
            one_line(error),
            "sshbox.toml is not valid: TOML parse error at line 2, column 1; unknown field `urll`"
        );
    }
}
