//! Homes with a limit on the disk, in images: hard limits, growth, crashes, reboots and conversions. Project
//! quotas need another kernel: tests/vm.

use crate::harness::{Changed, Undo, User, alice, run, text, until, world_alone};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

mod conversion;

const QUOTA: (&str, &str) = ("quota = \"auto\"", "quota = \"image\"");
const SIZE: &str = "disk = \"50GiB\"";

/// Homes are in images of 32 MiB, until this is dropped.
fn images() -> (Changed, Changed) {
    // Dropped in this order: each writes back what it found.
    let size = Changed::config(SIZE, "disk = \"32MiB\"");
    let quota = Changed::config(QUOTA.0, QUOTA.1);
    (quota, size)
}

fn image(user: &User) -> PathBuf {
    PathBuf::from(format!("/var/lib/sshbox/images/{}.img", user.name))
}

/// Bytes that the image takes on the host's disk.
fn taken(user: &User) -> u64 {
    fs::metadata(image(user)).unwrap().blocks() * 512
}

/// Removes the box, the mount, the image and the home.
fn forget(user: &User) {
    let _ = Command::new("docker").args(["rm", "-f", &user.container()]).output();
    let _ = Command::new("umount").arg(user.home()).output();
    let _ = fs::remove_file(image(user));
    let _ = fs::remove_dir_all(user.home());
}

fn stop(user: &User) {
    run("sshbox", &["stop", &user.name]);
}

/// As a reboot does.
fn unmount(user: &User) {
    run("umount", &[&user.home()]);
    until("the loop device is free", || !is_attached(user));
}

fn is_attached(user: &User) -> bool {
    !run("losetup", &["--associated", image(user).to_str().unwrap()]).is_empty()
}

/// The size of the home in the box, in KiB.
fn size(user: &User) -> u64 {
    user.says("df --block-size 1K --output=size ~ | tail -n 1").trim().parse().unwrap()
}

/// What a login is told that is refused.
fn refusal(user: &User) -> String {
    let output = user.ssh().run("true");
    assert!(!output.status.success(), "{output:?}");
    text(&output.stderr)
}

#[test]
fn a12_f14_a_home_in_an_image_has_a_hard_limit_and_a_full_one_works() {
    let _world = world_alone();
    let neighbour = alice();
    let _images = images();
    let user = User::new("filler");
    let _gone = Undo(|| forget(&user));

    // A home like any other, of its own file system.
    assert_eq!(user.says("stat -c %U:%a ~; ls -A ~ | grep lost; true"), "filler:700\n");
    assert!((20_000..32_768).contains(&size(&user)), "{}", size(&user));
    let options = run("findmnt", &["--noheadings", "--output", "OPTIONS,FSTYPE", &user.home()]);
    for option in ["nosuid", "nodev", "noatime", "discard", "ext4"] {
        assert!(options.contains(option), "{options}");
    }
    assert!(taken(&user) < 16 << 20, "{}", taken(&user));

    // Bytes.
    assert_ne!(user.ssh().status("head -c 100M /dev/urandom > bomb 2>/dev/null"), 0);
    assert!(taken(&user) <= 32 << 20, "{}", taken(&user));
    assert_eq!(neighbour.says("echo x > disk-neighbour && cat disk-neighbour && rm disk-neighbour"), "x\n");
    // A few blocks come free when the kernel has written what it had promised room for.
    assert_ne!(user.ssh().status("sync bomb; head -c 4M /dev/urandom > more 2>/dev/null && sync more"), 0);
    let mut terminal = user.ssh().terminal(24, 160, &[]);
    terminal.shows("% full (");
    terminal.shows("delete files, or ask your admin for a larger home");
    drop(terminal);
    let status = user.says("@status");
    let disk = status.lines().find(|line| line.starts_with("disk ")).unwrap();
    assert!(disk.contains(" MiB of ") && !disk.contains("shared"), "{disk}");
    let list: serde_json::Value = serde_json::from_str(&run("sshbox", &["list", "--json"])).unwrap();
    let one = list.as_array().unwrap().iter().find(|one| one["user"] == "filler").unwrap();
    assert!((20 << 20..32 << 20).contains(&one["disk"]["limit"].as_u64().unwrap()), "{one}");

    // What the user deletes goes back to the host.
    assert_eq!(user.says("rm -f bomb more; sync ~; echo there > note; cat note"), "there\n");
    until("the host has its space again", || taken(&user) < 16 << 20);

    // Files.
    let many = "i=0; while : > f$i; do i=$((i+1)); [ $i -lt 9000 ] || exit 9; done 2>/dev/null; exit 3";
    assert_eq!(user.ssh().status(many), 3);
    let mut terminal = user.ssh().terminal(24, 160, &[]);
    terminal.shows("files that it may have, 100 %");
    drop(terminal);
    assert_eq!(user.says("rm -f f*; echo x > y; cat y note"), "x\nthere\n");
}

#[test]
fn p5_a_home_in_an_image_survives_reboots_growth_and_crashes_at_each_step() {
    let _world = world_alone();
    let _images = images();
    let user = User::new("survivor");
    let _gone = Undo(|| forget(&user));
    // An earlier attempt was killed while it made the image.
    fs::write("/var/lib/sshbox/images/.survivor.img.new", "half").unwrap();
    // Two starts at once, and more.
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| user.says("true"));
        }
    });
    assert!(!Path::new("/var/lib/sshbox/images/.survivor.img.new").exists());
    user.says("echo mine > note");

    // A reboot.
    stop(&user);
    unmount(&user);
    let point = fs::metadata(user.home()).unwrap();
    assert_eq!((point.uid(), point.mode() & 0o7777), (0, 0));
    assert_eq!(user.says("cat note"), "mine\n");

    // Killed between the loop device and the mount.
    stop(&user);
    unmount(&user);
    run("losetup", &["--find", "--show", image(&user).to_str().unwrap()]);
    assert_eq!(user.says("cat note"), "mine\n");
    // One device: two would destroy the file system.
    let devices = run("losetup", &["--associated", image(&user).to_str().unwrap()]);
    assert_eq!(devices.lines().count(), 1, "{devices}");

    // Killed between the image and its mount point.
    stop(&user);
    unmount(&user);
    fs::remove_dir(user.home()).unwrap();
    assert_eq!(user.says("cat note"), "mine\n");

    // A higher limit applies at the next start, although the image has stayed mounted.
    let before = size(&user);
    stop(&user);
    {
        let _larger = Changed::config("disk = \"32MiB\"", "disk = \"64MiB\"");
        assert!(size(&user) > before + 20_000, "{} {before}", size(&user));
        assert_eq!(user.says("cat note"), "mine\n");
        // Killed after the file was extended.
        stop(&user);
        let file = fs::File::options().write(true).open(image(&user)).unwrap();
        file.set_len(96 << 20).unwrap();
        assert!(size(&user) < 70_000);
    }
    let _larger = Changed::config("disk = \"32MiB\"", "disk = \"96MiB\"");
    stop(&user);
    assert!(size(&user) > 70_000, "{}", size(&user));
    assert_eq!(user.says("cat note"), "mine\n");

    // The configuration changes: the home is where it was.
    stop(&user);
    unmount(&user);
    let _none = Changed::config(QUOTA.1, "quota = \"none\"");
    assert_eq!(user.says("cat note"), "mine\n");
}

#[test]
fn p5_f13_no_other_home_is_made_in_place_of_an_image() {
    let _world = world_alone();
    let _images = images();
    let user = User::new("replaced");
    let _gone = Undo(|| forget(&user));
    let image = image(&user);

    // A link in place of an image.
    symlink("/etc/passwd", &image).unwrap();
    assert!(refusal(&user).contains("your home cannot be prepared; tell your admin"));
    fs::remove_file(&image).unwrap();
    assert!(!Path::new(&user.home()).exists());

    // The disk of the images is full: nothing is left, and then it works.
    run("mount", &["-t", "tmpfs", "-o", "size=16k,mode=0700", "tmpfs", "/var/lib/sshbox/images"]);
    let full = Undo(|| drop(Command::new("umount").arg("/var/lib/sshbox/images").status()));
    let said = refusal(&user);
    assert!(said.contains("your home cannot be prepared; tell your admin"), "{said}");
    let left: Vec<_> =
        fs::read_dir("/var/lib/sshbox/images").unwrap().map(|one| one.unwrap().file_name()).collect();
    assert_eq!(left, [".replaced.img.lock"]);
    drop(full);
    user.says("echo mine > note");

    // The image is gone.
    stop(&user);
    unmount(&user);
    let away = image.with_extension("away");
    fs::rename(&image, &away).unwrap();
    let said = refusal(&user);
    assert!(said.contains("no other home is made in its place"), "{said}");
    {
        let _none = Changed::config(QUOTA.1, "quota = \"none\"");
        assert!(refusal(&user).contains("no other home is made in its place"));
    }
    // Neither the disk of the homes nor that of the images is mounted.
    fs::remove_dir(user.home()).unwrap();
    for quota in [QUOTA.0, "quota = \"none\"", QUOTA.1] {
        let _quota = (quota != QUOTA.1).then(|| Changed::config(QUOTA.1, quota));
        let said = refusal(&user);
        assert!(said.contains("your home is missing on this host"), "{quota}: {said}");
        assert!(!Path::new(&user.home()).exists() && !image.exists(), "{quota}");
    }
    // Damage that needs an admin: no file system at all.
    fs::copy("/etc/passwd", &image).unwrap();
    assert!(refusal(&user).contains("the file system of your home is damaged"));
    fs::rename(&away, &image).unwrap();

    // A second home.
    let _ = fs::remove_dir(user.home());
    fs::create_dir(user.home()).unwrap();
    assert!(refusal(&user).contains("two homes"));
    fs::remove_dir(user.home()).unwrap();
    {
        // The mount point was on a disk that is not mounted: the home is in its image all the same.
        let _none = Changed::config(QUOTA.1, "quota = \"none\"");
        assert_eq!(user.says("cat note"), "mine\n");
    }

    // Without the service the login says so.
    stop(&user);
    fs::rename("/run/sshbox/disk.sock", "/run/sshbox/disk.away").unwrap();
    let _back = Undo(|| {
        let _ = fs::rename("/run/sshbox/disk.away", "/run/sshbox/disk.sock");
    });
    assert!(refusal(&user).contains("the disk service does not answer"));
}

#[test]
fn only_root_reaches_the_disk_service() {
    let _world = world_alone();
    let socket = fs::metadata("/run/sshbox/disk.sock").unwrap();
    assert_eq!((socket.uid(), socket.gid(), socket.mode() & 0o777), (0, 0, 0o600));
    let said = run("sh", &["-c", "sshbox doctor disk || true"]);
    assert!(said.contains("homes have no limit"), "{said}");
}
