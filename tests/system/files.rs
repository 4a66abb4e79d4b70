//! Files that sshbox keeps on the host: a kill or a power loss leaves no file that prevents a login, and logins work
//! without the cache.

use crate::harness::{Changed, STATE, Undo, User, journal, manage, run, text, until, world, world_alone};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use session::wire::{Fields, Socket};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

const HOMES: &str = "/var/lib/sshbox/homes";
const SPARE: &str = "/run/sshbox/accounts";

fn note(user: &User) -> String {
    format!("{HOMES}/.{}.sshbox-id", user.name)
}

/// Runs sshbox-keys as sshd does.
fn keys(arguments: &[&str]) -> Output {
    Command::new("setpriv")
        .args(["--reuid", "sshbox-keys", "--regid", "sshbox-keys", "--clear-groups"])
        .arg("/usr/lib/sshbox/sshbox-keys")
        .args(arguments)
        .output()
        .unwrap()
}

/// Wakes this box as root. sshbox-wake is killed at its call number `when` of this system call.
fn wake_killed_at(user: &User, call: &str, when: u32) -> ExitStatus {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    Socket::from_fd(ours).send(&Fields::default().with("wake", user.name.as_bytes()), &[]).unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={when}")]);
    strace.arg("/usr/lib/sshbox/sshbox-wake").stdin(Stdio::from(theirs)).status().unwrap()
}

#[test]
fn f32_a_start_that_is_killed_at_any_step_leaves_a_home_that_the_next_login_completes() {
    let _world = world();
    let calls =
        ["mkdir", "chmod", "mkdirat", "ftruncate", "fchmod", "fchown", "fsync", "renameat", "renameat2"];
    let names: Vec<String> = (0..90).map(|n| format!("killed{n}")).collect();
    let mut users = User::many(&names).into_iter();
    let mut killed = Vec::new();
    for call in calls {
        for when in 1.. {
            let (user, id) = users.next().unwrap();
            // The account is in the cache, as after a login.
            assert!(keys(&["--fingerprint", "none", "--", &user.name]).status.success());
            let ended = wake_killed_at(&user, call, when);
            let step = format!("{call} {when}: {ended}");
            if ended.signal() != Some(9) {
                assert!(ended.success(), "{step}");
                run("docker", &["rm", "-f", &user.container()]);
                break;
            }
            killed.push(format!("{call} {when}"));
            let next = user.ssh().run("touch kept && stat -c '%u %a' .");
            let own = 1_700_000_000 + id.parse::<u32>().unwrap();
            assert_eq!(text(&next.stdout), format!("{own} 700\n"), "{step}: {next:?}");
            assert_eq!(fs::read_to_string(note(&user)).unwrap(), format!("{id}\n"), "{step}");
            let left = fs::read_dir(HOMES).unwrap().map(|entry| entry.unwrap().file_name());
            let left: Vec<_> = left
                .filter_map(|name| name.into_string().ok())
                .filter(|name| {
                    name.contains(&format!(".{}.", user.name)) && *name != format!(".{}.sshbox-id", user.name)
                })
                .collect();
            assert!(left.is_empty(), "{step}: {left:?}");
            run("docker", &["rm", "-f", &user.container()]);
        }
    }
    // The kills covered the steps that create the home and the account note.
    for step in ["mkdirat 1", "fchmod 2", "fchown 4", "fsync 4", "renameat 1", "renameat2 1"] {
        assert!(killed.iter().any(|one| one == step), "{step}: {killed:?}");
    }
}

#[test]
fn f32_a_torn_account_note_or_a_home_owned_by_root_prevents_no_login() {
    let _world = world();
    let user = User::new("torn");
    user.says("echo thesis > file");
    let whole = fs::read_to_string(note(&user)).unwrap();
    // ext4 can leave such a file after a rename without a flush.
    for torn in ["", "\0\0\0", &whole[..whole.len() - 1]] {
        run("docker", &["rm", "-f", &user.container()]);
        fs::write(note(&user), torn).unwrap();
        assert_eq!(user.says("cat file"), "thesis\n", "{torn:?}");
        assert_eq!(fs::read_to_string(note(&user)).unwrap(), whole, "{torn:?}");
    }
    // An earlier version could leave such a home when it was killed between mkdir and chown.
    let user = User::new("half");
    fs::create_dir(user.home()).unwrap();
    fs::set_permissions(user.home(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_ne!(user.says("touch kept && stat -c %u ."), "0\n");
    assert!(user.box_uid() >= 1_700_000_000);
}

/// Number of log entries that report a cache that cannot be written.
fn reports() -> usize {
    journal().matches("cache not written").count()
}

fn assert_logins_work(what: &str, name: &str) {
    let before = reports();
    // Neither their keys nor their limits are cached.
    let (first, second) = (User::new(&format!("{name}1")), User::new(&format!("{name}2")));
    assert_eq!(first.says("echo in"), "in\n", "{what}");
    assert_eq!(second.says("echo in") + &first.says("echo in"), "in\nin\n", "{what}");
    assert!(first.says("@status").starts_with("box        sshbox-"), "{what}");
    assert_eq!(reports() - before, 1, "{what}");
    assert!(Path::new(&format!("{SPARE}/.{name}1.json")).exists(), "{what}");
    // A refusal takes effect.
    manage(&["sshbox_key", "remove", &first.name, &format!("{STATE}/key.pub")]);
    assert_eq!(first.ssh().status("true"), 255, "{what}");
    // Without the web app the last answer is used.
    run("tests/system/web", &["stop"]);
    let _web = Undo(|| {
        run("tests/system/web", &["start"]);
        until("Django replies", || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--output", "/dev/null", "http://127.0.0.1:8000/"]);
            curl.status().unwrap().success()
        });
    });
    until("Django has ended", || fs::metadata(format!("{STATE}/web.pid")).is_err());
    assert_eq!(second.says("echo in"), "in\n", "{what}");
    assert_eq!(first.ssh().status("true"), 255, "{what}");
}

/// Checks that a login with a working cache removes the replacement of the cache.
fn assert_replacement_removed(name: &str) {
    let user = User { name: format!("{name}2") };
    user.says("true");
    assert!(!Path::new(SPARE).join(".told").exists());
    assert!(!Path::new(&format!("{SPARE}/.{}.json", user.name)).exists());
}

#[test]
fn f33_logins_work_without_a_cache_and_the_journal_reports_it_once() {
    let _world = world_alone();
    let cache = "cache = \"/var/cache/sshbox\"";
    {
        let _config = Changed::config(cache, "cache = \"/var/cache/missing\"");
        assert_logins_work("missing", "cacheless");
        let check = keys(&["--check"]);
        let said = text(&check.stderr);
        assert!(
            check.status.success() && said.contains("cache /var/cache/missing cannot be written"),
            "{said}"
        );
        let doctor = Command::new("sshbox").args(["doctor", "--json", "directories"]).output().unwrap();
        assert!(text(&doctor.stdout).contains("cache /var/cache/missing cannot be written"), "{doctor:?}");
    }
    assert_replacement_removed("cacheless");
    assert_eq!(text(&keys(&["--check"]).stderr), "");
    {
        // For sshd and its children /var is read-only except for the directories of the unit.
        run("install", &["-d", "-m", "0700", "-o", "sshbox-keys", "-g", "sshbox-keys", "/var/cache/closed"]);
        let _config = Changed::config(cache, "cache = \"/var/cache/closed\"");
        assert_logins_work("read-only", "closed");
    }
    assert_replacement_removed("closed");
    let sshd = fs::read_to_string("/run/sshbox-by-hand/sshd.pid").unwrap();
    let pid = sshd.split_whitespace().next().unwrap().to_owned();
    let there = |command: &str| run("nsenter", &["-t", &pid, "-m", "sh", "-c", command]);
    there(
        "mount -t tmpfs -o size=4k,mode=0700,uid=$(id -u sshbox-keys),gid=$(id -g sshbox-keys) tmpfs /var/cache/sshbox &&
         head -c 4096 /dev/zero > /var/cache/sshbox/fills",
    );
    {
        let _mounted = Undo(|| drop(there("umount /var/cache/sshbox")));
        assert_logins_work("full", "full");
    }
    assert_replacement_removed("full");
}

#[test]
fn f35_an_unlimited_time_is_shown_and_one_out_of_range_is_refused_or_capped() {
    let _world = world_alone();
    let user = User::new("endless");
    let sshbox = |arguments: &[&str]| run("sshbox", arguments);
    {
        let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"never\"");
        user.says("true");
        let row = sshbox(&["list"]);
        let row = row.lines().find(|line| line.starts_with("endless ")).unwrap().to_owned();
        assert!(row.contains("  never  "), "{row}");
        assert!(sshbox(&["status", "endless"]).contains("\nidle stop  never\n"));
        assert!(user.says("@status").contains("\nidle stop  never\n"));
        let status: serde_json::Value = serde_json::from_str(&user.says("@status --json")).unwrap();
        assert!(status["idle_timeout_seconds"].is_null() && status["stops_at"].is_null(), "{status}");
        assert!(sshbox(&["reap"]).contains("its idle timeout is never"));
    }
    {
        let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"9999y\"");
        let check = keys(&["--check"]);
        let said = text(&check.stderr);
        assert_eq!(check.status.code(), Some(78));
        assert!(said.contains(", column 16") && said.contains("write \"never\""), "{said}");
    }
    // An earlier version could store such a value.
    user.says("true");
    let path = "/var/cache/sshbox/endless.json";
    // The later logins have left a newer record until the next boot.
    fs::remove_file(format!("{SPARE}/.endless.json")).unwrap();
    let record = fs::read_to_string(path).unwrap();
    fs::write(path, record.replace("\"idle_timeout\":null", "\"idle_timeout\":\"9999y\"")).unwrap();
    assert!(fs::read_to_string(path).unwrap().contains("9999y"));
    assert!(sshbox(&["status", "endless"]).contains(", 3652d 12h after the last session"));
    for command in [&["list"][..], &["top", "--once"], &["reap", "--dry-run"]] {
        assert!(sshbox(command).contains("endless "), "{command:?}");
    }
}
