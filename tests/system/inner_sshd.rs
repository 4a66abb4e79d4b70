//! `@sshd`: with the output of `@config`, stock ssh forwards ports, agent and X11 into the box, and never to the host.
//! These tests do without VS Code what VS Code Remote-SSH needs.

use crate::harness::{Changed, Running, STATE, User, WHOSE, run, text, until, world, world_alone};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

/// The user's own machine, on which `ssh NAME-box` works.
pub struct Machine {
    pub user: User,
    pub folder: String,
}

impl Machine {
    /// Writes the output of `@config` to a file, and adds options that tests need for both connections.
    pub fn of(user: &User) -> Self {
        let folder = format!("{STATE}/machine-{}", user.name);
        fs::create_dir_all(&folder).unwrap();
        let config = user.says("@config");
        let options = format!("-F /dev/null -o BatchMode=yes -i {STATE}/key -o IdentitiesOnly=yes");
        let outer = format!("ssh {options} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -q ");
        let config = config.replace("ProxyCommand ssh ", &format!("ProxyCommand {outer}"));
        let inner = format!("    IdentityFile {STATE}/key\n    UserKnownHostsFile {folder}/known_hosts\n");
        fs::write(format!("{folder}/config"), config + &inner).unwrap();
        Self { user: user.clone(), folder }
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args([
            "-F",
            &format!("{}/config", self.folder),
            "-o",
            "BatchMode=yes",
            "-o",
            "LogLevel=ERROR",
        ]);
        command.args(["-o", "ExitOnForwardFailure=yes"]);
        command
    }

    pub fn host(&self) -> String {
        format!("{}-box", self.user.name)
    }

    /// Runs `ssh OPTIONS NAME-box COMMAND` and waits for its end.
    pub fn ssh(&self, options: &[&str], command: &str) -> Output {
        let mut ssh = self.command("ssh");
        ssh.args(options).arg(self.host()).arg(command).stdin(Stdio::null()).output().unwrap()
    }

    /// Output of a command that must succeed and write nothing to stderr.
    pub fn says(&self, options: &[&str], command: &str) -> String {
        let output = self.ssh(options, command);
        assert!(output.status.success(), "{options:?} {command}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{command}");
        text(&output.stdout)
    }

    /// Opens a connection with these forwardings and keeps it open. `command` prints `up` when it is ready.
    fn open(&self, options: &[&str], command: &str) -> Running {
        let mut ssh = self.command("ssh");
        ssh.args(options).arg(self.host()).arg(command);
        let child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut running = Running::of(child);
        assert_eq!(running.line().trim_end(), "up");
        running
    }
}

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Keeps a connection open.
const STAY: &str = "echo up; exec cat";

/// Starts a web server in the box, with a page that identifies it.
const SERVE: &str = "cd $(mktemp -d); echo inside the box > where;
    python3 -m http.server --bind 127.0.0.1 8765 >/dev/null 2>&1 & \
    until (exec 3<>/dev/tcp/127.0.0.1/8765) 2>/dev/null; do sleep 0.1; done; echo up; exec cat";

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    // A forwarding without a target closes or resets the connection.
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn the_output_of_config_connects_to_the_box() {
    let _world = world();
    let user = User::new("inner");
    let machine = Machine::of(&user);
    let known = format!("{}/known_hosts", machine.folder);
    assert_eq!(machine.says(&[], &format!("{WHOSE}; id -un; echo $HOME")), "inner\nuser\n/home/user\n");
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
fn a6_local_forwarding_ends_in_the_box_and_not_on_the_host() {
    let _world = world();
    let user = User::new("forward");
    let machine = Machine::of(&user);
    let (web, host, remote) = (free_port(), free_port(), free_port());
    let _open = machine.open(
        &[
            &format!("-L{web}:127.0.0.1:8765"),
            // Django listens on this port of the host's loopback.
            &format!("-L{host}:127.0.0.1:8000"),
        ],
        SERVE,
    );
    assert!(get(8000, "/").starts_with("HTTP/1."), "Django is on the host");
    assert!(get(web, "/where").ends_with("inside the box\n"));
    assert_eq!(get(host, "/"), "", "the host's loopback was reached");
    // Remote forwarding: a port in the box that leads to the user's machine.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = listener.local_addr().unwrap().port();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"the user's machine\n").unwrap();
    });
    let _reverse = machine.open(&[&format!("-R{remote}:127.0.0.1:{local}")], STAY);
    let asked = user.says(&format!("exec 3<>/dev/tcp/127.0.0.1/{remote}; cat <&3"));
    assert_eq!(asked, "the user's machine\n");
    answering.join().unwrap();
    TcpStream::connect(("127.0.0.1", remote)).unwrap_err();
}

#[test]
fn a6_dynamic_forwarding_reaches_what_the_box_reaches() {
    let _world = world();
    let user = User::new("dynamic");
    let machine = Machine::of(&user);
    let port = free_port();
    let _open = machine.open(&[&format!("-D{port}")], SERVE);
    let proxy = format!("socks5h://127.0.0.1:{port}");
    let curl = |url: &str| {
        let arguments = ["--silent", "--show-error", "--max-time", "30", "--proxy", &proxy, url];
        Command::new("curl").args(arguments).output().unwrap()
    };
    // An editor does this: it connects to a port that a process in the box has just opened.
    assert_eq!(text(&curl("http://127.0.0.1:8765/where").stdout), "inside the box\n");
    for loopback in ["127.0.0.1:8000", "localhost:8000", "127.0.0.1:22", "127.0.0.1:2200"] {
        let output = curl(&format!("http://{loopback}/"));
        assert!(!output.status.success() && output.stdout.is_empty(), "{loopback}: {output:?}");
    }
    // The outer sshd still forwards nothing.
    let outer = user.ssh().args(&["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1"]).run("true");
    assert_ne!(outer.status.code(), Some(0), "{outer:?}");
}

#[test]
fn stream_local_forwarding_works_both_ways() {
    let _world = world();
    let machine = Machine::of(&User::new("sockets"));
    let (here, there) = (format!("{}/here", machine.folder), format!("{}/there", machine.folder));
    let serve = "rm -f /tmp/service; python3 -c '
import socket
s = socket.socket(socket.AF_UNIX); s.bind(\"/tmp/service\"); s.listen(); print(\"up\", flush=True)
while True: c, _ = s.accept(); c.sendall(b\"box says \" + c.recv(99)); c.close()'";
    let _open = machine.open(&[&format!("-L{here}:/tmp/service")], serve);
    let mut stream = UnixStream::connect(&here).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "box says hello");
    let listener = UnixListener::bind(&there).unwrap();
    let _reverse = machine.open(&[&format!("-R/tmp/back:{there}")], STAY);
    let asking = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"here").unwrap();
    });
    let ask = "import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"/tmp/back\"); print(s.recv(9))";
    assert_eq!(machine.user.says(&format!("python3 -c '{ask}'")), "b'here'\n");
    asking.join().unwrap();
    // Docker's socket exists on the host, but not in a box.
    let port = free_port();
    let _docker = machine.open(&[&format!("-L{port}:/var/run/docker.sock")], STAY);
    assert_eq!(get(port, "/version"), "");
}

/// An agent with the test key. Dropping this ends it.
struct Agent {
    socket: String,
    _agent: Running,
}

impl Agent {
    fn new(folder: &str) -> Self {
        let socket = format!("{folder}/agent");
        let mut agent = Command::new("ssh-agent");
        agent.args(["-D", "-a", &socket]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let agent = Running::of(agent.spawn().unwrap());
        until("the agent listens", || fs::exists(&socket).unwrap());
        let mut add = Command::new("ssh-add");
        add.args(["-q", &format!("{STATE}/key")]).env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null());
        assert!(add.status().unwrap().success());
        Self { socket, _agent: agent }
    }
}

#[test]
fn git_uses_a_forwarded_agent() {
    let _world = world();
    let (user, forge) = (User::new("agent"), User::new("forge"));
    forge.says("git init -q --bare project.git");
    let machine = Machine::of(&user);
    let agent = Agent::new(&machine.folder);
    // The gateway of the boxes' network is this host, where the sshd of the forge listens.
    let clone = "
        gateway=$(python3 -c '
import socket, struct
for line in open(\"/proc/net/route\").read().splitlines()[1:]:
    fields = line.split()
    if fields[1] == \"00000000\": print(socket.inet_ntoa(struct.pack(\"<L\", int(fields[2], 16))))')
        export GIT_SSH_COMMAND='ssh -p 2200 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -q'
        cd $(mktemp -d) && git clone -q forge@$gateway:project.git 2>&1 && cd project &&
        git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first && git push -q 2>&1 && echo pushed";
    let with = |option: &str| {
        let mut ssh = machine.command("ssh");
        ssh.args([option, &machine.host(), clone]).env("SSH_AUTH_SOCK", &agent.socket);
        ssh.stdin(Stdio::null()).output().unwrap()
    };
    let output = with("-A");
    assert!(text(&output.stdout).ends_with("pushed\n"), "{output:?}");
    assert_eq!(forge.says("git -C project.git log --format=%s"), "first\n");
    assert!(!text(&with("-a").stdout).contains("pushed"), "it works without an agent");
}

#[test]
fn x11_is_forwarded() {
    let _world = world();
    let machine = Machine::of(&User::new("windows"));
    // A display on the user's machine. The bytes of the box must arrive here, with the cookie of this display.
    let _ = fs::create_dir("/tmp/.X11-unix");
    let display = UnixListener::bind("/tmp/.X11-unix/X77").unwrap();
    let authority = format!("{}/Xauthority", machine.folder);
    let cookie = "00112233445566778899aabbccddeeff";
    run("xauth", &["-q", "-f", &authority, "add", ":77", "MIT-MAGIC-COOKIE-1", cookie]);
    let serving = thread::spawn(move || {
        let (mut stream, _) = display.accept().unwrap();
        let mut hello = [0; 48];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"seen").unwrap();
        hello
    });
    let draw = r#"
import os, socket, subprocess
name = os.environ["DISPLAY"]
port = 6000 + int(name.split(":")[1].split(".")[0])
fields = subprocess.check_output(["xauth", "list", name], text=True).split()
s = socket.create_connection(("127.0.0.1", port))
kind = fields[1].encode()
s.sendall(b"l\0\13\0\0\0" + bytes([len(kind), 0, 16, 0, 0, 0]) + kind + b"\0" * (-len(kind) % 4) + bytes.fromhex(fields[2]))
print(name.split(":")[0], s.recv(4))
"#;
    let mut ssh = machine.command("ssh");
    ssh.args(["-X", &machine.host(), &format!("python3 -c '{draw}'")]);
    ssh.env("DISPLAY", ":77").env("XAUTHORITY", &authority).stdin(Stdio::null());
    let output = ssh.output().unwrap();
    assert_eq!(text(&output.stdout), "localhost b'seen'\n", "{output:?}");
    let hello = serving.join().unwrap();
    assert_eq!(&hello[12..30], b"MIT-MAGIC-COOKIE-1");
    let seen: String = hello[32..].iter().fold(String::new(), |seen, byte| format!("{seen}{byte:02x}"));
    assert_eq!(seen, cookie, "the client must replace the box's cookie by its own");
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
fn the_host_key_outlives_the_home_the_container_and_the_cache() {
    let _world = world();
    let user = User::new("steady");
    let machine = Machine::of(&user);
    assert_eq!(machine.says(&[], "rm -rf ~/.local; echo in"), "in\n");
    let known = fs::read_to_string(format!("{}/known_hosts", machine.folder)).unwrap();
    let strict = ["-o", "StrictHostKeyChecking=yes"];
    assert_eq!(machine.says(&strict, "find ~ -mindepth 1 -delete; ls -A ~"), "");
    // A full or closed home does not matter either: nothing is written there.
    assert_eq!(machine.says(&strict, "chmod 500 ~; ls -A ~"), "");
    user.says("@restart");
    assert_eq!(machine.says(&strict, "echo in"), "in\n");
    run("docker", &["rm", "-f", &user.container()]);
    fs::remove_dir_all("/run/sshbox/boxes/steady").unwrap();
    assert_eq!(machine.says(&strict, "echo in"), "in\n");
    assert_eq!(fs::read_to_string(format!("{}/known_hosts", machine.folder)).unwrap(), known);
    // Only the box's user can read the key, and cannot change it.
    let tried = "key=/run/sshbox/ssh_host_ed25519_key; stat -c '%a %U' $key; (rm -f $key; : >>$key; : >/run/sshbox/x) 2>/dev/null; ls $key /run/sshbox/x 2>/dev/null || true";
    assert_eq!(user.ssh().status(&format!("{{ {tried}; }} >/tmp/tried")), 0);
    assert_eq!(user.says("cat /tmp/tried"), "600 user\n/run/sshbox/ssh_host_ed25519_key\n");
    let secret = fs::metadata("/var/lib/sshbox/host-key-secret").unwrap();
    assert_eq!((secret.mode() & 0o777, secret.uid(), secret.len()), (0o600, 0, 32));
    user.says("chmod 700 ~");
}

#[test]
fn a_host_key_of_an_earlier_release_is_used_until_it_is_deleted_without_a_warning() {
    let _world = world();
    let user = User::new("upgraded");
    let machine = Machine::of(&user);
    let state = "~/.local/state/sshbox";
    user.says(&format!(
        "mkdir -p {state} && chmod 700 {state} && ssh-keygen -q -t ed25519 -N '' -C sshbox -f {state}/ssh_host_ed25519_key"
    ));
    let earlier = user.says(&format!("cut -d' ' -f2 {state}/ssh_host_ed25519_key.pub"));
    let known = format!("{}/known_hosts", machine.folder);
    fs::write(&known, format!("upgraded-box ssh-ed25519 {earlier}")).unwrap();
    // Clients do this by default with their usual known_hosts file.
    let strict = ["-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=yes"];
    assert_eq!(machine.says(&strict, "sleep 1; echo in"), "in\n");
    assert_eq!(
        fs::read_to_string(&known).unwrap().lines().count(),
        2,
        "the client has not learned the new key"
    );
    assert_eq!(machine.says(&strict, "rm -rf ~/.local; echo in"), "in\n");
    assert_eq!(machine.says(&strict, "echo in"), "in\n");
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

#[test]
fn twenty_concurrent_first_connections_get_one_host_key() {
    let _world = world();
    let user = User::new("hurried");
    user.says("true");
    let machine = Machine::of(&user);
    let options = ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"];
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut ssh = machine.command("ssh");
            ssh.args(options).args([&*machine.host(), "md5sum </run/sshbox/ssh_host_ed25519_key"]);
            ssh.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let keys: std::collections::BTreeSet<_> =
        clients.into_iter().map(|client| text(&client.wait_with_output().unwrap().stdout)).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!(user.says("ls -d ~/.local /tmp/.sshbox* 2>/dev/null || true"), "");
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
    let agent = Agent::new(&machine.folder);
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
