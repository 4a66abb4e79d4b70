//! Programs that outlive a connection: tmux, screen, and mosh, which does not work.

use crate::client::{Client, package_version, record};
use crate::harness::{Terminal, until, world};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Commands and output of a multiplexer.
struct Multiplexer<'a> {
    begin: &'a str,
    attach: &'a str,
    list: &'a str,
    /// How the list names a detached session, and an attached one.
    detached: &'a str,
    attached: &'a str,
    quit: &'a str,
}

/// Starts a session, cuts the connection, and attaches again in a window of another size.
fn assert_can_reattach(client: &Client, with: &Multiplexer<'_>) {
    let open =
        |words: &str, rows, columns| -> Terminal { client.user.ssh().terminal(rows, columns, &[words]) };
    let mut terminal = open(with.begin, 24, 80);
    terminal.types("echo begun-$((40+2)); stty size\n");
    terminal.shows("begun-42");
    terminal.types("sleep 7200 & echo job-$((1+1))\n");
    terminal.shows("job-2");
    let list = || client.user.ssh().run(with.list);
    let list_contains = |word: &str| String::from_utf8_lossy(&list().stdout).contains(word);
    assert!(list_contains(with.attached), "{:?}", list());
    terminal.kill();
    until("the session is detached", || !list_contains(with.attached));
    assert!(list_contains(with.detached), "{:?}", list());
    assert!(client.user.runs_in_box("sleep 7200"));
    // The multiplexer redraws the screen in the size of the new window.
    let mut terminal = open(with.attach, 40, 120);
    terminal.shows("begun-42");
    terminal.types("jobs; echo $((50+5)) $(tput cols)\n");
    terminal.shows("sleep 7200");
    terminal.shows("55 120");
    // Detaching by key ends the connection with success.
    terminal.types(if with.begin.starts_with("tmux") { "\u{2}d" } else { "\u{1}d" });
    assert_eq!(terminal.ends(), 0, "{}", terminal.seen());
    assert!(list_contains(with.detached), "{:?}", list());
    let mut terminal = open(with.attach, 24, 80);
    terminal.shows("55 120");
    terminal.types(with.quit);
    terminal.ends();
    until("the session has ended", || !list_contains(with.detached));
    client.user.ssh().run("pkill -x sleep");
}

#[test]
fn tmux() {
    let _world = world();
    let client = Client::new("tmux");
    assert_can_reattach(
        &client,
        &Multiplexer {
            begin: "tmux new-session -A -s work",
            attach: "tmux attach -t work",
            list: "tmux list-sessions -F 'work #{?session_attached,attached,detached}'",
            detached: "work detached",
            attached: "work attached",
            quit: "exit\nexit\n",
        },
    );
    // From a command without a terminal.
    client.user.says("tmux new-session -d -s job 'echo done >result; exec sleep 7201'");
    until("the job runs", || client.user.says("cat result 2>/dev/null; true") == "done\n");
    client.user.says("tmux kill-server");
    record(
        "tmux",
        &client.user.says("tmux -V").replace("tmux ", ""),
        "in the box: reattached after a cut connection, in another size; `new -d`",
    );
}

#[test]
fn screen() {
    let _world = world();
    let client = Client::new("screen");
    assert_can_reattach(
        &client,
        &Multiplexer {
            begin: "screen -S work",
            attach: "screen -r work",
            list: "screen -list",
            detached: "(Detached)",
            attached: "(Attached)",
            quit: "exit\nexit\n",
        },
    );
    client.user.says("screen -dmS job sh -c 'echo done >result; exec sleep 7201'");
    until("the job runs", || client.user.says("cat result 2>/dev/null; true") == "done\n");
    client.user.says("screen -S job -X quit");
    // An interactive login shell uses the same socket directory.
    let mut shell = client.user.ssh().terminal(24, 80, &[]);
    shell.types("screen -list; exit\n");
    shell.shows("No Sockets found in /tmp/.screen.");
    let version = client.user.ssh().run("screen --version | cut -d' ' -f3").stdout;
    let version = String::from_utf8_lossy(&version);
    record("screen", &version, "in the box: reattached after a cut connection, in another size; `-dm`");
}

#[test]
fn mosh_does_not_work_and_says_why() {
    let _world = world();
    let client = Client::new("mosh");
    // The image does not contain mosh-server.
    let result = client.try_run("script -qec \"mosh --ssh='ssh -p 2200' $NAME@127.0.0.1\" said");
    assert!(
        result.status != 0 && result.out.contains("Did not find mosh server startup message"),
        "{result:?}"
    );
    // With a copied mosh-server and its libraries: the server starts and prints its port through ssh, but the client's
    // packets never reach it, since no UDP port of a box is reachable.
    client.run(
        "mkdir server; cp $(ldd /usr/bin/mosh-server | grep -o '/[^ ]*') /usr/bin/mosh-server server
         mv server/ld-linux-* server/ld.so; scp -q -r server $TO:",
    );
    let server = "server/ld.so --library-path server server/mosh-server";
    let transcript = format!("{}/said", client.folder);
    fs::write(&transcript, "").unwrap();
    let mut mosh = Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command"])
        .arg(format!("stty rows 24 cols 80; exec timeout 100 mosh --server='{server}' --ssh='ssh -p 2200' {}@127.0.0.1", client.user.name))
        .arg(&transcript)
        .env("LANG", "C.UTF-8")
        .env("TERM", "xterm")
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("mosh shows its error", || {
        fs::read_to_string(&transcript).unwrap().contains("Nothing received from server on UDP port")
    });
    assert!(client.user.runs_in_box("mosh-server"));
    mosh.stdin.take().unwrap().write_all(b"\x1e.").unwrap();
    mosh.wait().unwrap();
    client.user.ssh().run("pkill -f mosh-server");
    record(
        "mosh",
        &package_version("mosh"),
        "does not work: it needs a UDP port of the box, and none can be reached",
    );
}
