//! Runs programs of the host, each with a deadline, and records signals, so that a command can stop
//! early and remove what it created.

use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use rustix::fs::{MemfdFlags, memfd_create};
use session::process::in_own_session;
use session::times::later;
use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longest output that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// Time between two checks whether a program has ended.
const POLL: Duration = Duration::from_millis(5);

/// The signals by which an admin stops a command.
#[derive(Debug)]
pub struct Interrupt {
    signals: SignalFd,
    came: Cell<Option<i32>>,
}

impl Interrupt {
    /// Blocks SIGINT, SIGTERM and SIGHUP; from now on they are only recorded.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn watch() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self { signals: SignalFd::with_flags(&set, flags)?, came: Cell::new(None) })
    }

    /// The signal that was received, if any.
    pub fn came(&self) -> Option<i32> {
        if let Ok(Some(signal)) = self.signals.read_signal() {
            self.came.set(i32::try_from(signal.ssi_signo).ok());
        }
        self.came.get()
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    status: process::ExitStatus,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ended {
    /// Whether it exited with status 0.
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Its exit status. `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Its last line on standard error, or else on standard output.
    pub fn last_words(&self) -> String {
        let lines = |text: &str| text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned);
        lines(&self.err).or_else(|| lines(&self.out)).unwrap_or_else(|| self.status.to_string())
    }
}

/// Why a program has no result.
#[derive(Debug)]
pub enum ToolError {
    /// It cannot be started.
    Start(String, io::Error),
    /// It took too long and was killed.
    Timeout(String, Duration),
    /// A signal stopped the command.
    Interrupted,
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(program, error) => write!(f, "cannot run {program}: {error}"),
            Self::Timeout(program, time) => write!(f, "{program} did not end within {time:?}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// Runs `command` with this input until it ends, its deadline passes, or a signal is received. Its
/// output goes to memory and not to a pipe, which a process that it leaves behind could hold open.
///
/// # Errors
/// [`ToolError`]; the program was killed.
pub fn run(
    command: &mut Command,
    input: &str,
    deadline: Duration,
    interrupt: Option<&Interrupt>,
) -> Result<Ended, ToolError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| ToolError::Start(name.clone(), error);
    let stdin = memory(input).map_err(failed)?;
    let (out, err) = (memory("").map_err(failed)?, memory("").map_err(failed)?);
    let share = |file: &File| file.try_clone().map(Stdio::from).map_err(failed);
    command.stdin(Stdio::from(stdin)).stdout(share(&out)?).stderr(share(&err)?).env("LC_ALL", "C.UTF-8");
    // A process group, so that its children are killed with it: sftp starts an ssh. Without a terminal,
    // so that a program that has dropped root's rights cannot type into root's shell (TIOCSTI).
    let mut child = in_own_session(command).spawn().map_err(failed)?;
    let end = later(Instant::now(), deadline);
    let stopped = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(Ended { status, out: text(out), err: text(err) });
        }
        if interrupt.is_some_and(|interrupt| interrupt.came().is_some()) {
            break ToolError::Interrupted;
        }
        if Instant::now() > end {
            break ToolError::Timeout(name.clone(), deadline);
        }
        thread::sleep(POLL);
    };
    let group = i32::try_from(child.id()).map(Pid::from_raw);
    let _ = group.map(|group| killpg(group, Signal::SIGKILL));
    let _ = child.wait();
    Err(stopped)
}

fn memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("sshbox-tool", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

fn text(mut file: File) -> String {
    let mut bytes = Vec::new();
    // Output that cannot be read counts as none.
    let _ = file.rewind().and_then(|()| file.take(LONGEST).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use session::procfs::Stat;

    fn shell(script: &str, input: &str, deadline: Duration) -> Result<Ended, ToolError> {
        run(Command::new("sh").args(["-c", script]), input, deadline, None)
    }

    #[test]
    fn output_input_and_status_come_back() {
        let ended = shell("cat; echo oops >&2; exit 3", "in", Duration::from_secs(60)).unwrap();
        assert_eq!((ended.out.as_str(), ended.err.as_str(), ended.code()), ("in", "oops\n", Some(3)));
        assert_eq!(ended.last_words(), "oops");
    }

    #[test]
    fn a_program_has_its_own_session_and_no_terminal() {
        let ended = shell("echo $$; cat /proc/$$/stat", "", Duration::from_secs(60)).unwrap();
        let (pid, stat) = ended.out.split_once('\n').unwrap();
        let stat = Stat::parse(stat.as_bytes()).unwrap();
        assert_eq!((stat.session.to_string().as_str(), stat.terminal), (pid, 0));
    }

    #[test]
    fn a_signal_stops_the_wait() {
        // Sent to this thread alone, where it is blocked and waits to be read.
        let interrupt = Interrupt::watch().unwrap();
        assert_eq!(interrupt.came(), None);
        nix::sys::signal::raise(Signal::SIGINT).unwrap();
        let ended = run(Command::new("sleep").arg("600"), "", Duration::from_secs(600), Some(&interrupt));
        assert!(matches!(ended, Err(ToolError::Interrupted)));
        assert_eq!(interrupt.came(), Some(2));
    }

    #[test]
    fn a_program_is_killed_at_its_deadline_and_its_children_are_not_waited_for() {
        assert!(matches!(
            shell("sleep 600", "", Duration::from_millis(50)),
            Err(ToolError::Timeout(program, _)) if program == "sh"
        ));
        // Its child keeps standard output open.
        shell("sleep 5 & exit 0", "", Duration::from_secs(4)).unwrap();
    }
}
