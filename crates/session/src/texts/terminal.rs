//! What a terminal gets at the start of a first session, and after a session whose box has stopped.

use crate::times::short_duration;
use std::time::Duration;

/// The welcome text of the first login: whose box it is, what it may use, and when it stops.
#[must_use]
pub fn welcome_text(login: &str, cores: &str, memory: &str, tasks: u64, idle: Option<Duration>) -> String {
    let end = idle.map_or_else(
        || "It is not stopped for being idle.".to_owned(),
        |idle| format!("It stops {} after the last session.", short_duration(idle)),
    );
    format!(
        "\
This is the box of {login}, a container of its own. Files in the home stay, others do not.
It may use {cores}, {memory} of memory and {tasks} tasks (processes and threads).
{end} More, typed on your own machine: ssh ... @help
"
    )
}

/// Resets what a full-screen program has set in a terminal when its box stops: the alternate screen,
/// the hidden cursor, bracketed paste, mouse, colours, keypad. xterm's control sequences; each does
/// nothing in a terminal where the mode is not set.
pub const RESET_TERMINAL: &str = concat!(
    "\x1b[?1047l\x1b[?25h\x1b[?2004l",
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l",
    "\x1b[0m\x1b[?1l\x1b>\r"
);

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn the_welcome_text() {
        assert_snapshot!(welcome_text("alice", "2 cores", "8.0 GiB", 512, Some(Duration::from_secs(1800))), @"
        This is the box of alice, a container of its own. Files in the home stay, others do not.
        It may use 2 cores, 8.0 GiB of memory and 512 tasks (processes and threads).
        It stops 30m after the last session. More, typed on your own machine: ssh ... @help
        ");
        assert!(
            welcome_text("alice", "2 cores", "8.0 GiB", 512, None)
                .contains("\nIt is not stopped for being idle. More,")
        );
    }
}
