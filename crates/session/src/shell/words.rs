//! Words that are for sshbox itself: `@status` and its like, typed in place of a command. All
//! but `@sshd` and `@config` do without the box, so they work when it is broken.

use super::{SessionEnd, ask, audit, hello_of, no_entry};
use crate::authorized_key::AuthorizedKey;
use crate::box_status;
use crate::deadlines::TURN;
use crate::escape::printable;
use crate::exit::{ExitStatus, Failure};
use crate::presence::{RUN, UserRuntimeDir};
use crate::texts::{self, Server};
use crate::waiting::Waiting;
use crate::wire::{Run, Verb};
use identity::Login;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::{env, fs};

/// A word that is answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialCommand {
    /// Lines for the user's `ssh_config`.
    Config,
    /// All words.
    Help,
    /// The keys that log in.
    Keys,
    /// Stop and start.
    Restart,
    /// The box, as JSON or as text.
    Status { json: bool },
    /// Stop.
    Stop,
}

/// What a command that begins with `@` stands for.
pub enum Meaning {
    /// A word.
    Word(SpecialCommand),
    /// A session of its own kind.
    Run(Run),
}

/// Reads it.
pub fn parse(command: &[u8]) -> Result<Meaning, Failure> {
    let words: Vec<&[u8]> = command.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
    let word = match words[..] {
        [b"@config"] => SpecialCommand::Config,
        [b"@help"] => SpecialCommand::Help,
        [b"@keys"] => SpecialCommand::Keys,
        [b"@restart"] => SpecialCommand::Restart,
        [b"@status"] => SpecialCommand::Status { json: false },
        [b"@status", b"--json"] => SpecialCommand::Status { json: true },
        [b"@stop"] => SpecialCommand::Stop,
        [b"@sshd"] => return sshd().map(Meaning::Run),
        _ => return Err(Failure::new(ExitStatus::Usage, texts::unknown_word(&printable(command)))),
    };
    Ok(Meaning::Word(word))
}

/// An SSH server for the key that sshd has just let in.
fn sshd() -> Result<Run, Failure> {
    if io::stdin().is_terminal() {
        return Err(Failure::new(ExitStatus::Usage, texts::SSHD_WITHOUT_TERMINAL));
    }
    let key = key_of_login().ok_or_else(|| Failure::new(ExitStatus::Config, texts::SSHD_WITHOUT_KEY))?;
    Ok(Run::Sshd(key.line().to_owned()))
}

/// The key with which sshd has let this login in.
pub(super) fn key_of_login() -> Option<AuthorizedKey> {
    key_of(&fs::read_to_string(env::var_os("SSH_USER_AUTH")?).ok()?)
}

/// The key in what sshd wrote for `ExposeAuthInfo`: one line `method details` for each method.
fn key_of(methods: &str) -> Option<AuthorizedKey> {
    let line = methods.lines().find_map(|line| line.strip_prefix("publickey "))?;
    AuthorizedKey::parse(line).ok()
}

/// Answers it.
pub fn answer(word: SpecialCommand, login: &Login) -> Result<SessionEnd, Failure> {
    let said = match word {
        SpecialCommand::Stop | SpecialCommand::Restart if !agreed(word, login) => {
            let _ = writeln!(io::stdout(), "{}", texts::NOTHING_DONE);
            return Ok(SessionEnd::Exited(1));
        }
        // Needs nobody, and so waits for nobody.
        SpecialCommand::Help => have_done(word, login)?,
        _ => {
            let _turn = match UserRuntimeDir::of(Path::new(RUN), login).turn_to_ask(TURN) {
                // Nobody of this name was here since boot, so nobody can be in the way.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                turn => Some(turn.map_err(|error| no_entry(&error))?),
            };
            have_done(word, login)?
        }
    };
    // A client that does not read any more does not need it.
    let _ = io::stdout().write_all(said.as_bytes());
    Ok(SessionEnd::Exited(0))
}

/// Has it done, and returns what to say.
fn have_done(word: SpecialCommand, login: &Login) -> Result<String, Failure> {
    match word {
        SpecialCommand::Help => Ok(texts::help(login.as_str(), server(&connection()))),
        SpecialCommand::Config => Ok(texts::config(login.as_str(), &person(login)?, server(&connection()))),
        SpecialCommand::Keys => keys(login),
        SpecialCommand::Status { json } => status_of(login, json),
        SpecialCommand::Stop => {
            let ran = stop(login, Verb::Stop)?;
            Ok(format!("{}\n", if ran { texts::STOPPED } else { texts::NOT_RUNNING }))
        }
        SpecialCommand::Restart => {
            stop(login, Verb::Restart)?;
            let _waiting = Waiting::begin(texts::STARTING, audit::cancelled);
            ask(login, Verb::Wake)?;
            Ok(format!("{}\n", texts::RESTARTED))
        }
    }
}

/// How the client got here: what sshd says, and what the admin may have set.
fn connection() -> (Option<String>, String) {
    (env::var("SSHBOX_HOST").ok(), env::var("SSH_CONNECTION").unwrap_or_default())
}

/// The name that the admin gave the server (`SetEnv SSHBOX_HOST=…`), else the address that the
/// client reached; and the port.
fn server((name, connection): &(Option<String>, String)) -> Server<'_> {
    // "client port server port", see ssh(1).
    let mut words = connection.split(' ').skip(2);
    let (address, port) = (words.next().unwrap_or("HOST"), words.next().unwrap_or("2200"));
    let plain = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte))
    };
    Server { host: name.as_deref().filter(plain).unwrap_or(address), port }
}

/// The user of the box. The box says it, so it is believed only if it looks like one.
fn person(login: &Login) -> Result<String, Failure> {
    let runtime_dir = UserRuntimeDir::of(Path::new(RUN), login);
    let mut hello = hello_of(&runtime_dir);
    if hello.is_none() {
        let _waiting = Waiting::begin(texts::STARTING, audit::cancelled);
        ask(login, Verb::Wake)?;
        hello = hello_of(&runtime_dir);
    }
    let (_, user) = hello.ok_or_else(|| Failure::new(ExitStatus::TryAgain, texts::NO_ANSWER))?;
    let user = Login::parse(&user)
        .map_err(|error| Failure::because(ExitStatus::Unavailable, texts::NO_SENSE, &error))?;
    Ok(user.as_str().to_owned())
}

fn status_of(login: &Login, json: bool) -> Result<String, Failure> {
    let answer = ask(login, Verb::Status)?;
    let status: box_status::BoxStatus = serde_json::from_slice(answer.get("box").unwrap_or_default())
        .map_err(|error| Failure::because(ExitStatus::Internal, texts::WAKE_FAILED, &error))?;
    if !json {
        return Ok(status.text());
    }
    let json = serde_json::to_string_pretty(&status)
        .map_err(|error| Failure::because(ExitStatus::Internal, texts::WAKE_FAILED, &error))?;
    Ok(json + "\n")
}

fn keys(login: &Login) -> Result<String, Failure> {
    let answer = ask(login, Verb::Keys)?;
    let lines = answer.iter().filter(|(name, _)| *name == b"key");
    let keys: Vec<AuthorizedKey> =
        lines.filter_map(|(_, line)| AuthorizedKey::parse(std::str::from_utf8(line).ok()?).ok()).collect();
    // Comments come from outside.
    let comments: Vec<String> = keys.iter().map(|key| printable(key.comment().as_bytes())).collect();
    let listed: Vec<_> = keys
        .iter()
        .zip(&comments)
        .map(|(key, comment)| (key.kind(), key.fingerprint(), comment.as_str()))
        .collect();
    let used = key_of_login();
    let used = used.as_ref().map(AuthorizedKey::fingerprint).unwrap_or_default();
    let left_out = answer.parse("left_out").unwrap_or_default();
    Ok(texts::keys(&listed, used, left_out, answer.text("managed").unwrap_or_default()))
}

/// Stops the box; whether it ran.
fn stop(login: &Login, verb: Verb) -> Result<bool, Failure> {
    let _waiting = Waiting::begin(texts::STOPPING, audit::cancelled);
    Ok(ask(login, verb)?.get("stopped") == Some(b"1"))
}

/// Asks first, if there is somebody to ask.
fn agreed(word: SpecialCommand, login: &Login) -> bool {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return true;
    }
    let sessions = UserRuntimeDir::of(Path::new(RUN), login).sessions().unwrap_or_default();
    let verb = if word == SpecialCommand::Stop { "Stop" } else { "Restart" };
    let _ = write!(io::stderr(), "{}", texts::question(verb, sessions));
    let mut said = String::new();
    let _ = stdin.read_line(&mut said);
    matches!(said.trim(), "y" | "Y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Option<SpecialCommand> {
        match parse(text.as_bytes()) {
            Ok(Meaning::Word(word)) => Some(word),
            _ => None,
        }
    }

    #[test]
    fn words_are_read_and_others_refused() {
        assert_eq!(word("@status"), Some(SpecialCommand::Status { json: false }));
        assert_eq!(word("@status  --json "), Some(SpecialCommand::Status { json: true }));
        assert_eq!(word("@stop"), Some(SpecialCommand::Stop));
        assert_eq!(word("@keys"), Some(SpecialCommand::Keys));
        for other in ["@", "@stauts", "@stop now", "@status --jsn", "@STOP", "@\u{202e}"] {
            assert_eq!(word(other), None, "{other}");
        }
    }

    #[test]
    fn a14_an_unknown_word_is_shown_harmless() {
        let Err(failure) = parse(b"@st\x1b[31matus now") else { panic!("it is no word") };
        assert_eq!(failure.status, ExitStatus::Usage);
        assert!(failure.advice.starts_with(r"unknown word @st\x1b[31matus now; there are @config, "));
    }

    #[test]
    fn the_key_of_the_login_is_taken_and_nothing_else() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";
        let line = |methods: &str| key_of(methods).map(|key| key.line().to_owned());
        assert_eq!(line(&format!("publickey {key}\n")).as_deref(), Some(key));
        assert_eq!(line(&format!("password\npublickey {key}\n")).as_deref(), Some(key));
        assert_eq!(line("publickey command=\"x\" ssh-ed25519 AAAA\n"), None);
        assert_eq!(line(""), None);
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
