//! The reaper stops idle boxes and never one with an open session. `tests/life` checks that no login is lost.

use crate::harness::{Changed, User, reap, run, text, world_alone};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

/// The reaper's output line for this user's box.
fn decision(output: &Output, user: &User) -> String {
    let lines = text(&output.stdout);
    let begin = format!("{}: ", user.name);
    lines
        .lines()
        .find_map(|line| line.strip_prefix(&begin))
        .unwrap_or_else(|| panic!("{output:?}"))
        .to_owned()
}

#[test]
fn an_idle_box_is_stopped_and_one_with_a_session_is_not() {
    let _world = world_alone();
    let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"1s\"");
    let (idle, busy) = (User::new("idle"), User::new("busy"));
    idle.says("echo kept > file");
    let mut session = busy.ssh().begin(&["echo began; read x; echo still $x"]);
    session.line();
    thread::sleep(std::time::Duration::from_millis(1100));

    let dry = reap(&["--dry-run"]);
    assert!(decision(&dry, &idle).starts_with("would stop: idle for "), "{dry:?}");
    assert_eq!(decision(&dry, &busy), "kept: a session is open");
    assert_eq!(idle.inspect("{{.State.Status}}"), "running");

    let output = reap(&[]);
    assert!(output.status.success(), "{output:?}");
    assert!(decision(&output, &idle).starts_with("stopped: idle for "), "{output:?}");
    assert_eq!(decision(&output, &busy), "kept: a session is open");
    assert_eq!(idle.inspect("{{.State.Status}}"), "exited");
    assert!(crate::harness::journal().contains(r#"box stopped user="idle" by="reaper" reason="idle for "#));

    session.write(b"here\n");
    assert_eq!(session.line(), "still here");
    assert_eq!(session.wait(), 0);
    assert_eq!(idle.says("cat file"), "kept\n");
}

#[test]
fn the_idle_time_starts_at_the_end_of_the_last_session() {
    let _world = world_alone();
    let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"4s\"");
    let user = User::new("recent");
    // The session lasts longer than the timeout: counted from its start, the box would be idle for too long.
    user.says("sleep 5");
    assert!(
        decision(&reap(&[]), &user).starts_with("kept: idle for less than"),
        "the idle time was counted from the start of the session"
    );
    thread::sleep(std::time::Duration::from_millis(4100));
    assert!(decision(&reap(&[]), &user).starts_with("stopped: "));
}

#[test]
fn f26_a_box_with_an_invalid_live_lock_is_treated_as_in_use() {
    let _world = world_alone();
    let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
    let user = User::new("unknown");
    user.says("true");
    let lock = "/run/sshbox/users/unknown/live.lock";
    fs::write(lock, "what").unwrap();
    assert!(decision(&reap(&[]), &user).starts_with("kept: "));
    // The reaper has repaired the file: the next run knows the idle time.
    assert!(decision(&reap(&[]), &user).starts_with("stopped: "));
}

#[test]
fn f24_one_invalid_box_does_not_keep_the_reaper_from_the_others() {
    let _world = world_alone();
    let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
    let user = User::new("good");
    user.says("true");
    run(
        "docker",
        &[
            "run",
            "-d",
            "--name",
            "bad",
            "--network",
            "none",
            "--label",
            "sshbox.user=../bad",
            "sshbox-user:latest",
            "sleep",
            "600",
        ],
    );
    run(
        "docker",
        &["run", "-d", "--name", "unrelated", "--network", "none", "sshbox-user:latest", "sleep", "600"],
    );
    let output = reap(&[]);
    assert!(!output.status.success());
    assert!(text(&output.stdout).contains("../bad: failed: not a login name"), "{output:?}");
    assert!(decision(&output, &user).starts_with("stopped: "), "{output:?}");
    assert_eq!(
        run("docker", &["inspect", "-f", "{{.State.Status}}", "bad", "unrelated"]),
        "running\nrunning\n"
    );
    run("docker", &["rm", "-f", "bad", "unrelated"]);
}

#[test]
fn f25_a_second_reaper_exits_at_once() {
    let _world = world_alone();
    let first = fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open("/run/sshbox/reap.lock")
        .unwrap();
    first.lock().unwrap();
    let output = reap(&[]);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "another reaper is at work\n".to_owned())
    );
}

/// Metadata and content of all files below a directory, except those in homes.
fn record_files(folder: &Path, known: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        let (mode, owner) = (meta.mode(), (meta.uid(), meta.gid()));
        let changed = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        known.insert(path.clone(), format!("{mode:o} {owner:?} {changed:?} {content:?}"));
        if meta.is_dir() && !folder.ends_with("homes") {
            record_files(&path, known);
        }
    }
}

/// All files of sshbox. Other files of /var may change with the machine below the world.
fn sshbox_files() -> BTreeMap<PathBuf, String> {
    let mut known = BTreeMap::new();
    for folder in ["/run/sshbox", "/var/lib/sshbox", "/var/cache/sshbox"] {
        record_files(Path::new(folder), &mut known);
    }
    known
}

#[test]
fn a_dry_run_changes_no_file() {
    let _world = world_alone();
    let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
    let (idle, busy, unknown, never) =
        (User::new("dryidle"), User::new("drybusy"), User::new("dryunknown"), User::new("drynever"));
    for user in [&idle, &unknown, &never] {
        user.says("true");
    }
    let mut session = busy.ssh().begin(&["echo began; read x"]);
    session.line();
    fs::write("/run/sshbox/users/dryunknown/live.lock", "what").unwrap();
    fs::remove_dir_all("/run/sshbox/users/drynever").unwrap();
    let _ = fs::remove_file("/run/sshbox/reap.lock");
    let before = sshbox_files();
    assert!(before.contains_key(Path::new("/run/sshbox/users/drybusy/live.lock")) && before.len() > 20);

    let dry = reap(&["--dry-run"]);
    let shown = run("sshbox", &["reap", "--dry-run"]);

    let after = sshbox_files();
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, was)| after.get(*path) != Some(was))
        .map(|(path, _)| path)
        .chain(after.keys().filter(|path| !before.contains_key(*path)))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert!(decision(&dry, &idle).starts_with("would stop: "), "{dry:?}");
    assert_eq!(decision(&dry, &busy), "kept: a session is open");
    assert_eq!(decision(&dry, &unknown), "kept: idle for less than 0s");
    assert_eq!(decision(&dry, &never), "kept: idle for less than 0s");
    assert!(shown.contains("dryidle") && shown.contains("would stop"), "{shown}");
    session.wait();
    // A dry run does not disturb a running reaper either.
    let lock = fs::File::create("/run/sshbox/reap.lock").unwrap();
    lock.lock().unwrap();
    let dry = Command::new("/usr/lib/sshbox/sshbox-reap").arg("--dry-run").output().unwrap();
    assert_eq!(text(&dry.stdout), "another reaper is at work\n");
}
