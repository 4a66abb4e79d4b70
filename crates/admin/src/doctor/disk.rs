//! Room for homes, images and the cache, and whether homes could be limited.

use super::files::homes_of;
use super::verdict::{Verdict, fail, ok, skip, warn};
use super::{Doctor, Judged};
use bytesize::ByteSize;
use rustix::fs::statvfs;
use std::fs;
use std::path::{Path, PathBuf};

/// Room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    /// Bytes: free for all, and altogether.
    bytes: (u64, u64),
    /// Files: free, and altogether; 0 where they are not counted.
    files: (u64, u64),
}

/// `disk`: is there room for homes, images and the cache?
pub fn space(doctor: &Doctor) -> Judged {
    let mut places = vec![("homes", homes_of(doctor)?), ("cache", doctor.config()?.accounts.cache.clone())];
    if let Ok(about) = doctor.about() {
        places.push(("Docker", about.root.clone()));
    }
    let rooms: Vec<_> = places.into_iter().filter_map(|(name, path)| Some((name, room(&path)?))).collect();
    Ok(judge_space(&rooms))
}

fn room(path: &Path) -> Option<Room> {
    let seen = statvfs(path).ok()?;
    Some(Room {
        bytes: (seen.f_bavail.saturating_mul(seen.f_frsize), seen.f_blocks.saturating_mul(seen.f_frsize)),
        files: (seen.f_favail, seen.f_files),
    })
}

fn judge_space(rooms: &[(&str, Room)]) -> Verdict {
    let fix = "make room, or move homes (box.home) or Docker (data-root): users cannot write when it is over";
    let mut shown = Vec::new();
    let (mut little, mut none) = (false, false);
    for (name, room) in rooms {
        let ((free, all), (files, of)) = (room.bytes, room.files);
        let percent = |free: u64, all: u64| free.saturating_mul(100).checked_div(all).unwrap_or(100);
        little |= free < 1 << 30 || percent(free, all) < 5 || percent(files, of) < 5;
        none |= free < 100 << 20 || percent(files, of) < 1;
        let files = if of == 0 { String::new() } else { format!(", {} % of files", percent(files, of)) };
        shown.push(format!("{name} {} ({} %{files}) free", ByteSize(free), percent(free, all)));
    }
    let shown = shown.join("; ");
    match (rooms, none, little) {
        ([], _, _) => skip("no file system to look at, see homes"),
        (_, true, _) => fail(shown, fix),
        (_, _, true) => warn(shown, fix),
        _ => ok(shown),
    }
}

/// `quota`: could homes be limited on their file system?
pub fn quota(doctor: &Doctor) -> Judged {
    let base = homes_of(doctor)?;
    // Homes may lie behind a link.
    let base: PathBuf = base.canonicalize().unwrap_or(base);
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(judge_quota(mount_of(&base, &table)))
}

/// A mount: type of the file system and all its options.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    kind: String,
    options: String,
}

/// The mount that a path lies on, by `proc_pid_mountinfo(5)`: `36 35 98:0 / /mnt rw,noatime shared:1 - ext3 /dev/root rw`.
fn mount_of(path: &Path, table: &str) -> Option<Mounted> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<_> = left.split(' ').collect();
        let right: Vec<_> = right.split(' ').collect();
        // Spaces and the like are written in octal.
        let place = PathBuf::from(left.get(4)?.replace("\\040", " ").replace("\\011", "\t"));
        let options = format!("{},{}", left.get(5)?, right.get(2)?);
        path.starts_with(&place)
            .then(|| (place, Mounted { kind: (*right.first()?).to_owned(), options }).into())
            .flatten()
    };
    let mounts = table.lines().filter_map(parse);
    // Of two at the same place the later one is seen.
    mounts.max_by_key(|(place, _): &(PathBuf, Mounted)| place.as_os_str().len()).map(|(_, mounted)| mounted)
}

fn judge_quota(mounted: Option<Mounted>) -> Verdict {
    let Some(Mounted { kind, options }) = mounted else {
        return skip("the file system of the homes is not in the list of mounts");
    };
    let on = options.split(',').any(|option| matches!(option, "prjquota" | "pquota"));
    let seen = match kind.as_str() {
        "xfs" | "ext4" if on => format!("{kind} with project quotas on, which sshbox does not set yet"),
        "xfs" | "ext4" => format!("{kind} without project quotas (mount option prjquota)"),
        _ => kind,
    };
    warn(
        format!("{seen}: a home can fill it"),
        "put homes (box.home) on a file system of their own, and watch disk: it fills for all users at once",
    )
}

#[cfg(test)]
mod tests {
    use super::super::verdict::State;
    use super::*;

    const TABLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 8:17 / /var/lib/sshbox rw,relatime shared:9 - xfs /dev/sdb1 rw,attr2,prjquota
31 22 0:25 / /var/lib/sshbox\\040two rw - tmpfs tmpfs rw,size=1g
32 30 8:33 / /var/lib/sshbox rw - ext4 /dev/sdc1 rw,prjquota
";

    #[test]
    fn the_mount_of_a_path_is_the_longest_and_the_last() {
        let kind = |path: &str| mount_of(Path::new(path), TABLE).map(|mounted| mounted.kind);
        assert_eq!(kind("/var/lib/sshbox/homes").as_deref(), Some("ext4"));
        assert_eq!(kind("/var/lib/sshbox two/x").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/var/lib/sshboxes").as_deref(), Some("ext4"));
        assert_eq!(mount_of(Path::new("/x"), ""), None);
        let options = mount_of(Path::new("/var/lib/sshbox"), TABLE).unwrap().options;
        assert!(options.ends_with("prjquota"), "{options}");
    }

    #[test]
    fn quotas_are_told() {
        let judge = |kind: &str, options: &str| {
            let verdict = judge_quota(Some(Mounted { kind: kind.to_owned(), options: options.to_owned() }));
            assert_eq!(verdict.state, State::Warn, "a hole is never ok");
            verdict.seen
        };
        assert!(judge("xfs", "rw,attr2,prjquota").contains("does not set yet"));
        assert!(judge("ext4", "rw,errors=remount-ro").contains("without project quotas"));
        assert_eq!(judge("btrfs", "rw"), "btrfs: a home can fill it");
        assert_eq!(judge_quota(None).state, State::Skip);
    }

    #[test]
    fn little_room_and_none_are_told() {
        let room = |free: u64, files| Room { bytes: (free, 100 << 30), files: (files, 1000) };
        let judge = |room| judge_space(&[("homes", room)]).state;
        assert_eq!(judge(room(50 << 30, 900)), State::Ok);
        assert_eq!(judge(room(4 << 30, 900)), State::Warn);
        assert_eq!(judge(room(50 << 30, 40)), State::Warn);
        assert_eq!(judge(room(50 << 30, 5)), State::Fail);
        assert_eq!(judge(room(50 << 20, 900)), State::Fail);
        assert_eq!(judge_space(&[]).state, State::Skip);
        let uncounted = Room { bytes: (50 << 30, 100 << 30), files: (0, 0) };
        assert_eq!(judge_space(&[("homes", uncounted)]).seen, "homes 50.0 GiB (50 %) free");
    }
}
