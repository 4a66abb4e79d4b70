//! What the container's SSH server runs `sshbox-init` for: the list of keys, and each session, which gets
//! the environment of all other sessions.

use super::container_user::ContainerUser;
use super::environment::{Environment, Variables};
use super::inner_settings::{self, SITE};
use super::inner_sshd::{HANDED_ON, INIT, OF_CONNECTION, SESSION, decode};
use super::program;
use super::starting_directory::StartingDirectory;
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

/// Prints the accepted key, for sshd's `AuthorizedKeysCommand`. A third argument names the file with sshd's
/// settings, which sshd has read: remove it.
pub fn print_key(arguments: &[OsString]) -> ExitCode {
    let (kind, key) = match arguments {
        [kind, key] => (kind, key),
        [kind, key, settings] => {
            inner_settings::remove(settings);
            (kind, key)
        }
        _ => return ExitStatus::Usage.code().into(),
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
    let site = env::var_os(SITE).and_then(|text| inner_settings::decode(text.as_bytes())).unwrap_or_default();
    let environment = Environment::new(image, &client.collect(), &site.variables, &user);
    let directory = StartingDirectory::choose(site.directory.as_deref(), &user.home);
    let run = Run::of(env::var_os("SSH_ORIGINAL_COMMAND").map(OsString::into_vec));
    if run == Run::Shell && io::stderr().is_terminal() {
        for note in [environment.terminal_note(), directory.note].into_iter().flatten() {
            let _ = writeln!(io::stderr(), "{note}");
        }
    }
    let failed = match program::command(&run, &environment, &site, &user) {
        Ok(mut command) => {
            command.current_dir(&directory.path);
            let error = command.env_clear().envs(&environment.variables).exec();
            program::start_failure(&error, command.get_program())
        }
        Err(reason) => reason,
    };
    let _ = writeln!(io::stderr(), "sshbox: {failed}");
    ExitStatus::Unavailable.code().into()
}
