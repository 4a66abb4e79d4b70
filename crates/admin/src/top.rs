//! `sshbox top`: running boxes, the busiest first. On a terminal the table is redrawn every two
//! seconds, on the alternate screen, so that the terminal's content is back at the end.

use super::{boxes, load_config, output, with_engine};
use clap::Args;
use lifecycle::observe::{ObservedBox, Observer, UsageReading, measure, measure_now};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use session::box_status::{bytes, use_of_limit};
use session::exit::{ExitStatus, Failure};
use session::times::later;
use session::tty;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Show running boxes, the busiest first; press q to quit
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print one table and exit; the default without a terminal
    #[arg(long)]
    once: bool,
    /// Print JSON once and exit
    #[arg(long)]
    json: bool,
}

/// Time between two measurements.
const INTERVAL: Duration = Duration::from_secs(2);

/// Switches to the alternate screen without a cursor, and back (xterm control sequences).
const ENTER_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE_SCREEN: &str = "\x1b[?25h\x1b[?1049l";

/// Moves the cursor to the top left; erases to the end of the line, of the screen.
const CURSOR_HOME: &str = "\x1b[H";
const ERASE_LINE: &str = "\x1b[K";
const ERASE_SCREEN: &str = "\x1b[J";

const TITLES: [&str; 7] = ["USER", "CPU", "MEMORY", "TASKS", "SESSIONS", "UP", "IMAGE"];

/// Runs the command.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let config = load_config(config)?;
    let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    if interactive && !arguments.once && !arguments.json {
        return with_engine(async { watch(boxes::observer(&config).await?).await });
    }
    let boxes = busiest_first(with_engine(boxes::all(&config))?);
    if arguments.json {
        return output::print_json(&boxes);
    }
    output::print(&page(&boxes, output::use_colours()))
}

/// Redraws the table until the admin presses q or Ctrl-C, or a signal arrives.
async fn watch(observer: Observer<'_>) -> Result<ExitCode, Failure> {
    let failed = |error: io::Error| Failure::because(ExitStatus::Internal, "", &error);
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
    let _screen = AlternateScreen::enter();
    loop {
        boxes = busiest_first(boxes);
        if show_until_next(&boxes, &signals).map_err(failed)? {
            return Ok(ExitCode::SUCCESS);
        }
        boxes = observer.all().await.map_err(boxes::failed)?;
        let now = UsageReading::take(&boxes);
        measure(&mut boxes, &before, &now);
        before = now;
    }
}

/// Shows the boxes for one interval. Returns true if the command is to exit.
fn show_until_next(boxes: &[ObservedBox], signals: &SignalFd) -> io::Result<bool> {
    let stdin = io::stdin();
    let until = later(Instant::now(), INTERVAL);
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
            // An empty read is a hang-up of the terminal; 3 is Ctrl-C.
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
    // A terminal that does not know its size reports 0.
    let mut number_or = |default: usize| numbers.next().filter(|number| *number > 0).unwrap_or(default);
    let (rows, columns) = (number_or(24), number_or(80));
    let mut out = io::stdout().lock();
    out.write_all(screen(&page(boxes, false), rows, columns).as_bytes())?;
    out.flush()
}

/// The control sequences that draw `page` over the previous one, cut to the size of the terminal.
fn screen(page: &str, rows: usize, columns: usize) -> String {
    let lines = page.lines().take(rows).map(|line| line.get(..columns).unwrap_or(line));
    let lines: Vec<_> = lines.map(|line| format!("{line}{ERASE_LINE}")).collect();
    format!("{CURSOR_HOME}{}{ERASE_SCREEN}", lines.join("\r\n"))
}

/// The alternate screen of the terminal; dropping it switches back.
struct AlternateScreen;

impl AlternateScreen {
    fn enter() -> Self {
        let _ = write!(io::stdout(), "{ENTER_SCREEN}");
        Self
    }
}

impl Drop for AlternateScreen {
    fn drop(&mut self) {
        // This fails only after the terminal has hung up.
        let _ = write!(io::stdout(), "{LEAVE_SCREEN}");
        let _ = io::stdout().flush();
    }
}

/// The running boxes, the busiest first.
fn busiest_first(mut boxes: Vec<ObservedBox>) -> Vec<ObservedBox> {
    boxes.retain(|one| one.status.started_at.is_some());
    let cpu = |one: &ObservedBox| one.status.cpu.used.unwrap_or_default();
    boxes.sort_by(|one, other| cpu(other).total_cmp(&cpu(one)).then_with(|| one.user.cmp(&other.user)));
    boxes
}

/// The total of all boxes, and a table with one row each.
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
        output::format_table(&TITLES, &rows, colours)
    )
}

fn row(ObservedBox { user, status, .. }: &ObservedBox) -> Vec<String> {
    vec![
        user.clone(),
        output::cpu_cell(&status.cpu),
        output::memory_cell(&status.memory),
        use_of_limit(status.processes.used.map(|used| used.to_string()), &status.processes.limit.to_string()),
        status.sessions.to_string(),
        output::duration_cell(status.up_seconds),
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
    fn the_busiest_box_comes_first_and_stopped_boxes_are_left_out() {
        let boxes = busiest_first(vec![
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
