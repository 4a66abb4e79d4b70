//! Closes the connections that the account source no longer accepts.

use crate::PROGRAM;
use host::recheck::RecheckAnswer;
use host::sys::connections::{self, Connection};
use identity::Login;
use session::journal::{Event, Field, FieldValue, log};
use session::presence::{ConnectionRecord, RUN, UserRuntimeDir};
use std::io;
use std::path::Path;

/// Closes the connections of this user that the answer does not accept. Returns how many.
///
/// # Errors
/// Reading `/proc` failed, or a process survives SIGKILL.
pub fn close_connections(login: &Login, answer: &RecheckAnswer) -> io::Result<usize> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let records = runtime_dir.connection_records().unwrap_or_default();
    // Looking for connections reads all processes of the host, so only if there is one to close.
    let may_accept_all = match answer {
        RecheckAnswer::Accepted { .. } => {
            records.iter().all(|record| !is_revoked(record, answer) || !connections::may_be_open(record))
        }
        RecheckAnswer::Refused { .. } => false,
        RecheckAnswer::Nothing => true,
    };
    if may_accept_all {
        return Ok(0);
    }
    let (mut revoked, mut keys) = (Vec::new(), Vec::new());
    for connection in connections::of_login(login)? {
        let record = records.iter().find(|record| connection.is_of(record));
        if is_closed(record, answer) {
            keys.push(record.and_then(|record| record.fingerprint.clone()).unwrap_or_default());
            revoked.push(connection);
        }
    }
    connections::close(&revoked)?;
    for (connection, key) in revoked.iter().zip(&keys) {
        log_closed(login, connection, key, answer);
    }
    Ok(revoked.len())
}

/// Whether a connection with this record is closed. Of a connection without a record the key is unknown: it
/// had no session yet, or others have used the slots of its sessions.
fn is_closed(record: Option<&ConnectionRecord>, answer: &RecheckAnswer) -> bool {
    match answer {
        RecheckAnswer::Refused { .. } => true,
        RecheckAnswer::Accepted { .. } => record.is_some_and(|record| is_revoked(record, answer)),
        RecheckAnswer::Nothing => false,
    }
}

/// Whether the answer does not list the key of this connection. A connection whose key is unknown stays.
fn is_revoked(record: &ConnectionRecord, answer: &RecheckAnswer) -> bool {
    let RecheckAnswer::Accepted { fingerprints } = answer else { return false };
    record.fingerprint.as_ref().is_some_and(|key| !fingerprints.contains(key))
}

fn log_closed(login: &Login, connection: &Connection, key: &str, answer: &RecheckAnswer) {
    let reason = match answer {
        RecheckAnswer::Refused { reason } => format!("the account source refuses the user: {reason}"),
        _ => "the key was removed from the account".to_owned(),
    };
    let sshd = connection.pid().to_string();
    let fields: [FieldValue<'_>; 4] = [
        (Field::User, &login.as_str()),
        (Field::Fingerprint, &key),
        (Field::Sshd, &sshd),
        (Field::Reason, &reason),
    ];
    log(PROGRAM, Event::ConnectionClosed, &fields);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn p14_an_answer_closes_the_connections_of_removed_keys_and_users_and_no_others() {
        let record = |key: Option<&str>| ConnectionRecord {
            pid: 1,
            began: Duration::ZERO,
            fingerprint: key.map(str::to_owned),
        };
        let (kept, removed, unknown) = (record(Some("SHA256:a")), record(Some("SHA256:b")), record(None));
        let accepted = RecheckAnswer::Accepted { fingerprints: vec!["SHA256:a".to_owned()] };
        let refused = RecheckAnswer::Refused { reason: "HTTP 404".to_owned() };
        for (answer, expected) in [
            (&accepted, [false, true, false, false]),
            (&refused, [true; 4]),
            (&RecheckAnswer::Nothing, [false; 4]),
        ] {
            let records = [Some(&kept), Some(&removed), Some(&unknown), None];
            assert_eq!(records.map(|record| is_closed(record, answer)), expected, "{answer:?}");
        }
    }
}
