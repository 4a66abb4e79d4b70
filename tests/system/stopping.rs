//! The end of a box: which programs can save their work, and that a program in the box can neither cause nor prevent
//! the end. Each program here takes 2 s to handle SIGTERM and reports its progress on its output.

mod hostile_programs;
mod saving;

use crate::harness::{User, until};
use std::fs;

/// A Python program that saves on SIGTERM. SIGHUP, or a write to a closed terminal or pipe, would end it before its
/// last line.
const SAVE: &str = "import signal, sys, time
def save(*_):
    print('saving', flush=True)
    time.sleep(2)
    print('saved', flush=True)
    open('saved', 'w').close()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
open('began', 'w').close()
while True:
    signal.pause()
";

const STOPPED: &str = "your box is stopped; the next login starts it\n";

/// A user with this program in the home.
fn user(name: &str) -> User {
    let user = User::new(name);
    let output = user.ssh().input(SAVE.as_bytes()).run("cat > save.py");
    assert!(output.status.success(), "{output:?}");
    user
}

fn exists(user: &User, file: &str) -> bool {
    fs::exists(format!("{}/{file}", user.home())).unwrap()
}

fn wait_for_start(user: &User) {
    until("the program runs", || exists(user, "began"));
}

/// Stops the box while the program runs, and checks that the program saves and the box ends by itself within the grace
/// period.
fn assert_saves_when_stopped(user: &User) {
    wait_for_start(user);
    assert_eq!(user.says("@stop"), STOPPED);
    assert!(exists(user, "saved"), "{}: the program was killed before it had saved", user.name);
    assert_eq!(user.inspect("{{.State.ExitCode}}"), "0", "the engine had to kill the box");
}
