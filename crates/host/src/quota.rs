//! Which limit a home has on the disk, and what enforces it. The one place that decides this; `sshbox-disk`
//! acts on it, all others ask here.

use crate::account::Account;
use crate::config::{Config, ContainerConfig, QuotaMode};
use crate::limits::ContainerLimits;
use identity::Login;
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, lstat, major, minor, stat};
use serde::Serialize;
use session::procfs::{mount_table, mounts};
use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes of a home for each of its files: the ratio of mke2fs(8).
const BYTES_PER_FILE: u64 = 16 << 10;

/// Fewest files that a home may have, whatever its size.
const FILES_MIN: u64 = 1024;

/// What enforces the limit of a home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Project quotas of the file system of the homes.
    Project,
    /// An ext4 file system in a file for each home.
    Image,
    /// Nothing.
    None,
}

impl Backend {
    /// The backend for new homes.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        match config.disk.quota {
            QuotaMode::Project => Self::Project,
            QuotaMode::Image => Self::Image,
            QuotaMode::None => Self::None,
            QuotaMode::Auto => {
                let enforced = FileSystem::of(&homes(config)).is_some_and(|found| found.enforces_projects);
                if enforced { Self::Project } else { Self::None }
            }
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Project => "project",
            Self::Image => "image",
            Self::None => "none",
        })
    }
}

/// Whether `sshbox-disk` must prepare the home of `login` before a box uses it.
#[must_use]
pub fn concerns(config: &Config, login: &Login) -> bool {
    // Also with `quota = "none"`: a home that is in an image stays there.
    Backend::of(config) != Backend::None || is_unmounted(config, login) || has_image(config, login)
}

/// The name of a complete copy of a home, which becomes the image with this name.
#[must_use]
pub fn copy_name(image: &str) -> String {
    format!(".{image}.copied")
}

/// Whether the home is in an image and the image is not mounted.
#[must_use]
pub fn is_unmounted(config: &Config, login: &Login) -> bool {
    let home = PathBuf::from(config.container.home.fill(login));
    is_mount_point(&home) || lstat(&home) == Err(Errno::ENOENT) && has_image(config, login)
}

/// Whether the home has an image, or a complete copy that becomes its image. An image that cannot be looked at
/// counts: otherwise a new home could be made beside it.
#[must_use]
pub fn has_image(config: &Config, login: &Login) -> bool {
    let image = PathBuf::from(config.disk.image.fill(login));
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let copy = image.with_file_name(copy_name(&name));
    [image, copy].iter().any(|path| !matches!(lstat(path), Err(Errno::ENOENT | Errno::ENOTDIR)))
}

/// Whether this is the directory over which the image of a home is mounted, and nothing is mounted there:
/// it belongs to root and is closed even to its owner, as no home is.
#[must_use]
pub fn is_mount_point(home: &Path) -> bool {
    lstat(home).is_ok_and(|stat| is_closed(&stat))
}

/// [`is_mount_point`] for a directory that was found already.
#[must_use]
pub fn is_closed(stat: &FileStat) -> bool {
    stat.st_mode == SFlag::S_IFDIR.bits() && stat.st_uid == 0
}

/// The limit of one home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLimit {
    /// Bytes.
    pub bytes: u64,
    /// Files, directories and links.
    pub files: u64,
}

impl DiskLimit {
    /// The limit of the home of this account.
    #[must_use]
    pub fn of(config: &ContainerConfig, account: &Account) -> Self {
        let limits = ContainerLimits::resolve(&account.limits, &config.limits, &config.ceilings);
        Self::of_bytes(limits.disk.0)
    }

    /// The limit of a home with this size.
    #[must_use]
    pub fn of_bytes(bytes: u64) -> Self {
        Self { bytes, files: (bytes / BYTES_PER_FILE).max(FILES_MIN) }
    }
}

/// The directory of the homes: what stands before the last slash before `{user}`.
#[must_use]
pub fn homes(config: &Config) -> PathBuf {
    let (before, _) = config.container.home.parts();
    // The constraints of the configuration make the path absolute, so it has a slash.
    PathBuf::from(before.rsplit_once('/').map_or("/", |(dir, _)| if dir.is_empty() { "/" } else { dir }))
}

/// Where the home is in an entry of [`homes`], which most often is the home.
#[must_use]
pub fn home_in(entry: PathBuf, config: &Config) -> PathBuf {
    let (_, after) = config.container.home.parts();
    match after.split_once('/') {
        Some((_, rest)) => entry.join(rest),
        None => entry,
    }
}

/// The file system that holds a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Its type, like `ext4`.
    pub kind: String,
    /// A place where it is mounted.
    pub mount_point: PathBuf,
    /// Whether it is mounted with project quotas.
    pub enforces_projects: bool,
}

impl FileSystem {
    /// Find the file system of `directory`. `None` if the directory or its mount does not exist.
    #[must_use]
    pub fn of(directory: &Path) -> Option<Self> {
        let device = stat(directory).ok()?.st_dev;
        Self::in_table(&mount_table(None).ok()?, major(device), minor(device))
    }

    fn in_table(table: &str, major: u64, minor: u64) -> Option<Self> {
        let device = format!("{major}:{minor}");
        let found = mounts(table).find(|mount| mount.device == device)?;
        let quota = |option: &str| matches!(option, "prjquota" | "pquota");
        Some(Self {
            kind: found.file_system.to_owned(),
            mount_point: found.mount_point.into(),
            enforces_projects: matches!(found.file_system, "ext4" | "xfs")
                && found.options.split(',').any(quota),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_file_system_says_whether_it_enforces_projects() {
        let table = "1 0 8:1 / / rw - ext4 /dev/sda1 rw,errors=remount-ro\n\
            2 1 8:2 / /srv rw - ext4 /dev/sda2 rw,prjquota\n\
            3 1 8:3 / /homes rw - xfs /dev/sda3 rw,attr2,prjquota\n\
            4 1 8:4 / /data rw - xfs /dev/sda4 rw,pqnoenforce\n\
            5 1 0:9 / /run rw - tmpfs tmpfs rw,prjquota\n";
        let enforces =
            |minor| FileSystem::in_table(table, 8, minor).map(|found| (found.kind, found.enforces_projects));
        assert_eq!(enforces(1), Some(("ext4".to_owned(), false)));
        assert_eq!(enforces(2), Some(("ext4".to_owned(), true)));
        assert_eq!(enforces(3), Some(("xfs".to_owned(), true)));
        assert_eq!(enforces(4), Some(("xfs".to_owned(), false)));
        assert_eq!(enforces(5), None);
        assert!(!FileSystem::in_table(table, 0, 9).unwrap().enforces_projects);
        assert_eq!(FileSystem::in_table(table, 8, 3).unwrap().mount_point, Path::new("/homes"));
    }

    #[test]
    fn every_16_kib_are_a_file_and_no_home_has_few() {
        assert_eq!(DiskLimit::of_bytes(50 << 30).files, 3_276_800);
        assert_eq!(DiskLimit::of_bytes(1 << 20).files, FILES_MIN);
    }

    #[test]
    fn p5_a_home_is_in_its_image_although_its_mount_point_is_missing() {
        let (dir, alice) = (tempfile::tempdir().unwrap(), Login::parse(b"alice").unwrap());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = Config::default();
        config.disk.quota = QuotaMode::None;
        config.disk.image = path("{user}.img").parse().unwrap();
        config.container.home = path("{user}").parse().unwrap();
        assert!(!has_image(&config, &alice) && !concerns(&config, &alice));
        for name in ["alice.img", ".alice.img.copied"] {
            fs::write(path(name), "").unwrap();
            assert!(has_image(&config, &alice) && concerns(&config, &alice), "{name}");
            fs::remove_file(path(name)).unwrap();
        }
        // Beside a directory: `sshbox-disk` decides which of the two is the home.
        fs::create_dir(path("alice")).unwrap();
        assert!(!concerns(&config, &alice));
        fs::write(path("alice.img"), "").unwrap();
        assert!(concerns(&config, &alice));
    }

    #[test]
    fn homes_are_found_wherever_the_login_name_stands_in_their_path() {
        let mut config = Config::default();
        for (template, dir, entry) in [
            ("/srv/homes/{user}", "/srv/homes", "/srv/homes/x"),
            ("/srv/homes/u-{user}/home", "/srv/homes", "/srv/homes/x/home"),
            ("/{user}", "/", "/x"),
        ] {
            config.container.home = template.parse().unwrap();
            assert_eq!(homes(&config), Path::new(dir));
            assert_eq!(home_in(homes(&config).join("x"), &config), Path::new(entry));
        }
    }

    #[test]
    fn a_directory_that_somebody_may_enter_is_no_mount_point() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_mount_point(dir.path()) && !is_mount_point(&dir.path().join("none")));
    }

    #[test]
    fn p5_an_image_without_its_mount_point_is_a_home() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        let mut config = Config::default();
        config.container.home = format!("{path}/homes/{{user}}").parse().unwrap();
        config.disk.image = format!("{path}/{{user}}.img").parse().unwrap();
        config.disk.quota = QuotaMode::None;
        let alice = Login::parse(b"alice").unwrap();
        let found = || (concerns(&config, &alice), is_unmounted(&config, &alice));
        assert_eq!(found(), (false, false));
        for name in ["alice.img", ".alice.img.copied"] {
            std::fs::write(dir.path().join(name), "").unwrap();
            assert_eq!(found(), (true, true), "{name}");
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("alice.img"), "").unwrap();
        std::fs::create_dir_all(dir.path().join("homes/alice")).unwrap();
        assert_eq!(found(), (true, false), "somebody may enter it");
    }

    #[test]
    fn an_account_gets_what_it_asks_for_up_to_the_ceiling() {
        let config = ContainerConfig::default();
        let limit = |disk: &str| {
            let json = format!(r#"{{"user":"alice","keys":[],"limits":{{{disk}}}}}"#);
            DiskLimit::of(&config, &serde_json::from_str(&json).unwrap()).bytes
        };
        assert_eq!(limit(""), 50 << 30);
        assert_eq!(limit(r#""disk":"80GiB""#), 80 << 30);
        assert_eq!(limit(r#""disk":"1TiB""#), 100 << 30);
    }
}
