//! Each way to forward ends in the box.

use super::{Canary, INSIDE, read_from, serve, through};
use crate::harness::{STATE, User, free_port, journal, run, text, until, world};
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};

#[test]
fn a6_local_and_dynamic_forwarding_end_in_the_box_and_not_on_the_host() {
    let _world = world();
    let (user, canary) = (User::new("forwards"), Canary::new());
    let _server = serve(&user, "127.0.0.1", canary.port);
    let (local, socks) = (free_port(), free_port());
    for target in ["127.0.0.1", "localhost"] {
        let forward = format!("{local}:{target}:{}", canary.port);
        let options = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", &forward, "-D", &socks.to_string()];
        let mut client = user.ssh().args(&options).begin(&[]);
        until("the client listens", || read_from(local) == INSIDE);
        let curl = |option: &str, host: &str| {
            let url = format!("telnet://{host}:{}", canary.port);
            let mut curl = Command::new("curl");
            curl.args(["-s", "-m", "20", option, &format!("127.0.0.1:{socks}"), &url]);
            text(&curl.stdin(Stdio::null()).output().unwrap().stdout)
        };
        assert_eq!(curl("--socks5", "127.0.0.1"), INSIDE);
        assert_eq!(curl("--socks5-hostname", "localhost"), INSIDE);
        // What listens on the host only.
        for port in [8000, 22, 2200] {
            let mut curl = Command::new("curl");
            curl.args(["-s", "-m", "20", "--socks5", &format!("127.0.0.1:{socks}")]);
            let output = curl.arg(format!("http://127.0.0.1:{port}/")).output().unwrap();
            assert!(!output.status.success() && output.stdout.is_empty(), "{port}: {output:?}");
        }
        client.kill();
    }
    canary.assert_not_reached("-L and -D");
}

#[test]
fn a6_remote_forwarding_listens_in_the_box_of_the_user_and_nowhere_else() {
    let _world = world();
    let (user, other) = (User::new("reverses"), User::new("reverses-not"));
    other.says("true");
    let here = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("127.0.0.1:{}", here.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for client in here.incoming() {
            let _ = client.unwrap().write_all(b"from the client\n");
        }
    });
    let port = free_port();
    for bind in ["", "*:", "0.0.0.0:"] {
        let forward = format!("{bind}{port}:{target}");
        let options = ["-R", &forward, "-o", "ExitOnForwardFailure=yes"];
        let mut client = user.ssh().args(&options).begin(&["echo up; exec sleep 300"]);
        assert_eq!(client.line(), "up");
        let read = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && cat <&3");
        assert_eq!(user.says(&format!("bash -c '{read}'")), "from the client\n");
        // On the loopback interface only, whatever the client asks for.
        assert_eq!(
            user.ssh().status(&format!("bash -c 'exec 3<>/dev/tcp/$(hostname -i)/{port}' 2>/dev/null")),
            1
        );
        assert_eq!(other.ssh().status(&format!("bash -c '{read}' 2>/dev/null")), 1);
        assert_eq!(read_from(port), "", "it listens on the host");
        client.kill();
    }
}

#[test]
fn a_jump_goes_through_the_box() {
    let _world = world();
    let (user, canary) = (User::new("jumps"), Canary::new());
    let _server = serve(&user, "127.0.0.1", canary.port);
    assert_eq!(text(&through(user.ssh(), &format!("127.0.0.1:{}", canary.port)).stdout), INSIDE);
    let config = format!("{STATE}/jump");
    let options = "    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n    BatchMode yes\n";
    let host = format!(
        "Host gate\n    HostName 127.0.0.1\n    Port 2200\n    User jumps\n    IdentityFile {STATE}/key\n"
    );
    fs::write(&config, format!("{host}{options}Host *\n{options}")).unwrap();
    let port = canary.port.to_string();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", &config, "-v", "-J", "gate", "-p", &port, "someone@localhost"]);
    let output = ssh.stdin(Stdio::null()).output().unwrap();
    assert!(text(&output.stderr).contains("remote software version inside-the-box"), "{output:?}");
    canary.assert_not_reached("-W and -J");
}

#[test]
fn names_are_those_of_the_box() {
    let _world = world();
    let user = User::new("named-there");
    let port = free_port();
    let _server = serve(&user, "0.0.0.0", port);
    // The engine's name server, which only boxes reach, knows the box by its name. The host does not.
    let name = user.container();
    assert!(!Command::new("getent").args(["ahosts", &name]).status().unwrap().success());
    assert_eq!(text(&through(user.ssh(), &format!("{name}:{port}")).stdout), INSIDE);
}

#[test]
fn a_connection_that_only_forwards_starts_the_box() {
    let _world = world();
    let user = User::new("forwards-only");
    let port = free_port();
    let mut client = user.ssh().args(&["-N", "-L", &format!("{port}:127.0.0.1:1")]).begin(&[]);
    until("the box runs", || {
        let format = "{{.State.Running}}";
        let found = Command::new("docker").args(["inspect", "--format", format, &user.container()]).output();
        text(&found.unwrap().stdout) == "true\n"
    });
    client.kill();
    until("the start is in the journal", || {
        journal().contains(r#"box created user="forwards-only" by="user""#)
    });
    // The commands of the host see the box as any session does.
    assert!(run("/usr/sbin/sshbox", &["list"]).contains("forwards-only"));
}
