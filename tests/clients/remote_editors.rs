//! Editors that run a server in the box, over plain `ssh -p 2200 alice@host`, with nothing to configure. The editors are
//! not installed here: each test sends what the editor sends, as its log or its source publishes it.

use crate::client::{Client, package_version, record};
use crate::harness::{Running, free_port, until, world};
use std::process::{Command, Stdio};

/// A program in place of the editor's server: it listens on a port of its own choice, says which in its log, and
/// answers each request, after a moment, with its pid. `--stdio` connects standard input and output to its socket.
const SERVER: &str = r#"#!/usr/bin/env python3
import http.server, os, socket, sys, threading, time
if sys.argv[1] == "proxy":
    talk = socket.socket(socket.AF_UNIX); talk.connect(sys.argv[2])
    for line in sys.stdin:
        talk.sendall(line.encode()); print(talk.recv(999).decode(), end="", flush=True)
    sys.exit()
if sys.argv[1] == "daemon":
    if os.fork(): sys.exit()
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2): os.dup2(null, descriptor)
    listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[2]); listener.listen()
    heard = 0
    while True:
        client, _ = listener.accept()
        for line in client.makefile():
            heard += 1; client.sendall(f"{os.getpid()} heard {heard} {line}".encode())
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.3)
        self.send_response(200); self.end_headers(); self.wfile.write(f"pid {os.getpid()}\n".encode())
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
print("Extension host agent listening on", server.server_port, flush=True)
server.serve_forever()
"#;

/// What Remote-SSH sends to `bash` on standard input, in short: find the running server or start one in the
/// background, without `nohup` or `setsid`, wait for its port, and report between two marks.
const SCRIPT: &str = r#"
folder=~/.vscode-server log=$folder/.1a2b.log pid=$folder/.1a2b.pid
echo "5ec4cfce9118: running"
if [ -f $pid ] && kill -0 "$(cat $pid)" 2>/dev/null; then
    echo "Found running server..."
else
    rm -f $log
    $folder/bin/1a2b/bin/code-server --start-server --host=127.0.0.1 --port=0 &>$log </dev/null &
    echo $! >$pid
fi
listening=
while [ -z "$listening" ]; do
    listening=$(sed -n 's/Extension host agent listening on //p' $log 2>/dev/null)
    sleep .03
done
echo "5ec4cfce9118: start"
echo "listeningOn==$listening=="
echo "5ec4cfce9118: end"
"#;

/// An open window of VS Code: its ssh, the SOCKS port, and the port of the server in the box.
struct Window {
    ssh: Running,
    socks: u16,
    server: u16,
}

impl Window {
    fn open(client: &Client) -> Self {
        let socks = free_port();
        let mut ssh = Command::new("ssh");
        ssh.args(["-T", "-D", &socks.to_string(), "-o", "ConnectTimeout=15", &client.address(), "bash"]);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut ssh = Running::of(ssh.spawn().unwrap());
        ssh.write(SCRIPT.as_bytes());
        let mut server = None;
        loop {
            let line = ssh.line();
            if line == "5ec4cfce9118: end" {
                return Self { ssh, socks, server: server.unwrap() };
            }
            assert!(!line.is_empty(), "ssh has ended");
            if let Some(port) = line.strip_prefix("listeningOn==") {
                server = Some(port.trim_end_matches('=').parse().unwrap());
            }
        }
    }

    /// What the server answers, by way of the SOCKS port; `count` times at once.
    fn asks(&self, client: &Client, count: usize) -> Vec<String> {
        let Self { socks, server, .. } = self;
        let answers = client.run(&format!(
            "seq {count} | xargs -P {count} -I % curl -s --max-time 30 --proxy socks5h://127.0.0.1:{socks} http://127.0.0.1:{server}/%"
        ));
        answers.lines().map(str::to_owned).collect()
    }
}

/// Puts the server into the box, as an editor does that downloads it on the user's machine.
fn upload(client: &Client, path: &str) {
    client.program("server", SERVER);
    let folder = path.rsplit_once('/').unwrap().0;
    client.run(&format!("ssh $TO 'mkdir -p {folder}'; scp -q -p server $TO:{path}"));
}

#[test]
fn vs_code_and_cursor() {
    let _world = world();
    let client = Client::new("vscode");
    upload(&client, ".vscode-server/bin/1a2b/bin/code-server");
    let mut first = Window::open(&client);
    let answer = first.asks(&client, 1);
    assert!(answer[0].starts_with("pid "), "{answer:?}");
    assert_eq!(first.asks(&client, 20), vec![answer[0].clone(); 20]);
    // The second window finds the server of the first one.
    let second = Window::open(&client);
    assert_eq!((second.server, second.asks(&client, 1)), (first.server, answer.clone()));
    // Nothing of the host is there, neither the web app nor this sshd.
    for port in ["8000", "2200", "22"] {
        let url = format!("http://127.0.0.1:{port}/");
        let reached = client
            .try_run(&format!("curl -s --max-time 30 --proxy socks5h://127.0.0.1:{} {url}", first.socks));
        assert!(reached.status != 0 && reached.out.is_empty(), "{port}: {reached:?}");
    }
    // A terminal of the editor is one more connection of ssh, or a process of the server. Then the network of the
    // laptop fails: the client of the first window is gone, and a new one finds the same server.
    first.ssh.kill();
    assert_eq!(second.asks(&client, 1), answer);
    let mut again = Window::open(&client);
    assert_eq!((again.server, again.asks(&client, 1)), (first.server, answer.clone()));
    // Both fail.
    let mut second = second;
    second.ssh.kill();
    again.ssh.kill();
    until("sshd has noticed", || client.user.host_processes().is_empty());
    std::thread::sleep(std::time::Duration::from_secs(3));
    let last = Window::open(&client);
    assert_eq!((last.server, last.asks(&client, 1)), (first.server, answer), "the server has ended");
    record(
        "VS Code Remote-SSH, Cursor (simulated)",
        &package_version("openssh-client"),
        "`ssh -T -D … bash`, server on a port of the box through SOCKS, 20 channels at once, two windows, reconnection after a cut",
    );
}

#[test]
fn jetbrains_gateway() {
    let _world = world();
    let client = Client::new("gateway");
    client.program("server", SERVER);
    client.file(
        "gateway.py",
        r#"
import asyncio, asyncssh, os, sys
async def get(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    return (await reader.read()).decode().splitlines()[-1]
async def main():
    options = dict(port=2200, username=os.environ["NAME"], client_keys=[os.environ["KEY"]], config=None, agent_path=None)
    async with asyncssh.connect("127.0.0.1", **options) as connection:
        print((await connection.run("uname -sm; echo $HOME")).stdout.split()[0])
        async with connection.start_sftp_client() as sftp:
            await sftp.makedirs(".cache/JetBrains/RemoteDev/dist", exist_ok=True)
            await sftp.put("server", ".cache/JetBrains/RemoteDev/dist/remote-dev-server.sh", preserve=True)
        process = await connection.create_process(".cache/JetBrains/RemoteDev/dist/remote-dev-server.sh run")
        port = int((await process.stdout.readline()).split()[-1])
        listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", port)
        answers = set(await asyncio.gather(*(get(listener.get_port()) for _ in range(20))))
        assert len(answers) == 1 and answers.pop().startswith("pid "), answers
        # localhost by name, as Gateway's link says it.
        named = await connection.forward_local_port("127.0.0.1", 0, "localhost", port)
        assert (await get(named.get_port())).startswith("pid ")
        host = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", 8000)
        try: reached = await get(host.get_port())
        except (OSError, IndexError): reached = ""
        assert reached == "", reached
        print("asyncssh", asyncssh.__version__)
asyncio.run(main())
"#,
    );
    let said = client.run("$PYTHON/python gateway.py");
    let (system, version) = said.trim().split_once('\n').unwrap();
    assert_eq!(system, "Linux");
    record(
        "JetBrains Gateway (simulated)",
        version,
        "sftp upload, server in the box, `-L` to its port, by address and by `localhost`, 20 connections at once",
    );
}

#[test]
fn zed() {
    let _world = world();
    let client = Client::new("zed");
    // One connection, over which all else goes.
    let control = format!("{}/ssh.sock", client.folder);
    let master = || {
        let mut ssh = Command::new("ssh");
        ssh.args(["-N", "-o", "ControlPersist=no", "-o", "ControlMaster=yes", "-o"]);
        ssh.arg(format!("ControlPath={control}")).arg(client.address());
        let ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let running = Running::of(ssh);
        until("the connection is there", || std::fs::exists(&control).unwrap());
        running
    };
    let over = format!("-o ControlMaster=no -o ControlPath={control}");
    let proxy = |words: &str| {
        let mut ssh = Command::new("ssh");
        ssh.args(["-o", "ControlMaster=no", "-o", &format!("ControlPath={control}"), &client.address()]);
        ssh.arg(format!("exec .zed_server/zed-remote-server proxy {words}"));
        Running::of(ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let mut connection = master();
    assert_eq!(client.run(&format!("ssh {over} $TO 'sh -c \"uname -sm\"'")), "Linux x86_64\n");
    client.program("server", SERVER);
    client.run(&format!(
        "ssh {over} $TO 'mkdir -p .zed_server'; scp -q -p {over} server $TO:.zed_server/zed-remote-server
         ssh {over} $TO '.zed_server/zed-remote-server daemon /tmp/zed.sock'"
    ));
    let mut talk = proxy("/tmp/zed.sock");
    talk.write(b"hello\n");
    let heard = talk.line();
    assert!(heard.ends_with(" heard 1 hello"), "{heard}");
    let pid = heard.split(' ').next().unwrap().to_owned();
    // Cut, then connected again: the server has kept its state.
    connection.kill();
    until("the proxy has ended", || talk.over().is_some());
    let _ = std::fs::remove_file(&control);
    let mut connection = master();
    let mut talk = proxy("/tmp/zed.sock");
    talk.write(b"again\n");
    assert_eq!(talk.line(), format!("{pid} heard 2 again"));
    talk.kill();
    connection.kill();
    record(
        "Zed (simulated)",
        &package_version("openssh-client"),
        "one connection (`ControlMaster`), scp, a server on a unix socket, its proxy on standard input and output, reconnection after a cut",
    );
}
