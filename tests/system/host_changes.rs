//! Changes to the host's files while sshbox's sshd runs: editors, dpkg and logrotate replace them by rename, truncate
//! them or remove them. No login fails because of that, and sshd uses the new files.

use crate::harness::{Changed, Undo, User, private_world, run, text, until, world_alone};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

const NSSWITCH: &str = "/etc/nsswitch.conf";
const WTMP: &str = "/var/log/wtmp";

/// Restores a file of the host when this is dropped.
fn restored(path: &'static str) -> Undo<impl Fn()> {
    let (before, mode) = (fs::read(path).unwrap(), fs::metadata(path).unwrap().permissions());
    Undo(move || {
        fs::write(path, &before).unwrap();
        fs::set_permissions(path, mode.clone()).unwrap();
    })
}

fn sh(script: &str) {
    run("sh", &["-ec", script]);
}

fn assert_login_works(user: &User, after: &str) {
    let output = user.ssh().run("echo in");
    assert_eq!(
        (text(&output.stdout).as_str(), output.status.code()),
        ("in\n", Some(0)),
        "{after}: {output:?}"
    );
}

/// The pid of sshbox's sshd that listens, and its start time.
fn sshd_listener() -> (String, String) {
    let file = fs::read_to_string("/run/sshbox-by-hand/sshd.pid").unwrap();
    let (pid, start) = file.trim().split_once(' ').unwrap();
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.contains("sshd -D -f /etc/sshbox/sshd_config") && line.contains("listener"), "{line:?}");
    (pid.to_owned(), start.to_owned())
}

#[test]
fn no_change_to_nsswitch_conf_on_the_host_prevents_a_login() {
    let _world = private_world();
    let _back = restored(NSSWITCH);
    let user = User::new("unlocked");
    let sshd = sshd_listener();
    let ways = [
        "sed -i 's/^hosts:.*/& # '$0/ /etc/nsswitch.conf",
        "cp /etc/nsswitch.conf /etc/nsswitch.new; mv /etc/nsswitch.new /etc/nsswitch.conf",
        "cp /etc/nsswitch.conf /tmp/new; cp --remove-destination /tmp/new /etc/nsswitch.conf",
        "cp /etc/nsswitch.conf /tmp/new; : >/etc/nsswitch.conf",
        "cp /tmp/new /etc/nsswitch.conf; rm /etc/nsswitch.conf",
        "cp /tmp/new /etc/nsswitch.conf",
    ];
    for round in 0..50 {
        for way in ways {
            run("sh", &["-ec", way, &round.to_string()]);
            // In the first round a login follows each change; later rounds make one change each.
            if round == 0 || round % ways.len() == ways.iter().position(|one| *one == way).unwrap() {
                assert_login_works(&user, &format!("round {round}: {way}"));
            }
        }
        assert_login_works(&user, &format!("round {round}"));
    }
    // The host's own programs still use the host's own file.
    fs::write(NSSWITCH, "passwd: files\nhosts: files\nservices:\n").unwrap();
    assert!(!Command::new("getent").args(["services", "ssh"]).status().unwrap().success());
    assert!(!Command::new("getent").args(["passwd", "unlocked"]).status().unwrap().success());
    assert_eq!(sshd_listener(), sshd, "the same sshd, never restarted");
}

#[test]
fn a_missing_or_empty_etc_group_prevents_no_login() {
    let _world = private_world();
    let user = User::new("grouped");
    assert_login_works(&user, "before");
    let _back = restored("/etc/group");
    for way in [": >/etc/group", "rm /etc/group"] {
        sh(way);
        assert_login_works(&user, way);
        let mut terminal = user.ssh().terminal(24, 80, &[]);
        terminal.types("exit 7\r");
        assert_eq!(terminal.ends(), 7, "{way}");
    }
}

#[test]
fn a_package_that_edits_nsswitch_conf_prevents_no_login() {
    let _alone = world_alone();
    let _back = restored(NSSWITCH);
    let user = User::new("mdns");
    assert_login_works(&user, "before");
    // Its postinst edits the file with `sed -i`. tests/system/prepare has fetched it.
    sh("dpkg --install target/packages/libnss-mdns_*.deb");
    let gone = Undo(|| drop(run("dpkg", &["--purge", "libnss-mdns"])));
    assert!(fs::read_to_string(NSSWITCH).unwrap().contains("mdns4_minimal"));
    assert_login_works(&user, "with the package");
    drop(gone);
    assert!(!fs::read_to_string(NSSWITCH).unwrap().contains("mdns4_minimal"));
    assert_login_works(&user, "without it");
}

#[test]
fn after_logrotate_logins_are_in_the_new_wtmp_and_never_in_lastlog() {
    let _alone = world_alone();
    let user = User::new("rotated");
    let _back = Undo(|| drop(fs::remove_file("/tmp/rotate.conf")));
    fs::write("/tmp/rotate.conf", format!("{WTMP} {{\n create 0664 root utmp\n rotate 9\n}}\n")).unwrap();
    fs::set_permissions("/tmp/rotate.conf", fs::Permissions::from_mode(0o644)).unwrap();
    let lastlog = fs::metadata("/var/log/lastlog").unwrap().len();
    for round in 0..5 {
        let before = lines_of_last(WTMP).len();
        user.ssh().terminal(24, 80, &["tty"]).ends();
        // Wait for the logout too: without it `last` shows the session as open for ever.
        until("login and logout are in wtmp", || {
            let lines = lines_of_last(WTMP);
            lines.len() == before + 1 && lines.iter().all(|line| line.contains(" - "))
        });
        run("logrotate", &["--force", "--state", "/tmp/rotate.state", "/tmp/rotate.conf"]);
        assert_eq!(fs::metadata(WTMP).unwrap().len(), 0, "round {round}");
    }
    let rotated: usize = (1..=5).map(|number| lines_of_last(&format!("{WTMP}.{number}")).len()).sum();
    assert_eq!(rotated, 5);
    assert_eq!(fs::metadata("/var/log/lastlog").unwrap().len(), lastlog);
}

/// Lines of `last` about the test's user in this file.
fn lines_of_last(file: &str) -> Vec<String> {
    let said = run("last", &["--file", file, "rotated"]);
    said.lines().filter(|line| line.starts_with("rotated ")).map(str::to_owned).collect()
}

#[test]
fn sshd_sees_files_that_the_host_replaces_or_adds_in_etc() {
    let _alone = world_alone();
    let (pid, _) = sshd_listener();
    let sees =
        |path: &str| run("nsenter", &[&format!("--mount=/proc/{pid}/ns/mnt"), "cat", path]).trim().to_owned();
    // systemd-resolved uses such a link: a relative path that leads out of /etc.
    let _resolv = restored("/etc/resolv.conf");
    sh("cp /etc/resolv.conf /run/stub-resolv.conf; echo 'nameserver 192.0.2.53' >/run/stub-resolv.conf
        ln -s ../run/stub-resolv.conf /etc/resolv.new; mv -T /etc/resolv.new /etc/resolv.conf");
    assert_eq!(sees("/etc/resolv.conf"), "nameserver 192.0.2.53");
    sh("rm /etc/resolv.conf; echo 'nameserver 192.0.2.54' >/etc/resolv.conf");
    assert_eq!(sees("/etc/resolv.conf"), "nameserver 192.0.2.54");
    // A file that did not exist when sshd started.
    assert!(!Path::new("/etc/nologin").exists());
    {
        let _nologin = Undo(|| fs::remove_file("/etc/nologin").unwrap());
        fs::write("/etc/nologin", "closed\n").unwrap();
        assert_eq!(sees("/etc/nologin"), "closed");
    }
    // A new directory: visible after the next run of the script that the reaper's timer also runs.
    let _site = Undo(|| fs::remove_dir_all("/etc/mysite").unwrap());
    sh("mkdir -p /etc/mysite; echo one >/etc/mysite/ca.pem; /usr/lib/sshbox/sshbox-sshd-view");
    assert_eq!(sees("/etc/mysite/ca.pem"), "one");
    sh("echo two >/etc/mysite/new; mv /etc/mysite/new /etc/mysite/ca.pem");
    assert_eq!(sees("/etc/mysite/ca.pem"), "two");
    // sshd can change none of these files.
    let script =
        "for file in /etc/x /etc/sshbox/x /run/sshbox/host/etc/x /var/log/lastlog /var/log/x /run/x; do
        if echo x 2>/dev/null >>$file; then echo $file; fi; done";
    let written = run("nsenter", &[&format!("--mount=/proc/{pid}/ns/mnt"), "sh", "-c", script]);
    assert_eq!(written, "");
}

#[test]
fn keys_and_doctor_report_an_sshd_that_resolves_no_names_and_the_fix() {
    let _alone = world_alone();
    let user = User::new("nameless");
    assert_login_works(&user, "before");
    let keys = || run("sshbox", &["keys", "nameless"]);
    assert!(keys().contains("name     resolves to uid "), "{}", keys());
    let nss = || {
        let said = Command::new("sshbox").args(["doctor", "nss"]).output().unwrap();
        text(&said.stdout)
    };
    // An sshd without the mounts of the unit. Earlier versions had this state after the host had replaced the file
    // below the mount.
    let mounts = "/usr/lib/systemd/system/sshbox-sshd.service";
    {
        let _unit = Changed::file(mounts, "/run/sshbox/view/etc:/etc ", "");
        run("packaging/demo/without-systemd", &["stop"]);
        run("packaging/demo/without-systemd", &["start"]);
    }
    let refused = user.ssh().run("true");
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    assert!(keys().contains("name     does not resolve in the running sshd"), "{}", keys());
    assert!(keys().contains("systemctl restart sshbox-sshd"), "{}", keys());
    assert!(nss().contains("the running sshd knows no login name"), "{}", nss());
    assert!(nss().contains("systemctl restart sshbox-sshd"), "{}", nss());
    // The suggested command fixes it.
    run("packaging/demo/without-systemd", &["stop"]);
    run("packaging/demo/without-systemd", &["start"]);
    assert_login_works(&user, "after the cure");
    assert!(keys().contains("name     resolves to uid "), "{}", keys());
    assert!(nss().contains("a name has its uid in the running sshd"), "{}", nss());
    // Without the package's file, a restart is not enough.
    let (ours, aside) = ("/usr/share/sshbox/nsswitch.conf", "/usr/share/sshbox/nsswitch.aside");
    fs::rename(ours, aside).unwrap();
    let back = Undo(|| fs::rename(aside, ours).unwrap());
    assert!(nss().contains("apt install --reinstall sshbox"), "{}", nss());
    drop(back);
    // A regular file in place of the link: the next run of the script fixes it, and so does a
    // restart.
    sh("cp /etc/nsswitch.conf /run/sshbox/view/etc/foreign
        mv -T /run/sshbox/view/etc/foreign /run/sshbox/view/etc/nsswitch.conf");
    assert_eq!(user.ssh().status("true"), 255);
    sh("/usr/lib/sshbox/sshbox-sshd-view");
    assert_login_works(&user, "after a foreign file in place of the link");
}
