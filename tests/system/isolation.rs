//! What users must not reach: forwarding of every kind, and sockets and files of others.

use crate::harness::{STATE, User, alice, journal, run, text, world};
use identity::Login;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

#[test]
fn a6_nothing_of_the_host_is_forwarded() {
    let _world = world();
    let user = alice();
    // -W opens its channel at once.
    for target in ["127.0.0.1:22", "127.0.0.1:8000", "localhost:2200"] {
        let output = user.ssh().args(&["-W", target, "-o", "LogLevel=INFO"]).run("x");
        assert_ne!(output.status.code(), Some(0), "{output:?}");
    }
    // -L and -D open a channel when a client connects.
    for (option, value) in [
        ("-L", "127.0.0.1:4001:127.0.0.1:22"),
        ("-L", "127.0.0.1:4001:/run/docker.sock"),
        ("-D", "127.0.0.1:4001"),
    ] {
        let mut session = user.ssh().args(&[option, value]).begin(&["echo began; sleep 60"]);
        session.line();
        let request = if option == "-D" {
            "curl -s -m 3 --socks5 127.0.0.1:4001 http://127.0.0.1:8000/"
        } else {
            "curl -s -m 3 http://127.0.0.1:4001/version"
        };
        let answer = Command::new("sh").arg("-c").arg(request).output().unwrap();
        assert!(answer.stdout.is_empty(), "{option} {value}: {answer:?}");
        session.kill();
    }
    // Listening at a unix socket is refused when it is requested.
    for value in ["/tmp/reverse.sock:127.0.0.1:22", "/run/sshbox/users/reverse.sock:127.0.0.1:22"] {
        let output = user.ssh().args(&["-R", value, "-o", "ExitOnForwardFailure=yes"]).run("echo in");
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(255), String::new()),
            "{value}: {output:?}"
        );
    }
    // X11 and tunnel requests have no effect in the session.
    let output = Command::new("ssh")
        .env("DISPLAY", ":9")
        .args([
            "-F",
            "/dev/null",
            "-X",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-i", &format!("{STATE}/key"), "-p", "2200", "alice@127.0.0.1", "echo \"<$DISPLAY>\""])
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "<>\n");
    let output = user.ssh().args(&["-w", "0:0", "-o", "ExitOnForwardFailure=yes"]).run("echo in");
    assert_eq!(text(&output.stdout), "", "{output:?}");
    // A connection without a session cannot forward either.
    let mut idle = user.ssh().args(&["-N", "-L", "127.0.0.1:4003:/run/docker.sock"]).begin(&[]);
    thread::sleep(Duration::from_millis(700));
    let answer =
        Command::new("curl").args(["-s", "-m", "3", "http://127.0.0.1:4003/version"]).output().unwrap();
    assert!(answer.stdout.is_empty(), "{answer:?}");
    idle.kill();
}

#[test]
fn a6_no_file_of_the_user_runs_on_the_host() {
    let _world = world();
    let user = alice();
    user.says("mkdir -p ~/.ssh; for f in .bashrc .profile .bash_profile .ssh/rc .ssh/environment; do cp ~/$f ~/$f.before 2>/dev/null; echo 'touch /tmp/ran-by-alice' >> ~/$f; done");
    user.says("true");
    assert!(!std::fs::exists("/tmp/ran-by-alice").unwrap());
    user.says("for f in .bashrc .profile .bash_profile .ssh/rc .ssh/environment; do rm -f ~/$f; mv ~/$f.before ~/$f 2>/dev/null; done; true");
}

/// Runs a program with the uid of a login and its only group.
fn as_login(name: &str, command: &str) -> Output {
    let uid = Login::parse(name.as_bytes()).unwrap().uid();
    Command::new("setpriv")
        .args([&format!("--reuid={uid}"), "--regid=1879048192", "--clear-groups", "sh", "-c", command])
        .output()
        .unwrap()
}

#[test]
fn a7_a_login_uid_cannot_open_files_or_sockets_of_others() {
    let _world = world();
    let (_alice, bob) = (alice(), User::new("bob"));
    bob.says("true");
    for path in [
        "/run/docker.sock",
        "/run/sshbox/users/bob/live.lock",
        "/run/sshbox/users/bob/state.lock",
        "/var/cache/sshbox/alice.json",
        "/var/cache/sshbox",
        "/var/lib/sshbox/homes/bob",
        "/run/sshbox/boxes",
        "/etc/sshbox/token",
        "/etc/ssh/ssh_host_ed25519_key",
        "/var/lib/sshbox/host-key-secret",
    ] {
        assert!(std::fs::symlink_metadata(path).is_ok(), "{path} does not exist");
        let output =
            as_login("alice", &format!("if [ -d {path} ]; then ls {path}; else cat {path}; fi 2>&1"));
        let error = text(&output.stdout);
        assert!(!output.status.success() && error.contains("Permission denied"), "{path}: {error}");
    }
    for socket in ["/run/docker.sock", "/run/sshbox/users/bob/init.sock"] {
        let script = format!(
            "import socket,sys\ns=socket.socket(socket.AF_UNIX,socket.{})\ntry: s.connect('{socket}')\nexcept PermissionError: sys.exit(13)",
            if socket.contains("docker") { "SOCK_STREAM" } else { "SOCK_SEQPACKET" }
        );
        let output = as_login("alice", &format!("/usr/bin/python3 -c \"{script}\""));
        assert_eq!(output.status.code(), Some(13), "{socket}: {output:?}");
    }
    // Lists of users cannot be read either.
    assert!(!as_login("alice", "ls /run/sshbox/users").status.success());
    assert!(!as_login("alice", "ls /var/lib/sshbox/homes").status.success());
}

/// Reply of `sshbox-wake` to this packet from the login's uid.
fn ask_wake(login: &str, packet: &str) -> String {
    let script = format!(
        "import socket\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\ns.settimeout(20)\ns.connect('/run/sshbox/wake.sock')\ns.send({packet})\nprint(s.recv(9999))"
    );
    let output = as_login(login, &format!("/usr/bin/python3 -c \"{script}\""));
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn a8_through_the_wake_socket_users_reach_only_their_own_box() {
    let _world = world();
    let alice = alice();
    let bob = User::new("bert");
    bob.says("true");
    run("docker", &["stop", "-t", "0", &bob.container()]);
    assert!(ask_wake("alice", "b'wake=alice\\\\0'").contains("running="), "{}", alice.name);
    for packet in [
        "b'wake=bert\\\\0'",
        "b'wake=../bert\\\\0'",
        "b'wake=\\\\0'",
        "b'x'",
        "b'\\\\0'*1000",
        "b'wake=alice'*9999",
        "b'wake=root\\\\0'",
    ] {
        let answer = ask_wake("alice", packet);
        assert!(answer.contains("this box is not yours"), "{packet}: {answer}");
    }
    assert_eq!(bob.inspect("{{.State.Status}}"), "exited");
    assert!(journal().contains("asked for the box of bert"));
    // A user without the group cannot connect.
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c"])
        .arg("import socket\nsocket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET).connect('/run/sshbox/wake.sock')")
        .output()
        .unwrap();
    assert!(text(&output.stderr).contains("PermissionError"), "{output:?}");
}

#[test]
fn the_login_shell_refuses_to_run_by_hand() {
    let _world = world();
    let by_hand = Command::new("/usr/lib/sshbox/sshbox-shell").env("LOGNAME", "alice").output().unwrap();
    assert_eq!(by_hand.status.code(), Some(64), "{by_hand:?}");
    let other = as_login("alice", "LOGNAME=bob /usr/lib/sshbox/sshbox-shell");
    assert_eq!(other.status.code(), Some(64), "{other:?}");
}

#[test]
fn a13_boxes_do_not_see_each_other() {
    let _world = world();
    let (alice, bob) = (alice(), User::new("neighbour"));
    let mut server = bob.ssh().begin(&["echo began; exec python3 -m http.server 8099 --bind 0.0.0.0"]);
    server.line();
    let address = bob.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    assert_eq!(
        bob.ssh().status(&format!(
            "curl -s -m 5 -o /dev/null --retry 5 --retry-connrefused http://{address}:8099/"
        )),
        0
    );
    assert_ne!(alice.ssh().status(&format!("curl -s -m 3 -o /dev/null http://{address}:8099/")), 0);
    server.kill();
}

#[test]
fn the_effective_configuration_of_sshd_is_as_documented() {
    let _world = world();
    let effective = run("/usr/sbin/sshd", &["-T", "-f", "/etc/sshbox/sshd_config"]);
    for line in [
        "port 2200",
        "usepam yes",
        "allowgroups sshbox",
        "authenticationmethods publickey",
        "authorizedkeysfile none",
        "forcecommand /usr/lib/sshbox/sshbox-shell",
        "allowtcpforwarding yes",
        "allowstreamlocalforwarding no",
        "allowagentforwarding yes",
        "x11forwarding no",
        "permittunnel no",
        "gatewayports no",
        "permituserrc no",
        "permituserenvironment no",
        "printlastlog no",
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "exposeauthinfo yes",
        "logingracetime 30",
        "maxstartups 150:30:300",
        "persourcemaxstartups 100",
        "persourcenetblocksize 32:64",
        "maxsessions 32",
        "clientaliveinterval 3600",
        "clientalivecountmax 1",
        "tcpkeepalive no",
        "unusedconnectiontimeout none",
    ] {
        assert!(effective.lines().any(|found| found == line), "{line}");
    }
    assert_eq!(
        effective.lines().filter_map(|line| line.strip_prefix("acceptenv ")).collect::<Vec<_>>(),
        ["LANG", "LC_*", "COLORTERM", "NO_COLOR", "GIT_PROTOCOL", "TERM_PROGRAM", "TERM_PROGRAM_VERSION"]
    );
}

#[test]
fn the_other_sshd_and_its_files_are_left_alone() {
    let _world = world();
    let _alice = alice();
    assert_eq!(User::plain().says("echo plain"), "plain\n");
    assert_eq!(
        run(
            "sh",
            &[
                "-c",
                "dpkg --verify openssh-server; grep -rl sshbox /etc/ssh /etc/nsswitch.conf /etc/pam.d || echo none"
            ]
        ),
        "none\n"
    );
}
