//! Ends that nobody planned: clients, connections and servers that are killed. What of a session dies then and what
//! lives is what plain sshd does, or better: see [`Subject::leaves_orphans`].
//!
//! [`Subject::leaves_orphans`]: crate::subject::Subject::leaves_orphans

use crate::harness::{signal, text, until};
use crate::subject::{Connection, Folder, Session, Sleep, begin, leaders, said, subject};
use nix::sys::signal::Signal;
use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Programs of one session, by how much they want to stay.
struct Programs {
    /// What the session is there for.
    front: Sleep,
    /// Put into the background, and no more.
    back: Sleep,
    /// Told not to hear SIGHUP.
    nohup: Sleep,
    /// In a session of its own.
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

    fn come(&self) {
        for sleep in [&self.front, &self.back, &self.nohup, &self.detached] {
            sleep.comes();
        }
    }

    /// After the end of a session that had a terminal: the kernel hangs it up, for both subjects alike.
    fn only_the_detached_live(&self) {
        self.front.goes();
        self.back.goes();
        self.detached_live();
    }

    fn detached_live(&self) {
        thread::sleep(Duration::from_secs(3));
        assert!(self.nohup.runs() && self.detached.runs(), "what was detached is gone");
    }

    /// After the end of a session that had none.
    fn as_without_a_terminal(&self) {
        if subject().leaves_orphans {
            // Plain sshd is the worse one: nobody tells these that they are alone.
            self.detached_live();
            assert!(
                self.front.runs() && self.back.runs(),
                "plain sshd has learned to hang up: then so must we"
            );
        } else {
            self.only_the_detached_live();
        }
    }
}

/// A session of these programs, with this option.
fn session(programs: &Programs, option: &str) -> Session {
    let session = begin(subject().ssh().args(&[option]), &programs.command());
    programs.come();
    session
}

/// Nothing of the server is left that belonged to this connection.
fn servers_end(servers: &[i32]) {
    assert_eq!(servers.len(), 2);
    until("sshd has ended", || servers.iter().all(|pid| crate::harness::status_of(*pid, "Name").is_none()));
}

#[test]
fn f18_a_client_killed_at_a_terminal() {
    let programs = Programs::new();
    let mut session = session(&programs, "-tt");
    let servers = subject().servers(session.port);
    session.client.kill();
    programs.only_the_detached_live();
    servers_end(&servers);
}

#[test]
fn f18_a_client_killed_without_a_terminal() {
    let programs = Programs::new();
    let mut session = session(&programs, "-T");
    let servers = subject().servers(session.port);
    session.client.kill();
    programs.as_without_a_terminal();
    servers_end(&servers);
}

#[test]
fn f18_a_client_that_is_asked_to_end() {
    for (option, name) in [("-tt", Signal::SIGTERM), ("-T", Signal::SIGINT)] {
        let programs = Programs::new();
        let session = session(&programs, option);
        signal(session.client.pid(), name);
        let output = session.client.ends();
        assert_eq!(output.status.code(), Some(255), "{output:?}");
        if option == "-tt" {
            programs.only_the_detached_live();
        } else {
            programs.as_without_a_terminal();
        }
    }
}

/// Something between client and server that can be cut.
struct Cable {
    port: u16,
    ends: Receiver<[TcpStream; 2]>,
}

impl Cable {
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

    /// Begins a session through it.
    fn session(&self, programs: &Programs, option: &str) -> Session {
        let ssh = subject().ssh().args(&[option, "-p", &self.port.to_string()]);
        let session = begin(ssh, &programs.command());
        programs.come();
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
    let (programs, cable) = (Programs::new(), Cable::new());
    let session = cable.session(&programs, "-tt");
    let servers = subject().servers(session.port);
    cable.cut();
    assert_eq!(session.client.ends().status.code(), Some(255));
    programs.only_the_detached_live();
    servers_end(&servers);
}

#[test]
fn f18_a_connection_cut_without_a_terminal() {
    let (programs, cable) = (Programs::new(), Cable::new());
    let session = cable.session(&programs, "-T");
    let servers = subject().servers(session.port);
    cable.cut();
    assert_eq!(session.client.ends().status.code(), Some(255));
    programs.as_without_a_terminal();
    servers_end(&servers);
}

/// Kills the process of sshd that carries the bytes.
fn server_killed(option: &str) -> Programs {
    let programs = Programs::new();
    let session = session(&programs, option);
    let servers = subject().servers(session.port);
    signal(subject().server(session.port), Signal::SIGKILL);
    assert_eq!(session.client.ends().status.code(), Some(255));
    servers_end(&servers);
    programs
}

#[test]
fn f19_the_sshd_of_a_terminal_killed() {
    server_killed("-tt").only_the_detached_live();
}

#[test]
fn f19_the_sshd_of_a_session_without_terminal_killed() {
    server_killed("-T").as_without_a_terminal();
}

#[test]
fn f19_a_session_goes_on_without_the_sshd_that_let_it_in() {
    for option in ["-T", "-tt"] {
        let mut session = begin(
            subject().ssh().args(&[option]),
            "if tty -s; then stty -echo; fi; echo ready; while read x; do echo got $x; done",
        );
        assert_eq!(session.client.line().trim(), "ready");
        let servers = subject().servers(session.port);
        signal(servers[0], Signal::SIGKILL);
        until("it is gone", || subject().servers(session.port).len() == 1);
        for word in ["one", "two"] {
            session.client.write(format!("{word}\n").as_bytes());
            assert_eq!(session.client.line().trim(), format!("got {word}"));
        }
        session.client.kill();
        servers_end(&servers);
    }
}

#[test]
fn f19_the_leader_of_a_session_at_a_terminal_killed() {
    let programs = Programs::new();
    let session = session(&programs, "-tt");
    leader_killed(session.port);
    assert_eq!(session.client.ends().status.code(), Some(255));
    programs.only_the_detached_live();
}

#[test]
fn f19_the_leader_of_a_session_without_terminal_killed() {
    let programs = Programs::new();
    let mut session = session(&programs, "-T");
    leader_killed(session.port);
    if subject().leaves_orphans {
        // Plain sshd is the worse one: its client waits for programs that nobody has told to end.
        programs.as_without_a_terminal();
        assert_eq!(session.client.over(), None);
        drop(programs);
    } else {
        programs.as_without_a_terminal();
    }
    assert_eq!(session.client.ends().status.code(), Some(255));
}

#[test]
fn f19_the_leader_killed_of_a_session_of_one_program() {
    let sleep = Sleep::new();
    let session = begin(subject().ssh(), &format!("exec {}", sleep.command()));
    sleep.comes();
    leader_killed(session.port);
    let output = session.client.ends();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(255), String::new()));
    sleep.goes();
}

/// Kills what sshd itself has started for this client.
fn leader_killed(port: u16) {
    let leaders = leaders(subject().server(port));
    assert_eq!(leaders.len(), 1, "{leaders:?}");
    signal(leaders[0], Signal::SIGKILL);
}

#[test]
fn f18_a_program_that_reads_hears_of_a_killed_client() {
    let folder = Folder::new();
    let mut session = begin(
        subject().ssh(),
        &format!("trap '' HUP; echo ready; cat >/dev/null; echo end >{}/heard", folder.0),
    );
    assert_eq!(session.client.line(), "ready");
    session.client.kill();
    until("the program heard of it", || {
        subject().ssh().run(&format!("cat {}/heard", folder.0)).stdout == b"end\n"
    });
}

#[test]
fn f18_a_program_that_writes_hears_of_a_killed_client() {
    let folder = Folder::new();
    let mut session =
        begin(subject().ssh(), &format!("trap '' HUP; echo ready; yes; echo $? >{}/heard", folder.0));
    assert_eq!(session.client.line(), "ready");
    session.client.kill();
    until("the program heard of it", || {
        subject().ssh().run(&format!("cat {}/heard", folder.0)).stdout == b"141\n"
    });
}

#[test]
fn f18_a_program_at_a_terminal_can_take_its_leave() {
    let folder = Folder::new();
    let command =
        format!("trap 'echo hangup >{}/heard; exit' HUP; echo ready; while :; do sleep 0.1; done", folder.0);
    let mut terminal = subject().ssh().terminal(24, 80, &[&command]);
    terminal.shows("ready");
    terminal.kill();
    until("it heard", || subject().ssh().run(&format!("cat {}/heard", folder.0)).stdout == b"hangup\n");
}

#[test]
fn f18_the_jobs_of_a_shell_die_with_its_window() {
    let (front, back, stopped, disowned) = (Sleep::new(), Sleep::new(), Sleep::new(), Sleep::new());
    let mut terminal = subject().ssh().terminal(24, 200, &[]);
    terminal.types(&format!("{} & {} & disown; {}\n", back.command(), disowned.command(), stopped.command()));
    stopped.comes();
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types(&format!("{}\n", front.command()));
    front.comes();
    assert!(back.runs() && disowned.runs());
    terminal.kill();
    for sleep in [front, back, stopped] {
        sleep.goes();
    }
    // A shell does not tell a job that it has given away; but it is in the session still.
    if subject().leaves_orphans {
        // Plain sshd leaves it: the kernel tells only the shell and the foreground.
        thread::sleep(Duration::from_secs(3));
        assert!(disowned.runs());
    } else {
        disowned.goes();
    }
}

#[test]
fn the_background_jobs_of_a_shell_survive_its_exit() {
    let (kept, nohup) = (Sleep::new(), Sleep::new());
    let mut terminal = subject().ssh().terminal(24, 200, &[]);
    terminal.types(&format!("{} & nohup {} &\n", kept.command(), nohup.command()));
    kept.comes();
    nohup.comes();
    terminal.types("exit 5\n");
    assert_eq!(terminal.ends(), 5);
    thread::sleep(Duration::from_secs(3));
    assert!(kept.runs() && nohup.runs());
}

#[test]
fn a_stopped_job_is_warned_of_and_ends_with_the_shell() {
    let stopped = Sleep::new();
    let mut terminal = subject().ssh().terminal(24, 200, &[]);
    terminal.types(&format!("{}\n", stopped.command()));
    stopped.comes();
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types("exit\n");
    terminal.shows("There are stopped jobs.");
    terminal.types("exit 6\n");
    assert_eq!(terminal.ends(), 6);
    stopped.goes();
}

#[test]
fn what_a_command_puts_into_the_background_survives_its_end() {
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
        programs.back.comes();
        assert_eq!(session.client.ends().status.code(), Some(3));
        programs.detached_live();
        // With a terminal the kernel hangs up all that is in the foreground, and to a shell
        // without jobs all is.
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
    programs.come();
    session.client.kill();
    programs.only_the_detached_live();
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
    programs.come();
    session.client.kill();
    programs.detached_live();
    other.write(b"after\n");
    assert_eq!(other.line(), "after");
    assert_eq!(other.output().0, 0);
    // sshd keeps its end of stderr until the program or the connection ends, so nobody hears earlier of a
    // session that was closed alone.
    connection.master.kill();
    programs.as_without_a_terminal();
}

#[test]
fn f18_all_sessions_end_with_the_client_that_holds_the_connection() {
    let (mut connection, programs) = (Connection::open(), Programs::new());
    let port = connection.port();
    let servers = subject().servers(port);
    let terminal = connection.ssh().args(&["-tt"]).begin(&[&said(&programs.command())]);
    programs.come();
    connection.master.kill();
    assert_eq!(terminal.ends().status.code(), Some(255));
    programs.only_the_detached_live();
    servers_end(&servers);
}

#[test]
fn nothing_is_left_of_sessions_that_ended() {
    let connection = Connection::open();
    let server = subject().server(connection.port());
    for _ in 0..5 {
        connection.says("true");
        connection.ssh().args(&["-tt"]).run("true");
    }
    until("all leaders have ended", || leaders(server).is_empty());
    let servers = subject().servers(connection.port());
    connection.control("exit");
    servers_end(&servers);
}
