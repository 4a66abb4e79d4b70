//! Outages during a session: sshbox's sshd is killed, a connection is cut silently, a box is
//! stopped or removed, an engine ends and stops its boxes. The session goes on or ends with the
//! reason.

use crate::harness::{Changed, Running, Terminal, Undo, User, run, signal, text, until, world, world_alone};
use crate::numbers::{ContainerCleanup, report, restart_sshd, session_processes};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Upper bound from the end of a box to the end of its sessions: 2 s, and more for a busy machine.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Exit status of a session whose box has ended: that of a killed program.
const BOX_ENDED: i32 = 137;

/// A session with a terminal and one without, both running.
struct Both {
    terminal: Terminal,
    modes_before: String,
    plain: Running,
}

impl Both {
    fn of(user: &User) -> Self {
        let mut terminal = user.ssh().terminal(24, 80, &[]);
        let modes_before = terminal.modes();
        terminal.types("PS1='$ '; echo beg''an\n");
        terminal.shows("began");
        let mut plain = user.ssh().begin(&["echo began; while read x; do echo heard $x; done; exit 4"]);
        assert_eq!(plain.line(), "began");
        Self { terminal, modes_before, plain }
    }

    fn assert_both_run(&mut self) {
        self.terminal.types("echo go''es on\n");
        self.terminal.shows("goes on");
        self.plain.write(b"this\n");
        assert_eq!(self.plain.line(), "heard this");
    }

    /// Checks that both sessions end with the reason, since their box has ended, within the bound from
    /// `began`. Returns the time that it took.
    fn assert_both_end_with_box(mut self, began: Instant) -> Duration {
        let status = self.terminal.ends_within(Duration::from_secs(60));
        let took = began.elapsed();
        assert_eq!(status, Some(BOX_ENDED), "{:?}", self.terminal.seen());
        assert!(self.terminal.seen().contains("sshbox: your box"), "{:?}", self.terminal.seen());
        assert_eq!(self.terminal.modes(), self.modes_before, "the local terminal is not restored");
        let (status, out, err, _) = self.plain.output_within(END_TIMEOUT);
        assert_eq!((status, out.as_str()), (Some(BOX_ENDED), ""), "{err}");
        assert!(err.starts_with("sshbox: your box") && err.lines().count() == 1, "{err}");
        let took_both = began.elapsed().max(took);
        assert!(took_both < END_TIMEOUT, "the sessions ended {took_both:?} after the box");
        took_both
    }
}

#[test]
fn f23_a_box_stopped_killed_or_removed_ends_its_sessions_with_the_reason() {
    let _world = world();
    let user = User::new("evicted");
    let _box = ContainerCleanup(vec![user.clone()]);
    user.says("echo kept > file");
    for end in [&["stop", "-t", "5"][..], &["stop", "-t", "0"], &["kill"], &["rm", "-f"]] {
        let both = Both::of(&user);
        run("docker", &[end, &[&user.container()]].concat());
        let took = both.assert_both_end_with_box(Instant::now());
        report(&format!("outages: docker {}: sessions ended {} ms later", end.join(" "), took.as_millis()));
        until("nothing is left on the host", || user.host_processes().is_empty());
        assert_eq!(user.says("cat file"), "kept\n", "{end:?}");
    }
}

#[test]
fn f23_a_session_that_ignores_all_signals_ends_with_its_box_as_well() {
    let _world = world();
    let user = User::new("deaf");
    let _box = ContainerCleanup(vec![user.clone()]);
    let mut session = user.ssh().begin(&["trap '' TERM HUP INT; echo began; while :; do sleep 0.2; done"]);
    assert_eq!(session.line(), "began");
    run("docker", &["stop", "-t", "2", &user.container()]);
    let (status, _, err, took) = session.output_within(END_TIMEOUT);
    assert_eq!(status, Some(BOX_ENDED), "{err}");
    assert!(err.starts_with("sshbox: your box"), "{err}");
    assert!(took < END_TIMEOUT, "{took:?}");
    assert_eq!(user.says("echo in"), "in\n");
}

fn engine_replies() -> bool {
    Command::new("docker").args(["version"]).output().unwrap().status.success()
}

fn engine(action: &str) {
    run("tests/system/engine", &[action]);
    let replies = action.starts_with("start");
    until(action, || engine_replies() == replies);
}

#[test]
fn f10_an_engine_without_live_restore_ends_sessions_with_the_reason() {
    let _world = world_alone();
    let user = User::new("mortal");
    // The engine without live-restore would stop the boxes of all other tests too, one after the other.
    let boxes = run("docker", &["ps", "-q"]);
    let boxes: Vec<&str> = boxes.split_whitespace().collect();
    if !boxes.is_empty() {
        run("docker", &[&["stop", "-t", "0"], &boxes[..]].concat());
    }
    engine("stop");
    let _back = Undo(|| {
        if engine_replies() {
            run("tests/system/engine", &["stop"]);
        }
        engine("start");
    });
    let _box = ContainerCleanup(vec![user.clone()]);
    for end in ["stop", "kill"] {
        engine("start-mortal");
        assert_eq!(run("docker", &["info", "-f", "{{.LiveRestoreEnabled}}"]), "false\n");
        user.says("echo kept > file");
        let mut both = Both::of(&user);
        if end == "stop" {
            engine("stop");
        } else {
            // Its boxes run until the next engine starts: that one stops containers that it did not start.
            engine("kill");
            both.assert_both_run();
            run("tests/system/engine", &["start-mortal"]);
            until("the engine replies", engine_replies);
        }
        let took = both.assert_both_end_with_box(Instant::now());
        report(&format!("outages: mortal engine, {end}: sessions ended {} ms later", took.as_millis()));
        if end == "stop" {
            // Without an engine, a login fails with that reason.
            let output = user.ssh().run("true");
            assert_eq!(output.status.code(), Some(69), "{output:?}");
            assert!(text(&output.stderr).contains("the container engine does not run"), "{output:?}");
            engine("start-mortal");
        }
        assert_eq!(user.says("cat file"), "kept\n");
        engine("stop");
    }
}

#[test]
fn f17_sessions_outlive_the_sshd_that_started_them() {
    let _world = world_alone();
    let user = User::new("orphan");
    let _box = ContainerCleanup(vec![user.clone()]);
    let mut both = Both::of(&user);
    for end in [Signal::SIGKILL, Signal::SIGTERM] {
        restart_sshd(end);
        both.assert_both_run();
        assert_eq!(user.says("echo new"), "new\n");
    }
    both.terminal.types("exit 6\n");
    assert_eq!(both.terminal.ends(), 6);
    assert_eq!(both.plain.wait(), 4);
    until("nothing is left on the host", || user.host_processes().is_empty());
}

#[test]
fn f18_p8_what_a_client_leaves_on_a_shared_connection_ends_with_the_connection() {
    let _world = world();
    let user = User::new("sharer");
    let _box = ContainerCleanup(vec![user.clone()]);
    let mut connection = user.connects("/tmp/sharer");
    let mut session = user.ssh_over("/tmp/sharer").begin(&["echo began; sleep 4243 & exec sleep 4244"]);
    assert_eq!(session.line(), "began");
    session.kill();
    // As with plain sshd, which only closes input and output, a program that uses neither may go on. Other
    // sessions on the same connection are not affected.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(user.ssh_over("/tmp/sharer").run("echo in").stdout, b"in\n");
    connection.kill();
    until("all processes of the connection have ended", || {
        user.box_processes().len() == 1 && user.host_processes().is_empty()
    });
}

/// A TCP relay to sshbox's sshd that can be cut: from then on it passes no byte and no end of file.
struct Relay {
    port: String,
    cut: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Relay {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let (cut, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let accepting = {
            let (cut, over) = (cut.clone(), over.clone());
            thread::spawn(move || accept(&listener, &cut, &over))
        };
        Self { port, cut, over, accepting: Some(accepting) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.accepting.take().unwrap().join();
    }
}

fn accept(listener: &TcpListener, cut: &Arc<AtomicBool>, over: &Arc<AtomicBool>) {
    let mut copies = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        client.set_nonblocking(false).unwrap();
        let server = TcpStream::connect("127.0.0.1:2200").unwrap();
        for (from, to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
            let (cut, over) = (cut.clone(), over.clone());
            copies.push(thread::spawn(move || copy_one_way(from, to, &cut, &over)));
        }
    }
    for copy in copies {
        copy.join().unwrap();
    }
}

/// Copies one direction. Once cut, it keeps both sockets open and copies nothing, until the test ends.
fn copy_one_way(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool, over: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut bytes = [0; 16384];
    while !over.load(Ordering::Relaxed) {
        if cut.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
            continue;
        }
        let timed_out =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        let goes_on = match from.read(&mut bytes) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                false
            }
            // Data read after the cut is lost.
            Ok(count) => cut.load(Ordering::Relaxed) || to.write_all(&bytes[..count]).is_ok(),
            Err(error) => timed_out(&error),
        };
        if !goes_on {
            return;
        }
    }
}

/// A program that records SIGHUP in a file and does not end, and some detached programs. It closes stderr, since
/// a message about its child's end would find no reader.
fn ignores_hangup(mark: &str) -> String {
    format!(
        "setsid sleep 77{mark} </dev/null >/dev/null 2>&1 &
         nohup sleep 78{mark} </dev/null >/dev/null 2>&1 &
         sleep 71{mark} &
         trap 'echo > ~/hup-{mark}' HUP; sleep 0.3; echo began; exec 2>/dev/null; while :; do sleep 0.2{mark}; done"
    )
}

#[test]
fn f18_a_connection_cut_silently_is_hung_up_once_sshd_notices() {
    let _world = world_alone();
    let user = User::new("cutoff");
    let _box = ContainerCleanup(vec![user.clone()]);
    let _back = Undo(|| restart_sshd(Signal::SIGTERM));
    let _alive =
        Changed::file("/etc/sshbox/sshd_config", "ClientAliveInterval 3600", "ClientAliveInterval 1");
    restart_sshd(Signal::SIGTERM);
    let relay = Relay::new();
    let port = format!("Port={}", relay.port);
    let mut plain = user.ssh().args(&["-o", &port]).begin(&[&ignores_hangup("001")]);
    assert_eq!(plain.line(), "began");
    let plain_pids = user.host_processes();
    let mut terminal = user.ssh().args(&["-o", &port]).terminal(24, 80, &[&ignores_hangup("002")]);
    terminal.shows("began");
    let terminal_pids: Vec<i32> =
        user.host_processes().into_iter().filter(|pid| !plain_pids.contains(pid)).collect();
    assert!(plain_pids.len() >= 2 && terminal_pids.len() >= 2, "{plain_pids:?} {terminal_pids:?}");
    let lines = |mark: &str| -> Vec<String> {
        let pids = user.box_processes();
        let lines = pids[1..].iter().map(|pid| crate::numbers::command_line(*pid));
        lines.filter(|line| line.contains(mark)).collect()
    };

    relay.cut.store(true, Ordering::Relaxed);
    let cut = Instant::now();
    // Nothing has noticed the cut so far.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(user.host_processes().len(), plain_pids.len() + terminal_pids.len());
    thread::scope(|scope| {
        for (mark, pids) in [("001", &plain_pids), ("002", &terminal_pids)] {
            let (user, lines) = (&user, &lines);
            scope.spawn(move || {
                // sshd ends its own processes first.
                until("sshd notices", || pids.iter().any(|pid| !user.host_processes().contains(pid)));
                let noticed = Instant::now();
                let hup = format!("{}/hup-{mark}", user.home());
                until("the program has got SIGHUP", || Path::new(&hup).exists());
                let hung_up = noticed.elapsed();
                let detached = |line: &String| line.starts_with("sleep 77") || line.starts_with("sleep 78");
                until("the programs of the session have ended", || lines(mark).iter().all(detached));
                let ended = noticed.elapsed();
                report(&format!(
                    "outages: sshd noticed {:.1} s after the cut; SIGHUP {} ms later, SIGKILL {} ms later",
                    (noticed - cut).as_secs_f32(),
                    hung_up.as_millis(),
                    ended.as_millis()
                ));
                assert!(hung_up < Duration::from_secs(5), "SIGHUP only after {hung_up:?}; promised: 1 s");
                assert!(ended < Duration::from_secs(15), "SIGKILL only after {ended:?}; promised: 5 s");
            });
        }
    });
    until("nothing is left on the host", || session_processes().is_empty());
    for mark in ["001", "002"] {
        let mut left = lines(mark);
        left.sort();
        assert_eq!(left, [format!("sleep 77{mark}"), format!("sleep 78{mark}")]);
    }
    // The clients have not noticed anything and wait.
    assert_eq!(plain.over(), None);
    signal(plain.pid(), Signal::SIGKILL);
    terminal.kill();
    assert_eq!(user.says("cat hup-* | wc -l"), "2\n");
    fs::remove_file(format!("{}/hup-001", user.home())).unwrap();
}
