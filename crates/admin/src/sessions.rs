//! `sshbox sessions`: the open SSH sessions, with client address and command.

use super::output::{self, Format};
use super::parse_login;
use clap::Args;
use host::sys::ssh_sessions::{self, Session};
use identity::Login;
use serde::Serialize;
use session::clock;
use session::exit::{ExitStatus, Failure};
use session::presence::RUN;
use session::proxies::Proxies;
use session::times::rfc3339;
use session::wire;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// List open sessions
#[derive(Debug, Args)]
pub struct Arguments {
    /// List only this user's sessions
    #[arg(value_parser = parse_login)]
    user: Option<Login>,
    #[command(flatten)]
    format: Format,
}

const TITLES: [&str; 7] = ["SESSION", "USER", "SINCE", "FROM", "TERMINAL", "PID", "WHAT"];

/// A session as `--json` prints it.
#[derive(Debug, Serialize)]
struct SessionEntry {
    session: String,
    user: String,
    /// Start, RFC 3339; `None` if that time lies outside the calendar.
    since: Option<String>,
    /// Client address, or that of a proxy.
    from: String,
    /// Whether `from` is the address of a trusted proxy.
    proxy: bool,
    terminal: bool,
    pid: i32,
    /// `shell`, `command`, `sftp`, or a special command such as `@sshd`.
    what: String,
    /// The command line, if the client sent one.
    command: Option<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments, _config: &Path) -> Result<ExitCode, Failure> {
    let sessions =
        ssh_sessions::list().map_err(|error| Failure::because(ExitStatus::TryAgain, "", &error))?;
    let (wall, boot) = (SystemTime::now(), clock::boottime());
    let proxies = Proxies::read(Path::new(RUN));
    let sessions = sessions
        .into_iter()
        .filter(|session| arguments.user.as_ref().is_none_or(|user| *user == session.login))
        .map(|session| entry(session, &proxies, wall, boot));
    if arguments.format.json {
        return output::print_json(&sessions.collect::<Vec<_>>());
    }
    let rows: Vec<_> = sessions.map(|session| row(session, wall)).collect();
    output::print_table(&TITLES, &rows)
}

fn entry(session: Session, proxies: &Proxies, wall: SystemTime, boot: Duration) -> SessionEntry {
    let began = wall.checked_sub(boot.saturating_sub(session.began())).unwrap_or(wall);
    let (what, command) = classify(session.command.as_deref());
    SessionEntry {
        session: session.id.to_string(),
        user: session.login.to_string(),
        since: rfc3339(began),
        terminal: session.terminal,
        pid: session.pid(),
        proxy: session.from.parse().is_ok_and(|address| proxies.contain(address)),
        from: session.from,
        what,
        command,
    }
}

/// The fields `what` and `command`, by the rules by which `sshbox-shell` reads a command.
fn classify(command: Option<&[u8]>) -> (String, Option<String>) {
    let Some(command) = command else { return ("shell".to_owned(), None) };
    let text = String::from_utf8_lossy(command).into_owned();
    match command {
        _ if command == wire::SFTP.as_bytes() => ("sftp".to_owned(), None),
        [b'@', ..] => (text, None),
        _ => ("command".to_owned(), Some(text)),
    }
}

fn row(session: SessionEntry, now: SystemTime) -> Vec<String> {
    vec![
        session.session,
        session.user,
        output::relative_time(session.since.as_deref(), now),
        if session.proxy { format!("{} (proxy)", session.from) } else { session.from },
        if session.terminal { "yes" } else { "no" }.to_owned(),
        session.pid.to_string(),
        session.command.unwrap_or(session.what),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn one_row_for_each_kind_of_session() {
        let wall = humantime::parse_rfc3339("2026-03-01T12:00:00Z").unwrap();
        let boot = Duration::from_secs(1000);
        let proxies = Proxies { subnets: vec![("192.0.2.64".parse().unwrap(), 26)], ports: Vec::new() };
        let commands: [Option<&[u8]>; 5] =
            [None, Some(b"make -j2"), Some(b"internal-sftp"), Some(b"@sshd"), Some(b"echo '\x1b[2J\xff\"")];
        let rows: Vec<_> = commands
            .into_iter()
            .enumerate()
            .map(|(at, command)| {
                let session = Session {
                    id: format!("{}-{:x}", 4711 + at, 990_000 - 100_000 * at).parse().unwrap(),
                    login: parse_login("alice").unwrap(),
                    from: if at == 1 { "192.0.2.70" } else { "192.0.2.9" }.to_owned(),
                    terminal: command.is_none(),
                    command: command.map(<[u8]>::to_vec),
                };
                row(entry(session, &proxies, wall, boot), wall)
            })
            .collect();
        assert_snapshot!(output::format_table(&TITLES, &rows, false), @r#"
        SESSION     USER   SINCE       FROM                TERMINAL  PID   WHAT
        4711-f1b30  alice  10s ago     192.0.2.9           yes       4711  shell
        4712-d9490  alice  1m 50s ago  192.0.2.70 (proxy)  no        4712  make -j2
        4713-c0df0  alice  3m 30s ago  192.0.2.9           no        4713  sftp
        4714-a8750  alice  5m 10s ago  192.0.2.9           no        4714  @sshd
        4715-900b0  alice  6m 50s ago  192.0.2.9           no        4715  echo '\x1b[2J\xef\xbf\xbd\"
        "#);
    }
}
