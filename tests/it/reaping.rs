//! `sshbox reap` with a fake engine: a signal while boxes are being stopped, a lock file that cannot be
//! read. Each test has a `/run` of its own, in a mount namespace, and a terminal. Needs root.

use crate::fake_engine::FakeEngine;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// As many boxes as are stopped at the same time, and two more.
const BOXES: usize = 10;
const CONCURRENT_STOPS: usize = 8;

/// A stop that waits until the test opens the gate.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |is_open| !*is_open).unwrap());
    }
}

fn reply(request: &str, gate: &Gate) -> (u16, String) {
    let path = request.split([' ', '?']).nth(1).unwrap();
    let labels = |id: &str| format!(r#""Labels":{{"sshbox.user":"{id}","sshbox.id":"1","sshbox.spec":"x"}}"#);
    match path.strip_prefix("/containers/").and_then(|rest| rest.split_once('/')) {
        None if path == "/containers/json" => {
            let boxes =
                (0..BOXES).map(|number| format!(r#"{{"Id":"b{number}",{}}}"#, labels(&format!("b{number}"))));
            (200, format!("[{}]", boxes.collect::<Vec<_>>().join(",")))
        }
        None => (200, "OK".to_owned()),
        Some((_, "stop")) => {
            gate.pass();
            (204, String::new())
        }
        Some((id, _)) => {
            (200, format!(r#"{{"Id":"{id}","State":{{"Status":"running"}},"Config":{{{}}}}}"#, labels(id)))
        }
    }
}

fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !ready() {
        assert!(Instant::now() < end, "gave up waiting: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// `sshbox reap` at a terminal, killed at the end of the test.
struct Reaper {
    child: Child,
    terminal: File,
}

impl Reaper {
    /// Begins with boxes that have had no session since a first run of `sshbox reap`.
    fn begin(engine: &FakeEngine, config: &tempfile::TempDir, idle_timeout: &str) -> Self {
        let path = config.path().join("sshbox.toml");
        let cache = config.path().display();
        let text = format!(
            "[accounts]\nurl = \"http://127.0.0.1/{{user}}\"\ncache = \"{cache}\"\n[engine]\nsocket = \"{}\"\n[reap]\nidle_timeout = \"{idle_timeout}\"\n",
            engine.socket().display()
        );
        fs::write(&path, text).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let terminal = openpt(flags).unwrap();
        unlockpt(&terminal).unwrap();
        let slave = ioctl_tiocgptpeer(&terminal, flags).unwrap();
        let script = "mount -t tmpfs tmpfs /run &&
             mkdir -p /run/sshbox/users /run/sshbox/boxes /run/sshbox/accounts /run/systemd/journal &&
             \"$0\" --config \"$1\" reap >&2 && read -r line && exec \"$0\" --config \"$1\" reap --json";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        command.arg(env!("CARGO_BIN_EXE_sshbox")).arg(path).stdout(Stdio::piped());
        let child = command.stdin(slave.try_clone().unwrap()).stderr(slave).spawn().unwrap();
        Self { child, terminal: File::from(terminal) }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// A file in its `/run`.
    fn run(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root/run/{path}", self.pid()).into()
    }

    /// Reads from the terminal until it shows this text.
    fn shows(&mut self, text: &str) {
        let mut seen = Vec::new();
        let mut bytes = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(text) {
            // The read fails once the program has ended.
            let count = self.terminal.read(&mut bytes).unwrap_or_default();
            assert!(count > 0, "waited for {text:?}, saw {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&bytes[..count]);
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn p4_p7_a_signal_lets_the_stops_in_progress_finish_and_begins_no_other() {
    let (gate, config) = (Gate::default(), tempfile::tempdir().unwrap());
    let stops = gate.clone();
    let engine = FakeEngine::new((1, 41), move |request| reply(request, &stops));
    let mut reaper = Reaper::begin(&engine, &config, "0s");
    reaper.shows("b9");
    let log = UnixDatagram::bind(reaper.run("systemd/journal/socket")).unwrap();
    log.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    reaper.terminal.write_all(b"\n").unwrap();
    let stopping = || engine.asked().iter().filter(|request| request.contains("/stop")).count();
    until("boxes are being stopped", || stopping() == CONCURRENT_STOPS);

    // The second signal ends it no sooner than the first.
    reaper.signal(Signal::SIGINT);
    reaper.shows("checking all boxes: finishing the stops that have begun ...");
    reaper.signal(Signal::SIGTERM);
    reaper.signal(Signal::SIGINT);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(reaper.child.try_wait().unwrap(), None);
    for lock in ["live.lock", "state.lock"] {
        let locked = (0..BOXES).filter(|number| {
            let path = reaper.run(&format!("sshbox/users/b{number}/{lock}"));
            File::open(path).unwrap().try_lock_shared().is_err()
        });
        assert_eq!(locked.count(), CONCURRENT_STOPS, "{lock}");
    }

    gate.open();
    let mut printed = String::new();
    reaper.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    let status = reaper.child.wait().unwrap();
    assert_eq!(status.signal(), Some(2), "{status:?} {printed}");
    assert_eq!(printed.matches(r#""stopped""#).count(), CONCURRENT_STOPS, "{printed}");
    assert_eq!(stopping(), CONCURRENT_STOPS);
    let mut entry = [0; 4096];
    for _ in 0..CONCURRENT_STOPS {
        let length = log.recv(&mut entry).unwrap();
        let entry = String::from_utf8_lossy(&entry[..length]);
        assert!(entry.contains("MESSAGE=box stopped user="), "{entry}");
    }
}

#[test]
fn f35_a_box_without_a_timeout_is_never_stopped_even_if_its_lock_file_cannot_be_read() {
    let config = tempfile::tempdir().unwrap();
    let engine = FakeEngine::new((1, 41), |request| reply(request, &Gate::default()));
    let mut reaper = Reaper::begin(&engine, &config, "never");
    reaper.shows("b9");
    // Idle since the host started, or not even text.
    for (user, content) in [("b0", &b"0\n"[..]), ("b1", b"\xff")] {
        fs::write(reaper.run(&format!("sshbox/users/{user}/live.lock")), content).unwrap();
    }
    reaper.terminal.write_all(b"\n").unwrap();
    let mut printed = String::new();
    reaper.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(reaper.child.wait().unwrap().code(), Some(0), "{printed}");
    assert_eq!(printed.matches("its idle timeout is never").count(), BOXES, "{printed}");
    assert!(!engine.asked().iter().any(|request| request.contains("/stop")));
}
