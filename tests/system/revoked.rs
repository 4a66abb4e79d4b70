//! A user or a key that was removed in the web app: its open connections are closed, and no others.

use crate::harness::{
    Changed, Running, STATE, User, journal, manage, private_world, processes, run, status_of, text, until,
    world,
};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const REMOVED: &str =
    "was removed from your account, so this connection is closed; log in with another key (ref ";
const REFUSED: &str =
    "your account may not log in any more, so this connection is closed; ask those who manage it";

/// `sshbox recheck USER`, and its row of the table.
fn recheck(user: &User) -> String {
    let table = run("/usr/sbin/sshbox", &["recheck", &user.name]);
    table.lines().find(|line| line.starts_with(&user.name)).unwrap_or_else(|| panic!("{table}")).to_owned()
}

/// Whether a row of `sshbox recheck` says that the limits of the running box are others now.
fn has_changed(row: &str) -> bool {
    row.ends_with(" changed") && !row.ends_with(" not changed")
}

/// Adds a second key to the account; returns its name for `Ssh::key`.
fn second_key(user: &User) -> String {
    let name = format!("second-{}", user.name);
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &format!("{STATE}/{name}")]);
    manage(&["sshbox_key", "add", &user.name, &format!("{STATE}/{name}.pub")]);
    name
}

fn remove_key(user: &User, name: &str) {
    manage(&["sshbox_key", "remove", &user.name, &format!("{STATE}/{name}.pub")]);
}

/// A connection opened with this key.
fn connection(user: &User, key: &str, control: &str) -> Running {
    let connection = user.ssh_over(control).key(key).args(&["-M", "-N"]).begin(&[]);
    until("the connection is there", || fs::exists(control).unwrap());
    connection
}

/// The processes on the host that serve the connections of a user, without those of its sessions.
fn servers(user: &User) -> usize {
    let uid = user.uid().to_string();
    let is_server = |pid: &i32| {
        status_of(*pid, "Name:").is_some_and(|name| name.starts_with("sshd"))
            && status_of(*pid, "Uid:").is_some_and(|uids| uids.starts_with(&uid))
    };
    processes().iter().filter(|pid| is_server(pid)).count()
}

fn assert_refused(output: &Output, what: &str) {
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let error = text(&output.stderr);
    assert!(error.starts_with("sshbox: ") && error.contains(what), "{error}");
}

#[test]
fn p14_a_removed_key_closes_its_connections_and_those_of_other_keys_stay() {
    let _world = world();
    let user = User::new("rekeyed");
    let key = second_key(&user);
    let (kept, closed) = ("/tmp/rekeyed-kept", "/tmp/rekeyed-closed");
    let _kept = connection(&user, "key", kept);
    let old = connection(&user, &key, closed);
    let mut stays = user.ssh_over(kept).begin(&["echo in; read x; echo $x"]);
    let mut silent = user.ssh_over(closed).begin(&["echo in; sleep 7101"]);
    assert_eq!((stays.line(), silent.line()), ("in".to_owned(), "in".to_owned()));
    let mut terminal = user.ssh_over(closed).terminal(24, 80, &["echo began $((1 + 1)); sleep 7102"]);
    terminal.shows("began 2");
    remove_key(&user, &key);

    // Until anyone has asked the web app, nothing is known. Then the next session is refused.
    user.says("true");
    assert_refused(&user.ssh_over(closed).run("echo in"), REMOVED);
    assert_refused(&user.ssh_over(closed).run("@status"), REMOVED);
    let sftp = user.ssh_over(closed).args(&["-s"]).run("sftp");
    assert!(!sftp.status.success(), "{sftp:?}");

    let row = recheck(&user);
    assert!(row.contains("accepted") && row.split_whitespace().nth(2) == Some("1"), "{row}");
    assert_refused(&silent.ends(), REMOVED);
    terminal.shows("was removed from your account");
    assert_eq!(terminal.ends(), 77);
    until("the programs have ended", || !user.runs_in_box("sleep 7101") && !user.runs_in_box("sleep 7102"));
    assert_ne!(old.wait(), 0);
    until("one connection is left", || servers(&user) == 1);
    // The other connection and its session do not notice.
    stays.write(b"still here\n");
    assert_eq!(stays.line(), "still here");
    assert_eq!(user.ssh_over(kept).run("echo in").stdout, b"in\n");
    assert!(recheck(&user).split_whitespace().nth(2) == Some("0"));
    let log = journal();
    let entry = log.lines().find(|line| line.contains("connection closed user=\"rekeyed\"")).unwrap();
    assert!(entry.contains("the key was removed from the account") && entry.contains("SHA256:"), "{entry}");
}

#[test]
fn p14_a_refused_user_is_disconnected_and_an_outage_disconnects_no_one() {
    let _world = private_world();
    let user = User::new("dismissed");
    let (busy, idle) = ("/tmp/dismissed-busy", "/tmp/dismissed-idle");
    let _busy = connection(&user, "key", busy);
    let mut session = user.ssh_over(busy).begin(&["echo in; read x; echo $x; sleep 7103"]);
    assert_eq!(session.line(), "in");
    // A connection that has no session now.
    let without_session = connection(&user, "key", idle);
    assert_eq!(user.ssh_over(idle).run("echo in").stdout, b"in\n");
    until("both connections are served", || servers(&user) == 2);

    manage(&[
        "shell",
        "-c",
        "from django.contrib.auth.models import User; User.objects.filter(username='dismissed').update(is_active=False)",
    ]);
    {
        // Nobody listens on this port.
        let _outage = Changed::config("127.0.0.1:8000", "127.0.0.1:9");
        assert!(recheck(&user).split_whitespace().nth(2) == Some("0"));
        // A redirection says nothing about the user.
        let _other = Changed::config("127.0.0.1:9/sshbox/accounts/{user}", "127.0.0.1:8000/admin/?{user}");
        recheck(&user);
        session.write(b"still here\n");
        assert_eq!((session.line(), servers(&user)), ("still here".to_owned(), 2));
    }
    let row = recheck(&user);
    assert!(row.contains("refused: ") && row.contains(" 2"), "{row}");
    assert_refused(&session.ends(), REFUSED);
    assert_ne!(without_session.wait(), 0);
    until("no connection is left", || servers(&user) == 0);
    assert!(!user.ssh().run("true").status.success());
    assert!(journal().contains("the account source refuses the user: "), "no entry");
}

#[test]
fn p14_the_timer_asks_only_about_users_whose_answer_is_old() {
    let _world = world();
    let user = User::new("revisited");
    let control = "/tmp/revisited";
    let _connection = connection(&user, "key", control);
    assert_eq!(user.ssh_over(control).run("echo in").stdout, b"in\n");
    let table = run("/usr/sbin/sshbox", &["recheck"]);
    assert!(table.lines().any(|line| line.starts_with("revisited ")), "{table}");
    let asked = || {
        let log = fs::read_to_string(format!("{STATE}/access.log")).unwrap();
        log.lines().filter(|line| line.contains("GET /sshbox/accounts/revisited ")).count()
    };
    let before = asked();
    run("/usr/sbin/sshbox", &["recheck"]);
    assert_eq!(asked(), before, "the answer of the login is young");
    recheck(&user);
    assert_eq!(asked(), before + 1);
    assert_eq!(run("/usr/sbin/sshbox", &["recheck", "--quiet"]), "");
    let refused = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", "/usr/sbin/sshbox", "recheck"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
}

#[test]
fn f9_changed_limits_reach_a_running_box_and_its_session_goes_on() {
    let _world = private_world();
    let user = User::new("adjusted");
    let mut session = user.ssh().begin(&["bash"]);
    let mut asks = |command: &str| {
        session.write(format!("{command}\n").as_bytes());
        session.line()
    };
    let read = |v1: &str, v2: &str| format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}");
    let memory = read("memory/memory.limit_in_bytes", "memory.max");
    let tasks = read("pids/pids.max", "pids.max");
    let quota = read("cpu/cpu.cfs_quota_us", "cpu.max");
    let weight = read("cpu/cpu.shares", "cpu.weight");
    assert_eq!((asks(&memory), asks(&tasks)), ((8_u64 << 30).to_string(), "512".to_owned()));
    assert!(asks(&quota).starts_with("200000"));
    let weight_before = asks(&weight).parse::<u64>().unwrap();
    let pid = asks("echo $$");
    assert!(!recheck(&user).contains("changed"));
    {
        let _cpus = Changed::config("cpus = 2.0", "cpus = 1.5");
        let _memory = Changed::config("memory = \"8GiB\"", "memory = \"3GiB\"");
        let _tasks = Changed::config("pids = 512", "pids = 300");
        let _weight = Changed::config("cpu_weight = 100", "cpu_weight = 50");
        assert!(has_changed(&recheck(&user)));
        assert_eq!((asks(&memory), asks(&tasks)), ((3_u64 << 30).to_string(), "300".to_owned()));
        assert!(asks(&quota).starts_with("150000"));
        let weight_now = asks(&weight).parse::<u64>().unwrap();
        // How a runtime translates shares into the weight of version 2 depends on its version.
        assert!((1..weight_before).contains(&weight_now), "{weight_before} -> {weight_now}");
        assert!(user.says("@status").contains(" of 1.5 cores\n"));
        assert!(!recheck(&user).contains("changed"), "it was changed twice");
        assert_eq!(asks("echo $$"), pid);
    }
    // Up again, and at the next cold start the box has the limits of its description.
    assert!(has_changed(&recheck(&user)));
    assert_eq!(asks(&memory), (8_u64 << 30).to_string());
    assert_eq!(asks("echo $$"), pid);
    drop(session);
    let id = user.inspect("{{.Id}}");
    user.says("@stop");
    assert_eq!(user.says(&memory), format!("{}\n", 8_u64 << 30));
    assert_eq!(user.inspect("{{.Id}}"), id, "the box was created again, although nothing differs");
    assert!(journal().contains("box updated user=\"adjusted\""));
}

#[test]
fn f9_limits_that_the_kernel_refuses_leave_the_box_and_its_session_alone() {
    let _world = private_world();
    let user = User::new("squeezed");
    let mut session = user
        .ssh()
        .begin(&["python3 -c 'x = bytearray(200 << 20); print(\"in\", flush=True); input(); print(len(x))'"]);
    assert_eq!(session.line(), "in");
    let _memory = Changed::config("memory = \"8GiB\"", "memory = \"64MiB\"");
    let _tasks = Changed::config("pids = 512", "pids = 300");
    // Version 2 of cgroups accepts the limit, and the kernel ends a program; version 1 refuses it.
    let row = recheck(&user);
    assert!(!recheck(&user).contains("changed"), "it is tried again");
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        assert!(has_changed(&row), "{row}");
        assert_eq!(user.says("cat /sys/fs/cgroup/memory.max"), format!("{}\n", 64 << 20));
    } else {
        assert!(row.ends_with(" not changed"), "{row}");
        session.write(b"\n");
        assert_eq!(session.line(), (200 << 20).to_string());
        assert_eq!(user.says("cat /sys/fs/cgroup/pids/pids.max"), "300\n");
        assert!(journal().contains("update failed user=\"squeezed\""));
    }
}
