//! Special commands as users type them, and the messages about the end of a box. Snapshots of the texts are in
//! `crates/session/src/texts.rs` and the `observe` module of `crates/lifecycle`.

use crate::harness::{Changed, Undo, User, alice, private_world, run, text, until, world, world_alone};
use serde_json::Value;
use std::process::Command;

/// Parsed output of `@status --json`, which must succeed and write nothing to stderr.
fn json(user: &User) -> Value {
    serde_json::from_str(&user.says("@status --json")).unwrap()
}

/// The line of this name in `@status`.
fn line(status: &str, name: &str) -> String {
    let found = status.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

#[test]
fn help_lists_all_special_commands_and_starts_no_box() {
    let _world = world();
    let user = User::new("helped");
    let help = user.says("@help");
    for word in ["@status", "@restart", "@stop", "@keys", "@config", "@sshd", "@help"] {
        assert!(help.contains(&format!("\n  {word} ")), "{help}");
    }
    assert!(help.contains("ssh -p 2200 helped@127.0.0.1 @config >> ~/.ssh/config"), "{help}");
    let found = Command::new("docker").args(["inspect", &user.container()]).output().unwrap();
    assert!(!found.status.success(), "a box was created");
}

#[test]
fn config_contains_the_login_name_and_the_host_name_that_the_admin_sets() {
    let _world = world_alone();
    let user = User::new("configured");
    let wanted = "    ProxyCommand ssh -T -p 2200 configured@127.0.0.1 @sshd\n";
    let config = user.says("@config");
    assert!(config.contains("\nHost configured-box\n    User user\n") && config.contains(wanted), "{config}");
    // ssh parses the output as configuration.
    std::fs::write("/tmp/configured", &config).unwrap();
    let seen = run("ssh", &["-F", "/tmp/configured", "-G", "configured-box"]);
    assert!(seen.contains("proxycommand ssh -T -p 2200 configured@127.0.0.1 @sshd\n"), "{seen}");
    let path = "/etc/sshbox/sshd_config";
    let before = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, before.replace("#SetEnv SSHBOX_HOST=", "SetEnv SSHBOX_HOST=")).unwrap();
    let back = Undo(|| {
        std::fs::write(path, &before).unwrap();
        drop(run("packaging/demo/without-systemd", &["reload"]));
    });
    run("packaging/demo/without-systemd", &["reload"]);
    // During the restart sshd does not listen for a moment.
    let says = |name: &str| text(&user.ssh().run("@config").stdout).contains(&format!("{name} @sshd"));
    until("the name is in the output", || says("configured@box.example.org"));
    // A client must not be able to set it.
    let client = user.ssh().args(&["-o", "SetEnv=SSHBOX_HOST=evil.example.org"]).run("@config");
    assert!(text(&client.stdout).contains("configured@box.example.org"), "{client:?}");
    drop(back);
    until("the name is not in the output", || says("configured@127.0.0.1"));
}

#[test]
fn status_shows_a_running_box_with_its_sessions() {
    let _world = world();
    let user = User::new("shown");
    user.says("true");
    let mut first = user.ssh().begin(&["echo in; while :; do :; done"]);
    let mut second = user.ssh().begin(&["echo in; exec sleep 300"]);
    assert_eq!((first.line(), second.line()), ("in".to_owned(), "in".to_owned()));
    let status = json(&user);
    assert_eq!(status["box"], "sshbox-shown");
    assert_eq!(status["state"], "running");
    assert_eq!(status["image"], "sshbox-user:latest");
    assert_eq!(status["sessions"], 2);
    assert_eq!(status["cpu"]["limit"], 2.0);
    // On a busy machine the box gets little CPU time, but some.
    assert!(status["cpu"]["used"].as_f64().unwrap() > 0.0, "{status}");
    assert_eq!(status["memory"]["limit"], 8_u64 << 30);
    let memory = status["memory"]["used"].as_u64().unwrap();
    assert!((100 << 10..1 << 30).contains(&memory), "{status}");
    assert_eq!(status["processes"]["limit"], 512);
    assert!(status["processes"]["used"].as_u64().unwrap() >= 3, "{status}");
    assert!(status["disk"]["free"].as_u64().unwrap() > 0, "{status}");
    assert_eq!(status["idle_timeout_seconds"], 1800);
    assert_eq!(status["stops_at"], Value::Null, "a session is open");
    assert!(status["up_seconds"].as_u64().unwrap() < 600);
    let text = user.says("@status");
    assert_eq!(line(&text, "sessions"), "2");
    assert!(line(&text, "state").starts_with("running since 20"), "{text}");
    assert_eq!(line(&text, "idle stop"), "30m after the last session");
    assert!(line(&text, "memory").ends_with(" of 8.0 GiB"), "{text}");
    first.kill();
    second.kill();
    until("all sessions have ended", || json(&user)["sessions"] == 0);
    assert!(line(&user.says("@status"), "idle stop").starts_with("at 20"));
    assert!(json(&user)["stops_at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn special_commands_work_in_every_state_of_the_box() {
    let _world = world();
    let user = User::new("broken");
    assert_eq!(json(&user)["state"], "missing");
    assert_eq!(user.says("@stop"), "your box does not run\n");
    user.says("true");
    run("docker", &["pause", &user.container()]);
    assert_eq!(json(&user)["state"], "paused");
    assert_eq!(user.says("@stop"), "your box is stopped; the next login starts it\n");
    assert_eq!(json(&user)["state"], "stopped");
    assert_eq!(user.says("@restart"), "your box was restarted\n");
    assert_eq!(json(&user)["state"], "running");
    // An init that is stuck: the box does not reply, but special commands do, since the host handles them.
    let init = user.inspect("{{.State.Pid}}").parse().unwrap();
    crate::harness::signal(init, nix::sys::signal::Signal::SIGSTOP);
    assert_eq!(json(&user)["state"], "running");
    assert_eq!(user.says("@restart"), "your box was restarted\n");
    assert_eq!(user.says("echo in"), "in\n");
}

#[test]
fn f7_a_user_can_restart_a_box_at_its_process_limit() {
    let _world = world();
    let user = User::new("fork-bomber");
    let bomb = "echo began; for n in $(seq 600); do setsid sleep 300 & done 2>/dev/null; sleep 300";
    let mut session = user.ssh().begin(&[bomb]);
    session.line();
    until("the box is at its process limit", || user.ssh().status("true") != 0);
    until("the limit is reported", || {
        let refused = text(&user.ssh().run("true").stderr);
        // Threads count as processes. A user who counts only processes sees fewer, so the message must mention threads.
        refused.contains("as many tasks as it may (processes and threads, 51")
            && refused.contains(" of 512); end some of them, or stop all with @restart (ref ")
    });
    assert!(json(&user)["processes"]["used"].as_u64().unwrap() >= 510);
    assert_eq!(user.says("@restart"), "your box was restarted\n");
    assert_eq!(user.says("echo in"), "in\n");
}

#[test]
fn restart_and_stop_ask_on_a_terminal() {
    let _world = world();
    let user = User::new("asked");
    user.says("true");
    let began = user.inspect("{{.State.StartedAt}}");
    let mut other = user.ssh().begin(&["echo in; exec sleep 300"]);
    assert_eq!(other.line(), "in");
    for no in ["n\n", "\n", "\u{4}"] {
        let mut terminal = user.ssh().terminal(24, 80, &["@restart"]);
        terminal.shows("1 session is open and will end. [y/N] ");
        terminal.types(no);
        terminal.shows("nothing was done");
        assert_eq!(terminal.ends(), 1);
    }
    assert_eq!(user.inspect("{{.State.StartedAt}}"), began);
    let mut terminal = user.ssh().terminal(24, 80, &["@restart"]);
    terminal.shows("Restart your box? ");
    terminal.types("y\n");
    terminal.shows("your box was restarted");
    assert_eq!(terminal.ends(), 0);
    assert_ne!(user.inspect("{{.State.StartedAt}}"), began);
    let (status, _, error) = other.output();
    assert_eq!(status, 137, "{error}");
    assert!(error.starts_with("sshbox: your box was stopped: you typed @restart; log in again"), "{error}");
    let mut terminal = user.ssh().terminal(24, 80, &["@stop"]);
    terminal.shows("Stop your box? ");
    terminal.types("yes\n");
    terminal.shows("your box is stopped; the next login starts it");
    assert_eq!(terminal.ends(), 0);
    assert_eq!(user.inspect("{{.State.Status}}"), "exited");
}

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
    assert!(shown.contains("\r\nIt stops 30m after the last session. "), "{shown:?}");
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
fn keys_lists_the_keys_of_the_account_and_where_they_are_managed() {
    let _world = private_world();
    let user = User::new("lister");
    let second = format!("{}/second-of-lister", crate::harness::STATE);
    run("ssh-keygen", &["-q", "-t", "ecdsa", "-N", "", "-C", "old desk", "-f", &second]);
    crate::harness::manage(&["sshbox_key", "add", "lister", &format!("{second}.pub")]);
    let fingerprint = |path: &str| run("ssh-keygen", &["-lf", path]).split(' ').nth(1).unwrap().to_owned();
    let (ours, other) = (fingerprint(&format!("{}/key.pub", crate::harness::STATE)), fingerprint(&second));
    let said = user.says("@keys");
    let marked = |said: &str| {
        let lines: Vec<String> =
            said.lines().filter(|line| line.starts_with("* ")).map(str::to_owned).collect();
        lines.first().cloned().unwrap_or_default()
    };
    assert!(marked(&said).contains(&ours), "{said}");
    assert!(said.contains(&format!("  ecdsa-sha2-nistp256  {other}  old desk\n")), "{said}");
    assert!(said.ends_with(
        "\nYou manage this list where you have your account\nsshbox does not use the box's ~/.ssh/authorized_keys.\n"
    ));
    let found = Command::new("docker").args(["inspect", &user.container()]).output().unwrap();
    assert!(!found.status.success(), "a box was created");
    let _page = Changed::config("manage_url = \"\"", "manage_url = \"https://example.org/{user}/keys\"");
    let said = text(&user.ssh().key("second-of-lister").run("@keys").stdout);
    assert!(marked(&said).contains(&other), "{said}");
    assert!(said.contains("\nTo add or remove keys: https://example.org/lister/keys\n"), "{said}");
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
    let stop = || drop(run("docker", &["stop", "-t", "1", "sshbox-told"]));
    let remove = || drop(run("docker", &["rm", "-f", "sshbox-told"]));
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
    let stop = || drop(run("docker", &["stop", "-t", "1", "sshbox-ending"]));
    let kill = || drop(run("docker", &["kill", "sshbox-ending"]));
    let remove = || drop(run("docker", &["rm", "-f", "sshbox-ending"]));
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

#[test]
fn a8_users_cannot_stop_or_inspect_boxes_of_others() {
    let _world = world();
    let (alice, other) = (alice(), User::new("nosy"));
    other.says("true");
    // Tests of the reaper may have stopped the box.
    alice.says("true");
    let uid = other.uid().to_string();
    for verb in ["wake", "stop", "restart", "status", "why", "keys"] {
        let ask = format!(
            "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); \
             s.connect('/run/sshbox/wake.sock'); s.send(b'{verb}={}\\0'); print(s.recv(9999))",
            alice.name
        );
        let answer = run(
            "setpriv",
            &["--reuid", &uid, "--regid", "1879048192", "--clear-groups", "/usr/bin/python3", "-c", &ask],
        );
        assert!(answer.contains("failed=this box is not yours") && answer.contains("status=77"), "{answer}");
    }
    assert_eq!(alice.inspect("{{.State.Status}}"), "running");
}

#[test]
fn a8_many_special_commands_of_one_user_do_not_block_others() {
    let _world = world_alone();
    let (flooder, other) = (User::new("flooder"), User::new("flooded"));
    flooder.says("true");
    let words: Vec<_> = (0..40).map(|_| flooder.ssh().begin(&["@status"])).collect();
    let waking = || {
        let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        crate::harness::processes().iter().filter(|pid| name(pid) == "sshbox-wake\n").count()
    };
    let most = std::thread::spawn(move || {
        (0..100)
            .map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                waking()
            })
            .max()
    });
    assert_eq!(other.says("echo in"), "in\n");
    for word in words {
        let (status, out, error) = word.output();
        assert_eq!((status, &*error), (0, ""), "{out}");
        assert!(out.starts_with("box        sshbox-flooder\n"), "{out}");
    }
    // One process for each user, and one that the next one is just replacing.
    let most = most.join().unwrap().unwrap();
    assert!((1..=4).contains(&most), "{most} at once");
}
