//! Real boxes on the container engine's bridges.

use super::{rules_left_alone, without_rules};
use crate::harness::{Changed, Running, STATE, Undo, User, alice, run, text, until, world_alone};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

/// A shell function that tries a connection, at most five seconds.
const TRY: &str = r#"try() {
    if timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null; then echo "$1 $2 open"; else echo "$1 $2 closed"; fi
}
"#;

/// A stand-in for the internet: a network namespace with a public address, reached over an interface of the world.
struct Internet {
    name: &'static str,
    server: Running,
}

/// Its address; a server answers at port 80.
const INTERNET: &str = "203.0.113.10";

impl Internet {
    fn new(name: &'static str) -> Self {
        let script = format!(
            "ip netns add {name} && ip link add {name} type veth peer name in netns {name} &&
             ip link set {name} up && ip address add 192.0.2.1/30 dev {name} &&
             ip -n {name} link set lo up && ip -n {name} link set in up &&
             ip -n {name} address add 192.0.2.2/30 dev in && ip -n {name} address add {INTERNET}/32 dev lo &&
             ip -n {name} address add 10.77.0.53/32 dev lo &&
             ip -n {name} route add default via 192.0.2.1 && ip route add {INTERNET}/32 via 192.0.2.2 dev {name} &&
             ip route add 10.77.0.53/32 via 192.0.2.2 dev {name}"
        );
        run("sh", &["-c", &script]);
        let server = "
import http.server, socket, threading
# A name server that knows one address.
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(('10.77.0.53', 53))
pages = http.server.HTTPServer(('203.0.113.10', 80), http.server.BaseHTTPRequestHandler)
threading.Thread(target=pages.serve_forever, daemon=True).start()
print('ready', flush=True)
while True:
    query, client = names.recvfrom(999)
    end = query.index(b'\\0', 12) + 5
    is_a = query[end - 4:end - 2] == b'\\0\\1'
    answer = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4' + socket.inet_aton('203.0.113.10') if is_a else b''
    names.sendto(query[:2] + b'\\x81\\x80\\0\\1\\0' + bytes([is_a]) + b'\\0\\0\\0\\0' + query[12:end] + answer, client)
";
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name, "/usr/bin/python3", "-c", server]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Running::of(child);
        assert_eq!(server.line(), "ready");
        Self { name, server }
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.server.kill();
        // At once, with its routes. A namespace goes some time later, and its addresses would be the next test's too.
        run("ip", &["link", "delete", self.name]);
        run("ip", &["netns", "delete", self.name]);
    }
}

fn gateway_of(network: &str) -> String {
    let format = "{{range .IPAM.Config}}{{.Gateway}} {{end}}";
    run("docker", &["network", "inspect", "--format", format, network]).trim().to_owned()
}

/// Files with accounts of any content, from which a web server of the test answers.
const ACCOUNTS: &str = "/run/sshbox-tests/network-accounts";

fn account(name: &str, more: &str) -> User {
    fs::create_dir_all(ACCOUNTS).unwrap();
    let key = fs::read_to_string(format!("{STATE}/key.pub")).unwrap();
    let account = format!(r#"{{"user":"{name}","id":"{name}","keys":["{}"]{more}}}"#, key.trim());
    fs::write(format!("{ACCOUNTS}/{name}.json"), account).unwrap();
    User { name: name.to_owned() }
}

#[test]
fn a13_a_box_reaches_the_internet_and_nothing_else() {
    let _world = world_alone();
    let _internet = Internet::new("inet-box");
    run("ip", &["address", "add", "169.254.169.254/32", "dev", "lo"]);
    let _gone = Undo(|| drop(run("ip", &["address", "del", "169.254.169.254/32", "dev", "lo"])));
    let _metadata = TcpListener::bind("169.254.169.254:80").unwrap();
    let (user, other) = (alice(), User::new("reached"));
    let mut server = other.ssh().begin(&["echo began; exec python3 -m http.server 8099 --bind 0.0.0.0"]);
    server.line();
    let neighbour = other.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    let gateway = gateway_of("sshbox0");
    let targets =
        [(&*neighbour, 8099), (&gateway, 2200), ("169.254.169.254", 80), ("192.0.2.1", 2200), (INTERNET, 80)];
    let lines: Vec<_> = targets.iter().map(|(address, port)| format!("try {address} {port} &")).collect();
    let lines = lines.join("\n");
    let tried = |user: &User| {
        let mut lines: Vec<_> =
            user.says(&format!("{TRY}{lines}\nwait")).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = |open: &dyn Fn(&str) -> bool| {
        let line = |(address, port): &(&str, u16)| {
            format!("{address} {port} {}", if open(address) { "open" } else { "closed" })
        };
        let mut lines: Vec<_> = targets.iter().map(line).collect();
        lines.sort();
        lines
    };
    assert_eq!(tried(&user), expected(&|address| address == INTERNET));
    // Without the rules all of it is open, except the neighbour: the engine keeps boxes apart too.
    let _rules = without_rules();
    assert_eq!(tried(&user), expected(&|address| address != neighbour));
    server.kill();
}

#[test]
fn a13_an_account_without_internet_reaches_only_what_is_allowed() {
    let _world = world_alone();
    let _internet = Internet::new("inet-closed");
    let _source = Changed::config(
        "url = \"http://127.0.0.1:8000/sshbox/accounts/{user}\"",
        "url = \"http://127.0.0.1:8077/{user}.json\"",
    );
    let (inside, outside) = (account("insider", r#","internet":false"#), account("outsider", ""));
    let mut site = Command::new("/usr/bin/python3");
    site.args(["-m", "http.server", "8077", "--bind", "127.0.0.1", "--directory", ACCOUNTS]);
    let site = site.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut site = Running::of(site);
    until("the web server answers", || TcpStream::connect("127.0.0.1:8077").is_ok());
    let probe = format!("{TRY}try {INTERNET} 80");
    assert_eq!(inside.says(&probe), format!("{INTERNET} 80 closed\n"));
    assert_eq!(outside.says(&probe), format!("{INTERNET} 80 open\n"));
    assert_eq!(inside.inspect("{{.HostConfig.NetworkMode}}"), "sshbox1");
    let bridge = "{{index .Options \"com.docker.network.bridge.name\"}} {{index .Options \"com.docker.network.bridge.enable_icc\"}}";
    assert_eq!(run("docker", &["network", "inspect", "--format", bridge, "sshbox1"]), "sshbox1 false\n");
    {
        let _allowed = Changed::config("allow = []", &format!("allow = [\"{INTERNET}:80\"]"));
        assert_eq!(
            run("sshbox", &["network", "apply"]).lines().next(),
            Some("loaded the rules with the new settings")
        );
        assert_eq!(inside.says(&probe), format!("{INTERNET} 80 open\n"));
    }
    run("sshbox", &["network", "apply"]);
    assert_eq!(inside.says(&probe), format!("{INTERNET} 80 closed\n"));
    for user in [inside, outside] {
        run("docker", &["rm", "-f", &user.container()]);
    }
    site.kill();
    fs::remove_dir_all(ACCOUNTS).unwrap();
}

#[test]
fn a13_names_are_resolved_by_the_name_server_of_the_host() {
    let _world = world_alone();
    let _internet = Internet::new("inet-names");
    let before = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    fs::write("/etc/resolv.conf", "nameserver 10.77.0.53\n").unwrap();
    let _back = Undo(move || {
        fs::write("/etc/resolv.conf", &before).unwrap();
        run("sshbox", &["network", "apply"]);
    });
    run("sshbox", &["network", "apply"]);
    // The engine gives a box the name servers that it finds at the start.
    let user = User::new("asker");
    assert!(
        user.says("getent ahostsv4 forge.example").starts_with(INTERNET),
        "{}",
        user.says("cat /etc/resolv.conf")
    );
    // The same address at another port is private.
    assert_eq!(user.says(&format!("{TRY}try 10.77.0.53 80")), "10.77.0.53 80 closed\n");
}

#[test]
fn a13_no_box_starts_before_the_rules_are_loaded_or_on_another_bridge() {
    let _world = world_alone();
    let user = User::new("unruled");
    alice().says("true");
    let refused = || {
        let output = user.ssh().run("true");
        assert_ne!(output.status.code(), Some(0));
        text(&output.stderr)
    };
    {
        let _alone = rules_left_alone();
        fs::rename("/run/sshbox/network", "/run/sshbox/network.aside").unwrap();
        let _back = Undo(|| fs::rename("/run/sshbox/network.aside", "/run/sshbox/network").unwrap());
        let said = refused();
        assert!(said.contains("network rules of boxes are not loaded") && said.contains("(ref "), "{said}");
        // A box that runs is reached as before.
        alice().says("true");
    }
    user.says("true");
    // Someone has created a network with the name but with a bridge that no rule names.
    let _config = Changed::config("network = \"sshbox0\"", "network = \"sshbox1\"");
    run("docker", &["rm", "-f", &user.container()]);
    let _ = Command::new("docker").args(["network", "rm", "sshbox1"]).output().unwrap();
    run("docker", &["network", "create", "sshbox1"]);
    let _gone = Undo(|| drop(run("docker", &["network", "rm", "sshbox1"])));
    let said = refused();
    assert!(said.contains("cannot filter the network of the boxes"), "{said}");
}

#[test]
fn a13_rules_hold_for_boxes_with_ipv6() {
    let _world = world_alone();
    let boxes = run("docker", &["ps", "-aq", "--filter", "label=sshbox.user"]);
    let boxes: Vec<&str> = boxes.split_whitespace().collect();
    run("docker", &[&["rm", "-f"], &boxes[..]].concat());
    let _ = Command::new("docker").args(["network", "rm", "sshbox0"]).output().unwrap();
    let options = ["com.docker.network.bridge.name=sshbox0", "com.docker.network.bridge.enable_icc=false"];
    run(
        "docker",
        &[
            "network",
            "create",
            "--ipv6",
            "--subnet",
            "fd00:b0c6::/64",
            "-o",
            options[0],
            "-o",
            options[1],
            "sshbox0",
        ],
    );
    let (user, other) = (User::new("sixty"), User::new("sixtyone"));
    let _gone = Undo(|| {
        run("docker", &["rm", "-f", &user.container(), &other.container()]);
        run("docker", &["network", "rm", "sshbox0"]);
        // Makes it again, and the box that other tests expect.
        alice().says("true");
    });
    let mut server = other.ssh().begin(&["echo began; exec python3 -m http.server 8099 --bind ::"]);
    server.line();
    let neighbour = other.inspect("{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}");
    let script = format!("{TRY}try {neighbour} 8099 & try fd00:b0c6::1 2200 & wait");
    let tried = user.says(&script);
    assert_eq!((tried.lines().count(), tried.matches("closed").count()), (2, 2), "{tried}");
    let _rules = without_rules();
    assert!(user.says(&script).contains("fd00:b0c6::1 2200 open"), "the host has the address");
    server.kill();
}

/// A session that waits for a line, then opens 100 connections to the gateway's port 2200 and keeps them half-open.
fn half_open(user: &User, gateway: &str) -> Running {
    let script = format!(
        "import socket, time
print(\"began\", flush=True)
input()
kept = []
for _ in range(100):
    client = socket.socket()
    client.settimeout(2)
    try: client.connect((\"{gateway}\", 2200))
    except OSError: pass
    kept.append(client)
print(\"held\", flush=True)
time.sleep(60)"
    );
    let mut attack = user.ssh().begin(&[&format!("exec python3 -c '{script}'")]);
    assert_eq!(attack.line(), "began");
    attack
}

#[test]
fn a23_half_open_connections_of_boxes_keep_nobody_out() {
    let _world = world_alone();
    let attackers = ["half-one", "half-two", "half-three"].map(User::new);
    for user in &attackers {
        user.says("true");
    }
    let (alice, gateway) = (alice(), gateway_of("sshbox0"));
    // Together they can use up MaxStartups.
    let logins_under_attack = || {
        let mut held: Vec<_> = attackers.iter().map(|user| half_open(user, &gateway)).collect();
        for attack in &mut held {
            attack.write(b"\n");
            assert_eq!(attack.line(), "held");
        }
        let logins = (0..8).filter(|_| alice.ssh().run("true").status.success()).count();
        for mut attack in held {
            attack.kill();
        }
        logins
    };
    let with_rules = logins_under_attack();
    let without = {
        let _rules = without_rules();
        logins_under_attack()
    };
    eprintln!(
        "network: three boxes with 100 half-open connections each: {with_rules} of 8 logins, without rules {without}"
    );
    assert_eq!(with_rules, 8);
    assert!(without < 8, "the attack shows nothing");
}
