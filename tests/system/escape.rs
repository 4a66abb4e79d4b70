//! What a program in a box tries in order to leave it or to reach more of the kernel: `escape.c`, with a line
//! for each attempt. And the box as an engine describes it, by the checks that are usual for containers.

use crate::harness::{User, private_world, run, text, until, world};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

/// One line of the program: the errors that are accepted, and the one that happened.
type Attempts = BTreeMap<String, (Vec<String>, String)>;

/// Builds the program, puts it into the home of this user, and returns its path there.
fn put_program(user: &User) -> &'static str {
    let program = format!("/tmp/escape.{}", user.name);
    run("gcc", &["-static", "-O1", "-Wall", "-Wextra", "-o", &program, "tests/system/escape.c"]);
    let output = user.ssh().input(&fs::read(&program).unwrap()).run("cat > escape; chmod 0700 escape");
    assert!(output.status.success(), "{output:?}");
    "./escape"
}

fn attempts(output: &[u8]) -> Attempts {
    let line = |line: &str| {
        let [what, accepted, happened] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        (what.to_owned(), (accepted.split_whitespace().map(str::to_owned).collect(), happened.to_owned()))
    };
    text(output).lines().map(line).collect()
}

/// The attempts that ended in another way than the program expects.
fn surprises(attempts: &Attempts) -> Vec<String> {
    let wrong = attempts.iter().filter(|(_, (accepted, happened))| !accepted.contains(happened));
    wrong.map(|(what, (accepted, happened))| format!("{what}: {happened}, not {accepted:?}")).collect()
}

#[test]
fn a9_no_attempt_to_leave_a_box_succeeds() {
    let _world = world();
    let user = User::new("houdini");
    let program = put_program(&user);
    let inside = attempts(&user.ssh().run(program).stdout);
    assert_eq!(surprises(&inside), Vec::<String>::new());
    let allowed = inside.keys().filter(|what| what.starts_with("allowed: ")).count();
    assert!(allowed >= 15 && inside.len() - allowed >= 120, "{allowed} of {}", inside.len());
    // The init ignores signals of its own container.
    let began = user.inspect("{{.State.StartedAt}}");
    user.says("kill -9 1; kill -TERM 1; kill -USR1 1; kill -STOP 1; exit 0");
    assert_eq!(
        (user.says("echo alive"), user.inspect("{{.State.StartedAt}}")),
        ("alive\n".to_owned(), began)
    );
    // The same program without the filter of PID 1, which a program that the engine starts does not have.
    // Shows that each of these attempts can succeed, whatever the engine's own filter forbids.
    let output =
        Command::new("docker").args(["exec", "-w", "/home/user", &user.container(), program]).output();
    let engine_only = attempts(&output.unwrap().stdout);
    assert_eq!(engine_only.len(), inside.len());
    let surprises = surprises(&engine_only);
    for what in ["FS_IOC_FSSETXATTR", "TIOCSETD", "vsock", "Multipath TCP", "generic netlink"] {
        assert!(surprises.iter().any(|surprise| surprise.contains(what)), "{what} is refused: {surprises:?}");
    }
    eprintln!("only the filters of PID 1 refuse: {surprises:#?}");
    run("docker", &["rm", "-f", "-v", &user.container()]);
}

#[test]
fn a9_a_filter_holds_for_every_kind_of_session() {
    let _world = world();
    let user = User::new("filtered");
    let filters = "sed -n 's/^Seccomp_filters:\t//p' /proc/self/status";
    let number: u32 = user.says(filters).trim().parse().unwrap();
    assert!(number > 1, "only the engine's filter: {number}");
    assert_eq!(
        user.says("setsid sh -c \"sed -n 's/^Seccomp_filters:.//p' /proc/self/status\"").trim(),
        number.to_string()
    );
    let mut terminal =
        user.ssh().terminal(24, 80, &["sed -n 's/^Seccomp_filters:./filters /p' /proc/self/status"]);
    terminal.shows(&format!("filters {number}"));
}

/// `docker-bench-security`, section 5: the number and title of each check, and whether a box passes.
#[test]
fn a9_a_box_passes_the_usual_checks_of_a_container() {
    let _world = world();
    let user = User::new("benchmark");
    user.says("true");
    let all: Value = serde_json::from_str(&run("docker", &["inspect", &user.container()])).unwrap();
    let inspect = &all[0];
    let host = &inspect["HostConfig"];
    let mounts = inspect["Mounts"].as_array().unwrap();
    let sources: Vec<&str> = mounts.iter().filter_map(|mount| mount["Source"].as_str()).collect();
    let not = |value: &Value, shared: &str| value.as_str().is_some_and(|mode| mode != shared);
    let is_empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let nothing = |value: &Value| value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
    let security: Vec<&str> =
        host["SecurityOpt"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let host_has_apparmor = fs::exists("/sys/kernel/security/apparmor").unwrap();
    // Directories of the host that hold more than one user's data.
    let sensitive = [
        "/",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/proc",
        "/sys",
        "/usr",
        "/home",
        "/root",
        "/run",
        "/var/lib/sshbox",
        "/var/lib/sshbox/homes",
    ];
    let checks = [
        (
            "5.1 an AppArmor profile is used, where the kernel has AppArmor",
            !host_has_apparmor || security.contains(&"apparmor=sshbox-box"),
        ),
        (
            "5.2 SELinux, where the host has it: not switched off",
            !security.iter().any(|option| option.starts_with("label")),
        ),
        (
            "5.3 kernel capabilities are restricted",
            host["CapDrop"] == serde_json::json!(["ALL"]) && is_empty(&host["CapAdd"]),
        ),
        ("5.4 the container is not privileged", host["Privileged"] == false),
        (
            "5.5 no sensitive directory of the host is mounted",
            sources.iter().all(|source| !sensitive.contains(source)),
        ),
        ("5.6 no sshd runs in it, unless a session is one", !user.runs_in_box("sshd")),
        ("5.7 no privileged port is mapped", nothing(&host["PortBindings"])),
        ("5.8 no port is open", nothing(&host["PortBindings"]) && host["PublishAllPorts"] == false),
        ("5.9 the network of the host is not shared", not(&host["NetworkMode"], "host")),
        ("5.10 memory is limited", host["Memory"].as_i64() > Some(0)),
        ("5.11 CPU time is limited", host["NanoCpus"].as_i64() > Some(0)),
        ("5.12 the root file system is read-only", host["ReadonlyRootfs"] == true),
        ("5.13 no port is bound to all interfaces of the host", nothing(&host["PortBindings"])),
        ("5.14 the engine does not restart it for ever", host["RestartPolicy"]["Name"] == "no"),
        ("5.15 the processes of the host are not shared", not(&host["PidMode"], "host")),
        ("5.16 the IPC of the host is not shared", host["IpcMode"] == "private"),
        ("5.17 no device of the host is there", is_empty(&host["Devices"])),
        (
            "5.18 the default ulimits are replaced",
            host["Ulimits"].as_array().is_some_and(|limits| !limits.is_empty()),
        ),
        ("5.19 no mount is shared", mounts.iter().all(|mount| not(&mount["Propagation"], "shared"))),
        ("5.20 the host name of the host is not shared", not(&host["UTSMode"], "host")),
        (
            "5.21 the engine's own seccomp filter is not switched off",
            !security.iter().any(|option| option.starts_with("seccomp")),
        ),
        ("5.22 and 5.23 no program was started by docker exec", is_empty(&inspect["ExecIDs"])),
        ("5.24 the cgroup is the engine's own", host["CgroupParent"] == ""),
        ("5.25 it cannot gain privileges", security.contains(&"no-new-privileges")),
        ("5.26 its health is known: PID 1 answers", user.says("@status").contains("running since")),
        (
            "5.27 the image is the one that has the name now",
            inspect["Image"].as_str()
                == Some(run("docker", &["image", "inspect", "-f", "{{.Id}}", "sshbox-user:latest"]).trim()),
        ),
        ("5.28 tasks are limited", host["PidsLimit"].as_i64() > Some(0)),
        (
            "5.29 the engine's default bridge is not used",
            !["default", "bridge"].iter().any(|name| host["NetworkMode"] == *name),
        ),
        ("5.30 the user namespace of the host is not asked for", host["UsernsMode"] == ""),
        (
            "5.31 the engine's socket is not mounted",
            !sources.iter().any(|source| source.contains("docker.sock")),
        ),
    ];
    let failed: Vec<&str> = checks.iter().filter(|(_, passes)| !passes).map(|(title, _)| *title).collect();
    assert_eq!(failed, Vec::<&str>::new(), "{all:#}");
    run("docker", &["rm", "-f", "-v", &user.container()]);
}

#[test]
fn a20_a_box_has_its_own_number_of_terminals_and_others_keep_theirs() {
    let _world = private_world();
    let user = User::new("ptyfiller");
    let neighbour = User::new("pty-next-door");
    neighbour.says("true");
    assert!(
        user.says("cat /proc/self/mountinfo")
            .lines()
            .any(|line| line.contains(" /dev/pts ") && line.contains("max=256"))
    );
    let volume = user.inspect("{{range .Mounts}}{{if eq .Destination \"/dev/pts\"}}{{.Name}}{{end}}{{end}}");
    let mut hoarder = user.ssh().begin(&["echo began; exec python3 -u -c '
import os
held = []
try:
    while True: held.append(os.openpty())
except OSError as why: print(len(held), why.strerror)
input()'"]);
    assert_eq!(hoarder.line(), "began");
    assert_eq!(hoarder.line(), "256 No space left on device");
    // A session without a terminal works, one with a terminal is told why not.
    assert_eq!(user.says("echo in"), "in\n");
    let output = user.ssh().args(&["-tt"]).run("true");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let shown = text(&output.stderr) + &text(&output.stdout);
    assert!(shown.contains("your box has as many terminals as it may (256); close some of them, or stop all with @restart (ref "), "{shown}");
    // Others are not affected.
    let mut terminal = neighbour.ssh().terminal(24, 80, &["tty"]);
    terminal.shows("/dev/pts/0");
    hoarder.kill();
    until("the terminals are free again", || user.ssh().args(&["-tt"]).status("true") == 0);
    // A new instance at each start; nothing is left when the box is gone.
    user.says("@restart");
    assert_eq!(user.says("ls /dev/pts"), "ptmx\n");
    run("docker", &["rm", "-f", "-v", &user.container()]);
    run("docker", &["rm", "-f", "-v", &neighbour.container()]);
    let volumes = run("docker", &["volume", "ls", "-q", "--filter", "label=sshbox.terminals"]);
    assert!(!volume.trim().is_empty() && !volumes.contains(volume.trim()), "{volumes}");
}

#[test]
fn a20_init_has_more_descriptors_than_its_programs() {
    let _world = world();
    let user = User::new("collector");
    let of_init = user.says("prlimit --nofile --output SOFT,HARD --noheadings --raw --pid 1");
    let own = user.says("ulimit -Hn");
    let [soft, hard] = of_init
        .split_whitespace()
        .map(|number| number.parse::<u64>().unwrap_or(u64::MAX))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    assert!(soft == hard && hard / 2 >= own.trim().parse().unwrap(), "init {of_init}, programs {own}");
}
