//! Tests of the session table, with real programs as children of the test.

use super::*;
use crate::procfs::Stat;
use crate::soon::soon;
use crate::wire::{Fields, Run, SiteSettings, goodbye, is_hello};
use nix::sys::signal::kill;
use nix::sys::wait::{WaitStatus, waitpid};
use std::fs::{self, File};

const PATIENCE: Duration = Duration::from_secs(20);

/// The sessions of a container whose init is this test: the programs are its children.
struct Init {
    table: SessionTable,
    listener: Socket,
    dir: tempfile::TempDir,
}

impl Init {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = Socket::listen(&dir.path().join("init.sock")).unwrap();
        rustix::io::ioctl_fionbio(&listener, true).unwrap();
        let user =
            ContainerUser { name: "user".into(), home: dir.path().to_owned(), shell: "/bin/sh".into() };
        Self { table: SessionTable::new(user, Limits::default()), listener, dir }
    }

    fn connect(&self) -> Socket {
        Socket::connect(&self.dir.path().join("init.sock"), PATIENCE).unwrap()
    }

    /// A client whose connection is accepted and that has read the greeting.
    fn client(&mut self) -> Socket {
        let client = self.connect();
        self.table.accept(&self.listener);
        assert!(is_hello(&client.receive().unwrap().unwrap().0));
        client
    }

    /// Drops these clients, and waits until the table can see that they have hung up.
    fn hang_up<const N: usize>(&self, clients: [Socket; N]) {
        let hung_up = || self.table.open.iter().filter(|session| has_hung_up(&session.socket)).count();
        let before = hung_up();
        drop(clients);
        soon(|| hung_up() == before + N);
    }

    /// A client whose session runs this command, and the pid of its program.
    fn session(&mut self, command: &str) -> (Socket, Pid) {
        let client = self.client();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        client.send(&(&request(command)).into(), &[null.as_fd(), null.as_fd(), null.as_fd()]).unwrap();
        self.table.serve();
        assert_eq!(reply(&client), Some(Reply::Started { agent: false }));
        let phase = self.table.open.iter().rev().find_map(|session| match session.phase {
            Phase::Running(pid, _) => Some(pid),
            _ => None,
        });
        (client, phase.unwrap())
    }
}

fn request(command: &str) -> Request {
    Request {
        run: Run::Command(command.into()),
        environment: vec![],
        site: SiteSettings::default(),
        terminal: None,
        agent: false,
    }
}

fn reply(client: &Socket) -> Option<Reply> {
    Reply::parse(&client.receive().unwrap()?.0)
}

/// Waits until the program has done this in its home.
fn until_there(init: &Init, file: &str) {
    soon(|| init.dir.path().join(file).exists());
}

fn lives(pid: Pid) -> bool {
    kill(pid, None).is_ok()
}

fn end(pid: Pid) {
    kill(pid, Signal::SIGKILL).unwrap();
    waitpid(pid, None).unwrap();
}

#[test]
fn a_connection_without_a_request_times_out() {
    let mut init = Init::new();
    let client = init.client();
    init.table.serve();
    assert_eq!(init.table.open.len(), 1);
    let due = init.table.due().unwrap();
    assert!(due > Instant::now() && due <= Instant::now() + GREETING);
    init.table.open[0].phase = Phase::Greeting(Instant::now());
    init.table.serve();
    assert!(init.table.open.is_empty() && init.table.due().is_none());
    assert!(client.receive().unwrap().is_none());
}

#[test]
fn an_invalid_request_or_missing_descriptors_start_nothing() {
    let mut init = Init::new();
    let client = init.client();
    client.send(&Fields::default().with("ask", b"nothing"), &[]).unwrap();
    init.table.serve();
    assert!(client.receive().unwrap().is_none());
    let client = init.client();
    client.send(&(&request("true")).into(), &[]).unwrap();
    init.table.serve();
    assert!(matches!(reply(&client), Some(Reply::Failed(_))));
    assert!(init.table.open.is_empty());
}

#[test]
fn a_client_that_hangs_up_early_starts_nothing() {
    let mut init = Init::new();
    let client = init.client();
    let null = File::open("/dev/null").unwrap();
    client.send(&(&request("touch ran")).into(), &[null.as_fd(); 3]).unwrap();
    init.hang_up([client]);
    init.table.serve();
    assert!(init.table.open.is_empty());
    assert!(!init.dir.path().join("ran").exists());
}

#[test]
fn the_exit_status_is_sent_and_goodbye_ends_the_session() {
    let mut init = Init::new();
    let (client, pid) = init.session("exit 7");
    assert_eq!(waitpid(pid, None).unwrap(), WaitStatus::Exited(pid, 7));
    init.table.program_ended(pid, ProgramEnd::Exited(7));
    assert_eq!(reply(&client), Some(Reply::Exited(7)));
    init.table.serve();
    assert_eq!(init.table.open.len(), 1, "the client has not said goodbye");
    client.send(&goodbye(), &[]).unwrap();
    init.table.serve();
    assert!(init.table.open.is_empty() && init.table.vanished.is_empty());
}

#[test]
fn the_program_of_a_vanished_client_gets_sighup() {
    let mut init = Init::new();
    let (client, pid) = init.session("touch began; exec sleep 600");
    until_there(&init, "began");
    init.table.serve();
    assert!(init.table.due().is_none());
    init.hang_up([client]);
    init.table.serve();
    assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Signaled(_, Signal::SIGHUP, _)));
    assert!(init.table.due().unwrap() <= Instant::now() + HANG_UP);
}

#[test]
fn a_program_that_stays_after_sighup_is_killed_unless_it_ignores_it() {
    let mut init = Init::new();
    let stay = |file| format!("touch {file}; while :; do sleep 0.05; done");
    let (deaf, deaf_pid) = init.session(&format!("trap : HUP; {}", stay("deaf")));
    let (nohup, nohup_pid) = init.session(&format!("trap '' HUP; {}", stay("nohup")));
    until_there(&init, "deaf");
    until_there(&init, "nohup");
    init.hang_up([deaf, nohup]);
    init.table.serve();
    init.table.serve();
    assert!(lives(deaf_pid) && lives(nohup_pid), "the grace is not over");
    for (_, at) in &mut init.table.vanished {
        *at = Instant::now();
    }
    init.table.serve();
    assert!(matches!(waitpid(deaf_pid, None).unwrap(), WaitStatus::Signaled(_, Signal::SIGKILL, _)));
    assert!(init.table.vanished.is_empty());
    assert!(lives(nohup_pid));
    end(nohup_pid);
}

#[test]
fn what_holds_no_stream_of_a_session_without_a_terminal_is_detached() {
    let mut init = Init::new();
    let client = init.client();
    let (reader, writer) = io::pipe().unwrap();
    let script = "(exec sleep 601) & echo $! >attached; (touch kept; exec sleep 602) </dev/null >file 2>&1 &
                  echo $! >detached; touch began; exec sleep 600 </dev/null >/dev/null 2>&1";
    let streams = [reader.as_fd(), writer.as_fd(), writer.as_fd()];
    client.send(&(&request(script)).into(), &streams).unwrap();
    init.table.serve();
    assert_eq!(reply(&client), Some(Reply::Started { agent: false }));
    let Phase::Running(leader, _) = init.table.open[0].phase else { panic!("nothing was started") };
    until_there(&init, "began");
    until_there(&init, "kept");
    let pid = |name: &str| {
        Pid::from_raw(fs::read_to_string(init.dir.path().join(name)).unwrap().trim().parse().unwrap())
    };
    let (attached, detached) = (pid("attached"), pid("detached"));
    init.hang_up([client]);
    init.table.serve();
    // The program of the session ends, although it holds none of the streams any more.
    assert!(matches!(waitpid(leader, None).unwrap(), WaitStatus::Signaled(_, Signal::SIGHUP, _)));
    // They are no children of the test.
    let has_ended = |pid: Pid| Stat::of(pid.as_raw()).is_none_or(|stat| stat.has_ended());
    soon(|| has_ended(attached));
    init.table.vanished[0].1 = Instant::now();
    init.table.serve();
    assert!(init.table.vanished.is_empty() && !has_ended(detached));
    kill(detached, Signal::SIGKILL).unwrap();
}

#[test]
fn one_connection_too_many_waits() {
    let mut init = Init::new();
    init.table.most = 1;
    let first = init.client();
    let second = init.connect();
    assert!(!init.table.has_room());
    init.table.accept(&init.listener);
    assert_eq!(init.table.open.len(), 1);
    init.hang_up([first]);
    init.table.serve();
    assert!(init.table.has_room());
    init.table.accept(&init.listener);
    assert!(is_hello(&second.receive().unwrap().unwrap().0));
}

#[test]
fn after_a_failed_accept_there_is_a_pause() {
    let mut init = Init::new();
    let no_listener = init.connect();
    init.table.accept(&no_listener);
    assert!(!init.table.has_room());
    let due = init.table.due().unwrap();
    assert!(due <= Instant::now() + ACCEPT_PAUSE);
    init.table.accept_again = Some(Instant::now());
    assert!(init.table.has_room() && init.table.due().is_none());
}

#[test]
fn during_a_shutdown_no_session_starts_and_connections_stay() {
    let mut init = Init::new();
    let (ended, ended_pid) = init.session("exit 0");
    let (gone, gone_pid) = init.session("exec sleep 600");
    let late = init.client();
    init.table.shut_down();
    let null = File::open("/dev/null").unwrap();
    late.send(&(&request("touch ran")).into(), &[null.as_fd(); 3]).unwrap();
    waitpid(ended_pid, None).unwrap();
    init.table.program_ended(ended_pid, ProgramEnd::Exited(0));
    init.hang_up([gone]);
    init.table.serve();
    assert!(late.receive().unwrap().is_none(), "a session has started");
    assert!(lives(gone_pid) && init.table.vanished.is_empty());
    // sshbox-shell gets no reply and holds the terminal until the init exits.
    ended.set_patience(Duration::from_millis(20)).unwrap();
    assert_eq!(ended.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(init.table.poll_fds().count(), 0, "no connection is polled");
    drop(init);
    assert!(ended.receive().unwrap().is_none());
    end(gone_pid);
}

/// Sends what this client does not read, until the kernel accepts no other packet.
fn fill(init: &Init) -> usize {
    let socket = &init.table.open.last().unwrap().socket;
    let fill = |length| {
        let packet = Reply::Failed("x".repeat(length));
        (0..10_000).find(|_| socket.send(&(&packet).into(), &[]).is_err()).unwrap()
    };
    fill(50_000) + fill(1)
}

#[test]
fn a20_a_client_that_cannot_get_its_terminal_is_told_and_the_program_ends() {
    let mut init = Init::new();
    let client = init.client();
    let packets = fill(&init);
    let terminal = Some(("24:80:0:0".to_owned(), String::new()));
    client.send(&(&Request { terminal, ..request("sleep 60") }).into(), &[]).unwrap();
    init.table.serve();
    let Phase::Running(pid, _) = init.table.open[0].phase else { panic!("nothing was started") };
    let due = init.table.due().unwrap();
    assert!(due < Instant::now() + Duration::from_secs(1), "another attempt is due soon");
    init.table.open[0].outbox.expire();
    init.table.serve();
    assert!(matches!(init.table.open[0].phase, Phase::Refused) && init.table.vanished[0].0.leader() == pid);
    assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Signaled(_, Signal::SIGHUP, _)));
    for _ in 0..packets {
        reply(&client).unwrap();
    }
    soon(|| {
        init.table.serve();
        init.table.open.is_empty()
    });
    assert_eq!(reply(&client), Some(Reply::Failed(texts::TOO_MANY_IN_FLIGHT.to_owned())));
    assert!(client.receive().unwrap().is_none());
}

#[test]
fn an_exit_status_that_cannot_be_sent_at_once_is_sent_later() {
    let mut init = Init::new();
    let (client, pid) = init.session("exit 7");
    let packets = fill(&init);
    waitpid(pid, None).unwrap();
    init.table.program_ended(pid, ProgramEnd::Exited(7));
    init.table.serve();
    assert!(init.table.due().is_some());
    for _ in 0..packets {
        reply(&client).unwrap();
    }
    soon(|| {
        init.table.serve();
        init.table.due().is_none()
    });
    assert_eq!(reply(&client), Some(Reply::Exited(7)));
    client.send(&goodbye(), &[]).unwrap();
    init.table.serve();
    assert!(init.table.open.is_empty());
}

#[test]
fn a20_programs_get_their_own_limit_on_open_files() {
    let mut init = Init::new();
    init.table.limits = Limits { open_files: Some((100, 200)), terminals: None };
    let (client, pid) = init.session("[ $(ulimit -Sn) = 100 ] && [ $(ulimit -Hn) = 200 ]");
    assert_eq!(waitpid(pid, None).unwrap(), WaitStatus::Exited(pid, 0));
    drop(client);
}

#[test]
fn a_session_has_a_socket_for_the_agent_until_its_client_is_gone() {
    let mut init = Init::new();
    let client = init.client();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let asked = Request { agent: true, ..request("echo $SSH_AUTH_SOCK > path; exec sleep 600") };
    client.send(&(&asked).into(), &[null.as_fd(), null.as_fd(), null.as_fd()]).unwrap();
    init.table.serve();
    let (fields, fds) = client.receive().unwrap().unwrap();
    assert_eq!((Reply::parse(&fields), fds.len()), (Some(Reply::Started { agent: true }), 1));
    let said = || std::fs::read_to_string(init.dir.path().join("path")).unwrap_or_default();
    soon(|| said().ends_with('\n'));
    let path = said().trim().to_owned();
    let listener = std::os::unix::net::UnixListener::from(fds.into_iter().next().unwrap());
    let program = std::os::unix::net::UnixStream::connect(&path).unwrap();
    listener.accept().unwrap();
    drop(program);
    init.hang_up([client]);
    init.table.serve();
    assert!(!std::path::Path::new(&path).parent().unwrap().exists());
}
