//! Files, directories and users of the installation: who owns them and who may change them.

use super::report::{CheckResult, Remedy, fail, mend, ok, skip, warn};
use super::{Checked, Doctor, uids};
use crate::explain::KEYS_USER;
use host::cache::Cache;
use host::config;
use identity::GID;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Group, User};
use session::exit::chain;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Programs that sshd and systemd start as root or for a user.
const PROGRAMS: [&str; 6] = [
    "/usr/lib/sshbox/sshbox-keys",
    "/usr/lib/sshbox/sshbox-shell",
    "/usr/lib/sshbox/sshbox-wake",
    "/usr/lib/sshbox/sshbox-reap",
    "/usr/lib/sshbox/sshbox-disk",
    "/usr/lib/sshbox/sshbox-init",
];

/// Permissions of all but the owner.
const OTHERS: u32 = 0o077;

const SYSUSERS: Remedy = Remedy::Run(&["systemd-sysusers", "sshbox.conf"]);
const TMPFILES: Remedy = Remedy::Run(&["systemd-tmpfiles", "--create", "sshbox.conf"]);

/// Owner and mode of a file, found without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    /// Whether it is a directory. A symbolic link to a directory is none.
    pub directory: bool,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permissions, without the file type.
    pub mode: u32,
}

impl FileState {
    /// Owner and mode of the file at this path; `None` if there is no file.
    pub fn at(path: &Path) -> Option<Self> {
        let meta = fs::symlink_metadata(path).ok()?;
        Some(Self { directory: meta.is_dir(), uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777 })
    }

    /// Whether only root can change the file.
    pub fn is_roots(self) -> bool {
        self.uid == 0 && self.mode & 0o022 == 0
    }

    /// Whether only root can read or change the file.
    pub fn is_roots_alone(self) -> bool {
        self.uid == 0 && self.mode & OTHERS == 0
    }
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} with mode {:04o}", self.uid, self.gid, self.mode)
    }
}

/// A failure that `--fix` corrects by setting owner and mode.
pub fn mend_file(path: &Path, found: FileState, uid: u32, gid: u32, mode: u32) -> CheckResult {
    let mut remedies = Vec::new();
    if (found.uid, found.gid) != (uid, gid) {
        remedies.push(Remedy::Owner(path.to_owned(), uid, gid));
    }
    // Owner and group may change what a mode allows, so the mode is always set.
    remedies.push(Remedy::Mode(path.to_owned(), mode));
    mend(format!("{} belongs to {found}", path.display()), remedies)
}

/// `config`: can `sshbox.toml` be used?
pub fn config(doctor: &Doctor) -> Checked {
    let path = &doctor.config_path;
    if let Some(found) = FileState::at(path).filter(|found| !found.is_roots()) {
        return Ok(mend_file(path, found, 0, 0, 0o644));
    }
    // Not `doctor.config()`, which is read once: `--fix` may have corrected the file since.
    Ok(match config::load(path) {
        Ok(_) => ok(path.display().to_string()),
        Err(error) => fail(
            one_line(&chain(&error)),
            format!("correct {}; sshbox.toml(5) explains every key", path.display()),
        ),
    })
}

/// Joins the lines of an error, without those of the excerpt of the file.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|'));
    lines.collect::<Vec<_>>().join("; ")
}

/// `users`: do the group and the user of the installation exist?
pub fn users(_doctor: &Doctor) -> Checked {
    let group = Group::from_name("sshbox").ok().flatten().map(|group| group.gid.as_raw());
    Ok(match (group, keys_user()) {
        (Some(GID), Some(_)) => ok(format!("group sshbox is {GID}, user {KEYS_USER} is there")),
        (Some(GID), None) => mend(format!("there is no user {KEYS_USER}"), vec![SYSUSERS]),
        (None, _) => mend("there is no group sshbox", vec![SYSUSERS]),
        (Some(other), _) => fail(
            format!("group sshbox has the number {other}; it must have {GID}"),
            format!("groupmod --gid {GID} sshbox, then systemd-tmpfiles --create sshbox.conf"),
        ),
    })
}

/// The uid and gid of the user that asks the web app.
pub fn keys_user() -> Option<(u32, u32)> {
    User::from_name(KEYS_USER).ok().flatten().map(|user| (user.uid.as_raw(), user.gid.as_raw()))
}

/// `directories`: do the directories have owner and mode of tmpfiles.d, and can the cache be written?
pub fn directories(doctor: &Doctor) -> Checked {
    let expected = packaged_directories()
        .ok_or_else(|| skip("a user or group of the directories is missing, see check users"))?;
    let wrong: Vec<_> = expected
        .iter()
        .filter_map(|(path, expected)| differs(path, FileState::at(path), *expected))
        .collect();
    if !wrong.is_empty() {
        return Ok(mend(wrong.join("; "), vec![TMPFILES]));
    }
    let cache = &doctor.config()?.accounts.cache;
    Ok(match Cache::new(cache).check_writable() {
        Ok(()) => ok(format!("{} as they should be", expected.len())),
        Err(error) => warn(
            format!("the cache {} cannot be written: {error}", cache.display()),
            "make room, or mount it writable: after a reboot nobody can log in while the web app does not answer",
        ),
    })
}

/// The directories in the package's tmpfiles.d(5) file. `None` if a user or group of them is missing.
fn packaged_directories() -> Option<Vec<(PathBuf, FileState)>> {
    let lines = include_str!("../../../../systemd/tmpfiles.conf").lines();
    let lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let parse = |words: Vec<&str>| {
        let ["d", path, mode, user, group, ..] = words.as_slice() else { return None };
        let uid = || Some(User::from_name(user).ok()??.uid.as_raw());
        let gid = || Some(Group::from_name(group).ok()??.gid.as_raw());
        let mode = u32::from_str_radix(mode, 8).ok()?;
        let numbers = || Some(FileState { directory: true, uid: uid()?, gid: gid()?, mode });
        Some(numbers().map(|expected| (PathBuf::from(path), expected)))
    };
    lines.filter_map(parse).collect()
}

fn differs(path: &Path, found: Option<FileState>, expected: FileState) -> Option<String> {
    let path = path.display();
    match found {
        Some(found) if found == expected => None,
        Some(found) if found.directory => Some(format!("{path} belongs to {found}, not to {expected}")),
        Some(_) => Some(format!("{path} is no directory")),
        None => Some(format!("{path} is missing")),
    }
}

/// `programs`: do the programs exist, and can only root change them?
pub fn programs(_doctor: &Doctor) -> Checked {
    for path in PROGRAMS.map(Path::new) {
        if let Some(above) = path.ancestors().skip(1).find(|above| !is_roots(above)) {
            let above = above.display();
            return Ok(fail(
                format!("{above} can be changed by others than root"),
                format!("chown root {above}; chmod go-w {above}: sshd runs nothing below it otherwise"),
            ));
        }
        match FileState::at(path) {
            None => {
                return Ok(fail(format!("{} is missing", path.display()), "apt install --reinstall sshbox"));
            }
            Some(found) if found.uid != 0 || found.mode != 0o755 => {
                return Ok(mend_file(path, found, 0, 0, 0o755));
            }
            Some(_) => {}
        }
    }
    Ok(ok(format!("{} in /usr/lib/sshbox, changeable by root alone", PROGRAMS.len())))
}

fn is_roots(path: &Path) -> bool {
    FileState::at(path).is_some_and(FileState::is_roots)
}

/// `token`: can only `sshbox-keys` and root read the token?
pub fn token(doctor: &Doctor) -> Checked {
    let path = &doctor.config()?.accounts.token_file;
    if path.as_os_str().is_empty() {
        return Ok(ok("accounts.token_file is empty: no token is sent"));
    }
    let keys = keys_user().ok_or_else(|| skip(format!("there is no user {KEYS_USER}, see check users")))?;
    Ok(judge_token(path, FileState::at(path), keys))
}

fn judge_token(path: &Path, found: Option<FileState>, (uid, gid): (u32, u32)) -> CheckResult {
    let shown = path.display();
    let Some(found) = found else {
        return fail(
            format!("{shown} is missing"),
            format!(
                "put the text that the web app knows into it: install -m 0400 -o {KEYS_USER} FILE {shown}"
            ),
        );
    };
    if found.directory {
        return fail(format!("{shown} is a directory"), "accounts.token_file must name a file");
    }
    let by_owner = found.uid == uid && found.mode & 0o477 == 0o400;
    let by_group = found.uid == 0 && found.gid == gid && found.mode & 0o077 == 0o040;
    if by_owner || by_group {
        return ok(format!("{shown}, readable by {KEYS_USER} alone"));
    }
    mend_file(path, found, uid, gid, 0o400)
}

/// `homes`: is there a directory for homes that only root can change?
pub fn homes(doctor: &Doctor) -> Checked {
    let home = PathBuf::from(doctor.config()?.container.home.fill(&doctor.temporary_user));
    let base = home.parent().ok_or_else(|| skip("box.home has no parent"))?;
    let shown = base.display();
    Ok(match FileState::at(base).filter(|found| found.directory) {
        Some(found) if found.is_roots_alone() => match uids::wrong_owners(doctor.config()?) {
            Some(wrong) => wrong,
            None => ok(format!("{shown}, closed to all but root")),
        },
        Some(found) if found.is_roots() => warn(
            format!(
                "{shown} can be entered by every local user; a local user with the uid of a box owns its home"
            ),
            format!("chmod 0700 {shown}, unless other programs need it"),
        ),
        Some(found) => fail(
            format!("{shown} can be changed by others than root: it belongs to {found}"),
            format!(
                "chown root {shown}; chmod go-w {shown}: a user who can change it can replace a home with a link"
            ),
        ),
        None => fail(
            format!("{shown} is no directory"),
            format!(
                "install -d -m 0700 {shown}, and let the wake service write there: see box.home in sshbox.toml(5)"
            ),
        ),
    })
}

/// `homes-mount`: are setuid files and device nodes in homes without effect on the host?
pub fn homes_mount(doctor: &Doctor) -> Checked {
    let home = PathBuf::from(doctor.config()?.container.home.fill(&doctor.temporary_user));
    let base = home.parent().ok_or_else(|| skip("box.home has no parent"))?;
    let mount = statvfs(base).map_err(|error| skip(format!("{}: {error}", base.display())))?;
    Ok(judge_homes_mount(base, mount.flags()))
}

fn judge_homes_mount(base: &Path, flags: FsFlags) -> CheckResult {
    let shown = base.display();
    let expected = [(FsFlags::ST_NOSUID, "nosuid"), (FsFlags::ST_NODEV, "nodev")];
    let missing: Vec<_> =
        expected.into_iter().filter(|(flag, _)| !flags.contains(*flag)).map(|(_, name)| name).collect();
    if missing.is_empty() {
        return ok(format!("{shown} is mounted with nosuid,nodev"));
    }
    warn(
        format!(
            "{shown} is mounted without {}: setuid files or devices in homes work on the host",
            missing.join(",")
        ),
        format!(
            "mount it with nosuid,nodev; if it is no file system of its own, add this line to /etc/fstab and run mount {shown}: \
             {shown} {shown} none bind,nosuid,nodev 0 0"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    fn file(uid: u32, gid: u32, mode: u32) -> Option<FileState> {
        Some(FileState { directory: false, uid, gid, mode })
    }

    fn directory(uid: u32, mode: u32) -> Option<FileState> {
        Some(FileState { directory: true, uid, gid: 0, mode })
    }

    #[test]
    fn a_token_is_for_sshbox_keys_alone() {
        let judge = |found| judge_token(Path::new("/t"), found, (997, 996));
        for good in [file(997, 996, 0o400), file(997, 0, 0o600), file(0, 996, 0o440), file(0, 996, 0o640)] {
            assert_eq!(judge(good).state, CheckState::Ok, "{good:?}");
        }
        for bad in [
            file(0, 0, 0o600),
            file(0, 0, 0o644),
            file(1000, 996, 0o400),
            file(997, 996, 0o640),
            file(0, 996, 0o660),
            file(997, 996, 0o000),
        ] {
            let result = judge(bad);
            assert_eq!(result.state, CheckState::Fail, "{bad:?}");
            assert!(result.fix.unwrap().ends_with("chmod 0400 /t"));
        }
        assert_eq!(judge(file(0, 0, 0o600)).fix.unwrap(), "chown 997:996 /t; chmod 0400 /t");
        assert_eq!(judge(None).remedies, []);
        assert_eq!(judge(directory(0, 0o700)).state, CheckState::Fail);
    }

    #[test]
    fn homes_whose_setuid_files_work_are_reported() {
        let judge = |flags| judge_homes_mount(Path::new("/h"), flags);
        assert_eq!(judge(FsFlags::ST_NOSUID | FsFlags::ST_NODEV).state, CheckState::Ok);
        for (flags, word) in [
            (FsFlags::empty(), "without nosuid,nodev:"),
            (FsFlags::ST_NODEV, "without nosuid:"),
            (FsFlags::ST_NOSUID, "without nodev:"),
        ] {
            let result = judge(flags);
            assert_eq!(result.state, CheckState::Warn);
            assert!(result.finding.contains(word), "{result:?}");
            assert!(result.fix.unwrap().ends_with("/h /h none bind,nosuid,nodev 0 0"));
        }
    }

    #[test]
    fn a_directory_that_differs_is_reported() {
        let expected = FileState { directory: true, uid: 0, gid: 0, mode: 0o700 };
        let differs = |found| differs(Path::new("/d"), found, expected);
        assert_eq!(differs(Some(expected)), None);
        assert_eq!(differs(None).unwrap(), "/d is missing");
        let other = differs(directory(7, 0o755)).unwrap();
        assert_eq!(other, "/d belongs to 7:0 with mode 0755, not to 0:0 with mode 0700");
        assert_eq!(differs(file(0, 0, 0o700)).unwrap(), "/d is no directory");
    }

    #[test]
    fn a_mistake_in_the_configuration_is_reported_in_one_line() {
        let error = "sshbox.toml is not valid: TOML parse error at line 2, column 1\n  |\n2 | urll = 'x'\n  | ^^^^\nunknown field `urll`\n";
        assert_eq!(
            one_line(error),
            "sshbox.toml is not valid: TOML parse error at line 2, column 1; unknown field `urll`"
        );
    }
}
