//! Runs programs of the host that make, check and grow file systems, each with a deadline.

use crate::error::DiskError;
use rustix::fs::{MemfdFlags, memfd_create};
use session::times::later;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where the programs are.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Longest output that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Time between two checks whether a program has ended.
const POLL: Duration = Duration::from_millis(2);

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    name: &'static str,
    status: ExitStatus,
    /// Its standard output and error.
    pub output: String,
}

impl Ended {
    /// Its exit status; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// An error unless it exited with 0.
    pub fn must_succeed(self) -> Result<String, DiskError> {
        if self.status.success() { Ok(self.output) } else { Err(self.error()) }
    }

    /// The error that its last words describe.
    pub fn error(self) -> DiskError {
        let words = self.output.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        DiskError::Program(self.name, self.status.to_string(), words.trim().to_owned())
    }
}

/// Runs `name` with these arguments until it ends; kills it after `deadline`, if there is one. A program
/// that survives this one keeps the lock on the home, which it inherits.
///
/// # Errors
/// It cannot be started, or did not end in time.
pub fn run(name: &'static str, arguments: &[&str], deadline: Option<Duration>) -> Result<Ended, DiskError> {
    let failed = |error: io::Error| DiskError::Start(name, error);
    let output = File::from(memfd_create(name, MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?);
    let share = || output.try_clone().map(Stdio::from).map_err(failed);
    let mut command = Command::new(name);
    command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
    // Ctrl-C at the terminal of an admin must not end a program that moves data.
    command.process_group(0);
    let child = command.stdin(Stdio::null()).stdout(share()?).stderr(share()?).spawn();
    let mut child = child.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DiskError::NotInstalled(name, package(name)),
        _ => failed(error),
    })?;
    let status = wait(&mut child, deadline).map_err(failed)?;
    let Some(status) = status else {
        return Err(DiskError::Timeout(name, deadline.unwrap_or_default()));
    };
    let mut text = Vec::new();
    let mut output = output;
    output.rewind().and_then(|()| output.take(LONGEST).read_to_end(&mut text)).map_err(failed)?;
    Ok(Ended { name, status, output: String::from_utf8_lossy(&text).into_owned() })
}

/// The package that has a program.
fn package(name: &str) -> &'static str {
    match name {
        "setquota" => "quota",
        "xfs_quota" => "xfsprogs",
        "losetup" => "mount",
        "cp" => "coreutils",
        "find" => "findutils",
        _ => "e2fsprogs",
    }
}

/// The status; `None` if the deadline passed and the program was killed.
fn wait(child: &mut Child, deadline: Option<Duration>) -> io::Result<Option<ExitStatus>> {
    let Some(deadline) = deadline else { return child.wait().map(Some) };
    let until = later(Instant::now(), deadline);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_or_is_killed_and_its_last_words_are_told() {
        let shell = |script, deadline| run("sh", &["-c", script], Some(deadline));
        let second = Duration::from_secs(20);
        assert_eq!(shell("echo out; echo err >&2", second).unwrap().must_succeed().unwrap(), "out\nerr\n");
        let error = shell("echo no room; echo; exit 3", second).unwrap().must_succeed().unwrap_err();
        assert_eq!(error.to_string(), "sh: exit status: 3: no room");
        let began = Instant::now();
        let error = shell("exec sleep 60", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, DiskError::Timeout("sh", _)) && began.elapsed() < second);
        assert!(matches!(run("/", &[], None), Err(DiskError::Start(..))));
    }

    #[test]
    fn a_program_that_is_not_installed_is_named_with_its_package() {
        let error = run("sshbox-no-such-program", &[], None).unwrap_err();
        assert!(matches!(error, DiskError::NotInstalled(..)), "{error}");
        let failure = DiskError::NotInstalled("setquota", package("setquota")).failure();
        assert_eq!(failure.cause, "setquota is not installed; run apt install quota");
        assert!(failure.advice.contains("sshbox doctor"), "{}", failure.advice);
    }
}
