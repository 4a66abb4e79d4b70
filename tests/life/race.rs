//! A reaper that stops every box without a session or a connection, while users log in or forward: no login may
//! fail, and no connection may lose its box.

use crate::harness::{Changed, User, reap, text, world_alone};
use crate::numbers::{ContainerCleanup, Random, number_from_env, report};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Users who race at the same time, each repeatedly from several threads. So they find boxes that run, boxes that
/// are being stopped, and boxes that another login starts.
const USERS: usize = 4;
const THREADS_PER_USER: usize = 3;

/// How long anything may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Port of the server in a box.
const SERVED: u16 = 7000;

/// The clients listen on this port and the following ones, one for each thread. The kernel gives them to nobody else.
const FIRST_LOCAL: usize = 21000;

/// Starts a server in the box that returns each line. It lives until the box stops. While one is there, another
/// cannot listen and ends.
const SERVE: &str = "setsid -f python3 -c '
from socketserver import *
class Echo(StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line)
ThreadingTCPServer.allow_reuse_address = True
ThreadingTCPServer((\"127.0.0.1\", 7000), Echo).serve_forever()
' </dev/null >/dev/null 2>&1";

#[test]
fn f3_no_login_is_lost_to_the_reaper() {
    let _world = world_alone();
    let races = number_from_env("SSHBOX_RACES", 1000);
    let (lost, stopped) = race("racer", races, |user, number, _| {
        let output = user.ssh().run(&format!("echo {number}"));
        let complete = text(&output.stdout) == format!("{number}\n") && output.stderr.is_empty();
        if output.status.success() && complete { Ok(()) } else { Err(format!("{output:?}")) }
    });
    assert!(lost.is_empty(), "{} logins lost: {}", lost.len(), lost[0]);
    assert!(stopped > races / 10, "only {stopped} stops: too few for a race");
}

#[test]
fn f3_no_connection_that_only_forwards_is_cut_by_the_reaper() {
    let _world = world_alone();
    let races = number_from_env("SSHBOX_RACES", 80);
    // On a busy machine a box starts later than usual. Such a connection would not forward, which is no fault of
    // the reaper.
    let _wait = Changed::config("\nwait = \"3s\"", "\nwait = \"20s\"");
    let (cut, stopped) = race("tunneller", races, |user, number, thread| {
        let mut random = Random(number as u64);
        let local = u16::try_from(FIRST_LOCAL + thread).unwrap();
        let forward = format!("{local}:127.0.0.1:{SERVED}");
        let mut client = user.ssh().args(&["-N", "-L", &forward]).begin(&[]);
        let forwarded = forwards(user, local, Duration::from_millis(random.below(1000)));
        client.kill();
        // Time in which the user has no connection, so that the box is stopped.
        thread::sleep(Duration::from_millis(random.below(300)));
        forwarded.map_err(|reason| format!("{reason}; the client: {:?}", client.ends()))
    });
    assert!(cut.is_empty(), "{} connections cut: {}", cut.len(), cut[0]);
    assert!(stopped > races / 10, "only {stopped} stops: too few for a race");
}

/// Forwards through this port to a server in the box, over one stream that is open for at least this time, and then
/// over another. Neither works with a box that was stopped after the connection was opened: the connection stays in
/// the network of that box, where nothing listens any more.
fn forwards(user: &User, local: u16, time: Duration) -> Result<(), String> {
    let open = reach_server(user, local)?;
    thread::sleep(time);
    if !returns(&open, "still\n") {
        return Err("an open stream was cut".to_owned());
    }
    match connect(local) {
        None => Err("the client has ended".to_owned()),
        Some(second) if returns(&second, "again\n") => Ok(()),
        Some(_) => Err("the box cannot be reached any more".to_owned()),
    }
}

/// Connects with the server. Starts it if the box has been started since: by another login, of which nothing is left
/// when it ends but the server.
fn reach_server(user: &User, local: u16) -> Result<TcpStream, String> {
    let until = Instant::now() + PATIENCE;
    let mut started = false;
    while Instant::now() < until {
        if let Some(stream) = connect(local) {
            if returns(&stream, "first\n") {
                return Ok(stream);
            }
            if !started {
                started = true;
                let output = user.ssh().run(SERVE);
                if !output.status.success() {
                    return Err(format!("cannot start the server: {output:?}"));
                }
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err(if started { "the box cannot be reached" } else { "the client does not listen" }.to_owned())
}

fn connect(local: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, local)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// Whether the server returns this line.
fn returns(mut stream: &TcpStream, line: &str) -> bool {
    let mut returned = vec![0; line.len()];
    stream.write_all(line.as_bytes()).is_ok()
        && stream.read_exact(&mut returned).is_ok()
        && returned == line.as_bytes()
}

/// Runs `once` for each number in many threads, with a user, the number, and the number of the thread, while a reaper
/// runs all the time. Returns why some of them failed, and how many boxes were stopped meanwhile.
fn race(
    name: &str,
    races: usize,
    once: impl Fn(&User, usize, usize) -> Result<(), String> + Sync,
) -> (Vec<String>, usize) {
    let _idle = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
    let _grace = Changed::config("grace = \"10s\"", "grace = \"1s\"");
    let names: Vec<String> = (0..USERS).map(|n| format!("{name}{n}")).collect();
    let users: Vec<User> = User::many(&names).into_iter().map(|(user, _)| user).collect();
    let _boxes = ContainerCleanup(users.clone());
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let threads = USERS * THREADS_PER_USER;
    let (outcomes, stopped) = thread::scope(|scope| {
        let reaper = scope.spawn(|| {
            let mut stopped = 0;
            while !over.load(Ordering::Relaxed) {
                let printed = text(&reap(&[]).stdout);
                stopped += printed.lines().filter(|line| line.contains(": stopped: ")).count();
            }
            stopped
        });
        let racing: Vec<_> = (0..threads)
            .map(|thread| {
                let (user, once) = (&users[thread % USERS], &once);
                let numbers = (thread..races).step_by(threads);
                scope.spawn(move || numbers.map(|number| once(user, number, thread)).collect::<Vec<_>>())
            })
            .collect();
        let results: Vec<_> = racing.into_iter().map(thread::ScopedJoinHandle::join).collect();
        // Set this before a panic propagates: otherwise the reaper thread runs for ever.
        over.store(true, Ordering::Relaxed);
        let stopped = reaper.join().unwrap();
        (results.into_iter().flat_map(Result::unwrap).collect::<Vec<_>>(), stopped)
    });
    assert_eq!(outcomes.len(), races);
    let failed: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    report(&format!(
        "race: {races} of {name}, {} lost, {stopped} boxes stopped meanwhile, {} s",
        failed.len(),
        began.elapsed().as_secs()
    ));
    (failed, stopped)
}
