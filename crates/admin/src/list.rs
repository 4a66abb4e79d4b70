//! `sshbox list`: all boxes, one line each.

use super::{boxes, load, show, with_engine};
use clap::Args;
use lifecycle::observe::ObservedBox;
use session::box_status::{bytes, use_of_limit};
use session::exit::Failure;
use session::times::short_duration;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// List all boxes
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const TITLES: [&str; 10] =
    ["USER", "STATE", "UP", "SESSIONS", "CPU", "MEMORY", "DISK FREE", "IDLE SINCE", "STOPS AT", "IMAGE"];

/// The subcommand.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let config = load(config)?;
    let boxes = with_engine(boxes::all(&config))?;
    if arguments.json {
        return show::json(&boxes);
    }
    let now = SystemTime::now();
    let rows: Vec<_> = boxes.iter().map(|one| row(one, now)).collect();
    show::say(&show::table(&TITLES, &rows, show::colours()))
}

fn row(ObservedBox { user, status, .. }: &ObservedBox, now: SystemTime) -> Vec<String> {
    let used = status.cpu.used.map(|used| format!("{used:.2}"));
    vec![
        user.clone(),
        status.state.clone(),
        show::cell(status.up_seconds.map(|up| short_duration(Duration::from_secs(up)))),
        status.sessions.to_string(),
        use_of_limit(used, &status.cpu.limit.to_string()),
        use_of_limit(status.memory.used.map(bytes), &bytes(status.memory.limit)),
        show::cell(status.disk.as_ref().map(|disk| bytes(disk.free))),
        show::from_now(status.idle_since.as_deref(), now),
        if status.never_stops() {
            "never".to_owned()
        } else {
            show::from_now(status.stops_at.as_deref(), now)
        },
        status.image.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use session::box_status::{Amount, BoxStatus, Cpu, Disk};

    #[test]
    fn boxes_of_all_kinds() {
        let now = humantime::parse_rfc3339("2026-03-01T12:00:00Z").unwrap();
        let stopped = BoxStatus {
            state: "stopped".to_owned(),
            image: "sshbox-user:latest".to_owned(),
            cpu: Cpu { limit: 2.0, used: None },
            memory: Amount { limit: 8 << 30, used: None },
            disk: Some(Disk { used: 12 << 30, free: 80 << 30 }),
            idle_since: Some("2026-02-27T12:00:00Z".to_owned()),
            ..BoxStatus::default()
        };
        let running = BoxStatus {
            state: "running".to_owned(),
            up_seconds: Some(7512),
            cpu: Cpu { limit: 2.0, used: Some(0.25) },
            memory: Amount { limit: 8 << 30, used: Some(512 << 20) },
            ..stopped.clone()
        };
        let idle = BoxStatus {
            idle_since: Some("2026-03-01T11:55:00Z".to_owned()),
            stops_at: Some("2026-03-01T12:25:00Z".to_owned()),
            ..running.clone()
        };
        let busy = BoxStatus { sessions: 2, idle_since: None, ..running };
        let stranger =
            BoxStatus { state: "running".to_owned(), image: "x\x1b[31m".to_owned(), ..BoxStatus::default() };
        let kept = BoxStatus {
            started_at: Some("2026-03-01T10:00:00Z".to_owned()),
            idle_timeout_seconds: None,
            stops_at: None,
            ..idle.clone()
        };
        let boxes =
            [("alice", busy), ("bob", idle), ("carol", stopped), ("dora", kept), ("../bad", stranger)];
        let rows = boxes.map(|(user, status)| {
            row(&ObservedBox { user: user.to_owned(), status, ..ObservedBox::default() }, now)
        });
        assert_snapshot!(show::table(&TITLES, &rows, false), @r"
        USER    STATE    UP     SESSIONS  CPU        MEMORY                DISK FREE  IDLE SINCE  STOPS AT  IMAGE
        alice   running  2h 5m  2         0.25 of 2  512.0 MiB of 8.0 GiB  80.0 GiB   -           -         sshbox-user:latest
        bob     running  2h 5m  0         0.25 of 2  512.0 MiB of 8.0 GiB  80.0 GiB   5m ago      in 25m    sshbox-user:latest
        carol   stopped  -      0         up to 2    up to 8.0 GiB         80.0 GiB   2d ago      -         sshbox-user:latest
        dora    running  2h 5m  0         0.25 of 2  512.0 MiB of 8.0 GiB  80.0 GiB   5m ago      never     sshbox-user:latest
        ../bad  running  -      0         up to 0    up to 0 B             -          -           -         x\x1b[31m
        ");
    }
}
