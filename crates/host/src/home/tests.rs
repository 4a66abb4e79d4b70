//! Homes that are missing, half made, of another account, or links that a user has planted.

use super::*;
use crate::config::UidGid;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

fn alice() -> Login {
    Login::parse(b"alice").unwrap()
}

/// The user who runs the test, to whom chown always works.
fn me() -> UidGid {
    UidGid { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
}

fn template(dir: &Path) -> Template {
    format!("{}/{{user}}", dir.display()).parse().unwrap()
}

#[test]
fn a_home_is_made_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let home = ensure(&template(dir.path()), &alice(), Some("42"), me()).unwrap();
    assert_eq!(fs::metadata(&home).unwrap().mode() & 0o777, 0o700);
    fs::write(home.join("thesis"), "x").unwrap();
    assert_eq!(ensure(&template(dir.path()), &alice(), Some("42"), me()).unwrap(), home);
    // An account source without ids, such as a list of keys: there is nothing to compare.
    ensure(&template(dir.path()), &alice(), None, me()).unwrap();
    assert!(home.join("thesis").exists());
}

#[test]
fn a18_a_later_account_of_the_same_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    ensure(&template(dir.path()), &alice(), Some("42"), me()).unwrap();
    let error = ensure(&template(dir.path()), &alice(), Some("43"), me()).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "belongs to account 42, not to account 43; see \"Replace or remove a user\" in operate.md"
        ),
        "{error}"
    );
}

#[test]
fn f32_an_incomplete_note_counts_as_absent_and_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join(".alice.sshbox-id");
    for torn in ["", "\n", "4", "7-of-another", "\0\0\0", "42 \n", "\u{fffd}\n"] {
        fs::write(&note, torn).unwrap();
        ensure(&template(dir.path()), &alice(), Some("42"), me()).unwrap();
        assert_eq!(fs::read_to_string(&note).unwrap(), "42\n", "{torn:?}");
    }
    assert!(ensure(&template(dir.path()), &alice(), Some("43"), me()).is_err());
    // The longest id fits.
    let long = "x".repeat(255);
    fs::remove_file(&note).unwrap();
    ensure(&template(dir.path()), &alice(), Some(&long), me()).unwrap();
    assert_eq!(inspect(&template(dir.path()), &alice()).unwrap().account, Some(long));
}

/// Another user than root if the test may chown to one.
fn other() -> UidGid {
    if me().uid == 0 { UidGid { uid: 1000, gid: 1000 } } else { me() }
}

fn owner_of(path: &Path) -> UidGid {
    let found = fs::metadata(path).unwrap();
    UidGid { uid: found.uid(), gid: found.gid() }
}

#[test]
fn f32_a_home_that_was_left_incomplete_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let (home, temporary) = (dir.path().join("alice"), dir.path().join(".alice.sshbox-new"));
    // The process was killed before the rename.
    fs::create_dir(&temporary).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).unwrap();
    ensure(&template(dir.path()), &alice(), None, other()).unwrap();
    assert_eq!((owner_of(&home), fs::metadata(&home).unwrap().mode() & 0o777), (other(), 0o700));
    assert!(!temporary.exists());
    // An earlier version was killed before chown.
    fs::remove_dir(&home).unwrap();
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    ensure(&template(dir.path()), &alice(), None, other()).unwrap();
    assert_eq!(owner_of(&home), other());
}

#[test]
fn a_home_that_is_not_incomplete_keeps_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("alice");
    fs::create_dir(&home).unwrap();
    // Accessible to others, so an admin created it; not empty; in a directory that others can write.
    for (of_home, of_base, file) in [(0o755, 0o700, false), (0o700, 0o700, true), (0o700, 0o777, false)] {
        fs::set_permissions(&home, fs::Permissions::from_mode(of_home)).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(of_base)).unwrap();
        if file {
            fs::write(home.join("thesis"), "x").unwrap();
        }
        let ensured = ensure(&template(dir.path()), &alice(), None, other());
        assert_eq!(owner_of(&home), me(), "{of_home:o} {of_base:o}");
        // Refused unless the test runs as a user who cannot have another one.
        let refused = matches!(ensured, Err(HomeError::OtherOwner { .. }));
        assert_eq!(refused, me() != other(), "{of_home:o} {of_base:o}: {ensured:?}");
        let _ = fs::remove_file(home.join("thesis"));
    }
}

#[test]
fn a13_a_home_of_another_uid_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let home = ensure(&template(dir.path()), &alice(), None, me()).unwrap();
    fs::write(home.join("thesis"), "x").unwrap();
    let UidGid { uid, gid } = me();
    let expected = UidGid { uid: uid + 1, gid: gid + 1 };
    let error = ensure(&template(dir.path()), &alice(), None, expected).unwrap_err();
    let text = format!("home {} belongs to {uid}:{gid}, not to {expected}", home.display());
    assert_eq!(error.to_string(), text);
    assert_eq!((owner_of(&home), owner_of(&home.join("thesis"))), (me(), me()));
}

#[test]
fn owners_finds_all_homes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["u-alice-x/home", "u-bob-x", "alice", ".u-alice-x/home", "u-é-x/home"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    symlink("/etc", dir.path().join("u-bob-x/home")).unwrap();
    let inner: Template = format!("{}/u-{{user}}-x/home", dir.path().display()).parse().unwrap();
    assert_eq!(owners(&inner).unwrap(), [(alice(), me().uid)]);
    assert_eq!(owners(&template(dir.path())).unwrap().len(), 3);
    assert_eq!(owners(&"/nonexistent/homes/{user}".parse().unwrap()).unwrap(), []);
}

#[test]
fn a11_links_and_files_in_place_of_a_home_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("alice");
    symlink("/etc", &home).unwrap();
    assert!(matches!(ensure(&template(dir.path()), &alice(), None, me()), Err(HomeError::Create(..))));
    fs::remove_file(&home).unwrap();
    symlink("/etc", dir.path().join(".alice.sshbox-new")).unwrap();
    let error = ensure(&template(dir.path()), &alice(), None, me()).unwrap_err();
    assert!(error.to_string().ends_with("/.alice.sshbox-new"), "{error}");
    fs::remove_file(dir.path().join(".alice.sshbox-new")).unwrap();
    fs::write(&home, "").unwrap();
    assert!(matches!(ensure(&template(dir.path()), &alice(), None, me()), Err(HomeError::Create(..))));
    symlink("/etc/passwd", dir.path().join(".alice.sshbox-id")).unwrap();
    assert!(matches!(ensure(&template(dir.path()), &alice(), Some("1"), me()), Err(HomeError::Note(..))));
}

#[test]
fn inspect_returns_owner_and_account_and_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let template = template(dir.path());
    assert!(matches!(inspect(&template, &alice()), Err(HomeError::Open(_, Errno::ENOENT))));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    fs::create_dir(dir.path().join("alice")).unwrap();
    let owner = (me().uid, me().gid);
    assert_eq!(inspect(&template, &alice()).unwrap(), HomeInfo { owner, account: None });
    ensure(&template, &alice(), Some("42"), me()).unwrap();
    assert_eq!(inspect(&template, &alice()).unwrap(), HomeInfo { owner, account: Some("42".to_owned()) });
    fs::remove_dir(dir.path().join("alice")).unwrap();
    symlink("/etc", dir.path().join("alice")).unwrap();
    assert!(matches!(inspect(&template, &alice()), Err(HomeError::Open(_, Errno::ENOTDIR))));
}

#[test]
fn a_missing_base_is_an_error_that_names_it() {
    let template = "/nonexistent/homes/{user}".parse().unwrap();
    let error = ensure(&template, &alice(), None, me()).unwrap_err();
    assert_eq!(error.to_string(), "cannot open /nonexistent/homes");
}
