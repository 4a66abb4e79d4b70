//! What the container's SSH server runs `sshbox-init` for: the list of keys, and each session, which gets
//! the environment of all other sessions.

use super::container_user::ContainerUser;
use super::environment::{Environment, Variables};
use super::inner_sshd::{HANDED_ON, INIT, OF_CONNECTION, SESSION, decode};
use super::program;
use crate::exit::ExitStatus;
use crate::variables::is_passed_on;
use crate::wire::Run;
use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

/// Variables that sshd sets for a session, beside those of its client.
const OF_SSHD: [&str; 3] = ["SSH_TTY", "SSH_AUTH_SOCK", "DISPLAY"];

/// Prints the accepted key, for sshd's `AuthorizedKeysCommand`.
pub fn print_key(arguments: &[OsString]) -> ExitCode {
    let [kind, key] = arguments else {
        return ExitStatus::Usage.code().into();
    };
    let line = format!("command=\"exec {INIT} {SESSION}\" {} {}\n", kind.display(), key.display());
    match io::stdout().write_all(line.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitStatus::Internal.code().into(),
    }
}

/// Replaces this process by the program of a session. sshd runs it in place of the client's command.
pub fn exec() -> ExitCode {
    let Some(handed_on) = env::var_os(HANDED_ON).and_then(|text| decode(text.as_bytes())) else {
        return ExitStatus::Usage.code().into();
    };
    let (connection, image): (Variables, Variables) =
        handed_on.into_iter().partition(|(name, _)| OF_CONNECTION.contains(&name.as_slice()));
    let client = env::vars_os().filter(|(name, value)| {
        OF_SSHD.iter().any(|known| name == known) || is_passed_on(name.as_bytes(), value.as_bytes())
    });
    let client = client.map(|(name, value)| (name.into_vec(), value.into_vec())).chain(connection);
    let user = ContainerUser::of_this_process();
    let image = image.into_iter().map(|(name, value)| (OsString::from_vec(name), OsString::from_vec(value)));
    let environment = Environment::new(image, &client.collect(), &user);
    let run = Run::of(env::var_os("SSH_ORIGINAL_COMMAND").map(OsString::into_vec));
    if run == Run::Shell
        && io::stderr().is_terminal()
        && let Some(note) = environment.terminal_note()
    {
        let _ = writeln!(io::stderr(), "{note}");
    }
    let failed = match program::command(&run, &environment, &user) {
        Ok(mut command) => {
            let error = command.env_clear().envs(&environment.variables).exec();
            program::start_failure(&error, command.get_program())
        }
        Err(reason) => reason,
    };
    let _ = writeln!(io::stderr(), "sshbox: {failed}");
    ExitStatus::Unavailable.code().into()
}
