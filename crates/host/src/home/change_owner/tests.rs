//! Hostile trees: links, FIFOs, hard links, foreign entries, depth, and entries that are exchanged during the
//! walk. As root the owners really change; without root a walk over the same tree counts.

use super::*;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// How often two entries are exchanged during the walks.
const FLIPS: u32 = 100_000;

const OLD: u32 = 54_321;
const NEW: UidGid = UidGid { uid: 54_322, gid: 54_323 };

fn alice() -> Login {
    Login::parse(b"alice").unwrap()
}

/// A home in a temporary directory, and a canary beside it, all of the old owner.
struct Tree {
    dir: tempfile::TempDir,
    is_root: bool,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("alice")).unwrap();
        fs::create_dir(dir.path().join("canary")).unwrap();
        fs::write(dir.path().join("canary/file"), "").unwrap();
        Self { dir, is_root: nix::unistd::geteuid().is_root() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Gives all that is there to the old owner, if the test may.
    fn of_old_owner(&self) -> OwnerChange {
        let mut pending = vec![self.dir.path().to_owned()];
        while let Some(path) = pending.pop() {
            if self.is_root {
                lchown(&path, Some(OLD), Some(OLD)).unwrap();
            }
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        let found = fs::metadata(self.at("alice")).unwrap();
        // Without root, the owner stays the same.
        let me = UidGid { uid: found.uid(), gid: found.gid() };
        let to = if self.is_root { NEW } else { me };
        OwnerChange { from_uid: found.uid(), from_gid: found.gid(), to }
    }

    fn template(&self) -> Template {
        format!("{}/{{user}}", self.dir.path().display()).parse().unwrap()
    }

    fn change(&self, owners: OwnerChange) -> Result<EntryCount, ChangeOwnerError> {
        change(&self.template(), &alice(), owners, &mut |_| ())
    }

    fn owner(&self, name: &str) -> (u32, u32) {
        let found = fs::symlink_metadata(self.at(name)).unwrap();
        (found.uid(), found.gid())
    }

    /// The canary still belongs to the old owner.
    fn assert_canary(&self, owners: OwnerChange) {
        for name in ["canary", "canary/file"] {
            assert_eq!(self.owner(name).0, owners.from_uid, "{name}");
        }
    }
}

#[test]
fn a11_entries_of_every_kind_change_and_what_links_lead_to_does_not() {
    let tree = Tree::new();
    fs::create_dir(tree.at("alice/dir")).unwrap();
    fs::write(tree.at("alice/dir/file"), "x").unwrap();
    fs::hard_link(tree.at("alice/dir/file"), tree.at("alice/second")).unwrap();
    mkfifo(&tree.at("alice/fifo"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(tree.at("alice/socket")).unwrap();
    symlink("../canary", tree.at("alice/link")).unwrap();
    symlink(tree.at("canary/file"), tree.at("alice/absolute")).unwrap();
    symlink("loop", tree.at("alice/loop")).unwrap();
    let owners = tree.of_old_owner();
    let counted = count(&tree.template(), &alice(), owners).unwrap();
    // The home, two names of one file, and six more.
    assert_eq!(counted, EntryCount { changed: 9, unchanged: 0, foreign: 0 });
    assert_eq!(tree.owner("alice").0, owners.from_uid);
    let changed = tree.change(owners).unwrap();
    assert_eq!(changed.total(), 9);
    let names = ["", "/dir", "/dir/file", "/second", "/fifo", "/socket", "/link", "/absolute", "/loop"];
    for name in names {
        let owner = tree.owner(&format!("alice{name}"));
        assert_eq!(owner, (owners.to.uid, owners.to.gid), "{name}");
    }
    tree.assert_canary(owners);
}

#[test]
fn a11_entries_of_others_are_left_alone_and_a_group_stays() {
    let tree = Tree::new();
    for name in ["foreign", "grouped", "ours"] {
        fs::write(tree.at(&format!("alice/{name}")), "").unwrap();
    }
    let owners = tree.of_old_owner();
    if tree.is_root {
        lchown(tree.at("alice/foreign"), Some(0), Some(0)).unwrap();
        lchown(tree.at("alice/grouped"), Some(OLD), Some(33)).unwrap();
        lchown(tree.at("alice/ours"), Some(NEW.uid), Some(7)).unwrap();
        assert_eq!(tree.change(owners).unwrap(), EntryCount { changed: 2, unchanged: 1, foreign: 1 });
        assert_eq!(tree.owner("alice/foreign"), (0, 0));
        assert_eq!(tree.owner("alice/grouped"), (NEW.uid, 33));
        assert_eq!(tree.owner("alice/ours"), (NEW.uid, 7));
    } else {
        let other = OwnerChange { from_uid: owners.from_uid + 1, to: NEW, ..owners };
        assert_eq!(tree.change(other).unwrap(), EntryCount { changed: 0, unchanged: 0, foreign: 4 });
    }
}

#[test]
fn a_walk_that_was_cut_short_is_repeated() {
    let tree = Tree::new();
    for n in 0..2500 {
        fs::write(tree.at(&format!("alice/{n}")), "").unwrap();
    }
    let owners = tree.of_old_owner();
    let mut reported = Vec::new();
    // The process is killed after the second report.
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        change(&tree.template(), &alice(), owners, &mut |count| {
            reported.push(count);
            assert!(count < 2000, "killed");
        })
    }));
    assert!(killed.is_err());
    assert_eq!(reported, [1000, 2000]);
    assert_eq!(tree.owner("alice").0, owners.from_uid);
    let rest = tree.change(owners).unwrap();
    assert_eq!(rest.total(), 2501);
    if tree.is_root {
        assert_eq!((rest.unchanged, rest.changed), (2000, 501));
    }
    assert_eq!(tree.owner("alice"), (owners.to.uid, owners.to.gid));
}

#[test]
fn a11_a_tree_deeper_than_descriptors_or_paths_is_walked() {
    let tree = Tree::new();
    // Deeper than a path can be long, so it is created step by step.
    let mut dir = fs::File::open(tree.at("alice")).unwrap();
    for _ in 0..5000 {
        nix::sys::stat::mkdirat(&dir, "d", Mode::S_IRWXU).unwrap();
        let next = openat(&dir, "d", DIRECTORY, Mode::empty()).unwrap();
        if tree.is_root {
            nix::unistd::fchown(&next, Some(OLD.into()), Some(OLD.into())).unwrap();
        }
        dir = next.into();
    }
    let me = fs::metadata(tree.at("alice")).unwrap();
    let from = if tree.is_root { OLD } else { me.uid() };
    let to = if tree.is_root { NEW } else { UidGid { uid: me.uid(), gid: me.gid() } };
    let owners = OwnerChange { from_uid: from, from_gid: from, to };
    let counted = tree.change(owners).unwrap();
    assert_eq!((counted.changed, counted.total()), (if tree.is_root { 5000 } else { 5001 }, 5001));
    // tempfile removes by path, which is too long.
    std::process::Command::new("rm").arg("-r").arg(tree.at("alice")).status().unwrap();
}

#[test]
fn a11_entries_exchanged_during_the_walk_lead_nowhere_else() {
    let tree = Tree::new();
    for n in 0..300 {
        fs::create_dir(tree.at(&format!("alice/{n}"))).unwrap();
        fs::write(tree.at(&format!("alice/{n}/file")), "").unwrap();
    }
    // Beside the home, on the same file system, with names that exist in the canary, too.
    fs::create_dir(tree.at("alice/flip")).unwrap();
    fs::write(tree.at("alice/flip/file"), "").unwrap();
    symlink("../canary", tree.at("alice/flop")).unwrap();
    let owners = tree.of_old_owner();
    let (one, other) = (tree.at("alice/flip"), tree.at("alice/flop"));
    let flips = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            while flips.load(Ordering::Relaxed) < FLIPS {
                rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, exchange).unwrap();
                flips.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut walks = 0;
        while flips.load(Ordering::Relaxed) < FLIPS {
            let walked = tree.change(owners);
            assert!(matches!(walked, Ok(_) | Err(ChangeOwnerError::Moved(_))), "{walked:?}");
            tree.assert_canary(owners);
            walks += 1;
        }
        assert!(walks > 1);
    });
}

#[test]
fn a11_a_directory_moved_out_during_the_walk_ends_it() {
    let tree = Tree::new();
    fs::create_dir_all(tree.at("alice/a/b")).unwrap();
    for n in 0..1500 {
        fs::write(tree.at(&format!("alice/a/b/{n}")), "").unwrap();
    }
    let owners = tree.of_old_owner();
    let (from, to) = (tree.at("alice/a/b"), tree.at("canary/b"));
    let walked = change(&tree.template(), &alice(), owners, &mut |_| fs::rename(&from, &to).unwrap());
    assert!(matches!(walked, Err(ChangeOwnerError::Moved(_))), "{walked:?}");
    tree.assert_canary(owners);
    assert_eq!(tree.owner("alice").0, owners.from_uid);
}

#[test]
fn a11_a_link_or_a_file_in_place_of_the_home_is_refused() {
    let tree = Tree::new();
    let owners = tree.of_old_owner();
    fs::remove_dir(tree.at("alice")).unwrap();
    for (target, name) in [(Path::new("canary"), "link"), (Path::new(""), "file")] {
        if name == "link" {
            symlink(target, tree.at("alice")).unwrap();
        } else {
            fs::write(tree.at("alice"), "").unwrap();
        }
        let refused = tree.change(owners);
        assert!(matches!(refused, Err(ChangeOwnerError::Home(HomeError::Open(..)))), "{refused:?}");
        fs::remove_file(tree.at("alice")).unwrap();
    }
    assert!(matches!(tree.change(owners), Err(ChangeOwnerError::Home(_))));
    tree.assert_canary(owners);
}
