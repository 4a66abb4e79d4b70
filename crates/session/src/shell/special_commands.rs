//! Special commands: `@status` and the others that a user types in place of a command. All but `@sshd`
//! and `@config` work without the container, so they work when it is broken.

use super::audit;
use super::connect::{ask, greeted_init, lock_failed, show_start};
use super::login_key::login_key;
use crate::authorized_key::AuthorizedKey;
use crate::box_status;
use crate::deadlines::TURN;
use crate::escape::printable;
use crate::exit::{ExitStatus, Failure};
use crate::presence::{LoginAnswer, RUN, UserRuntimeDir};
use crate::texts::{self, Server};
use crate::waiting::Waiting;
use crate::wire::{Run, Verb};
use identity::Login;
use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

/// A command that sshbox itself carries out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialCommand {
    /// Print lines for the user's `ssh_config`.
    Config,
    /// List the special commands.
    Help,
    /// List the keys that log in.
    Keys,
    /// Stop and start the box.
    Restart,
    /// Describe the box, as JSON or as text.
    Status { json: bool },
    /// Stop the box.
    Stop,
}

/// What a command that begins with `@` requests.
pub enum Parsed {
    /// A special command.
    Special(SpecialCommand),
    /// A session with this program.
    Session(Run),
}

/// Parses a command that begins with `@`.
pub fn parse(command: &[u8]) -> Result<Parsed, Failure> {
    let words: Vec<&[u8]> = command.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    let special = match words[..] {
        [b"@config"] => SpecialCommand::Config,
        [b"@help"] => SpecialCommand::Help,
        [b"@keys"] => SpecialCommand::Keys,
        [b"@restart"] => SpecialCommand::Restart,
        [b"@status"] => SpecialCommand::Status { json: false },
        [b"@status", b"--json"] => SpecialCommand::Status { json: true },
        [b"@stop"] => SpecialCommand::Stop,
        [b"@sshd"] => return sshd().map(Parsed::Session),
        _ => {
            let advice = texts::unknown_special_command(&printable(command));
            return Err(Failure::new(ExitStatus::Usage, advice));
        }
    };
    Ok(Parsed::Special(special))
}

/// An SSH server in the container that accepts the key of this login.
fn sshd() -> Result<Run, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::new(ExitStatus::Usage, texts::SSHD_WITHOUT_TERMINAL));
    }
    let key = login_key().ok_or_else(|| Failure::new(ExitStatus::Config, texts::SSHD_WITHOUT_KEY))?;
    Ok(Run::Sshd(key.line().to_owned()))
}

/// Carries a command out, prints what it says, and returns the exit status.
pub fn run(command: SpecialCommand, login: &Login) -> Result<u8, Failure> {
    let output = match command {
        SpecialCommand::Stop | SpecialCommand::Restart if !confirmed(command, login) => {
            let _ = writeln!(io::stdout(), "{}", texts::NOTHING_DONE);
            return Ok(1);
        }
        // Needs no other program, so it waits for no turn.
        SpecialCommand::Help => carry_out(command, login)?,
        _ => {
            let _turn = match UserRuntimeDir::of(Path::new(RUN), login).turn_to_ask(TURN) {
                // No session of this user since boot, so none holds the lock.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                turn => Some(turn.map_err(|error| lock_failed(&error))?),
            };
            carry_out(command, login)?
        }
    };
    // A client that has closed its end does not need the output.
    let _ = io::stdout().write_all(output.as_bytes());
    Ok(0)
}

/// Carries a command out and returns its output.
fn carry_out(command: SpecialCommand, login: &Login) -> Result<String, Failure> {
    match command {
        SpecialCommand::Help => {
            let answer = UserRuntimeDir::of(Path::new(RUN), login).login_answer();
            let forwards_ports = matches!(answer, Some(LoginAnswer::Accepted { forward: Some(_), .. }));
            Ok(texts::help(login.as_str(), server(&connection()), forwards_ports))
        }
        SpecialCommand::Config => {
            Ok(texts::config(login.as_str(), &container_user(login)?, server(&connection())))
        }
        SpecialCommand::Keys => keys(login),
        SpecialCommand::Status { json } => status_of(login, json),
        SpecialCommand::Stop => {
            let ran = stop(login, Verb::Stop)?;
            Ok(format!("{}\n", if ran { texts::STOPPED } else { texts::NOT_RUNNING }))
        }
        SpecialCommand::Restart => {
            stop(login, Verb::Restart)?;
            let waiting = show_start();
            ask(login, Verb::Wake, waiting.as_ref())?;
            // This connection is one of them.
            let connections =
                UserRuntimeDir::of(Path::new(RUN), login).open_connections().unwrap_or_default();
            let text = if connections > 1 { texts::RESTARTED_UNDER_CONNECTIONS } else { texts::RESTARTED };
            Ok(format!("{text}\n"))
        }
    }
}

/// The name that the admin may have set (`SetEnv SSHBOX_HOST=…`), and sshd's `SSH_CONNECTION`.
fn connection() -> (Option<String>, String) {
    (env::var("SSHBOX_HOST").ok(), env::var("SSH_CONNECTION").unwrap_or_default())
}

/// How clients reach this server: by the admin's name, else by the address of this connection.
fn server((name, connection): &(Option<String>, String)) -> Server<'_> {
    // "client port server port", see ssh(1).
    let mut parts = connection.split(' ').skip(2);
    let (address, port) = (parts.next().unwrap_or("HOST"), parts.next().unwrap_or("2200"));
    let is_plain = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte))
    };
    Server { host: name.as_deref().filter(is_plain).unwrap_or(address), port }
}

/// Name of the container's user. It comes from the container, so it must look like a name.
fn container_user(login: &Login) -> Result<String, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let mut hello = greeted_init(&runtime_dir);
    if hello.is_none() {
        let waiting = show_start();
        ask(login, Verb::Wake, waiting.as_ref())?;
        hello = greeted_init(&runtime_dir);
    }
    let (_, user) = hello.ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::NO_ANSWER))?;
    let user = Login::parse(&user)
        .map_err(|error| Failure::because(ExitStatus::Unavailable, texts::INVALID_REPLY, &error))?;
    Ok(user.as_str().to_owned())
}

fn status_of(login: &Login, json: bool) -> Result<String, Failure> {
    let reply = ask(login, Verb::Status, None)?;
    let status: box_status::BoxStatus = serde_json::from_slice(reply.get("box").unwrap_or_default())
        .map_err(|error| Failure::because(ExitStatus::Internal, texts::WAKE_FAILED, &error))?;
    if !json {
        return Ok(status.text());
    }
    let json = serde_json::to_string_pretty(&status)
        .map_err(|error| Failure::because(ExitStatus::Internal, texts::WAKE_FAILED, &error))?;
    Ok(json + "\n")
}

fn keys(login: &Login) -> Result<String, Failure> {
    let reply = ask(login, Verb::Keys, None)?;
    let lines = reply.iter().filter(|(name, _)| *name == b"key");
    let keys: Vec<AuthorizedKey> =
        lines.filter_map(|(_, line)| AuthorizedKey::parse(std::str::from_utf8(line).ok()?).ok()).collect();
    // A comment is untrusted text.
    let comments: Vec<String> = keys.iter().map(|key| printable(key.comment().as_bytes())).collect();
    let listed: Vec<_> = keys
        .iter()
        .zip(&comments)
        .map(|(key, comment)| (key.kind(), key.fingerprint(), comment.as_str()))
        .collect();
    let used = login_key();
    let used = used.as_ref().map(AuthorizedKey::fingerprint).unwrap_or_default();
    let left_out = reply.parse("left_out").unwrap_or_default();
    Ok(texts::keys(&listed, used, left_out, reply.text("managed").unwrap_or_default()))
}

/// Stops the box; returns whether it ran.
fn stop(login: &Login, verb: Verb) -> Result<bool, Failure> {
    let waiting = Waiting::begin(texts::STOPPING, audit::cancelled);
    Ok(ask(login, verb, waiting.as_ref())?.get("stopped") == Some(b"1"))
}

/// Asks the user on a terminal; without one the command itself is the consent.
fn confirmed(command: SpecialCommand, login: &Login) -> bool {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return true;
    }
    let sessions = UserRuntimeDir::of(Path::new(RUN), login).open_sessions().unwrap_or_default();
    let verb = if command == SpecialCommand::Stop { "Stop" } else { "Restart" };
    let _ = write!(io::stderr(), "{}", texts::question(verb, sessions));
    let mut answer = String::new();
    let _ = stdin.read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(text: &str) -> Option<SpecialCommand> {
        match parse(text.as_bytes()) {
            Ok(Parsed::Special(command)) => Some(command),
            _ => None,
        }
    }

    #[test]
    fn special_commands_are_parsed_and_others_refused() {
        assert_eq!(special("@status"), Some(SpecialCommand::Status { json: false }));
        assert_eq!(special("@status  --json "), Some(SpecialCommand::Status { json: true }));
        assert_eq!(special("@stop"), Some(SpecialCommand::Stop));
        assert_eq!(special("@keys"), Some(SpecialCommand::Keys));
        for other in ["@", "@stauts", "@stop now", "@status --jsn", "@STOP", "@\u{202e}"] {
            assert_eq!(special(other), None, "{other}");
        }
    }

    #[test]
    fn a14_an_unknown_command_is_shown_harmless() {
        let Err(failure) = parse(b"@st\x1b[31matus now") else { panic!("it is no special command") };
        assert_eq!(failure.status, ExitStatus::Usage);
        assert!(failure.advice.starts_with(r"unknown command @st\x1b[31matus now; available: @config, "));
    }

    #[test]
    fn the_server_is_named_as_its_admin_says_or_by_its_address() {
        let of = |name: Option<&str>, connection: &str| {
            let connection = (name.map(str::to_owned), connection.to_owned());
            let Server { host, port } = server(&connection);
            format!("{host} {port}")
        };
        assert_eq!(of(None, "10.0.0.9 50000 192.0.2.1 2200"), "192.0.2.1 2200");
        assert_eq!(of(Some("box.example.org"), "10.0.0.9 50000 2001:db8::1 22"), "box.example.org 22");
        assert_eq!(of(Some("x; rm -rf ~"), "10.0.0.9 50000 192.0.2.1 2200"), "192.0.2.1 2200");
        assert_eq!(of(Some(""), ""), "HOST 2200");
    }
}
