//! How a program fails: the table of exit statuses, and the one line that a user sees. The exit status
//! of a user's own command is passed on unchanged and is not in this table.

use crate::escape::printable;
use crate::journal::{Event, Field, Reference, log};
use crate::texts;
use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The exit statuses of sshbox, numbered as in `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// The request is invalid.
    Usage = 64,
    /// Something is missing: the engine, the image, a program in the container.
    Unavailable = 69,
    /// A defect of sshbox.
    Internal = 70,
    /// The same request may succeed later.
    TryAgain = 75,
    /// Not allowed.
    Refused = 77,
    /// The installation is misconfigured; only an admin can fix it.
    Config = 78,
}

impl ExitStatus {
    /// The number that the program exits with.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The status with this number, as a socket carries it.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Usage, Self::Unavailable, Self::Internal, Self::TryAgain, Self::Refused, Self::Config]
            .into_iter()
            .find(|status| status.code() == code)
    }
}

/// Why a request failed: one text for the user, one for the journal.
#[derive(Debug)]
pub struct Failure {
    /// What the program exits with.
    pub status: ExitStatus,
    /// What happened and what to do, for the user: one or two clauses, no full stop.
    pub advice: String,
    /// The whole chain of causes, for the journal.
    pub cause: String,
    /// The search term that ties the two together.
    pub reference: Reference,
}

impl Failure {
    /// A failure without another cause.
    #[must_use]
    pub fn new(status: ExitStatus, advice: impl Into<String>) -> Self {
        let advice = advice.into();
        Self { status, cause: advice.clone(), advice, reference: Reference::ours() }
    }

    /// The failure that another program of sshbox has reported.
    #[must_use]
    pub fn from_reply(advice: &[u8], status: Option<u8>, reference: Option<&str>) -> Self {
        let status = status.and_then(ExitStatus::from_code).unwrap_or(ExitStatus::Internal);
        let reference = reference.and_then(Reference::parse).unwrap_or_else(Reference::ours);
        Self { reference, ..Self::new(status, printable(advice)) }
    }

    /// A failure caused by `error`, whose chain goes to the journal.
    #[must_use]
    pub fn because(status: ExitStatus, advice: impl Into<String>, error: &dyn Error) -> Self {
        Self { cause: chain(error), ..Self::new(status, advice) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sshbox: {} (ref {})", self.advice, self.reference)
    }
}

/// A program with a command line: sets the panic hook, parses the arguments, and runs the rest. Prints
/// help or a usage error itself.
#[must_use]
pub fn program<A: clap::Parser>(name: &'static str, run: impl FnOnce(A) -> ExitCode) -> ExitCode {
    on_panic(name);
    match A::try_parse() {
        Ok(arguments) => run(arguments),
        Err(error) => {
            let is_invalid = error.use_stderr();
            // If this fails there is no way to report it.
            let _ = error.print();
            if is_invalid { ExitStatus::Usage.code().into() } else { ExitCode::SUCCESS }
        }
    }
}

/// After a panic, the program logs one entry and exits with a status; otherwise it would die by a signal.
/// A panic in a thread other than the main one stops only that thread: the main thread continues.
pub fn on_panic(program: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        let error = panic.to_string();
        log(program, Event::ProgramFailed, &[(Field::Error, &error)]);
        if std::thread::current().name() != Some("main") {
            loop {
                std::thread::park();
            }
        }
        let _ = writeln!(io::stderr(), "{}", Failure::new(ExitStatus::TryAgain, texts::BROKEN));
        #[expect(clippy::exit, reason = "a panic would otherwise end in a signal")]
        std::process::exit(ExitStatus::TryAgain.code().into());
    }));
}

/// An error with all its causes, outermost first.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_a_failure_says_why_what_to_do_and_a_reference() {
        let error = std::io::Error::other("no such image");
        let failure =
            Failure::because(ExitStatus::Unavailable, "your box has no image; tell your admin", &error);
        let reference = failure.reference.to_string();
        assert_eq!(reference.len(), 8);
        assert_eq!(
            failure.to_string(),
            format!("sshbox: your box has no image; tell your admin (ref {reference})")
        );
        assert_eq!(failure.cause, "no such image");
    }

    #[test]
    fn statuses_survive_a_socket() {
        for status in [ExitStatus::Usage, ExitStatus::TryAgain, ExitStatus::Config] {
            assert_eq!(ExitStatus::from_code(status.code()), Some(status));
        }
        assert_eq!(ExitStatus::from_code(1), None);
    }
}
