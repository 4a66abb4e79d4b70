//! Names of boxes: they tell nothing about users, the old ones give way without a stop, and the image that an
//! account names must be allowed.

use crate::harness::{
    CONFIG, Changed, STATE, Undo, User, journal, private_world, reap, run, text, until, world, world_alone,
};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

/// Asks the resolver of the engine, as any user can: forward about each name, and backward about each address.
/// Prints a line for each: the question, the number of answers, and what a backward answer says. A name that the
/// engine does not know goes to the host's resolver, which a world does not have: no answer counts as 0.
const ASK: &str = r#"
import socket, struct, sys, time
def ask(name, kind):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    packet = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.connect(("127.0.0.11", 53))
    asked.send(packet)
    return asked
def reply(asked, end):
    asked.settimeout(max(0.01, end - time.monotonic()))
    try:
        return asked.recv(4096)
    except OSError:
        return bytes(12)
names, addresses = sys.argv[1].split(), sys.argv[2].split()
asked = [ask(name, 1) for name in names]
asked += [ask(".".join(reversed(one.split("."))) + ".in-addr.arpa", 12) for one in addresses]
end = time.monotonic() + 8
for question, one in zip(names + addresses, asked):
    answer = reply(one, end)
    count = struct.unpack(">H", answer[6:8])[0]
    if question in names:
        print(question, count)
        continue
    text = "".join(chr(byte) if 0x20 < byte < 0x7f else "." for byte in answer[12:])
    try:
        found = socket.gethostbyaddr(question)
    except OSError as error:
        found = error
    print(question, count, text, found)
"#;

fn ask(user: &User, names: &[String], addresses: &[String]) -> String {
    user.says(&format!("python3 -c '{ASK}' '{}' '{}'", names.join(" "), addresses.join(" ")))
}

fn address(user: &User) -> String {
    user.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
}

fn network(user: &User) -> String {
    user.inspect("{{.HostConfig.NetworkMode}}")
}

#[test]
fn a9_no_box_learns_from_the_resolver_who_the_others_are() {
    let _world = world();
    let (asker, neighbour) = (User::new("asks-dns"), User::new("unseen-neighbour"));
    asker.says("true");
    neighbour.says("true");
    let network = network(&neighbour);
    let mut names = Vec::new();
    for user in [&asker, &neighbour] {
        for name in [user.name.clone(), format!("sshbox-{}", user.name), format!("box-{}", user.name)] {
            names.extend([format!("{name}.{network}"), name]);
        }
    }
    let said = ask(&asker, &names, &[address(&neighbour), address(&asker)]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), names.len() + 2, "{said}");
    for (line, name) in lines.iter().zip(&names) {
        assert_eq!(*line, format!("{name} 0"), "the resolver knows a user");
    }
    // The resolver answers, with the name that says nothing.
    for (line, user) in lines[names.len()..].iter().zip([&neighbour, &asker]) {
        assert!(line.contains(&user.container()), "{line}");
        assert!(!line.contains(&user.name), "{line}");
    }
    assert_eq!(ask(&asker, &[neighbour.container()], &[]), format!("{} 1\n", neighbour.container()));
    // Nothing else gives the neighbour's name away: every name on the network, and the files about names.
    let on_network = run("docker", &["network", "inspect", "--format", "{{json .Containers}}", &network]);
    assert!(
        on_network.contains(&neighbour.container()) && !on_network.contains(&neighbour.name),
        "{on_network}"
    );
    let aliases = neighbour.inspect("{{range .NetworkSettings.Networks}}{{json .Aliases}}{{end}}");
    assert!(!aliases.contains(&neighbour.name), "{aliases}");
    let files = asker.says("cat /etc/hosts /etc/resolv.conf /etc/hostname; hostname");
    for user in [&asker, &neighbour] {
        assert!(!files.contains(&user.name), "{files}");
    }
    let digest = neighbour.container();
    let digest = digest.strip_prefix("sshbox-").unwrap();
    assert!(digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
}

#[test]
fn p4_a_box_with_an_old_name_is_renamed_and_its_session_goes_on() {
    let _world = world_alone();
    let user = User::new("oldname");
    let mut session = user.ssh().begin(&["echo in; while read -r line; do echo \"got $line\"; done"]);
    assert_eq!(session.line(), "in");
    let id = user.inspect("{{.Id}}");
    let old_name = || run("docker", &["rename", &id, "sshbox-oldname"]);
    let (name, network) = (user.container(), network(&user));

    // The reaper renames it while it is in use.
    old_name();
    let status = run("/usr/sbin/sshbox", &["status", "oldname"]);
    assert!(status.contains("sshbox-oldname"), "{status}");
    assert!(text(&reap(&["--dry-run"]).stdout).contains("oldname: kept: a session is open"));
    assert_eq!(run("docker", &["inspect", "--format", "{{.Name}}", &id]), "/sshbox-oldname\n");
    assert!(text(&reap(&[]).stdout).contains("oldname: kept: a session is open"));
    assert_eq!(user.inspect("{{.Id}}"), id);
    assert!(journal().contains(r#"box renamed user="oldname" reason="it was named sshbox-oldname""#));
    let said = ask(&user, &["sshbox-oldname".to_owned(), format!("{name}.{network}")], &[address(&user)]);
    assert!(said.starts_with(&format!("sshbox-oldname 0\n{name}.{network} 1\n")), "{said}");
    assert!(said.lines().nth(2).unwrap().contains(&name) && !said.contains("oldname."), "{said}");
    session.write(b"still here\n");
    assert_eq!(session.line(), "got still here");

    // A login does the same, whether the box runs or not, and creates no second box.
    old_name();
    session.kill();
    assert_eq!(user.says("@stop"), "your box is stopped; the next login starts it\n");
    assert_eq!(
        run("docker", &["inspect", "--format", "{{.Name}} {{.State.Status}}", &id]),
        "/sshbox-oldname exited\n"
    );
    assert_eq!(user.says("echo in"), "in\n");
    assert_eq!(user.inspect("{{.Id}}"), id);
    let boxes = run("docker", &["ps", "--all", "--quiet", "--filter", "label=sshbox.user=oldname"]);
    assert_eq!(boxes.lines().count(), 1, "{boxes}");
}

#[test]
fn p4_boxes_follow_when_the_admin_changes_the_form_of_names() {
    let _world = world_alone();
    let user = User::new("reformed");
    user.says("true");
    let id = user.inspect("{{.Id}}");
    let config = Changed::config("name = \"sshbox-{digest}\"", "name = \"box-of-{user}\"");
    reap(&[]);
    assert_eq!(user.container(), "box-of-reformed");
    assert_eq!(user.inspect("{{.Id}}"), id);
    assert_eq!(user.says("echo in"), "in\n");
    let said = text(&Command::new("/usr/sbin/sshbox").args(["doctor", "names"]).output().unwrap().stdout);
    assert!(said.contains("user names can be looked up in DNS by every box"), "{said}");
    drop(config);
    reap(&[]);
    assert_eq!(user.inspect("{{.Id}}"), id);
    let said = text(&Command::new("/usr/sbin/sshbox").args(["doctor", "names"]).output().unwrap().stdout);
    assert!(said.contains("names of boxes do not tell who the users are"), "{said}");
}

#[test]
fn a2_a_container_with_only_the_label_of_a_user_is_left_alone() {
    let _world = world();
    let user = User::new("mislabelled");
    let make =
        ["run", "-d", "--name", "not-a-box", "--network", "none", "--label", "sshbox.user=mislabelled"];
    run("docker", &[&make[..], &["sshbox-user:latest", "sleep", "600"]].concat());
    let _gone = Undo(|| drop(run("docker", &["rm", "-f", "not-a-box"])));
    assert_eq!(user.says("echo in"), "in\n");
    assert_eq!(user.says("@stop"), "your box is stopped; the next login starts it\n");
    let reaped = text(&reap(&[]).stdout);
    assert!(reaped.contains("mislabelled: kept"), "{reaped}");
    let state = run("docker", &["inspect", "--format", "{{.Name}} {{.State.Status}}", "not-a-box"]);
    assert_eq!(state, "/not-a-box running\n");
}

/// A web app that answers every request with this account of one key, the one that all tests use.
fn web_app(user: &str, fields: &str) -> String {
    let key = fs::read_to_string(format!("{STATE}/key.pub")).unwrap();
    let account = format!(r#"{{"user":"{user}","id":"of-{user}","keys":["{}"],{fields}}}"#, key.trim());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/{{user}}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let reader = BufReader::new(stream.try_clone().unwrap());
            reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{account}", account.len());
        }
    });
    url
}

#[test]
fn a9_an_account_may_name_only_an_image_that_the_configuration_allows() {
    let _world = private_world();
    let user = User { name: "imagines".to_owned() };
    run("docker", &["tag", "sshbox-user:latest", "lab/course:4"]);
    let _gone = Undo(|| {
        run("sh", &["-c", &format!("docker rm -f {}; docker rmi lab/course:4", user.container())]);
    });
    // Elsewhere, so that the doctor of other tests does not find the user.
    fs::create_dir_all("/var/lib/sshbox/imagined").unwrap();
    let _no_home = Undo(|| drop(fs::remove_dir_all("/var/lib/sshbox/imagined")));
    let _home = Changed::config("/var/lib/sshbox/homes/{user}", "/var/lib/sshbox/imagined/{user}");
    let url = web_app("imagines", r#""image":"lab/course:4""#);
    let _url = Changed::config(
        "url = \"http://127.0.0.1:8000/sshbox/accounts/{user}\"",
        &format!("url = \"{url}\""),
    );
    for (images, allowed) in
        [(r"[]", false), (r#"["lab/*:3", "course:4", "sshbox-user:*"]"#, false), (r#"["lab/*"]"#, true)]
    {
        let _images = Changed::config("images = []", &format!("images = {images}"));
        let output = user.ssh().run("echo in");
        if allowed {
            assert_eq!(text(&output.stdout), "in\n", "{images}: {output:?}");
            assert_eq!(user.inspect("{{.Config.Image}}"), "lab/course:4");
        } else {
            assert_eq!(output.status.code(), Some(77), "{images}: {output:?}");
            let said = text(&output.stderr);
            let wanted = "sshbox: your account names the image lab/course:4, which box.images does not allow; \
                          tell your admin (ref ";
            assert!(said.starts_with(wanted), "{said}");
        }
    }
    until("the journal has the refusal", || {
        journal().contains("the account names image lab/course:4, which box.images does not allow")
    });
    // Now that the configuration allows none again.
    let doctor = text(&Command::new("/usr/sbin/sshbox").args(["doctor", "image"]).output().unwrap().stdout);
    assert!(doctor.contains("box.images does not allow: imagines (lab/course:4)"), "{doctor}");
    fs::write("/etc/sshbox/bad.toml", "[box]\nimages = ['lab /*']\n").unwrap();
    let check = ["--config", "/etc/sshbox/bad.toml", "config", "check"];
    let refused = Command::new("/usr/sbin/sshbox").args(check).output().unwrap();
    assert!(!refused.status.success() && text(&refused.stderr).contains("line 2"), "{refused:?}");
    assert!(fs::read_to_string(CONFIG).unwrap().contains("images = []"));
}
