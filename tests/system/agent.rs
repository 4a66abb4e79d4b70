//! `ssh -A`: the agent of an unmodified client works in the box, by a socket of each session that ends with it.

use crate::harness::{Changed, Running, STATE, User, private_world, run, signal, text, until, world};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

/// An agent with the test key, on the user's machine. Dropping this ends it.
pub struct Agent {
    pub socket: String,
    _agent: Running,
}

impl Agent {
    fn new(user: &User) -> Self {
        Self::at(format!("{STATE}/agent-{}", user.name))
    }

    pub fn at(socket: String) -> Self {
        let mut agent = Command::new("ssh-agent");
        agent.args(["-D", "-a", &socket]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let agent = Running::of(agent.spawn().unwrap());
        until("the agent listens", || fs::exists(&socket).unwrap());
        let mut add = Command::new("ssh-add");
        add.args(["-q", &format!("{STATE}/key")]).env("SSH_AUTH_SOCK", &socket).stdin(Stdio::null());
        assert!(add.status().unwrap().success());
        Self { socket, _agent: agent }
    }

    fn ssh(&self, user: &User) -> crate::harness::Ssh {
        user.ssh().args(&["-A"]).env("SSH_AUTH_SOCK", &self.socket)
    }

    /// Output of a command that must succeed and write nothing to stderr.
    fn says(&self, user: &User, command: &str) -> String {
        let output = self.ssh(user).run(command);
        assert!(output.status.success(), "{command}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{command}");
        text(&output.stdout)
    }
}

/// Fingerprint of the test key.
fn fingerprint() -> String {
    run("ssh-keygen", &["-lf", &format!("{STATE}/key.pub")]).split(' ').nth(1).unwrap().to_owned()
}

fn is_shell(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sshbox-shell")
}

/// The names of the agents' sockets in the box.
fn sockets(user: &User) -> Vec<String> {
    user.says("ls -d /tmp/ssh-*/agent.* 2>/dev/null || :").lines().map(str::to_owned).collect()
}

#[test]
fn the_agent_lists_keys_and_signs_with_a_terminal_and_without() {
    let _world = world();
    let user = User::new("signer");
    let agent = Agent::new(&user);
    assert!(agent.says(&user, "ssh-add -l").contains(&fingerprint()));
    let mut terminal = agent.ssh(&user).terminal(24, 200, &["ssh-add -l"]);
    terminal.shows(&fingerprint());
    assert_eq!(terminal.ends(), 0);
    // A login shell.
    let mut shell = agent.ssh(&user).terminal(24, 200, &[]);
    shell.types("ssh-add -l; exit 7\n");
    shell.shows(&fingerprint());
    assert_eq!(shell.ends(), 7);
    let signed = agent.says(
        &user,
        "cd $(mktemp -d) && ssh-add -L > key.pub && echo text > file &&
         ssh-keygen -q -Y sign -f key.pub -n file file 2>/dev/null &&
         ssh-keygen -Y check-novalidate -n file -s file.sig < file",
    );
    assert!(signed.starts_with("Good \"file\" signature") && signed.contains(&fingerprint()), "{signed}");
    let commit = agent.says(
        &user,
        "cd $(mktemp -d) && git init -q . && ssh-add -L > ../signer.pub && echo \"a@b $(cat ../signer.pub)\" > ../allowed &&
         set -- -c user.name=a -c user.email=a@b -c gpg.format=ssh -c user.signingkey=/tmp/signer.pub &&
         git \"$@\" commit -q -S --allow-empty -m signed &&
         git \"$@\" -c gpg.ssh.allowedSignersFile=/tmp/allowed log --format=%G?",
    );
    assert_eq!(commit, "G\n");
    // Without -A there is none.
    assert_eq!(user.says("echo \"<$SSH_AUTH_SOCK>\""), "<>\n");
    assert_eq!(sockets(&user), [""; 0]);
}

#[test]
fn each_session_has_its_own_socket_which_ends_with_it() {
    let _world = world();
    let user = User::new("owner");
    let agent = Agent::new(&user);
    let begin = || {
        let mut session = agent.ssh(&user).begin(&["echo $SSH_AUTH_SOCK; exec sleep 600"]);
        let path = session.line();
        (session, path)
    };
    let ((mut one, first), (mut other, second)) = (begin(), begin());
    assert_ne!(first, second);
    let shown = user.says(&format!("stat -c '%a %U' {first} $(dirname {first})"));
    assert_eq!(shown, "600 owner\n700 owner\n");
    assert_eq!(sockets(&user).len(), 2);
    // The client is killed.
    one.kill();
    until("the socket of a killed session is gone", || sockets(&user) == [second.clone()]);
    assert!(user.says(&format!("SSH_AUTH_SOCK={second} ssh-add -l")).contains(&fingerprint()));
    // sshbox-shell is killed.
    let shells = user.host_processes().into_iter().filter(|pid| is_shell(*pid));
    shells.for_each(|pid| signal(pid, Signal::SIGKILL));
    until("the socket of a killed shell is gone", || sockets(&user) == [""; 0]);
    other.kill();
    // What a session leaves behind reaches the agent no longer.
    let left = agent.says(&user, "(setsid sleep 600 >/dev/null 2>&1 </dev/null &); echo $SSH_AUTH_SOCK");
    let gone = user.ssh().run(&format!("SSH_AUTH_SOCK={} ssh-add -l", left.trim()));
    assert_eq!(gone.status.code(), Some(2), "{gone:?}");
    user.says("pkill sleep");
}

#[test]
fn a7_no_other_login_reaches_the_sockets_of_sshd() {
    let _world = world();
    let (user, other) = (User::new("agentful"), User::new("curious"));
    let agent = Agent::new(&user);
    let mut session = agent.ssh(&user).begin(&["echo up; exec sleep 600"]);
    session.line();
    let shell = user.host_processes().into_iter().find(|pid| is_shell(*pid)).unwrap();
    let environment = fs::read(format!("/proc/{shell}/environ")).unwrap();
    let variable = environment.split(|byte| *byte == 0).find_map(|line| line.strip_prefix(b"SSH_AUTH_SOCK="));
    let path = PathBuf::from(text(variable.unwrap()));
    // sshd may have a /tmp of its own.
    let there = |words: &[&str]| {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &shell.to_string(), "--mount"]).args(words).output().unwrap()
    };
    let owner = there(&["stat", "-c", "%u %a", path.parent().unwrap().to_str().unwrap()]);
    assert_eq!(text(&owner.stdout), format!("{} 700\n", user.uid()));
    // setpriv(1) would take the number for a login name.
    let connect = "import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(int(sys.argv[2]))
socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
    let connects = |uid: u32| {
        let words = ["/usr/bin/python3", "-c", connect, path.to_str().unwrap(), &uid.to_string()];
        let output = there(&words);
        (output.status.success(), text(&output.stderr))
    };
    let (own, others) = (connects(user.uid()), connects(other.uid()));
    assert!(own.0, "{own:?}");
    assert!(!others.0 && others.1.contains("Permission denied"), "{others:?}");
    session.kill();
}

#[test]
fn many_programs_use_the_agent_at_once_and_killed_ones_take_nothing_away() {
    let _world = world();
    let user = User::new("swarm");
    let agent = Agent::new(&user);
    let said = agent.says(
        &user,
        "cd $(mktemp -d)
         python3 -c '
import os, socket
for n in range(200):
    s = socket.socket(socket.AF_UNIX); s.connect(os.environ[\"SSH_AUTH_SOCK\"])
    s.send(b\"\\0\\0\" if n % 2 else b\"\\0\\0\\0\\1\\13\"); s.close()
half = socket.socket(socket.AF_UNIX); half.connect(os.environ[\"SSH_AUTH_SOCK\"])
half.send(b\"\\0\\0\\0\\1\\13\"); reply = half.recv(4096); half.shutdown(socket.SHUT_WR)
print(\"half\", reply[4], half.recv(1))'
         for n in $(seq 60); do ssh-add -l > $n & done; wait; cat * | wc -l",
    );
    // SSH_AGENT_IDENTITIES_ANSWER
    assert_eq!(said, "half 12 b''\n60\n");
}

#[test]
fn an_agent_that_does_not_answer_keeps_nobody_waiting() {
    let _world = world();
    let user = User::new("mute");
    let socket = format!("{STATE}/silent-agent");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        // The client asks first, when it logs in, and tells the agent of each connection for which server it is. It
        // waits for these answers, as with any server.
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 4096];
            let is_login = open.is_empty();
            while stream.read(&mut request).is_ok_and(|length| length > 0) {
                // No identities; a failure for anything else.
                let lists = request[4] == 11;
                let reply: &[u8] = if lists { &[0, 0, 0, 5, 12, 0, 0, 0, 0] } else { &[0, 0, 0, 1, 5] };
                stream.write_all(reply).unwrap();
                if !is_login {
                    break;
                }
            }
            open.push(stream);
        }
    });
    let ssh = || user.ssh().args(&["-A"]).env("SSH_AUTH_SOCK", &socket);
    let fill = "
import os, socket
s = socket.socket(socket.AF_UNIX); s.connect(os.environ[\"SSH_AUTH_SOCK\"]); s.settimeout(1)
try:
    while True: s.send(b\"\\0\" * 65536)
except TimeoutError: print(\"full\")
";
    // The client itself would wait for the agent at the end, as it does with any server.
    let mut session = ssh().begin(&[&format!(
        "timeout 1 ssh-add -l; echo $?; python3 -c '{fill}'; seq 100000 | tail -1; (setsid ssh-add -l >/dev/null 2>&1 &)"
    )]);
    assert_eq!([(); 3].map(|()| session.line()), ["124", "full", "100000"]);
    until("the session has ended", || !user.host_processes().into_iter().any(is_shell));
    until("its socket is gone", || sockets(&user) == [""; 0]);
    session.kill();
}

#[test]
fn the_admin_can_switch_the_agent_off() {
    let _world = private_world();
    let user = User::new("agentless");
    let agent = Agent::new(&user);
    assert!(agent.says(&user, "ssh-add -l").contains(&fingerprint()));
    let _off = Changed::config("agent = true", "agent = false");
    assert_eq!(agent.says(&user, "echo \"<$SSH_AUTH_SOCK>\""), "<>\n");
}
