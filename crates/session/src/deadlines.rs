//! All deadlines of sshbox's programs in one place, for they nest: whoever waits for another
//! program waits longer than that program may take. The tests below hold that, with the units'.
//! Times that are no deadline, such as the pause between two looks, stand where they are used.

use std::time::Duration;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// The engine.

/// A call that only looks.
pub const ENGINE_LOOK: Duration = seconds(5);

/// A call that makes, starts or removes; a stop may take the grace as well.
pub const ENGINE_CHANGE: Duration = seconds(30);

/// The longest grace that the configuration takes (`reap.grace`).
pub const GRACE_MAX: Duration = seconds(30);

// The hand-over of the listening socket, between sshbox-wake and sshbox-init.

/// The first answer of the init of a box that runs.
pub const INIT_ANSWER: Duration = seconds(2);

/// From the start of a box to its "ready".
pub const READY: Duration = seconds(20);

/// For sshbox-init: each step of its call to the host.
pub const CALL_HOST: Duration = seconds(5);

// sshbox-wake.

/// The caller's request.
pub const REQUEST: Duration = seconds(2);

/// Waiting for another process that makes the network of all boxes.
pub const NETWORK: Duration = seconds(40);

/// The steps of a start together, `state.lock` held.
pub const START: Duration = seconds(80);

/// The steps of a stop together, `state.lock` held.
pub const STOP: Duration = seconds(70);

/// Waiting for `state.lock`: for another start or stop of the same box.
pub const TRANSITION: Duration = seconds(90);

/// A box that has ended under a session may count as running in the engine for so long.
pub const ENDING: Duration = seconds(1);

/// The whole program. The watchdog ends it then.
pub const WAKE: Duration = seconds(185);

// sshbox-reap.

/// The whole program. The watchdog ends it then, before systemd does.
pub const REAP: Duration = seconds(14 * 60);

// sshbox-shell, and others who ask sshbox-wake.

/// The init of a running box begins a session.
pub const BEGIN: Duration = seconds(5);

/// Waiting for `live.lock`, which is taken while a box is stopped.
pub const STOPPING: Duration = seconds(75);

/// An answer of sshbox-wake.
pub const WAKING: Duration = seconds(190);

/// Waiting for one's turn to ask sshbox-wake.
pub const TURN: Duration = seconds(195);

/// Waiting for one's turn to ask why a box has ended, and for the answer: a person shall have
/// the terminal back within two seconds.
pub const WHY_TURN: Duration = Duration::from_millis(400);
/// See [`WHY_TURN`].
pub const WHY: Duration = Duration::from_millis(1500);

/// What a program that has ended left in its terminal.
pub const TERMINAL_DRAIN: Duration = seconds(10);

/// For `sshbox doctor`: a login that makes a box.
pub const LOGIN: Duration = seconds(200);

// sshbox-init.

/// A new connection says what it wants.
pub const GREETING: Duration = seconds(5);

/// Between SIGHUP and SIGKILL for what a client that vanished has left.
pub const HANG_UP: Duration = seconds(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// A time of a unit, in seconds or in minutes.
    fn unit(name: &str, key: &str) -> Duration {
        let path = format!("{}/../../systemd/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
        let minutes = value.strip_suffix("min").map(|minutes| seconds(60 * minutes.parse::<u64>().unwrap()));
        minutes.unwrap_or_else(|| seconds(value.parse().unwrap()))
    }

    /// Each line: what happens, how long it may take at most, and how long it is waited for.
    #[test]
    fn whoever_waits_waits_longer_than_what_is_waited_for_may_take() {
        for (what, takes, waits) in [
            ("a stop in the engine", ENGINE_LOOK + GRACE_MAX + ENGINE_CHANGE, STOP),
            ("a box is made, started and ready", ENGINE_CHANGE + ENGINE_CHANGE + READY, START),
            ("the network is made", ENGINE_LOOK + ENGINE_CHANGE, NETWORK),
            ("a start holds state.lock", ENGINE_LOOK + START, TRANSITION),
            ("a stop holds state.lock", ENGINE_LOOK + STOP, TRANSITION),
            ("sshbox-wake, a start", REQUEST + TRANSITION + ENGINE_LOOK + START, WAKE),
            ("sshbox-wake, a stop", REQUEST + TRANSITION + ENGINE_LOOK + STOP, WAKE),
            (
                "sshbox-wake ends itself before systemd does",
                WAKE,
                unit("sshbox-wake@.service", "RuntimeMaxSec"),
            ),
            ("sshbox-wake answers", WAKE, WAKING),
            ("another session has its answer", WAKING, TURN),
            ("a stop holds live.lock", STOP, STOPPING),
            (
                "sshbox-reap ends itself before systemd does",
                REAP,
                unit("sshbox-reap.service", "TimeoutStartSec"),
            ),
            ("sshbox-reap stops one box", ENGINE_LOOK + STOP, REAP),
            ("the doctor's login starts a box", WAKING + BEGIN, LOGIN),
            ("a reason is looked for", ENDING, WHY),
            ("a person has the terminal back", WHY_TURN + WHY, seconds(2)),
            ("the init calls the host and says it is ready", CALL_HOST, READY),
        ] {
            assert!(takes <= waits, "{what}: takes {takes:?}, is waited for {waits:?}");
        }
    }
}
