//! Ports, sockets, an agent and X11 are forwarded into the box, and never to the host.

use super::{Machine, SERVE, STAY, get};
use crate::agent::Agent;
use crate::harness::{Changed, Undo, User, free_port, run, text, world, world_alone};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::thread;

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

#[test]
fn git_uses_a_forwarded_agent() {
    let _world = world_alone();
    // Otherwise boxes do not reach the host.
    let _back = Undo(|| drop(run("sshbox", &["network", "apply"])));
    let _allowed = Changed::config("allow = []", "allow = [\"172.16.0.0/12:2200\"]");
    run("sshbox", &["network", "apply"]);
    let (user, forge) = (User::new("agent"), User::new("forge"));
    forge.says("git init -q --bare project.git");
    let machine = Machine::of(&user);
    let agent = Agent::at(format!("{}/agent", machine.folder));
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
    // Without `@sshd` too.
    let plain = user.ssh().args(&["-A"]).env("SSH_AUTH_SOCK", &agent.socket).run(clone);
    assert!(text(&plain.stdout).ends_with("pushed\n"), "{plain:?}");
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
