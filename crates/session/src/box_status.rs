//! The status of a box, as `@status` shows it: `sshbox-wake` collects it, `sshbox-shell` prints it as text
//! for people or as JSON for programs. Knows no engine and no clock.

use crate::texts;
use crate::times::{rfc3339, short_duration};
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

/// A box at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoxStatus {
    /// Name of the container.
    #[serde(rename = "box")]
    pub name: String,
    /// `running`, `paused`, `stopped`, `changing`, `broken` or `missing`.
    pub state: String,
    /// Start of the running box, RFC 3339.
    pub started_at: Option<String>,
    /// Time since then, in seconds.
    pub up_seconds: Option<u64>,
    /// Image that it is created from.
    pub image: String,
    /// Number of open sessions.
    pub sessions: usize,
    /// How many may be open at once, if the account is known.
    pub sessions_limit: Option<u32>,
    /// Number of open connections. Each keeps the box running, with a session or without.
    #[serde(default)]
    pub connections: usize,
    /// How many may be open at once, if the account is known.
    #[serde(default)]
    pub connections_limit: Option<u32>,
    /// CPU time.
    pub cpu: Cpu,
    /// Memory in bytes.
    pub memory: Amount,
    /// Tasks: processes and threads. People read "tasks"; programs know the name `processes`.
    pub processes: Amount,
    /// The file system of the home.
    pub disk: Option<Disk>,
    /// Time without a session or connection after which it is stopped, in seconds; `None` if it never is.
    pub idle_timeout_seconds: Option<u64>,
    /// When the last session or connection ended, RFC 3339; not while one is open or when that is not known.
    pub idle_since: Option<String>,
    /// When it is stopped if no session starts, RFC 3339; not while it is stopped or a session is open.
    pub stops_at: Option<String>,
    /// Why it was stopped last, if that is known.
    pub last_stop: Option<LastStop>,
}

/// CPU time: the limit and the recent use, in cores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Cores.
    pub limit: f64,
    /// Cores used, over a fifth of a second.
    pub used: Option<f64>,
}

/// The limit and the present use of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// The limit.
    pub limit: u64,
    /// The present use, if the box runs.
    pub used: Option<u64>,
}

/// The file system that the home is on, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Used: by this home if it has a limit, else by all homes.
    pub used: u64,
    /// Free.
    pub free: u64,
    /// The limit of this home; `None` if all homes share the file system.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// The last stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStop {
    /// Time since then, in seconds.
    pub seconds_ago: u64,
    /// Why.
    pub reason: String,
}

/// The resources that a box uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since its start.
    pub cpu: Duration,
    /// Memory in bytes, without cache that the kernel could drop.
    pub memory: u64,
    /// Tasks: processes and threads.
    pub processes: u64,
}

impl BoxStatus {
    /// Fills in the present use, from two measurements.
    pub fn measured(&mut self, before: &Usage, now: &Usage, between: Duration) {
        let cores = now.cpu.saturating_sub(before.cpu).as_secs_f64() / between.as_secs_f64();
        self.cpu.used = Some((cores * 100.0).round() / 100.0);
        self.memory.used = Some(now.memory);
        self.processes.used = Some(now.processes);
    }

    /// Fills in the start time, which comes from the engine.
    pub fn runs_since(&mut self, started_at: &str, now: SystemTime) {
        if let Ok(started) = humantime::parse_rfc3339(started_at) {
            self.started_at = rfc3339(started);
            self.up_seconds = now.duration_since(started).ok().map(|up| up.as_secs());
        }
    }

    /// Fills in for how long no session has been open and, if the box runs, when it will be stopped; no
    /// timeout means never. Needs `sessions`, `connections` and `started_at`.
    pub fn idle_for(&mut self, idle: Option<Duration>, timeout: Option<Duration>, now: SystemTime) {
        self.idle_timeout_seconds = timeout.map(|timeout| timeout.as_secs());
        // If the last session is not known, the reaper counts from its next run on.
        let Some(idle) = idle.filter(|_| self.sessions == 0 && self.connections == 0) else { return };
        self.idle_since = now.checked_sub(idle).and_then(rfc3339);
        if self.started_at.is_some() {
            let left = timeout.map(|timeout| timeout.saturating_sub(idle));
            self.stops_at = left.and_then(|left| now.checked_add(left)).and_then(rfc3339);
        }
    }

    /// Whether it runs and is never stopped for being idle.
    #[must_use]
    pub fn never_stops(&self) -> bool {
        self.started_at.is_some() && self.idle_timeout_seconds.is_none()
    }

    /// The open sessions, and how many may be open.
    #[must_use]
    pub fn sessions_of_limit(&self) -> String {
        of_limit(self.sessions, self.sessions_limit)
    }

    /// Aligned text, one line for each value.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines: Vec<(&str, String)> = vec![("box", self.name.clone())];
        lines.push(match (&self.started_at, self.up_seconds) {
            (Some(at), Some(up)) => {
                ("state", format!("{} since {at} ({})", self.state, short_duration(Duration::from_secs(up))))
            }
            _ => ("state", self.state.clone()),
        });
        lines.push(("image", self.image.clone()));
        let connections = of_limit(self.connections, self.connections_limit);
        lines.push(("sessions", format!("{}, connections {connections}", self.sessions_of_limit())));
        lines.push((
            "cpu",
            use_of_limit(self.cpu.used.map(|used| format!("{used:.2}")), &cores(self.cpu.limit)),
        ));
        lines.push(("memory", use_of_limit(self.memory.used.map(bytes), &bytes(self.memory.limit))));
        let tasks = self.processes.used.map(|used| used.to_string());
        lines.push(("tasks", use_of_limit(tasks, &self.processes.limit.to_string())));
        if let Some(disk) = &self.disk {
            let (free, used) = (bytes(disk.free), bytes(disk.used));
            let text = match disk.limit {
                Some(limit) => use_of_limit(Some(used), &bytes(limit)),
                None => format!("{free} free, {used} used, shared by all homes"),
            };
            lines.push(("disk", text));
        }
        let timeout = self.idle_timeout_seconds.map(|timeout| short_duration(Duration::from_secs(timeout)));
        lines.push((
            "idle stop",
            match (&self.stops_at, timeout) {
                (_, None) => "never".to_owned(),
                (Some(at), Some(timeout)) => format!("at {at}, {timeout} {LAST_USE}"),
                (None, Some(timeout)) => format!("{timeout} {LAST_USE}"),
            },
        ));
        if let Some(LastStop { seconds_ago, reason }) = &self.last_stop {
            lines.push((
                "last stop",
                format!("{} ago: {reason}", short_duration(Duration::from_secs(*seconds_ago))),
            ));
        }
        lines.into_iter().fold(String::new(), |mut text, (name, value)| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<10} {value}");
            text
        })
    }
}

fn of_limit(open: usize, limit: Option<u32>) -> String {
    match limit {
        Some(limit) => format!("{open} of {limit}"),
        None => open.to_string(),
    }
}

/// From when on the idle timeout counts.
const LAST_USE: &str = "after the last session or connection";

/// The use and the limit as text, or the limit alone.
#[must_use]
pub fn use_of_limit(used: Option<String>, limit: &str) -> String {
    used.map_or_else(|| format!("up to {limit}"), |used| format!("{used} of {limit}"))
}

/// The welcome text of a box with these limits.
#[must_use]
pub fn welcome_text(user: &str, status: &BoxStatus, idle_timeout: Option<Duration>) -> String {
    let BoxStatus { cpu, memory, processes, .. } = status;
    texts::welcome_text(user, &cores(cpu.limit), &bytes(memory.limit), processes.limit, idle_timeout)
}

fn cores(limit: f64) -> String {
    if (limit - 1.0).abs() < f64::EPSILON { "1 core".to_owned() } else { format!("{limit} cores") }
}

/// A number of bytes as text for people.
#[must_use]
pub fn bytes(count: u64) -> String {
    ByteSize(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn running() -> BoxStatus {
        BoxStatus {
            name: "sshbox-alice".to_owned(),
            state: "running".to_owned(),
            started_at: Some("2026-03-01T10:00:00Z".to_owned()),
            up_seconds: Some(7512),
            image: "sshbox-user:latest".to_owned(),
            sessions: 2,
            sessions_limit: Some(50),
            connections: 1,
            connections_limit: Some(20),
            cpu: Cpu { limit: 2.0, used: Some(0.25) },
            memory: Amount { limit: 8 << 30, used: Some(512 << 20) },
            processes: Amount { limit: 512, used: Some(12) },
            disk: Some(Disk { used: 12 << 30, free: 80 << 30, limit: None }),
            idle_timeout_seconds: Some(1800),
            idle_since: None,
            stops_at: None,
            last_stop: None,
        }
    }

    #[test]
    fn a_running_box_as_text() {
        assert_snapshot!(running().text(), @"
        box        sshbox-alice
        state      running since 2026-03-01T10:00:00Z (2h 5m)
        image      sshbox-user:latest
        sessions   2 of 50, connections 1 of 20
        cpu        0.25 of 2 cores
        memory     512.0 MiB of 8.0 GiB
        tasks      12 of 512
        disk       80.0 GiB free, 12.0 GiB used, shared by all homes
        idle stop  30m after the last session or connection
        ");
    }

    #[test]
    fn a_home_with_a_limit_shows_its_own_use() {
        let disk = Some(Disk { used: 12 << 30, free: 38 << 30, limit: Some(50 << 30) });
        let text = BoxStatus { disk, ..running() }.text();
        assert!(text.contains("\ndisk       12.0 GiB of 50.0 GiB\n"), "{text}");
    }

    #[test]
    fn a_stopped_box_as_text() {
        let stopped = BoxStatus {
            state: "stopped".to_owned(),
            started_at: None,
            sessions: 0,
            cpu: Cpu { limit: 1.0, used: None },
            memory: Amount { limit: 8 << 30, used: None },
            processes: Amount { limit: 512, used: None },
            disk: None,
            last_stop: Some(LastStop { seconds_ago: 90, reason: texts::FROM_OUTSIDE.to_owned() }),
            ..running()
        };
        assert_snapshot!(stopped.text(), @"
        box        sshbox-alice
        state      stopped
        image      sshbox-user:latest
        sessions   0 of 50, connections 1 of 20
        cpu        up to 1 core
        memory     up to 8.0 GiB
        tasks      up to 512
        idle stop  30m after the last session or connection
        last stop  1m 30s ago: it was stopped from outside, by an admin or by the container engine
        ");
        let idle = BoxStatus {
            sessions: 0,
            connections: 0,
            stops_at: Some("2026-03-01T12:30:00Z".to_owned()),
            ..running()
        };
        assert!(idle.text().contains(&format!("idle stop  at 2026-03-01T12:30:00Z, 30m {LAST_USE}\n")));
    }

    #[test]
    fn f35_a_box_that_never_stops_says_so() {
        let mut status = running();
        (status.sessions, status.connections) = (0, 0);
        status.idle_for(Some(Duration::from_secs(60)), None, SystemTime::UNIX_EPOCH);
        assert!(status.never_stops() && status.stops_at.is_none());
        assert!(status.text().contains("\nidle stop  never\n"), "{}", status.text());
        assert!(serde_json::to_string(&status).unwrap().contains(r#""idle_timeout_seconds":null"#));
    }

    #[test]
    fn f35_absurd_times_are_left_open() {
        let day = Duration::from_secs(86_400);
        for (idle, timeout, now) in [
            (Duration::ZERO, Duration::MAX, SystemTime::UNIX_EPOCH + day),
            (Duration::ZERO, day * 366 * 9999, SystemTime::UNIX_EPOCH + day),
            (Duration::MAX, day, SystemTime::UNIX_EPOCH + day),
            // A clock that was never set.
            (day, Duration::ZERO, SystemTime::UNIX_EPOCH - day),
        ] {
            let mut status = BoxStatus { sessions: 0, connections: 0, ..running() };
            status.idle_for(Some(idle), Some(timeout), now);
            assert!(status.stops_at.is_none() || status.idle_since.is_none(), "{status:?}");
        }
        let mut status = running();
        status.runs_since("9999-12-31T23:59:59Z", SystemTime::UNIX_EPOCH);
        assert_eq!(status.up_seconds, None);
    }

    #[test]
    fn json_for_programs() {
        assert_snapshot!(serde_json::to_string_pretty(&running()).unwrap(), @r#"
        {
          "box": "sshbox-alice",
          "state": "running",
          "started_at": "2026-03-01T10:00:00Z",
          "up_seconds": 7512,
          "image": "sshbox-user:latest",
          "sessions": 2,
          "sessions_limit": 50,
          "connections": 1,
          "connections_limit": 20,
          "cpu": {
            "limit": 2.0,
            "used": 0.25
          },
          "memory": {
            "limit": 8589934592,
            "used": 536870912
          },
          "processes": {
            "limit": 512,
            "used": 12
          },
          "disk": {
            "used": 12884901888,
            "free": 85899345920,
            "limit": null
          },
          "idle_timeout_seconds": 1800,
          "idle_since": null,
          "stops_at": null,
          "last_stop": null
        }
        "#);
        let again: BoxStatus = serde_json::from_str(&serde_json::to_string(&running()).unwrap()).unwrap();
        assert_eq!(again, running());
    }
}
