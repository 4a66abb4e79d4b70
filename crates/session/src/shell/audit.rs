//! The journal entries of a session: its start, with user, address and key, and its end, exactly once.
//! When the client vanishes, a signal ends the session: a thread waits for it, so that the end is logged
//! even while the container makes the main thread wait.

use super::admission::why_closed;
use super::login_key::login_key;
use super::{PROGRAM, REVOKED};
use crate::authorized_key::AuthorizedKey;
use crate::exit::Failure;
use crate::journal::{Event, Field, FieldValue, log};
use crate::presence::{RUN, UserRuntimeDir};
use crate::procfs::Stat;
use crate::proxies::Proxies;
use identity::Login;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getppid};
use std::env;
use std::fs::{File, Permissions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::exit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Stack of the waiting thread, in bytes; it writes one entry.
const STACK: usize = 64 * 1024;

/// What the journal has to know about a session.
pub(super) struct Audit {
    login: Login,
    began: Instant,
    over: AtomicBool,
    /// Bytes written to and read from the client's terminal. Without a terminal the program holds sshd's
    /// own pipes, and the bytes cannot be counted.
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
    /// Logs the start of the session, and watches for a client that vanishes.
    pub(super) fn begin(login: &Login) -> &'static Self {
        let audit = OURS.get_or_init(|| Self {
            login: login.clone(),
            began: Instant::now(),
            over: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        });
        audit.log_start();
        watch(audit);
        audit
    }

    fn log_start(&self) {
        let methods = env::var_os("SSH_USER_AUTH");
        let key = login_key();
        let fingerprint = key.as_ref().map(AuthorizedKey::fingerprint).unwrap_or_default();
        let connection = env::var("SSH_CONNECTION").unwrap_or_default();
        // "client port server port", see ssh(1).
        let mut parts = connection.split(' ');
        let (address, port) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let sshd = connection_process().unwrap_or_default();
        let user = self.login.as_str();
        let who: [FieldValue<'_>; 5] = [
            (Field::User, &user),
            (source_field(address), &address),
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

    /// Logs the end, unless it is logged already.
    pub(super) fn end(&self, outcome: &AuditOutcome<'_>) {
        let text = |number: Option<String>| number.unwrap_or_default();
        let count = |bytes: &AtomicU64| match bytes.load(Ordering::Relaxed) {
            0 => String::new(),
            bytes => bytes.to_string(),
        };
        self.log_end(
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

    /// Logs that the session could not start.
    pub(super) fn fail(&self, failure: &Failure) {
        let status = failure.status.code().to_string();
        self.log_end(Event::SessionFailed, &[(Field::Error, &failure.cause), (Field::Status, &status)]);
    }

    fn log_end(&self, event: Event, how: &[FieldValue<'_>]) {
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

/// Ends this process when its client vanishes: sshd hangs up the terminal, or dies; or when its user or key
/// was removed. Call it before anything else waits for signals.
fn watch(audit: &'static Audit) {
    let awaited: SigSet = [Signal::SIGHUP, Signal::SIGTERM, REVOKED].into_iter().collect();
    // The thread inherits the mask: all other signals are for other threads.
    let before = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK);
    let thread = thread::Builder::new().stack_size(STACK).spawn(move || {
        let signal = awaited.wait();
        if signal == Ok(REVOKED) {
            close(audit);
        }
        let reason = if signal == Ok(Signal::SIGTERM) { "it was told to end" } else { VANISHED };
        audit.end(&AuditOutcome { reason, ..AuditOutcome::default() });
        let _ = kill(Pid::this(), Signal::SIGKILL);
    });
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    let death_signal =
        if thread.is_ok() && awaited.thread_block().is_ok() { Signal::SIGHUP } else { Signal::SIGKILL };
    // If this fails, a vanished client is noticed a little later, by its closed pipes.
    let _ = prctl::set_pdeathsig(death_signal);
}

/// Tells the user why the connection is closed, and ends this process. The box then ends the program, as when
/// a client vanishes.
fn close(audit: &Audit) -> ! {
    let failure = why_closed(&UserRuntimeDir::of(Path::new(RUN), &audit.login));
    let status = failure.status.code();
    audit.end(&AuditOutcome { status: Some(status), reason: &failure.advice, ..AuditOutcome::default() });
    // The terminal is in raw mode. A client that does not read blocks this, and is killed soon.
    let newline = if io::stderr().is_terminal() { "\r\n" } else { "\n" };
    let before = if io::stderr().is_terminal() { newline } else { "" };
    let _ = write!(io::stderr(), "{before}{failure}{newline}");
    #[expect(clippy::exit, reason = "the main thread may wait for the box")]
    exit(status.into());
}

/// Logs that the user ended the wait for the box by Ctrl-C, and the exit status.
pub(super) fn cancelled(status: u8) {
    if let Some(audit) = OURS.get() {
        audit.end(&AuditOutcome {
            status: Some(status),
            reason: "cancelled while the box started or stopped",
            ..AuditOutcome::default()
        });
    }
}

/// The reason of the end when the client is gone.
pub(super) const VANISHED: &str = "the client vanished";

/// Whether this is the first session of its connection. sshd creates the file of `ExposeAuthInfo` once
/// per connection and never reads it: the session that makes it read-only is the first.
fn is_first(path: &std::ffi::OsStr) -> io::Result<bool> {
    let file = File::open(path)?;
    file.lock()?;
    let first = file.metadata()?.permissions().mode() & 0o200 != 0;
    if first {
        file.set_permissions(Permissions::from_mode(0o400))?;
    }
    Ok(first)
}

/// What an address of the other end is: that of the client, or that of a proxy, which says nothing about the client.
fn source_field(address: &str) -> Field {
    let is_proxy = address.parse().is_ok_and(|address| Proxies::read(Path::new(RUN)).contain(address));
    if is_proxy { Field::Proxy } else { Field::Address }
}

/// Pid of the sshd that holds the connection. The parent of this process serves the connection as the
/// user; its own parent writes sshd's log lines and has called `sshbox-keys`.
fn connection_process() -> Option<String> {
    Some(Stat::of(getppid().as_raw())?.parent.to_string())
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
        assert!(Stat::of(sshd.parse().unwrap()).is_some());
    }
}
