//! All deadlines of the programs. They nest: a program waits longer for another one than that one may
//! take. The tests below check this, together with the timeouts in the systemd units. Times that are no
//! deadlines, such as the time between two attempts, stand where they are used.

use std::time::Duration;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// The engine.

/// A call that only reads.
pub const ENGINE_LOOK: Duration = seconds(5);

/// A call that creates, starts or removes; a stop may take the grace period as well.
pub const ENGINE_CHANGE: Duration = seconds(30);

/// The longest grace period that the configuration accepts (`reap.grace`).
pub const GRACE_MAX: Duration = seconds(30);

// The hand-over of the listening socket, between sshbox-wake and sshbox-init.

/// The first reply of the init of a running container.
pub const INIT_ANSWER: Duration = seconds(2);

/// From the start of a container to the "ready" of its init.
pub const READY: Duration = seconds(20);

/// For `sshbox-init`: each step of its connection to the host.
pub const CALL_HOST: Duration = seconds(5);

// sshbox-wake.

/// The caller's request.
pub const REQUEST: Duration = seconds(2);

/// Waiting for another process that creates the network of all containers.
pub const NETWORK: Duration = seconds(40);

/// All steps of a start together, while `state.lock` is held.
pub const START: Duration = seconds(80);

/// All steps of a stop together, while `state.lock` is held.
pub const STOP: Duration = seconds(70);

/// Waiting for `state.lock`: another start or stop of the same container.
pub const TRANSITION: Duration = seconds(115);

/// How long the engine may still report a container as running that has stopped.
pub const ENDING: Duration = seconds(1);

/// The whole program; then the watchdog kills it.
pub const WAKE: Duration = seconds(230);

// sshbox-disk.

/// Waiting for another program that works on the same home.
pub const DISK_TURN: Duration = seconds(5);

/// One program that makes, checks or grows the file system of a home. A check that takes longer is put off
/// until an admin runs `sshbox quota`.
pub const DISK_PROGRAM: Duration = seconds(8);

/// The whole program; then the watchdog kills it.
pub const DISK: Duration = seconds(25);

/// The reply of `sshbox-disk`.
pub const DISK_REPLY: Duration = seconds(27);

// sshbox-reap.

/// The whole program; then the watchdog kills it, before systemd does.
pub const REAP: Duration = seconds(14 * 60);

// sshbox-shell and the other clients of sshbox-wake.

/// The init of a running container starts a session.
pub const BEGIN: Duration = seconds(5);

/// Waiting for `live.lock`, which is held exclusively during a stop.
pub const STOPPING: Duration = seconds(75);

/// The reply of `sshbox-wake`, with all progress before it.
pub const WAKING: Duration = seconds(235);

/// Waiting for the turn to send a request to `sshbox-wake`.
pub const TURN: Duration = seconds(240);

/// Waiting for the turn to ask why a container has stopped. With [`WHY`] at most two seconds: then the
/// user has the terminal back.
pub const WHY_TURN: Duration = Duration::from_millis(400);
/// The reply to that.
pub const WHY: Duration = Duration::from_millis(1500);

/// Reading what a program that has ended has left in its terminal.
pub const TERMINAL_DRAIN: Duration = seconds(10);

// pam_sshbox, in the sshd of a connection.

/// The longest wait for the start of a container that the configuration accepts (`forward.wait`).
pub const FORWARD_WAIT_MAX: Duration = seconds(20);

// The account source.

/// The longest timeout of a request that the configuration accepts (`accounts.timeout`).
pub const ACCOUNTS_TIMEOUT_MAX: Duration = seconds(20);

// The command `sshbox`.

/// A login of `sshbox doctor` that creates a container.
pub const LOGIN: Duration = seconds(245);

/// `sshbox-keys`, which takes `accounts.timeout` at most.
pub const SSHBOX_KEYS: Duration = seconds(30);

/// The lookup of one login name in a mount namespace.
pub const NAME_LOOKUP: Duration = seconds(5);

/// A program of the host that has little to do.
pub const HOST_PROGRAM: Duration = seconds(10);

/// The end of a session after SIGHUP, and again after SIGKILL.
pub const SESSION_EXIT: Duration = seconds(2);

/// A client whose only session has ended disconnects; then its connection need not be closed.
pub const CLIENT_LEAVES: Duration = Duration::from_millis(500);

/// `sshbox-keys` asks about a group of users again: it begins no request after this time.
pub const RECHECK_GROUP: Duration = seconds(30);

/// `sshbox recheck` waits for these answers.
pub const RECHECK_ANSWERS: Duration = seconds(80);

/// The whole `sshbox recheck`: after this time it begins nothing more. The next run does the rest.
pub const RECHECK: Duration = seconds(50);

// All programs on the host.

/// Another writer of the same file.
pub const WRITER: Duration = seconds(1);

/// A file of lxcfs, which can hang as every FUSE file system can.
pub const LXCFS: Duration = seconds(1);

/// A log daemon with a full queue. A lost entry is a gap in the audit, but a login that waits for its log
/// is an outage.
pub const LOG_DAEMON: Duration = Duration::from_millis(100);

// sshbox-init.

/// From a new connection to its request.
pub const GREETING: Duration = seconds(5);

/// A reply to a client that the kernel does not accept yet. The client waits for the first one.
pub const RESEND: Duration = seconds(3);

/// Between SIGHUP and SIGKILL for the session of a vanished client.
pub const HANG_UP: Duration = seconds(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// A timeout of a systemd unit.
    fn unit(name: &str, key: &str) -> Duration {
        let path = format!("{}/../../systemd/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap();
        let minutes = value.strip_suffix("min").map(|minutes| seconds(60 * minutes.parse::<u64>().unwrap()));
        minutes.unwrap_or_else(|| seconds(value.parse().unwrap()))
    }

    /// Each line: what happens, how long it may take, and how long another program waits for it.
    #[test]
    fn every_caller_waits_longer_than_the_called_program_may_take() {
        for (what, takes, waits) in [
            ("a stop in the engine", ENGINE_LOOK + GRACE_MAX + ENGINE_CHANGE, STOP),
            ("a box is made, started and ready", ENGINE_CHANGE + ENGINE_CHANGE + READY, START),
            ("the network is made", ENGINE_LOOK + ENGINE_CHANGE, NETWORK),
            ("a start holds state.lock", DISK_REPLY + ENGINE_LOOK + START, TRANSITION),
            ("a stop holds state.lock", ENGINE_LOOK + STOP, TRANSITION),
            ("sshbox-wake, a start", REQUEST + TRANSITION + DISK_REPLY + ENGINE_LOOK + START, WAKE),
            ("sshbox-wake, a stop", REQUEST + TRANSITION + ENGINE_LOOK + STOP, WAKE),
            (
                "sshbox-wake ends itself before systemd does",
                WAKE,
                unit("sshbox-wake@.service", "RuntimeMaxSec"),
            ),
            ("sshbox-disk waits, then checks and grows", REQUEST + DISK_TURN + DISK_PROGRAM * 2, DISK),
            ("sshbox-disk answers", DISK, DISK_REPLY),
            (
                "sshbox-disk ends itself before systemd does",
                DISK,
                unit("sshbox-disk@.service", "RuntimeMaxSec"),
            ),
            ("sshbox-wake answers", WAKE, WAKING),
            ("another session has its answer", WAKING, TURN),
            ("a stop holds live.lock", STOP, STOPPING),
            (
                "sshbox-reap ends itself before systemd does",
                REAP,
                unit("sshbox-reap.service", "TimeoutStartSec"),
            ),
            (
                "after a signal, sshbox-reap finishes the stops that have begun",
                ENGINE_LOOK + STOP,
                unit("sshbox-reap.service", "TimeoutStopSec"),
            ),
            (
                "sshbox network waits for another one and runs nft six times",
                HOST_PROGRAM * 10,
                unit("sshbox-network.service", "TimeoutStartSec"),
            ),
            ("sshbox-reap stops one box", ENGINE_LOOK + STOP, REAP),
            ("the doctor's login starts a box", WAKING + BEGIN, LOGIN),
            ("sshbox-keys asks the account source", ACCOUNTS_TIMEOUT_MAX, SSHBOX_KEYS),
            (
                "sshbox-keys asks about a group again",
                RECHECK_GROUP + ACCOUNTS_TIMEOUT_MAX * 2,
                RECHECK_ANSWERS,
            ),
            (
                "sshbox recheck asks, closes connections and changes limits",
                RECHECK + RECHECK_ANSWERS + (SESSION_EXIT * 4 + CLIENT_LEAVES) + WAKING,
                unit("sshbox-recheck.service", "TimeoutStartSec"),
            ),
            ("a reason is looked for", ENDING, WHY),
            ("a person has the terminal back", WHY_TURN + WHY, seconds(2)),
            ("the init says that it cannot pass a terminal on", RESEND, BEGIN),
            ("the init calls the host and says it is ready", CALL_HOST, READY),
        ] {
            assert!(takes <= waits, "{what}: takes {takes:?}, the wait is {waits:?}");
        }
    }
}
