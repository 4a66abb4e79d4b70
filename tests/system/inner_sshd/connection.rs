//! Connections to the sshd in the box: who is accepted, what works in them, and their end.

use super::{Machine, SERVE};
use crate::agent::Agent;
use crate::harness::{Changed, STATE, User, WHOSE, free_port, run, text, until, world, world_alone};
use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

#[test]
fn the_output_of_config_connects_to_the_box() {
    let _world = world();
    let user = User::new("inner");
    let machine = Machine::of(&user);
    let known = format!("{}/known_hosts", machine.folder);
    assert_eq!(machine.says(&[], &format!("{WHOSE}; id -un; echo $HOME")), "inner\ninner\n/home/user\n");
    let host_key = fs::read_to_string(&known).unwrap();
    assert!(host_key.starts_with("inner-box ssh-ed25519 "), "{host_key}");
    // The variables of the image are the same as in a session of the outer sshd.
    assert_eq!(machine.says(&[], "echo $PATH"), user.says("echo $PATH"));
    assert_eq!(machine.ssh(&[], "exit 42").status.code(), Some(42));
    let mut terminal =
        crate::harness::Terminal::of(machine.command("ssh").args(["-tt", "inner-box"]), 33, 77);
    terminal.shows("$ ");
    terminal.types("stty size; tty\n");
    terminal.shows("33 77\r\n/dev/pts/");
    terminal.types("exit 3\n");
    assert_eq!(terminal.ends(), 3);
    // The host key is the same after a restart and in a recreated box: strict checking succeeds.
    user.says("@restart");
    assert_eq!(machine.says(&["-o", "StrictHostKeyChecking=yes"], "echo in"), "in\n");
    run("docker", &["rm", "-f", &user.container()]);
    assert_eq!(machine.says(&["-o", "StrictHostKeyChecking=yes"], "echo in"), "in\n");
    assert_eq!(fs::read_to_string(&known).unwrap(), host_key);
    // The box of another user has another host key.
    let other = Machine::of(&User::new("inner2"));
    other.says(&[], "true");
    let key = |line: &str| line.split(' ').nth(2).unwrap().trim().to_owned();
    let others = fs::read_to_string(format!("{}/known_hosts", other.folder)).unwrap();
    assert_ne!(key(&others), key(&host_key));
}

#[test]
fn only_the_key_of_the_login_is_accepted_in_the_box() {
    let _world = world();
    let user = User::new("two-keys");
    crate::harness::manage(&["sshbox_key", "add", "two-keys", &format!("{STATE}/stranger.pub")]);
    let machine = Machine::of(&user);
    assert_eq!(machine.says(&[], "echo in"), "in\n");
    // The outer sshd accepts both keys. The inner one accepts only the key that the outer one has just accepted.
    let config = format!("{}/config", machine.folder);
    let lines = fs::read_to_string(&config).unwrap();
    let inner = lines.replace(
        &format!("    IdentityFile {STATE}/key\n"),
        &format!("    IdentityFile {STATE}/stranger\n    IdentitiesOnly yes\n"),
    );
    fs::write(&config, inner).unwrap();
    let output = machine.ssh(&[], "echo in");
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(text(&output.stderr).contains("Permission denied (publickey)"), "{output:?}");
    fs::write(&config, lines.replace(&format!("{STATE}/key"), &format!("{STATE}/stranger"))).unwrap();
    assert_eq!(machine.says(&[], "echo in"), "in\n");
}

#[test]
fn everything_that_vs_code_needs_works() {
    let _world = world();
    let machine = Machine::of(&User::new("editor"));
    let port = free_port();
    let control = format!("{}/control", machine.folder);
    let options =
        [&*format!("-D{port}"), "-o", "ControlMaster=yes", "-o", &*format!("ControlPath={control}")];
    // A server that runs as long as the window, and more channels on the same connection.
    let mut server = machine.open(&options, SERVE);
    let channel = ["-o", &*format!("ControlPath={control}"), "-o", "ControlMaster=no"];
    let channels: Vec<_> = (0..20)
        .map(|number| {
            let mut ssh = machine.command("ssh");
            ssh.args(channel).args([&*machine.host(), &*format!("sleep 0.5; echo {number}")]);
            (number, ssh.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
        })
        .collect();
    for (number, channel) in channels {
        assert_eq!(text(&channel.wait_with_output().unwrap().stdout), format!("{number}\n"));
    }
    // VS Code uploads its server by scp, 100 MB.
    let (file, copy) = (format!("{}/server.tar", machine.folder), format!("{}/copy", machine.folder));
    run("sh", &["-c", &format!("head -c 100000000 /dev/urandom > {file}")]);
    let scp = |from: &str, to: &str| {
        let output = machine.command("scp").args(["-q", from, to]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    scp(&file, &format!("{}:/tmp/server.tar", machine.host()));
    scp(&format!("{}:/tmp/server.tar", machine.host()), &copy);
    run("cmp", &[&file, &copy]);
    let mut sftp = machine.command("sftp");
    sftp.args(["-b", "-", &machine.host()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut sftp = sftp.spawn().unwrap();
    sftp.stdin.take().unwrap().write_all(b"ls -l /tmp/server.tar\nrm /tmp/server.tar\n").unwrap();
    assert!(text(&sftp.wait_with_output().unwrap().stdout).contains(" 100000000 "));
    // The long-running server still listens.
    server.write(b"still here\n");
    assert_eq!(server.line(), "still here");
    let proxy = format!("socks5h://127.0.0.1:{port}");
    assert_eq!(run("curl", &["-s", "--proxy", &proxy, "http://127.0.0.1:8765/where"]), "inside the box\n");
    for file in [file, copy] {
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn p8_a_cut_connection_leaves_no_sshd_behind() {
    let _world = world();
    let user = User::new("cut-off");
    let machine = Machine::of(&user);
    let mut open = machine.open(&["-tt"], "stty -echo; echo up; exec sleep 4711");
    assert!(user.runs_in_box("sleep 4711") && user.runs_in_box("sshd:"));
    open.kill();
    until("the terminal's program has ended", || !user.runs_in_box("sleep 4711"));
    until("the sshd in the box has ended", || !user.runs_in_box("sshd:"));
    until("its processes on the host have ended", || user.host_processes().is_empty());
}

#[test]
fn a_terminal_and_a_missing_host_key_are_refused_with_the_reason() {
    let _world = world();
    let user = User::new("hopeless");
    let mut terminal = user.ssh().terminal(24, 80, &["@sshd"]);
    terminal.shows("sshbox: @sshd speaks to an ssh client, not to a terminal; see @help");
    assert_eq!(terminal.ends(), 64);
    // A box may lack its host key; the next start creates it.
    user.says("true");
    fs::remove_file("/run/sshbox/boxes/hopeless/ssh_host_ed25519_key").unwrap();
    let output = user.ssh().run("@sshd");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(text(&output.stderr).contains("sshbox: the host gave your box no host key; "), "{output:?}");
    user.says("@restart");
    assert_eq!(Machine::of(&user).says(&[], "echo in"), "in\n");
}

#[test]
fn startup_files_of_the_user_are_read_once_by_every_kind_of_session() {
    let _world = world();
    let user = User::new("reader");
    user.says("(echo 'echo $SHLVL >>~/read'; cat ~/.bashrc) >~/.new; mv ~/.new ~/.bashrc; rm -f ~/read");
    let machine = Machine::of(&user);
    assert_eq!(machine.says(&[], "cat ~/read"), "1\n");
    assert_eq!(user.says("cat ~/read"), "1\n1\n");
    // ~/.ssh/rc, which users need for an agent socket with a fixed name.
    user.says("mkdir -p ~/.ssh; echo 'echo rc >>~/rc' >~/.ssh/rc");
    assert_eq!(machine.says(&[], "cat ~/rc"), "rc\n");
}

/// OpenSSH 9.8 splits sshd into two programs, OpenSSH 10 into three.
#[test]
fn a_newer_openssh_in_the_box_works_too() {
    // Takes long and disturbs nobody.
    let shared = world();
    run("packaging/image/build", &["--suite", "trixie", "--tag", "sshbox-user:trixie"]);
    drop(shared);
    let _world = world_alone();
    let _config = Changed::config("image = \"sshbox-user:latest\"", "image = \"sshbox-user:trixie\"");
    let user = User::new("newer");
    let machine = Machine::of(&user);
    let version = machine.says(&[], "/usr/sbin/sshd -V 2>&1 | cut -d. -f1");
    assert_eq!(version, "OpenSSH_10\n");
    assert!(user.says("ls /usr/lib/openssh").contains("sshd-auth\nsshd-session\n"));
    assert_eq!(machine.says(&[], "echo $LANG ${SSH_CONNECTION##* }"), "C.UTF-8 2200\n");
    let port = free_port();
    let _open = machine.open(&[&format!("-D{port}")], SERVE);
    let proxy = format!("socks5h://127.0.0.1:{port}");
    assert_eq!(run("curl", &["-s", "--proxy", &proxy, "http://127.0.0.1:8765/where"]), "inside the box\n");
    let agent = Agent::at(format!("{}/agent", machine.folder));
    let mut ssh = machine.command("ssh");
    ssh.args(["-A", &machine.host(), "ssh-add -l"]).env("SSH_AUTH_SOCK", &agent.socket);
    assert!(text(&ssh.output().unwrap().stdout).contains("(ED25519)"));
    let mut terminal =
        crate::harness::Terminal::of(machine.command("ssh").args(["-tt", "newer-box"]), 33, 77);
    terminal.shows("$ ");
    terminal.types("stty size; exit 3\n");
    terminal.shows("33 77\r\n");
    assert_eq!(terminal.ends(), 3);
    thread::sleep(Duration::from_millis(100));
    run("docker", &["rm", "-f", &user.container()]);
}
