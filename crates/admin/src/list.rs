//! `sshbox list`: all boxes, one row each.

use super::output::{self, Format};
use super::{boxes, load_config, with_engine};
use clap::Args;
use lifecycle::observe::ObservedBox;
use session::box_status::{Disk, bytes, use_of_limit};
use session::exit::Failure;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

/// List all boxes
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    format: Format,
}

const TITLES: [&str; 10] =
    ["USER", "STATE", "UP", "SESSIONS", "CPU", "MEMORY", "DISK", "IDLE SINCE", "STOPS AT", "IMAGE"];

/// Runs the command.
pub fn run(arguments: &Arguments, config: &Path) -> Result<ExitCode, Failure> {
    let config = load_config(config)?;
    let boxes = with_engine(boxes::all(&config))?;
    if arguments.format.json {
        return output::print_json(&boxes);
    }
    let now = SystemTime::now();
    let rows: Vec<_> = boxes.iter().map(|one| row(one, now)).collect();
    output::print_table(&TITLES, &rows)
}

fn row(ObservedBox { user, status, .. }: &ObservedBox, now: SystemTime) -> Vec<String> {
    vec![
        user.clone(),
        status.state.clone(),
        output::duration_cell(status.up_seconds),
        status.sessions_of_limit(),
        output::cpu_cell(&status.cpu),
        output::memory_cell(&status.memory),
        output::cell(status.disk.as_ref().map(disk_cell)),
        output::relative_time(status.idle_since.as_deref(), now),
        if status.never_stops() {
            "never".to_owned()
        } else {
            output::relative_time(status.stops_at.as_deref(), now)
        },
        status.image.clone(),
    ]
}

/// The use and the limit of the home, or what is free for all homes.
fn disk_cell(disk: &Disk) -> String {
    match disk.limit {
        Some(limit) => use_of_limit(Some(bytes(disk.used)), &bytes(limit)),
        None => format!("{} free", bytes(disk.free)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use session::box_status::{Amount, BoxStatus, Cpu};

    #[test]
    fn one_row_for_each_kind_of_box() {
        // None of them has an idle timeout. Only a box with a start time is running for `never_stops`.
        let now = humantime::parse_rfc3339("2026-03-01T12:00:00Z").unwrap();
        let stopped = BoxStatus {
            state: "stopped".to_owned(),
            image: "sshbox-user:latest".to_owned(),
            cpu: Cpu { limit: 2.0, used: None },
            memory: Amount { limit: 8 << 30, used: None },
            disk: Some(Disk { used: 12 << 30, free: 80 << 30, limit: None }),
            sessions_limit: Some(50),
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
        let disk = Some(Disk { used: 12 << 30, free: 38 << 30, limit: Some(50 << 30) });
        let busy = BoxStatus { sessions: 2, idle_since: None, disk, ..running };
        // A container with sshbox's labels that another program created: they can contain any text.
        let foreign =
            BoxStatus { state: "running".to_owned(), image: "x\x1b[31m".to_owned(), ..BoxStatus::default() };
        let never_stopped =
            BoxStatus { started_at: Some("2026-03-01T10:00:00Z".to_owned()), stops_at: None, ..idle.clone() };
        let boxes = [
            ("alice", busy),
            ("bob", idle),
            ("carol", stopped),
            ("dora", never_stopped),
            ("../bad", foreign),
        ];
        let rows = boxes.map(|(user, status)| {
            row(&ObservedBox { user: user.to_owned(), status, ..ObservedBox::default() }, now)
        });
        assert_snapshot!(output::format_table(&TITLES, &rows, false), @r"
        USER    STATE    UP     SESSIONS  CPU        MEMORY                DISK                  IDLE SINCE  STOPS AT  IMAGE
        alice   running  2h 5m  2 of 50   0.25 of 2  512.0 MiB of 8.0 GiB  12.0 GiB of 50.0 GiB  -           -         sshbox-user:latest
        bob     running  2h 5m  0 of 50   0.25 of 2  512.0 MiB of 8.0 GiB  80.0 GiB free         5m ago      in 25m    sshbox-user:latest
        carol   stopped  -      0 of 50   up to 2    up to 8.0 GiB         80.0 GiB free         2d ago      -         sshbox-user:latest
        dora    running  2h 5m  0 of 50   0.25 of 2  512.0 MiB of 8.0 GiB  80.0 GiB free         5m ago      never     sshbox-user:latest
        ../bad  running  -      0         up to 0    up to 0 B             -                     -           -         x\x1b[31m
        ");
    }
}
