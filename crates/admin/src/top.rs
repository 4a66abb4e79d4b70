//! `sshbox top`: the boxes that run, the busiest first, drawn anew every two seconds on a
//! terminal, which is as before when it ends.

use super::{because, boxes, load, show, with_engine};
use clap::Args;
use lifecycle::observe::{ObservedBox, Observer, UsageReading, measure, measure_now};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use session::box_status::{bytes, use_of_limit};
use session::exit::{ExitStatus, Failure};
use session::times::later;
use session::times::short_duration;
use session::tty;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Show the boxes that run, the busiest first; q ends it
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print one table and end, as without a terminal
    #[arg(long)]
    once: bool,
    /// Print JSON once and end
    #[arg(long)]
    json: bool,
}

/// Time from one look to the next.
const PAUSE: Duration = Duration::from_secs(2);

/// Another screen and no cursor, and back (xterm's control sequences).
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// To the corner; what follows on a line; what follows on the screen.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST: &str = "\x1b[J";

const TITLES: [&str; 7] = ["USER", "CPU", "MEMORY", "TASKS", "SESSIONS", "UP", "IMAGE"];

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let config = load(config)?;
    let alive = io::stdin().is_terminal() && io::stdout().is_terminal();
    if alive && !arguments.once && !arguments.json {
        return with_engine(async { watch(boxes::observer(&config).await?).await });
    }
    let boxes = busiest(with_engine(boxes::all(&config))?);
    if arguments.json {
        return show::json(&boxes);
    }
    show::say(&page(&boxes, show::colours()))
}

/// Draws until somebody presses q or Ctrl-C, or a signal comes.
async fn watch(observer: Observer<'_>) -> Result<ExitCode, Failure> {
    let failed = |error: io::Error| because(ExitStatus::Internal, "", &error);
    let signals: SigSet =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGWINCH].into_iter().collect();
    signals.thread_block().map_err(|errno| failed(errno.into()))?;
    let signals =
        SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let mut boxes = observer.all().await.map_err(boxes::failed)?;
    measure_now(&mut boxes).await;
    let mut before = UsageReading::take(&boxes);
    let stdin = io::stdin();
    let _raw = tty::Raw::enter(stdin.as_fd()).map_err(failed)?;
    let _screen = Screen::enter();
    loop {
        boxes = busiest(boxes);
        if pause(&boxes, &signals).map_err(failed)? {
            return Ok(ExitCode::SUCCESS);
        }
        boxes = observer.all().await.map_err(boxes::failed)?;
        let now = UsageReading::take(&boxes);
        measure(&mut boxes, &before, &now);
        before = now;
    }
}

/// Shows these until it is time to look again; whether to end.
fn pause(boxes: &[ObservedBox], signals: &SignalFd) -> io::Result<bool> {
    let stdin = io::stdin();
    let until = later(Instant::now(), PAUSE);
    draw(boxes)?;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut fds =
            [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [typed, signalled] = fds.map(|fd| fd.any().unwrap_or(true));
        if typed {
            let mut keys = [0; 64];
            let count = rustix::io::read(&stdin, &mut keys)?;
            // Nothing to read: the terminal is gone. 3 is Ctrl-C.
            let quits = |key: &u8| matches!(key, b'q' | b'Q' | 3);
            if count == 0 || keys.iter().take(count).any(quits) {
                return Ok(true);
            }
        }
        if signalled && let Some(signal) = signals.read_signal()? {
            if signal.ssi_signo != Signal::SIGWINCH as u32 {
                return Ok(true);
            }
            draw(boxes)?;
        }
    }
}

fn draw(boxes: &[ObservedBox]) -> io::Result<()> {
    let size = tty::size(io::stdout().as_fd()).unwrap_or_default();
    let mut numbers = size.split(':').filter_map(|number| number.parse().ok());
    // 0 is a terminal that does not know.
    let mut next = |usual: usize| numbers.next().filter(|number| *number > 0).unwrap_or(usual);
    let (rows, columns) = (next(24), next(80));
    let mut out = io::stdout().lock();
    out.write_all(screen(&page(boxes, false), rows, columns).as_bytes())?;
    out.flush()
}

/// A page cut to the size of a terminal, line by line over what was there.
fn screen(page: &str, rows: usize, columns: usize) -> String {
    let lines = page.lines().take(rows).map(|line| line.get(..columns).unwrap_or(line));
    let lines: Vec<_> = lines.map(|line| format!("{line}{REST_OF_LINE}")).collect();
    format!("{HOME}{}{REST}", lines.join("\r\n"))
}

/// The other screen of the terminal, until this is dropped.
struct Screen;

impl Screen {
    fn enter() -> Self {
        let _ = write!(io::stdout(), "{ENTER}");
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It fails only when the terminal is gone.
        let _ = write!(io::stdout(), "{LEAVE}");
        let _ = io::stdout().flush();
    }
}

/// Those that run, the busiest first.
fn busiest(mut boxes: Vec<ObservedBox>) -> Vec<ObservedBox> {
    boxes.retain(|one| one.status.started_at.is_some());
    let cpu = |one: &ObservedBox| one.status.cpu.used.unwrap_or_default();
    boxes.sort_by(|one, other| cpu(other).total_cmp(&cpu(one)).then_with(|| one.user.cmp(&other.user)));
    boxes
}

/// What they use together, and each of them.
fn page(boxes: &[ObservedBox], colours: bool) -> String {
    let used = |of: fn(&ObservedBox) -> Option<u64>| boxes.iter().filter_map(of).sum::<u64>();
    let cpu: f64 = boxes.iter().filter_map(|one| one.status.cpu.used).sum();
    let sessions: usize = boxes.iter().map(|one| one.status.sessions).sum();
    let rows: Vec<_> = boxes.iter().map(row).collect();
    format!(
        "boxes {}, sessions {sessions}, cpu {cpu:.2} cores, memory {}, tasks {}\n\n{}",
        boxes.len(),
        bytes(used(|one| one.status.memory.used)),
        used(|one| one.status.processes.used),
        show::table(&TITLES, &rows, colours)
    )
}

fn row(ObservedBox { user, status, .. }: &ObservedBox) -> Vec<String> {
    vec![
        user.clone(),
        use_of_limit(status.cpu.used.map(|used| format!("{used:.2}")), &status.cpu.limit.to_string()),
        use_of_limit(status.memory.used.map(bytes), &bytes(status.memory.limit)),
        use_of_limit(status.processes.used.map(|used| used.to_string()), &status.processes.limit.to_string()),
        status.sessions.to_string(),
        show::cell(status.up_seconds.map(|up| short_duration(Duration::from_secs(up)))),
        status.image.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use session::box_status::{self, Amount, Cpu};

    fn one(user: &str, cpu: Option<f64>, running: bool) -> ObservedBox {
        let status = box_status::BoxStatus {
            state: "running".to_owned(),
            started_at: running.then(|| "2026-03-01T10:00:00Z".to_owned()),
            up_seconds: Some(90),
            image: "sshbox-user:latest".to_owned(),
            sessions: 1,
            cpu: Cpu { limit: 2.0, used: cpu },
            memory: Amount { limit: 8 << 30, used: Some(512 << 20) },
            processes: Amount { limit: 512, used: Some(12) },
            ..box_status::BoxStatus::default()
        };
        ObservedBox { user: user.to_owned(), status, ..ObservedBox::default() }
    }

    #[test]
    fn the_busiest_comes_first_and_who_does_not_run_not_at_all() {
        let boxes = busiest(vec![
            one("idle", Some(0.0), true),
            one("unknown", None, true),
            one("busy", Some(1.75), true),
            one("stopped", None, false),
        ]);
        assert_snapshot!(page(&boxes, false), @"
        boxes 3, sessions 3, cpu 1.75 cores, memory 1.5 GiB, tasks 36

        USER     CPU        MEMORY                TASKS      SESSIONS  UP      IMAGE
        busy     1.75 of 2  512.0 MiB of 8.0 GiB  12 of 512  1         1m 30s  sshbox-user:latest
        idle     0.00 of 2  512.0 MiB of 8.0 GiB  12 of 512  1         1m 30s  sshbox-user:latest
        unknown  up to 2    512.0 MiB of 8.0 GiB  12 of 512  1         1m 30s  sshbox-user:latest
        ");
    }

    #[test]
    fn a_page_is_cut_to_the_screen() {
        let shown = screen("boxes 2\n\nUSER  CPU\nalice 1.00 of 2\nbob   0.00 of 2\n", 4, 9);
        assert_eq!(shown, "\x1b[Hboxes 2\x1b[K\r\n\x1b[K\r\nUSER  CPU\x1b[K\r\nalice 1.0\x1b[K\x1b[J");
    }
}
