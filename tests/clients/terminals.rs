//! Work that outlives a connection: tmux, screen, and what mosh says.

use crate::desk::{Desk, packaged, tried};
use crate::harness::{Terminal, until, world};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// What the two multiplexers call the same things.
struct Multiplexer<'a> {
    begin: &'a str,
    attach: &'a str,
    list: &'a str,
    /// How the list calls a session in which nobody is, and one with somebody.
    detached: &'a str,
    attached: &'a str,
    quit: &'a str,
}

/// Begins work in a session, loses the connection, comes back with another window.
fn reattach(desk: &Desk, with: &Multiplexer<'_>) {
    let open = |words: &str, rows, columns| -> Terminal { desk.user.ssh().terminal(rows, columns, &[words]) };
    let mut terminal = open(with.begin, 24, 80);
    terminal.types("echo begun-$((40+2)); stty size\n");
    terminal.shows("begun-42");
    terminal.types("sleep 7200 & echo job-$((1+1))\n");
    terminal.shows("job-2");
    let list = || desk.user.ssh().run(with.list);
    let says = |word: &str| String::from_utf8_lossy(&list().stdout).contains(word);
    assert!(says(with.attached), "{:?}", list());
    terminal.kill();
    until("nobody is in it", || !says(with.attached));
    assert!(says(with.detached), "{:?}", list());
    assert!(desk.user.runs_in_box("sleep 7200"));
    // The screen is drawn anew, in the size of the new window.
    let mut terminal = open(with.attach, 40, 120);
    terminal.shows("begun-42");
    terminal.types("jobs; echo $((50+5)) $(tput cols)\n");
    terminal.shows("sleep 7200");
    terminal.shows("55 120");
    // Leaving on purpose, by the key for it, ends the connection with success.
    terminal.types(if with.begin.starts_with("tmux") { "\u{2}d" } else { "\u{1}d" });
    assert_eq!(terminal.ends(), 0, "{}", terminal.seen());
    assert!(says(with.detached), "{:?}", list());
    let mut terminal = open(with.attach, 24, 80);
    terminal.shows("55 120");
    terminal.types(with.quit);
    terminal.ends();
    until("the session is over", || !says(with.detached));
    desk.user.ssh().run("pkill -x sleep");
}

#[test]
fn tmux() {
    let _world = world();
    let desk = Desk::new("tmux");
    reattach(
        &desk,
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
    desk.user.says("tmux new-session -d -s job 'echo done >result; exec sleep 7201'");
    until("it has begun", || desk.user.says("cat result 2>/dev/null; true") == "done\n");
    desk.user.says("tmux kill-server");
    tried(
        "tmux",
        &desk.user.says("tmux -V").replace("tmux ", ""),
        "in the box: reattached after a cut connection, in another size; `new -d`",
    );
}

#[test]
fn screen() {
    let _world = world();
    let desk = Desk::new("screen");
    reattach(
        &desk,
        &Multiplexer {
            begin: "screen -S work",
            attach: "screen -r work",
            list: "screen -list",
            detached: "(Detached)",
            attached: "(Attached)",
            quit: "exit\nexit\n",
        },
    );
    desk.user.says("screen -dmS job sh -c 'echo done >result; exec sleep 7201'");
    until("it has begun", || desk.user.says("cat result 2>/dev/null; true") == "done\n");
    desk.user.says("screen -S job -X quit");
    // A login shell, as people have it, finds the same sockets.
    let mut shell = desk.user.ssh().terminal(24, 80, &[]);
    shell.types("screen -list; exit\n");
    shell.shows("No Sockets found in /tmp/.screen.");
    let version = desk.user.ssh().run("screen --version | cut -d' ' -f3").stdout;
    let version = String::from_utf8_lossy(&version);
    tried("screen", &version, "in the box: reattached after a cut connection, in another size; `-dm`");
}

#[test]
fn mosh_says_that_it_cannot() {
    let _world = world();
    let desk = Desk::new("mosh");
    // The image has no server for it.
    let told = desk.types("script -qec \"mosh --ssh='ssh -p 2200' $NAME@127.0.0.1\" said");
    assert!(told.status != 0 && told.out.contains("Did not find mosh server startup message"), "{told:?}");
    // With one, brought along with all that it is linked against: it starts, says its port through
    // ssh, and then the client's packets never reach it, for no UDP port of a box is reachable.
    desk.does(
        "mkdir server; cp $(ldd /usr/bin/mosh-server | grep -o '/[^ ]*') /usr/bin/mosh-server server
         mv server/ld-linux-* server/ld.so; scp -q -r server $TO:",
    );
    let server = "server/ld.so --library-path server server/mosh-server";
    let said = format!("{}/said", desk.folder);
    fs::write(&said, "").unwrap();
    let mut client = Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command"])
        .arg(format!("stty rows 24 cols 80; exec timeout 100 mosh --server='{server}' --ssh='ssh -p 2200' {}@127.0.0.1", desk.user.name))
        .arg(&said)
        .env("LANG", "C.UTF-8")
        .env("TERM", "xterm")
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("mosh tells", || {
        fs::read_to_string(&said).unwrap().contains("Nothing received from server on UDP port")
    });
    assert!(desk.user.runs_in_box("mosh-server"));
    client.stdin.take().unwrap().write_all(b"\x1e.").unwrap();
    client.wait().unwrap();
    desk.user.ssh().run("pkill -f mosh-server");
    tried(
        "mosh",
        &packaged("mosh"),
        "does not work: it needs a UDP port of the box, and none can be reached",
    );
}
