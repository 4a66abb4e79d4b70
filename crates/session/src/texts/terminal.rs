//! What a terminal gets at the start of a first session, and after a session whose box has stopped.

use crate::times::short_duration;
use bytesize::ByteSize;
use std::time::Duration;

/// The welcome text of the first login: whose box it is, what it may use, and when it stops.
#[must_use]
pub fn welcome_text(login: &str, cores: &str, memory: &str, tasks: u64, idle: Option<Duration>) -> String {
    let end = idle.map_or_else(
        || "It is not stopped for being idle.".to_owned(),
        |idle| format!("It stops {} after the last session or connection.", short_duration(idle)),
    );
    format!(
        "\
This is the box of {login}, a container of its own. Files in the home stay, others do not.
It may use {cores}, {memory} of memory and {tasks} tasks (processes and threads).
{end} More, typed on your own machine: ssh ... @help
"
    )
}

/// From here on, in percent, the text says what to do.
const NEARLY_FULL: u64 = 95;

/// The home has a limit on its size and is this full.
#[must_use]
pub fn home_fills(percent: u64, used: u64, most: u64) -> String {
    let (used, most) = (ByteSize(used), ByteSize(most));
    format!("sshbox: your home is {percent} % full ({used} of {most}){}", to_do(percent))
}

/// The home has a limit on the number of its files and has this many.
#[must_use]
pub fn home_has_many_files(percent: u64, used: u64, most: u64) -> String {
    format!("sshbox: your home has {used} of {most} files that it may have, {percent} %{}", to_do(percent))
}

fn to_do(percent: u64) -> &'static str {
    if percent < NEARLY_FULL { "" } else { ": delete files, or ask your admin for a larger home" }
}

/// The client forwards its agent, but programs in the box cannot reach it. Shown before a shell.
pub const NO_AGENT: &str = "sshbox: this session does not reach your agent (-A): /tmp of your box is full, or your box \
     was started before the last update. Free some space, or run @restart, and log in again";

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
    fn an_agent_that_is_not_reached() {
        assert_snapshot!(NO_AGENT, @"sshbox: this session does not reach your agent (-A): /tmp of your box is full, or your box was started before the last update. Free some space, or run @restart, and log in again");
    }

    #[test]
    fn a_home_that_fills() {
        let texts = [
            home_fills(83, 41 << 30, 50 << 30),
            home_fills(96, 48 << 30, 50 << 30),
            home_has_many_files(81, 810, 1000),
            home_has_many_files(100, 1000, 1000),
        ];
        assert_snapshot!(texts.join("\n"), @"
        sshbox: your home is 83 % full (41.0 GiB of 50.0 GiB)
        sshbox: your home is 96 % full (48.0 GiB of 50.0 GiB): delete files, or ask your admin for a larger home
        sshbox: your home has 810 of 1000 files that it may have, 81 %
        sshbox: your home has 1000 of 1000 files that it may have, 100 %: delete files, or ask your admin for a larger home
        ");
    }

    #[test]
    fn the_welcome_text() {
        assert_snapshot!(welcome_text("alice", "2 cores", "8.0 GiB", 512, Some(Duration::from_secs(1800))), @"
        This is the box of alice, a container of its own. Files in the home stay, others do not.
        It may use 2 cores, 8.0 GiB of memory and 512 tasks (processes and threads).
        It stops 30m after the last session or connection. More, typed on your own machine: ssh ... @help
        ");
        assert!(
            welcome_text("alice", "2 cores", "8.0 GiB", 512, None)
                .contains("\nIt is not stopped for being idle. More,")
        );
    }
}
