//! The three standard streams: bytes arrive complete, nothing is added, and each stream ends independently.

use crate::harness::{User, alice, run, text, world};
use std::fs;
use std::thread;
use std::time::Duration;

/// Pseudorandom bytes, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

#[test]
fn f20_sixty_four_mebibytes_return_unchanged() {
    let _world = world();
    let bytes = noise(64 << 20);
    let output = alice().ssh().input(&bytes).run("cat");
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
}

#[test]
fn f20_every_byte_passes() {
    let _world = world();
    let every: Vec<u8> = (0..=255).cycle().take(4096).collect();
    assert_eq!(alice().ssh().input(&every).run("cat").stdout, every);
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let _world = world();
    let output = alice().ssh().run("echo out; echo err >&2; echo out2; exit 3");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\nout2\n".to_owned(), "err\n".to_owned()));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_file_as_input_ends() {
    let _world = world();
    fs::write("/tmp/input", "one\ntwo\n").unwrap();
    let ssh = "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i /run/sshbox-tests/key -p 2200 alice@127.0.0.1";
    let _alice = alice();
    assert_eq!(run("sh", &["-c", &format!("{ssh} cat < /tmp/input")]), "one\ntwo\n");
    assert_eq!(run("sh", &["-c", &format!("{ssh} cat < /dev/null")]), "");
    // A reader that exits ends the writer, on the client's side and in the box.
    assert_eq!(run("sh", &["-c", &format!("{ssh} yes | head -1")]), "y\n");
    assert_eq!(alice().says("yes | head -1"), "y\n");
}

#[test]
fn a_command_that_closes_its_output_can_still_read_input() {
    let _world = world();
    let mut session = alice().ssh().begin(&["exec >&- 2>&1; exec 2>&-; read x; exit 5"]);
    // By now the command has closed its outputs and still waits for a line.
    thread::sleep(Duration::from_millis(300));
    session.write(b"go\n");
    assert_eq!(session.output().0, 5);
}

#[test]
fn a_script_can_open_its_own_streams_by_name() {
    let _world = world();
    for user in [alice(), User::plain()] {
        let output =
            user.ssh().input(b"in\n").run("echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin");
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("out\nin\n".to_owned(), "err\n".to_owned()),
            "{}",
            user.name
        );
    }
}

#[test]
fn long_commands_and_special_characters_arrive() {
    let _world = world();
    let user = alice();
    let long = "x".repeat(100_000);
    assert_eq!(user.says(&format!("printf %s {long} | wc -c")), "100000\n");
    assert_eq!(
        user.says("printf '%s|' 'a  b' \"c\nd\" \\$x 'é' \"$(printf '\\377')\" | od -An -c | tr -d ' \\n'"),
        "ab|c\\nd|$x|303251|377|"
    );
    assert_eq!(user.says(""), "");
}

#[test]
fn f20_a_slow_reader_costs_no_memory() {
    let _world = world();
    let user = User::new("slow");
    user.says("true");
    let flood = "echo began; exec head -c 2000000000 /dev/zero";
    let mut plain = user.ssh().begin(&[flood]);
    plain.line();
    // With a terminal, sshbox-shell relays the bytes itself.
    let mut terminal = user.ssh().terminal(24, 80, &[flood]);
    terminal.shows("began");
    thread::sleep(Duration::from_secs(2));
    let sizes: Vec<u64> = user
        .host_processes()
        .iter()
        .filter_map(|pid| crate::harness::status_of(*pid, "VmRSS"))
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect();
    assert!(sizes.len() >= 4 && sizes.iter().all(|size| *size < 32 * 1024), "{sizes:?} KiB");
    plain.kill();
    terminal.kill();
}
