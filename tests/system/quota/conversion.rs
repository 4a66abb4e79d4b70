//! `sshbox quota`: a home from before gets a limit, and a home in an image another one.

use super::{forget, image, images, size, stop, unmount};
use crate::harness::{Changed, Undo, User, text, world_alone};
use std::fs;
use std::path::Path;
use std::process::Command;

fn quota(user: &User) -> (bool, String) {
    let output = Command::new("sshbox").args(["quota", &user.name]).output().unwrap();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn p5_a11_a_home_from_before_is_copied_and_kept() {
    let _world = world_alone();
    let user = User::new("converted");
    let kept = "/var/lib/sshbox/homes/.converted.sshbox-before-quota";
    let _gone = Undo(|| {
        forget(&user);
        let _ = fs::remove_dir_all(kept);
    });
    // Links that lead out, a hard link, a hole, modes: what a copy may get wrong.
    user.says(
        "mkdir -m 711 'a b'; echo one > 'a b/one'; ln 'a b/one' second; ln -s /etc/shadow shadow; ln -s / root;
         truncate -s 1G hole; mkfifo fifo; chmod 600 second; echo -n > \"$(printf 'new\\nline')\"",
    );
    let look = "find . -mindepth 1 -path './.local*' -o -type d -printf '%P %y %m\\n' -o -printf '%P %y %m %s %n %l\\n' | sort";
    let before = user.says(look);
    let (done, said) = quota(&user);
    assert!(!done && said.contains("nothing limits the home of converted on this host"), "{said}");

    let _images = images();
    // It stays as it is until the admin says so.
    assert_eq!(user.says(look), before);
    assert!(!image(&user).exists());
    let doctor = Command::new("sshbox").args(["doctor", "disk"]).output().unwrap();
    assert!(text(&doctor.stdout).contains("sshbox quota"), "{doctor:?}");

    // What a killed command left: a copy that is complete, but the home has not been moved. It is not used.
    fs::write("/var/lib/sshbox/images/.converted.img.copied", "old").unwrap();
    stop(&user);
    assert_eq!(user.says(look), before);
    assert!(!Path::new("/var/lib/sshbox/images/.converted.img.copied").exists());

    let (done, said) = quota(&user);
    assert!(done && said.contains("is limited to 32.0 MiB by its image") && said.contains(kept), "{said}");
    assert_eq!(user.says(look), before);
    assert!(size(&user) < 32_768);
    assert!(fs::read_to_string(format!("{kept}/a b/one")).unwrap() == "one\n");
    assert!(!Path::new("/var/lib/sshbox/homes/.converted.sshbox-copy").exists());
    user.says("echo later > later");

    // Killed after the home was moved, and before the copy became the image.
    stop(&user);
    unmount(&user);
    fs::rename(image(&user), "/var/lib/sshbox/images/.converted.img.copied").unwrap();
    fs::remove_dir(user.home()).unwrap();
    assert_eq!(user.says("cat later"), "later\n");

    // Larger, then smaller: only as small as what is in it.
    let _size = Changed::config("disk = \"32MiB\"", "disk = \"64MiB\"");
    let (done, said) = quota(&user);
    assert!(done && said.contains("64.0 MiB"), "{said}");
    assert!(size(&user) > 32_768);
    {
        let _smaller = Changed::config("disk = \"64MiB\"", "disk = \"40MiB\"");
        assert!(size(&user) > 50_000, "a login does not shrink it");
        let (done, said) = quota(&user);
        assert!(done && said.contains("40.0 MiB"), "{said}");
        assert!(size(&user) < 41_000);
    }
    let (done, said) = quota(&user);
    assert!(done, "{said}");
    user.says("head -c 40M /dev/urandom > big");
    let _smaller = Changed::config("disk = \"64MiB\"", "disk = \"20MiB\"");
    let (done, said) = quota(&user);
    assert!(!done && said.contains("the home is as it was"), "{said}");
    assert_eq!(user.says("stat -c %s big; cat later"), "41943040\nlater\n");
}
