//! The watchdog of the programs that run as root, during a system call that blocks.

use rustix::net::sockopt::set_socket_linger;
use session::process::end_after;
use std::env;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

const HANGS: &str = "SSHBOX_TEST_HANGS";

/// Runs this test program again as the process that hangs: it closes a socket with `SO_LINGER` whose peer does not read.
#[test]
fn the_watchdog_ends_a_process_whose_system_call_blocks() {
    if env::var_os(HANGS).is_none() {
        let name = "watchdog::the_watchdog_ends_a_process_whose_system_call_blocks";
        let mut again = Command::new(env::current_exe().unwrap());
        let ended = again.args(["--exact", name, "--nocapture"]).env(HANGS, "1").output().unwrap();
        assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("last word"), "{ended:?}");
        return;
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut full = TcpStream::connect(silent.local_addr().unwrap()).unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[b'x'; 1 << 14]).is_ok() {}
    set_socket_linger(&full, Some(Duration::from_secs(600))).unwrap();
    end_after(Duration::from_millis(100), || writeln!(io::stderr(), "last word").unwrap()).unwrap();
    drop(full);
}
