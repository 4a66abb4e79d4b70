//! Messages without a command: the greeting, the reason of a stop, and hints.

use super::json;
use crate::harness::{Changed, User, private_world, run, text, world, world_alone};
use serde_json::Value;
use std::process::Command;

/// Logs in with a terminal and out again. Returns what was shown before the prompt.
fn greeting(user: &User) -> String {
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    let shown = terminal.shows("$ ");
    terminal.types("exit\n");
    assert_eq!(terminal.ends(), 0);
    shown
}

#[test]
fn the_greeting_is_shown_once_and_again_after_a_change() {
    let _world = private_world();
    let user = User::new("newcomer");
    let first = "This is the box of newcomer, a container of its own.";
    // Sessions of programs show no greeting, whatever they request.
    assert_eq!(user.says("true"), "");
    let mut shell = user.ssh().args(&["-T"]).begin(&[]);
    shell.write(b"echo in\n");
    assert_eq!(shell.line(), "in");
    shell.closes_input();
    let (status, out, error) = shell.output();
    assert_eq!((status, &*out, &*error), (0, "", ""));
    let mut command = user.ssh().terminal(24, 80, &["echo in"]);
    assert_eq!(command.ends(), 0);
    assert_eq!(command.seen(), "in\r\n");
    let shown = greeting(&user);
    assert!(shown.starts_with(first), "{shown:?}");
    assert!(
        shown
            .contains("\r\nIt may use 2 cores, 8.0 GiB of memory and 512 tasks (processes and threads).\r\n")
    );
    assert!(shown.contains("\r\nIt stops 30m after the last session or connection. "), "{shown:?}");
    assert!(!greeting(&user).contains(first), "shown twice");
    user.says("@restart");
    assert!(!greeting(&user).contains(first), "shown again although nothing has changed");
    let change = Changed::config("memory = \"8GiB\"", "memory = \"1GiB\"");
    user.says("@restart");
    let shown = greeting(&user);
    assert!(shown.contains(first) && shown.contains("2 cores, 1.0 GiB of memory"), "{shown:?}");
    assert!(!greeting(&user).contains(first), "shown twice");
    drop(change);
    // ~/.hushlogin switches the greeting off, as with login(1).
    user.says("touch ~/.hushlogin");
    user.says("@restart");
    assert!(!greeting(&user).contains(first), "shown in spite of .hushlogin");
}

#[test]
fn copying_a_key_into_the_box_prints_that_it_has_no_effect() {
    let _world = world();
    let user = User::new("copier");
    let new = format!("{}/new-of-copier", crate::harness::STATE);
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &new]);
    let key = format!("IdentityFile={}/key", crate::harness::STATE);
    let options = [
        "-o",
        &key,
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "BatchMode=yes",
    ];
    let mut copy = Command::new("ssh-copy-id");
    copy.args(["-f", "-i", &new, "-p", "2200"]).args(options).arg("copier@127.0.0.1");
    let output = crate::harness::to_the_end(copy, Vec::new());
    let error = text(&output.stderr);
    assert!(output.status.success(), "{error}");
    let note =
        "sshbox: keys in ~/.ssh/authorized_keys do not log in to your box; @keys says where to add one\n";
    assert!(error.contains(note), "{error}");
    assert!(user.says("cat ~/.ssh/authorized_keys").contains("\nssh-ed25519 AAAA"));
    let output = user.ssh().key("new-of-copier").run("true");
    assert_eq!(output.status.code(), Some(255), "the key logs in");
    // A command that only reads the file prints no message.
    assert_eq!(user.says("grep -c ssh- ~/.ssh/authorized_keys"), "1\n");
}

#[test]
fn the_reason_of_the_last_stop_is_shown_once_at_the_next_interactive_login() {
    let _world = world_alone();
    let user = User::new("told");
    user.says("true");
    assert!(!greeting(&user).contains("sshbox:"), "no stop happened yet");
    let reaped = || {
        let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
        run("/usr/lib/sshbox/sshbox-reap", &[]);
    };
    let stop = || drop(run("docker", &["stop", "-t", "1", &user.container()]));
    let remove = || drop(run("docker", &["rm", "-f", &user.container()]));
    let by_word = || drop(user.says("@stop"));
    let reasons: [(&dyn Fn(), &str); 4] = [
        (&reaped, "nobody used it for 0s"),
        (&by_word, "you typed @stop"),
        (&stop, "it was stopped from outside, by an admin or by the container engine"),
        (&remove, "it was removed, by an admin or by the container engine"),
    ];
    for (end, reason) in reasons {
        end();
        // A command shows no reason, and the reason is kept for the next interactive login.
        assert_eq!(user.says("echo quiet"), "quiet\n");
        assert_eq!(json(&user)["last_stop"]["reason"], *reason);
        let shown = greeting(&user);
        assert!(shown.contains("sshbox: your box was stopped ") && shown.contains(reason), "{shown:?}");
        assert!(!greeting(&user).contains("sshbox:"), "shown twice");
        assert_eq!(json(&user)["last_stop"], Value::Null);
    }
}

#[test]
fn f6_f23_a_session_that_ends_with_its_box_shows_the_reason() {
    let _world = world_alone();
    let user = User::new("ending");
    user.says("true");
    let stop = || drop(run("docker", &["stop", "-t", "1", &user.container()]));
    let kill = || drop(run("docker", &["kill", &user.container()]));
    let remove = || drop(run("docker", &["rm", "-f", &user.container()]));
    let by_word = || drop(user.says("@stop"));
    let ways: [(&dyn Fn(), &str); 4] = [
        (&stop, "it was stopped from outside"),
        (&kill, "it was stopped from outside"),
        (&remove, "it was removed"),
        (&by_word, "you typed @stop"),
    ];
    for (end, reason) in ways {
        let mut command = user.ssh().begin(&["echo in; exec sleep 300"]);
        assert_eq!(command.line(), "in");
        let mut terminal = user.ssh().terminal(24, 80, &[]);
        let before = terminal.modes();
        terminal.shows("$ ");
        // A full-screen program that has no time to restore the screen.
        terminal.types("less /etc/passwd\n");
        terminal.shows("\u{1b}[?1049h");
        assert_ne!(terminal.modes(), before);
        end();
        assert_eq!(terminal.ends(), 137);
        assert!(terminal.seen().contains("\u{1b}[?1047l\u{1b}[?25h"), "{:?}", terminal.seen());
        assert!(terminal.seen().contains(reason), "{:?}", terminal.seen());
        assert_eq!(terminal.modes(), before);
        let (status, out, error) = command.output();
        assert_eq!((status, &*out), (137, ""));
        assert!(error.starts_with("sshbox: your box was stopped: ") && error.contains(reason), "{error}");
        assert!(error.contains("log in again to start it (ref ") && error.lines().count() == 1, "{error}");
        assert_eq!(user.says("echo back"), "back\n");
    }
}

#[test]
fn f6_an_out_of_memory_kill_is_reported() {
    let _world = private_world();
    let _config = Changed::config("memory = \"8GiB\"", "memory = \"128MiB\"");
    let user = User::new("starved");
    user.says("true");
    let output = user.ssh().run("exec python3 -c 'x = bytearray(512 << 20)'");
    assert_eq!(output.status.code(), Some(255), "killed, as with plain sshd: {output:?}");
    let error = text(&output.stderr);
    assert!(error.starts_with("sshbox: your box ran out of memory and the kernel killed this"), "{error}");
    // The same signal for another reason is not reported as out of memory.
    let output = user.ssh().run("kill -9 $$");
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(255), String::new()));
    run("docker", &["rm", "-f", &user.container()]);
}

#[test]
fn a_program_missing_in_the_image_is_reported_with_its_package() {
    let _world = world_alone();
    // An image without some programs.
    run(
        "sh",
        &[
            "-c",
            "
        set -e
        container=$(docker create sshbox-user:latest)
        docker export $container | tar --delete usr/bin/rsync usr/lib/openssh/sftp-server usr/sbin/sshd |
            docker import --change 'USER 1000:1000' --change 'ENV PATH=/usr/bin:/bin' - bare:1
        docker rm $container
    ",
        ],
    );
    let _config = Changed::config("image = \"sshbox-user:latest\"", "image = \"bare:1\"");
    let user = User::new("bare");
    user.says("true");
    let refused = |output: &std::process::Output, package: &str| {
        let error = text(&output.stderr);
        let line = error.lines().find(|line| line.starts_with("sshbox: this box has no "));
        let line = line.unwrap_or_else(|| panic!("{error}"));
        assert!(line.contains(&format!("; its image needs the package {package} (ref ")), "{line}");
    };
    let output = user.ssh().run("rsync --server --sender -e.LsfxCIvu . /etc/hostname");
    assert_eq!(output.status.code(), Some(127), "as with the shell");
    refused(&output, "rsync");
    // sshd discards the stderr of a subsystem, so the message must be part of a protocol reply.
    let key = format!("{}/key", crate::harness::STATE);
    let options = ["-F", "/dev/null", "-P", "2200", "-i", &key, "-o", "StrictHostKeyChecking=no"];
    let call = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(options).args(["-o", "UserKnownHostsFile=/dev/null"]).args(arguments);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        text(&output.stderr)
    };
    let error = call("sftp", &["bare@127.0.0.1"]);
    let wanted = "sshbox: this box has no sftp server; its image needs the package openssh-sftp-server (ref ";
    assert!(error.contains(wanted), "{error}");
    // scp requests the file at once and shows no message of a server, but it ends.
    let error = call("scp", &["/etc/hostname", "bare@127.0.0.1:/tmp/"]);
    assert!(error.contains("Failure"), "{error}");
    let output = user.ssh().run("@sshd");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    refused(&output, "openssh-server");
    // For any other missing command sshbox prints nothing.
    let output = user.ssh().run("nosuch");
    assert_eq!(output.status.code(), Some(127));
    assert!(!text(&output.stderr).contains("sshbox:"), "{output:?}");
    run("docker", &["rm", "-f", &user.container()]);
}
