//! What the journal hears of a session: who began it, from where and with which key, and once
//! how it ended. The end may be a signal, when the client vanishes: a thread waits for that,
//! so that the end is told and nothing that a box does to the other thread can hold it up.

use super::{PROGRAM, words};
use crate::authorized_key::AuthorizedKey;
use crate::exit::Failure;
use crate::journal::{Event, Field, FieldValue, log};
use identity::Login;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getppid};
use std::env;
use std::fs::{self, File, Permissions};
use std::io::{self, IsTerminal as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Stack of the thread that waits, in bytes; it writes one entry.
const STACK: usize = 64 * 1024;

/// A session, as far as the journal is concerned.
pub(super) struct Audit {
    login: Login,
    began: Instant,
    over: AtomicBool,
    /// Bytes that went either way by a terminal of ours. Without one the program holds sshd's
    /// own pipes, and nobody on the way can count.
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

/// The session of this process.
static OURS: OnceLock<Audit> = OnceLock::new();

/// How a session ended.
#[derive(Default)]
pub(super) struct AuditOutcome<'a> {
    pub(super) status: Option<u8>,
    pub(super) signal: Option<i32>,
    pub(super) reason: &'a str,
}

impl Audit {
    /// Tells that the session began, and watches over its end.
    pub(super) fn begin(login: &Login) -> &'static Self {
        let audit = OURS.get_or_init(|| Self {
            login: login.clone(),
            began: Instant::now(),
            over: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        });
        audit.tell_begin();
        watch(audit);
        audit
    }

    fn tell_begin(&self) {
        let methods = env::var_os("SSH_USER_AUTH");
        let key = words::key_of_login();
        let fingerprint = key.as_ref().map(AuthorizedKey::fingerprint).unwrap_or_default();
        let connection = env::var("SSH_CONNECTION").unwrap_or_default();
        // "client port server port", see ssh(1).
        let mut words = connection.split(' ');
        let (address, port) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let sshd = connection_process().unwrap_or_default();
        let user = self.login.as_str();
        let who: [FieldValue<'_>; 5] = [
            (Field::User, &user),
            (Field::Address, &address),
            (Field::Port, &port),
            (Field::Fingerprint, &fingerprint),
            (Field::Sshd, &sshd),
        ];
        if methods.is_some_and(|path| is_first(&path).unwrap_or(false)) {
            log(PROGRAM, Event::LoginAccepted, &who);
        }
        let command = env::var_os("SSH_ORIGINAL_COMMAND").unwrap_or_default();
        let term =
            if io::stdin().is_terminal() { env::var_os("TERM").unwrap_or_default() } else { <_>::default() };
        let what: [FieldValue<'_>; 2] =
            [(Field::Command, &command.as_bytes()), (Field::Term, &term.as_bytes())];
        log(PROGRAM, Event::SessionStarted, &[who.as_slice(), &what].concat());
    }

    /// Tells how it ended, unless that was told before.
    pub(super) fn end(&self, outcome: &AuditOutcome<'_>) {
        let text = |number: Option<String>| number.unwrap_or_default();
        let count = |bytes: &AtomicU64| match bytes.load(Ordering::Relaxed) {
            0 => String::new(),
            bytes => bytes.to_string(),
        };
        self.tell(
            Event::SessionEnded,
            &[
                (Field::Status, &text(outcome.status.map(|status| status.to_string()))),
                (Field::Signal, &text(outcome.signal.map(|signal| signal.to_string()))),
                (Field::Reason, &outcome.reason),
                (Field::Sent, &count(&self.sent)),
                (Field::Received, &count(&self.received)),
            ],
        );
    }

    /// Tells that it came to nothing.
    pub(super) fn fail(&self, failure: &Failure) {
        let status = failure.status.code().to_string();
        self.tell(Event::SessionFailed, &[(Field::Error, &failure.cause), (Field::Status, &status)]);
    }

    fn tell(&self, event: Event, how: &[FieldValue<'_>]) {
        if self.over.swap(true, Ordering::Relaxed) {
            return;
        }
        let took = self.began.elapsed().as_millis().to_string();
        let user = self.login.as_str();
        let (who, when): ([FieldValue<'_>; 1], [FieldValue<'_>; 1]) =
            ([(Field::User, &user)], [(Field::Duration, &took)]);
        log(PROGRAM, event, &[&who, how, &when].concat());
    }
}

/// Ends this process when its client vanishes: sshd hangs up the terminal, or dies in whatever
/// way. Before anything else that waits for signals begins.
fn watch(audit: &'static Audit) {
    let ours: SigSet = [Signal::SIGHUP, Signal::SIGTERM].into_iter().collect();
    // The thread inherits the mask; signals that are not its own are for others to take.
    let before = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
    let waits = thread::Builder::new().stack_size(STACK).spawn(move || {
        let signal = ours.wait();
        let reason = if signal == Ok(Signal::SIGTERM) { "it was told to end" } else { VANISHED };
        audit.end(&AuditOutcome { reason, ..AuditOutcome::default() });
        let _ = kill(Pid::this(), Signal::SIGKILL);
    });
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    let follow = if waits.is_ok() && ours.thread_block().is_ok() { Signal::SIGHUP } else { Signal::SIGKILL };
    // Without it a client that vanishes is noticed a little later, by its closed pipes.
    let _ = prctl::set_pdeathsig(follow);
}

/// Tells that whoever sits there did not want to wait for their box, and with what this ends.
pub(super) fn cancelled(status: u8) {
    if let Some(audit) = OURS.get() {
        audit.end(&AuditOutcome {
            status: Some(status),
            reason: "cancelled while the box started or stopped",
            ..AuditOutcome::default()
        });
    }
}

/// The reason when nobody is left at the client's end.
pub(super) const VANISHED: &str = "the client vanished";

/// Whether this is the first session of its connection. sshd makes the file of `ExposeAuthInfo`
/// once for each connection and reads it never again: who makes it read-only was first.
fn is_first(path: &std::ffi::OsStr) -> io::Result<bool> {
    let file = File::open(path)?;
    file.lock()?;
    let first = file.metadata()?.permissions().mode() & 0o200 != 0;
    if first {
        file.set_permissions(Permissions::from_mode(0o400))?;
    }
    Ok(first)
}

/// The sshd that has the connection: our parent serves it as the user, that one's parent is the
/// process that writes of it in sshd's own lines, and that has called `sshbox-keys`.
fn connection_process() -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", getppid())).ok()?;
    // Field 4 of proc_pid_stat(5); the name in field 2 may hold spaces and parentheses.
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_the_first_session_of_a_connection_is_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().as_os_str();
        let firsts: Vec<bool> = thread::scope(|scope| {
            let tries: Vec<_> = (0..20).map(|_| scope.spawn(|| is_first(path).unwrap())).collect();
            tries.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(firsts.into_iter().filter(|first| *first).count(), 1);
        assert!(is_first(std::ffi::OsStr::new("/nonexistent")).is_err());
    }

    #[test]
    fn the_parents_parent_is_a_process() {
        let sshd = connection_process().unwrap();
        assert!(fs::exists(format!("/proc/{sshd}")).unwrap());
    }
}
