//! What a terminal shows while a box starts or stops, and why a box was stopped.
#![expect(missing_docs, reason = "each text says what it is")]

use crate::times::short_duration;
use std::time::Duration;

// While an operation takes long: `waiting` puts a spinner before the text and "..." behind it.

pub const STARTING: &str = "starting your box";
pub const STOPPING: &str = "stopping your box";
pub const ADMIN_STARTING: &str = "starting the box";
pub const ADMIN_STOPPING: &str = "stopping the box";
pub const ADMIN_CHOWN: &str = "changing the owner of the home";
pub const ADMIN_REAPING: &str = "checking all boxes";

/// After Ctrl-C; it follows "checking all boxes: ".
pub const FINISHING_STOPS: &str = "finishing the stops that have begun";

// The steps of a start, which follow "starting your box: ".

pub const CREATING_NETWORK: &str = "creating the network";
pub const CREATING_CONTAINER: &str = "creating the container";
pub const STARTING_CONTAINER: &str = "starting the container";
pub const UNPAUSING_CONTAINER: &str = "unpausing the container";
pub const REMOVING_CONTAINER: &str = "removing the old container";
pub const WAITING_FOR_INIT: &str = "waiting for its init";

/// After Ctrl-C.
pub const CANCELLED: &str = "sshbox: cancelled";

// Why a box was stopped; each follows "your box was stopped: ".

pub const BY_ITS_USER: &str = "you typed @stop";
pub const BY_RESTART: &str = "you typed @restart";
pub const BY_ADMIN: &str = "an admin stopped it";
pub const RESTARTED_BY_ADMIN: &str = "an admin restarted it";
pub const OUT_OF_MEMORY: &str = "it ran out of memory";
pub const REMOVED: &str = "it was removed, by an admin or by the container engine";
pub const FROM_OUTSIDE: &str = "it was stopped from outside, by an admin or by the container engine";
pub const BY_ITSELF: &str = "its init ended with an error";

/// The reaper stopped it.
#[must_use]
pub fn nobody_used_it(allowed: Duration) -> String {
    format!("nobody used it for {}", short_duration(allowed))
}

/// A session ends because its box has stopped.
#[must_use]
pub fn ended(reason: Option<&str>, reference: &str) -> String {
    match reason {
        Some(reason) => {
            format!("sshbox: your box was stopped: {reason}; log in again to start it (ref {reference})")
        }
        None => format!("sshbox: your box ended this session; log in again (ref {reference})"),
    }
}

/// The kernel killed the program of a session because its box was out of memory.
pub const KILLED_OUT_OF_MEMORY: &str =
    "sshbox: your box ran out of memory and the kernel killed this program; @status shows the limit";

/// At the next login with a terminal: why the box was stopped last.
#[must_use]
pub fn last_stop(ago: Duration, reason: &str) -> String {
    format!("sshbox: your box was stopped {} ago: {reason}", short_duration(ago))
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn the_steps_of_a_start() {
        let steps = [
            CREATING_NETWORK,
            CREATING_CONTAINER,
            STARTING_CONTAINER,
            UNPAUSING_CONTAINER,
            REMOVING_CONTAINER,
            WAITING_FOR_INIT,
        ];
        assert_snapshot!(steps.map(|step| format!("{STARTING}: {step}")).join("\n"), @"
        starting your box: creating the network
        starting your box: creating the container
        starting your box: starting the container
        starting your box: unpausing the container
        starting your box: removing the old container
        starting your box: waiting for its init
        ");
        assert_snapshot!([STOPPING, ADMIN_STARTING, ADMIN_STOPPING, ADMIN_REAPING, FINISHING_STOPS, CANCELLED].join("\n"), @"
        stopping your box
        starting the box
        stopping the box
        checking all boxes
        finishing the stops that have begun
        sshbox: cancelled
        ");
    }

    #[test]
    fn why_a_box_was_stopped() {
        let half_an_hour = nobody_used_it(Duration::from_secs(1800));
        let reasons = [
            BY_ITS_USER,
            BY_RESTART,
            BY_ADMIN,
            RESTARTED_BY_ADMIN,
            OUT_OF_MEMORY,
            REMOVED,
            FROM_OUTSIDE,
            BY_ITSELF,
            &half_an_hour,
        ];
        assert_snapshot!(reasons.map(|reason| ended(Some(reason), "1a2b3c4d")).join("\n"), @"
        sshbox: your box was stopped: you typed @stop; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: you typed @restart; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: an admin stopped it; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: an admin restarted it; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: it ran out of memory; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: it was removed, by an admin or by the container engine; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: it was stopped from outside, by an admin or by the container engine; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: its init ended with an error; log in again to start it (ref 1a2b3c4d)
        sshbox: your box was stopped: nobody used it for 30m; log in again to start it (ref 1a2b3c4d)
        ");
        assert_snapshot!(ended(None, "1a2b3c4d"), @"sshbox: your box ended this session; log in again (ref 1a2b3c4d)");
        assert_snapshot!(last_stop(Duration::from_secs(7512), &half_an_hour), @"sshbox: your box was stopped 2h 5m ago: nobody used it for 30m");
        assert_snapshot!(KILLED_OUT_OF_MEMORY, @"sshbox: your box ran out of memory and the kernel killed this program; @status shows the limit");
    }
}
