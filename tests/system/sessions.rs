//! Boxes and sessions: a box is created once, used again and woken, and sessions end as with plain sshd.

use crate::harness::{Changed, User, WHOSE, alice, private_world, run, text, until, world};
use std::thread;

#[test]
fn the_first_login_creates_the_box_and_the_second_uses_it() {
    let _world = world();
    let user = User::new("twice");
    assert_eq!(
        user.says(&format!("{WHOSE}; echo kept > file; cat /proc/sys/kernel/random/boot_id > /dev/null")),
        "twice\n"
    );
    let id = user.inspect("{{.Id}}");
    assert_eq!(user.says(&format!("{WHOSE}; cat file")), "twice\nkept\n");
    assert_eq!(user.inspect("{{.Id}}"), id);
}

#[test]
fn f5_a_box_wakes_from_every_state() {
    let _world = world();
    let user = User::new("woken");
    user.says("echo kept > file");
    let id = user.inspect("{{.Id}}");
    for command in ["stop", "kill", "pause"] {
        run("docker", &[command, &user.container()]);
        assert_eq!(user.says("cat file"), "kept\n", "{command}");
        assert_eq!(user.inspect("{{.Id}}"), id, "{command}");
    }
    run("docker", &["rm", "-f", &user.container()]);
    assert_eq!(user.says("cat file"), "kept\n");
    // Created, but never started.
    run("docker", &["stop", "-t", "0", &user.container()]);
    let labels = user
        .inspect("--label sshbox.user=woken --label sshbox.spec={{index .Config.Labels \"sshbox.spec\"}}");
    run("docker", &["rm", &user.container()]);
    let init = "-v /usr/lib/sshbox/sshbox-init:/sbin/sshbox-init:ro -v /run/sshbox/boxes/woken:/run/sshbox:ro \
         -v /run/sshbox/boxes/woken/etc-passwd:/etc/passwd:ro";
    let home = format!("-v {}:/home/user", user.home());
    let limits = "--cpus 2 --memory 8g --memory-swap 8589938688 --pids-limit 512 --cpu-shares 1024";
    let create = format!(
        "docker create --name {} --network sshbox0 --user {uid}:{uid} {limits} {labels} {init} {home} --entrypoint /sbin/sshbox-init sshbox-user:latest",
        user.container(),
        uid = user.box_uid()
    );
    run("sh", &["-c", &create]);
    let id = user.inspect("{{.Id}}");
    assert_eq!(user.inspect("{{.State.Status}}"), "created");
    assert_eq!(user.says("cat file"), "kept\n");
    assert_eq!(user.inspect("{{.Id}}"), id);
}

#[test]
fn a_box_whose_network_is_missing_is_recreated() {
    let _world = crate::harness::world_alone();
    let user = User::new("netless");
    user.says("echo kept > file");
    let boxes = run("docker", &["ps", "-aq", "--filter", "label=sshbox.user"]);
    let boxes: Vec<&str> = boxes.split_whitespace().collect();
    run("docker", &[&["stop", "-t", "0"], &boxes[..]].concat());
    run("docker", &["network", "rm", "sshbox0"]);
    assert_eq!(user.says("cat file"), "kept\n");
    assert_eq!(
        run(
            "docker",
            &[
                "network",
                "inspect",
                "-f",
                "{{index .Options \"com.docker.network.bridge.enable_icc\"}} {{index .Options \"com.docker.network.bridge.name\"}}",
                "sshbox0"
            ]
        ),
        "false sshbox0\n"
    );
}

#[test]
fn f1_thirty_two_concurrent_first_logins_create_one_box() {
    let _world = private_world();
    let _config = Changed::config("\nconnections = 20\n", "\nconnections = 50\n");
    let user = User::new("crowd");
    let logins: Vec<_> = (0..32)
        .map(|_| {
            let user = user.clone();
            thread::spawn(move || user.ssh().run(WHOSE))
        })
        .collect();
    for login in logins {
        let output = login.join().unwrap();
        assert_eq!(text(&output.stdout), "crowd\n", "{output:?}");
    }
    let boxes = run("docker", &["ps", "-aq", "--filter", "label=sshbox.user=crowd"]);
    assert_eq!(boxes.lines().count(), 1);
}

#[test]
fn a2_a_foreign_container_with_the_name_of_a_box_is_refused() {
    let _world = world();
    let user = User::new("taken");
    let name = user.container();
    run("docker", &["create", "--name", &name, "--network", "none", "sshbox-user:latest"]);
    let output = user.ssh().run("id");
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(
        text(&output.stderr).contains("a container that is not yours has the name of your box"),
        "{output:?}"
    );
    assert_eq!(run("docker", &["inspect", "-f", "{{.State.Status}}", &name]), "created\n");
    run("docker", &["rm", &name]);
    user.says("true");
}

#[test]
fn f8_a_missing_image_is_reported_and_a_new_one_is_used_at_the_next_cold_start() {
    let _world = crate::harness::world_alone();
    let user = User::new("imaged");
    user.says("echo kept > file");
    let first = user.inspect("{{.Id}}");
    // An image with another id and the same name.
    run(
        "sh",
        &[
            "-c",
            "docker tag sshbox-user:latest old:1 && c=$(docker create --network none old:1) && docker commit -m new $c sshbox-user:latest && docker rm $c",
        ],
    );
    let _back = crate::harness::Undo(|| drop(run("docker", &["tag", "old:1", "sshbox-user:latest"])));
    assert_eq!(user.says("cat file"), "kept\n");
    assert_eq!(user.inspect("{{.Id}}"), first, "a running box stays as it is");
    run("docker", &["stop", &user.container()]);
    assert_eq!(user.says("cat file"), "kept\n");
    let second = user.inspect("{{.Id}}");
    assert_ne!(second, first);
    // Without the image, users with a box can log in, and others get an error.
    run("docker", &["stop", &user.container()]);
    let _config = crate::harness::Changed::config("image = \"sshbox-user:latest\"", "image = \"nosuch:1\"");
    assert_eq!(user.says("cat file"), "kept\n");
    assert_eq!(user.inspect("{{.Id}}"), second);
    let output = User::new("imageless").ssh().run("id");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(
        text(&output.stderr)
            .starts_with("sshbox: the image of your box is not on this host; tell your admin (ref ")
    );
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn f22_exit_statuses_and_signals_are_those_of_plain_sshd() {
    let _world = world();
    let user = alice();
    for status in [0, 1, 2, 7, 42, 64, 69, 70, 75, 77, 78, 126, 127, 128, 137, 200, 254, 255] {
        assert_eq!(user.ssh().status(&format!("exit {status}")), status);
    }
    assert_eq!(user.ssh().status("no-such-command"), 127);
    for signal in ["HUP", "INT", "QUIT", "ABRT", "KILL", "SEGV", "PIPE", "ALRM", "TERM", "USR1"] {
        let says = |user: &User| {
            let output = user.ssh().args(&["-v"]).run(&format!("kill -{signal} $$"));
            let errors: Vec<String> = text(&output.stderr)
                .lines()
                .filter(|line| line.contains("rtype exit-"))
                .map(|line| line.split("rtype").nth(1).unwrap().to_owned())
                .collect();
            (output.status.code(), errors)
        };
        let (ours, plain) = (says(&user), says(&User::plain()));
        assert_eq!(ours, plain, "{signal}");
        // A shell ignores some of these signals. The others must be reported as signals.
        assert!(
            ours.1[0].contains("exit-signal") || !["KILL", "TERM", "SEGV"].contains(&signal),
            "{signal}: {ours:?}"
        );
    }
}

#[test]
fn common_clients_work() {
    let _world = world();
    let user = alice();
    run("sh", &["-c", "mkdir -p /tmp/tree && seq 100000 > /tmp/tree/a && echo b > /tmp/tree/b"]);
    let shell = "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i /run/sshbox-tests/key -p 2200";
    let options = shell.replacen("ssh ", "", 1).replace("-p 2200", "-P 2200");
    run(
        "sh",
        &[
            "-c",
            &format!(
                "scp {options} /tmp/tree/a alice@127.0.0.1:scp-a && scp -O {options} /tmp/tree/b alice@127.0.0.1:scp-b"
            ),
        ],
    );
    run("sh", &["-c", &format!("echo 'put /tmp/tree/a sftp-a' | sftp -b - {options} alice@127.0.0.1")]);
    run("sh", &["-c", &format!("rsync -a --delete -e '{shell}' /tmp/tree/ alice@127.0.0.1:tree/")]);
    run(
        "sh",
        &[
            "-c",
            &format!(
                "rm -rf /tmp/repo && GIT_SSH_COMMAND='{shell}' sh -c '{shell} alice@127.0.0.1 git init -q --bare repo.git && git -c init.defaultBranch=m init -q /tmp/repo && cd /tmp/repo && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git push -q alice@127.0.0.1:repo.git HEAD:m && git clone -q alice@127.0.0.1:repo.git -b m /tmp/repo/clone'"
            ),
        ],
    );
    let sums = user.says(
        "cat scp-a sftp-a tree/a | md5sum; ls tree; cat scp-b; git -C repo.git log --oneline m | wc -l",
    );
    let sum = run("sh", &["-c", "cat /tmp/tree/a /tmp/tree/a /tmp/tree/a | md5sum"]);
    assert_eq!(sums, format!("{sum}a\nb\nb\n1\n"));
}

#[test]
fn a_session_has_the_usual_variables() {
    let _world = world();
    let user = alice();
    let output = user
        .ssh()
        .args(&["-o", "SetEnv=LANG=en_US.UTF-8 LC_TIME=C LD_PRELOAD=/x PATH=/x", "-o", "SendEnv=HOME"])
        .run("env");
    let env = text(&output.stdout);
    for line in [
        "LANG=en_US.UTF-8",
        "LC_TIME=C",
        "HOME=/home/user",
        "USER=alice",
        "LOGNAME=alice",
        "SHELL=/bin/bash",
        "PWD=/home/user",
        "PATH=/usr/local/bin:/usr/bin:/bin:/usr/games",
    ] {
        assert!(env.lines().any(|found| found == line), "{line}: {env}");
    }
    assert!(env.contains("SSH_CONNECTION=127.0.0.1 ") && env.contains("SSH_CLIENT=127.0.0.1 "), "{env}");
    assert!(
        !env.contains("LD_PRELOAD")
            && !env.contains("SSH_USER_AUTH")
            && !env.contains("SSH_ORIGINAL_COMMAND")
    );
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn p9_an_unknown_special_command_is_refused_with_a_reason() {
    let _world = world();
    let output = alice().ssh().run("@nonsense\u{1b}[31m now");
    assert_eq!(output.status.code(), Some(64));
    let error = text(&output.stderr);
    assert!(
        error.starts_with(r"sshbox: unknown command @nonsense\x1b[31m now; available: @config, @help, "),
        "{error}"
    );
    let reference = error.split("(ref ").nth(1).unwrap()[..8].to_owned();
    until("the journal has the reference", || crate::harness::journal().contains(&reference));
}

#[test]
fn one_connection_carries_many_sessions() {
    let _world = world();
    let user = alice();
    let control =
        ["-o", "ControlPath=/tmp/control-%p", "-o", "ControlMaster=auto", "-o", "ControlPersist=20"];
    // ssh uses the first of several options, so these must come before those of the harness.
    let output = std::process::Command::new("bash")
        .arg("-c")
        .arg(format!(
            "ssh() {{ command ssh -F /dev/null {} -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i /run/sshbox-tests/key -p 2200 {}@127.0.0.1 \"$@\"; }}
             ssh true; for n in $(seq 30); do ssh \"echo $n; exit $n\" & pids+=($!); done
             total=0; for pid in ${{pids[@]}}; do wait $pid || total=$((total + $?)); done; echo total $total; ssh -O exit",
            control.join(" "),
            user.name
        ))
        .output()
        .unwrap();
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().filter(|line| line.parse::<u32>().is_ok()).count(), 30, "{output:?}");
    assert!(lines.contains(&format!("total {}", (1..=30).sum::<u32>())), "{output:?}");
}

#[test]
fn a_home_without_permissions_does_not_prevent_a_login() {
    let _world = world();
    let user = User::new("closed");
    user.says("chmod 000 ~");
    assert_eq!(user.ssh().run("pwd; chmod 700 ~").stdout, b"/\n");
    assert_eq!(user.says("pwd"), "/home/user\n");
}
