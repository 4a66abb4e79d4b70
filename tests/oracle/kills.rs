//! Clients, connections and servers that are killed. The same programs of a session end or survive as with plain
//! sshd, or sshbox does better: see [`Subject::leaves_orphans`].
//!
//! [`Subject::leaves_orphans`]: crate::subject::Subject::leaves_orphans

use crate::harness::{signal, text, until};
use crate::subject::{Connection, RemoteFolder, Session, Sleep, begin, leaders, subject, with_client_port};
use nix::sys::signal::Signal;
use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Programs of one session, ordered by how strongly they are detached from it.
struct Programs {
    /// In the foreground.
    front: Sleep,
    /// In the background.
    back: Sleep,
    /// In the background, ignoring SIGHUP.
    nohup: Sleep,
    /// In a session of its own (setsid).
    detached: Sleep,
}

impl Programs {
    fn new() -> Self {
        Self { front: Sleep::new(), back: Sleep::new(), nohup: Sleep::new(), detached: Sleep::new() }
    }

    fn command(&self) -> String {
        let quiet = "</dev/null >/dev/null 2>&1";
        let [front, back, nohup, detached] =
            [&self.front, &self.back, &self.nohup, &self.detached].map(Sleep::command);
        format!("setsid {detached} {quiet} & nohup {nohup} {quiet} & {back} & {front}; exit $?")
    }

    fn wait_for_start(&self) {
        for sleep in [&self.front, &self.back, &self.nohup, &self.detached] {
            sleep.wait_for_start();
        }
    }

    /// Checks the programs after the end of a session with a terminal: the kernel hangs it up on both servers.
    fn assert_only_detached_survive(&self) {
        self.front.wait_for_end();
        self.back.wait_for_end();
        self.assert_detached_survive();
    }

    fn assert_detached_survive(&self) {
        thread::sleep(Duration::from_secs(3));
        assert!(self.nohup.runs() && self.detached.runs(), "a detached program has ended");
    }

    /// Checks the programs after the end of a session without a terminal.
    fn assert_end_without_terminal(&self) {
        if subject().leaves_orphans {
            // Plain sshd is worse here: it sends these programs no signal.
            self.assert_detached_survive();
            assert!(
                self.front.runs() && self.back.runs(),
                "plain sshd now hangs up such a session: update `leaves_orphans`"
            );
        } else {
            self.assert_only_detached_survive();
        }
    }
}

/// Starts a session of these programs with this client option.
fn start_session(programs: &Programs, option: &str) -> Session {
    let session = begin(subject().ssh().args(&[option]), &programs.command());
    programs.wait_for_start();
    session
}

/// Waits until the sshd processes of a connection have ended.
fn wait_for_end_of_servers(servers: &[i32]) {
    assert_eq!(servers.len(), 2);
    until("sshd has ended", || servers.iter().all(|pid| crate::harness::status_of(*pid, "Name").is_none()));
}

#[test]
fn f18_a_client_killed_at_a_terminal() {
    let programs = Programs::new();
    let mut session = start_session(&programs, "-tt");
    let servers = subject().servers(session.port);
    session.client.kill();
    programs.assert_only_detached_survive();
    wait_for_end_of_servers(&servers);
}

#[test]
fn f18_a_client_killed_without_a_terminal() {
    let programs = Programs::new();
    let mut session = start_session(&programs, "-T");
    let servers = subject().servers(session.port);
    session.client.kill();
    programs.assert_end_without_terminal();
    wait_for_end_of_servers(&servers);
}

#[test]
fn f18_a_client_ended_by_sigterm_or_sigint() {
    for (option, name) in [("-tt", Signal::SIGTERM), ("-T", Signal::SIGINT)] {
        let programs = Programs::new();
        let session = start_session(&programs, option);
        signal(session.client.pid(), name);
        let output = session.client.ends();
        assert_eq!(output.status.code(), Some(255), "{output:?}");
        if option == "-tt" {
            programs.assert_only_detached_survive();
        } else {
            programs.assert_end_without_terminal();
        }
    }
}

/// A TCP proxy between client and server that can cut the connection.
struct Proxy {
    port: u16,
    ends: Receiver<[TcpStream; 2]>,
}

impl Proxy {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (give, ends) = channel();
        thread::spawn(move || {
            let client = listener.accept().unwrap().0;
            let server = TcpStream::connect(("127.0.0.1", subject().port)).unwrap();
            let all = || [client.try_clone().unwrap(), server.try_clone().unwrap()];
            give.send(all()).unwrap();
            for [mut from, mut to] in [all(), {
                let [client, server] = all();
                [server, client]
            }] {
                thread::spawn(move || drop(copy(&mut from, &mut to)));
            }
        });
        Self { port, ends }
    }

    /// Starts a session through the proxy.
    fn session(&self, programs: &Programs, option: &str) -> Session {
        let ssh = subject().ssh().args(&[option, "-p", &self.port.to_string()]);
        let session = begin(ssh, &programs.command());
        programs.wait_for_start();
        session
    }

    fn cut(self) {
        for end in self.ends.recv().unwrap() {
            end.shutdown(Shutdown::Both).unwrap();
        }
    }
}

#[test]
fn f18_a_connection_cut_at_a_terminal() {
    let (programs, proxy) = (Programs::new(), Proxy::new());
    let session = proxy.session(&programs, "-tt");
    let servers = subject().servers(session.port);
    proxy.cut();
    assert_eq!(session.client.ends().status.code(), Some(255));
    programs.assert_only_detached_survive();
    wait_for_end_of_servers(&servers);
}

#[test]
fn f18_a_connection_cut_without_a_terminal() {
    let (programs, proxy) = (Programs::new(), Proxy::new());
    let session = proxy.session(&programs, "-T");
    let servers = subject().servers(session.port);
    proxy.cut();
    assert_eq!(session.client.ends().status.code(), Some(255));
    programs.assert_end_without_terminal();
    wait_for_end_of_servers(&servers);
}

/// Kills the sshd process that relays the data.
fn kill_server(option: &str) -> Programs {
    let programs = Programs::new();
    let session = start_session(&programs, option);
    let servers = subject().servers(session.port);
    signal(subject().server(session.port), Signal::SIGKILL);
    assert_eq!(session.client.ends().status.code(), Some(255));
    wait_for_end_of_servers(&servers);
    programs
}

#[test]
fn f19_the_sshd_of_a_session_with_a_terminal_killed() {
    kill_server("-tt").assert_only_detached_survive();
}

#[test]
fn f19_the_sshd_of_a_session_without_a_terminal_killed() {
    kill_server("-T").assert_end_without_terminal();
}

#[test]
fn f19_a_session_survives_the_death_of_the_privileged_sshd() {
    for option in ["-T", "-tt"] {
        let mut session = begin(
            subject().ssh().args(&[option]),
            "if tty -s; then stty -echo; fi; echo ready; while read x; do echo got $x; done",
        );
        assert_eq!(session.client.line().trim(), "ready");
        let servers = subject().servers(session.port);
        signal(servers[0], Signal::SIGKILL);
        until("the privileged sshd has ended", || subject().servers(session.port).len() == 1);
        for word in ["one", "two"] {
            session.client.write(format!("{word}\n").as_bytes());
            assert_eq!(session.client.line().trim(), format!("got {word}"));
        }
        session.client.kill();
        wait_for_end_of_servers(&servers);
    }
}

#[test]
fn f19_the_leader_of_a_session_with_a_terminal_killed() {
    let programs = Programs::new();
    let session = start_session(&programs, "-tt");
    kill_leader(session.port);
    assert_eq!(session.client.ends().status.code(), Some(255));
    programs.assert_only_detached_survive();
}

#[test]
fn f19_the_leader_of_a_session_without_a_terminal_killed() {
    let programs = Programs::new();
    let mut session = start_session(&programs, "-T");
    kill_leader(session.port);
    if subject().leaves_orphans {
        // Plain sshd is worse here: its client waits for programs that have got no signal.
        programs.assert_end_without_terminal();
        assert_eq!(session.client.over(), None);
        drop(programs);
    } else {
        programs.assert_end_without_terminal();
    }
    assert_eq!(session.client.ends().status.code(), Some(255));
}

#[test]
fn f19_the_leader_of_a_session_of_one_program_killed() {
    let sleep = Sleep::new();
    let session = begin(subject().ssh(), &format!("exec {}", sleep.command()));
    sleep.wait_for_start();
    kill_leader(session.port);
    let output = session.client.ends();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(255), String::new()));
    sleep.wait_for_end();
}

/// Kills the process that sshd itself has started for this client.
fn kill_leader(port: u16) {
    let leaders = leaders(subject().server(port));
    assert_eq!(leaders.len(), 1, "{leaders:?}");
    signal(leaders[0], Signal::SIGKILL);
}

#[test]
fn f18_a_program_that_reads_gets_end_of_file_when_its_client_is_killed() {
    let folder = RemoteFolder::new();
    let mut session = begin(
        subject().ssh(),
        &format!("trap '' HUP; echo ready; cat >/dev/null; echo end >{}/heard", folder.0),
    );
    assert_eq!(session.client.line(), "ready");
    session.client.kill();
    until("the program has reacted", || {
        subject().ssh().run(&format!("cat {}/heard", folder.0)).stdout == b"end\n"
    });
}

#[test]
fn f18_a_program_that_writes_gets_sigpipe_when_its_client_is_killed() {
    let folder = RemoteFolder::new();
    let mut session =
        begin(subject().ssh(), &format!("trap '' HUP; echo ready; yes; echo $? >{}/heard", folder.0));
    assert_eq!(session.client.line(), "ready");
    session.client.kill();
    until("the program has reacted", || {
        subject().ssh().run(&format!("cat {}/heard", folder.0)).stdout == b"141\n"
    });
}

#[test]
fn f18_a_program_at_a_terminal_can_handle_the_hangup() {
    let folder = RemoteFolder::new();
    let command =
        format!("trap 'echo hangup >{}/heard; exit' HUP; echo ready; while :; do sleep 0.1; done", folder.0);
    let mut terminal = subject().ssh().terminal(24, 80, &[&command]);
    terminal.shows("ready");
    terminal.kill();
    until("the trap has run", || {
        subject().ssh().run(&format!("cat {}/heard", folder.0)).stdout == b"hangup\n"
    });
}

#[test]
fn f18_the_jobs_of_a_shell_end_when_its_window_closes() {
    let (front, back, stopped, disowned) = (Sleep::new(), Sleep::new(), Sleep::new(), Sleep::new());
    let mut terminal = subject().ssh().terminal(24, 200, &[]);
    terminal.types(&format!("{} & {} & disown; {}\n", back.command(), disowned.command(), stopped.command()));
    stopped.wait_for_start();
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types(&format!("{}\n", front.command()));
    front.wait_for_start();
    assert!(back.runs() && disowned.runs());
    terminal.kill();
    for sleep in [front, back, stopped] {
        sleep.wait_for_end();
    }
    // The shell sends a disowned job no SIGHUP, but the job is still in the session.
    if subject().leaves_orphans {
        // Plain sshd leaves it running: the kernel sends SIGHUP only to the shell and the foreground.
        thread::sleep(Duration::from_secs(3));
        assert!(disowned.runs());
    } else {
        disowned.wait_for_end();
    }
}

#[test]
fn the_background_jobs_of_a_shell_survive_its_exit() {
    let (kept, nohup) = (Sleep::new(), Sleep::new());
    let mut terminal = subject().ssh().terminal(24, 200, &[]);
    terminal.types(&format!("{} & nohup {} &\n", kept.command(), nohup.command()));
    kept.wait_for_start();
    nohup.wait_for_start();
    terminal.types("exit 5\n");
    assert_eq!(terminal.ends(), 5);
    thread::sleep(Duration::from_secs(3));
    assert!(kept.runs() && nohup.runs());
}

#[test]
fn the_shell_warns_of_a_stopped_job_and_ends_it() {
    let stopped = Sleep::new();
    let mut terminal = subject().ssh().terminal(24, 200, &[]);
    terminal.types(&format!("{}\n", stopped.command()));
    stopped.wait_for_start();
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types("exit\n");
    terminal.shows("There are stopped jobs.");
    terminal.types("exit 6\n");
    assert_eq!(terminal.ends(), 6);
    stopped.wait_for_end();
}

#[test]
fn background_programs_of_a_command_survive_its_end() {
    for option in ["-T", "-tt"] {
        let programs = Programs::new();
        let quiet = "</dev/null >/dev/null 2>&1";
        let command = format!(
            "{} {quiet} & nohup {} {quiet} & setsid {} {quiet} & sleep 1; exit 3",
            programs.back.command(),
            programs.nohup.command(),
            programs.detached.command()
        );
        let session = begin(subject().ssh().args(&[option]), &command);
        programs.back.wait_for_start();
        assert_eq!(session.client.ends().status.code(), Some(3));
        programs.assert_detached_survive();
        // With a terminal, the kernel hangs up the foreground process group. A shell without job control puts
        // all programs into it.
        assert_eq!(programs.back.runs(), option == "-T", "{option}");
    }
}

#[test]
fn f18_one_session_of_many_killed_at_a_terminal() {
    let (connection, programs) = (Connection::open(), Programs::new());
    let mut other = connection.ssh().begin(&["cat"]);
    other.write(b"before\n");
    assert_eq!(other.line(), "before");
    let mut session = begin(connection.ssh().args(&["-tt"]), &programs.command());
    programs.wait_for_start();
    session.client.kill();
    programs.assert_only_detached_survive();
    other.write(b"after\n");
    assert_eq!(other.line(), "after");
    assert_eq!(other.output().0, 0);
}

#[test]
fn f18_one_session_of_many_killed_without_a_terminal() {
    let (mut connection, programs) = (Connection::open(), Programs::new());
    let mut other = connection.ssh().begin(&["cat"]);
    other.write(b"before\n");
    assert_eq!(other.line(), "before");
    let mut session = begin(connection.ssh(), &programs.command());
    programs.wait_for_start();
    session.client.kill();
    programs.assert_detached_survive();
    other.write(b"after\n");
    assert_eq!(other.line(), "after");
    assert_eq!(other.output().0, 0);
    // sshd keeps its end of stderr open until the program or the connection ends. Until then, nothing shows that
    // only this session was closed.
    connection.master.kill();
    programs.assert_end_without_terminal();
}

#[test]
fn f18_all_sessions_end_with_the_client_that_holds_the_connection() {
    let (mut connection, programs) = (Connection::open(), Programs::new());
    let port = connection.port();
    let servers = subject().servers(port);
    let terminal = connection.ssh().args(&["-tt"]).begin(&[&with_client_port(&programs.command())]);
    programs.wait_for_start();
    connection.master.kill();
    assert_eq!(terminal.ends().status.code(), Some(255));
    programs.assert_only_detached_survive();
    wait_for_end_of_servers(&servers);
}

#[test]
fn ended_sessions_leave_nothing_behind() {
    let connection = Connection::open();
    let server = subject().server(connection.port());
    for _ in 0..5 {
        connection.says("true");
        connection.ssh().args(&["-tt"]).run("true");
    }
    until("all leaders have ended", || leaders(server).is_empty());
    let servers = subject().servers(connection.port());
    connection.control("exit");
    wait_for_end_of_servers(&servers);
}
