//! Several sessions over one connection, of which one or all end.

use super::{Programs, wait_for_end_of_servers};
use crate::harness::until;
use crate::subject::{Connection, begin, leaders, subject, with_client_port};

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
