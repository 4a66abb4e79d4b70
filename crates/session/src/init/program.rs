//! The program of a session: which one, and how it starts on a terminal or on the client's pipes.

use super::agent_socket::{self, AgentSocket};
use super::container_user::ContainerUser;
use super::environment::Environment;
use super::home_space;
use super::inner_sshd;
use super::limits::Limits;
use super::own_cgroup;
use super::starting_directory::StartingDirectory;
use super::welcome;
use crate::process::spawn;
use crate::texts;
use crate::tty;
use crate::wire::{Request, Run, SiteSettings};
use nix::errno::Errno;
use nix::unistd::Pid;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where distributions install the file transfer server.
const SFTP_SERVERS: [&str; 4] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
];

/// The program of a session.
pub struct Started {
    /// Its pid.
    pub pid: Pid,
    /// The master of its terminal.
    pub master: Option<OwnedFd>,
    /// The socket for the client's agent, and the listening end of it.
    pub agent: Option<(AgentSocket, OwnedFd)>,
}

/// Starts the program of a request. An error is a text for the user.
pub fn start(
    request: &Request,
    fds: Vec<OwnedFd>,
    user: &ContainerUser,
    limits: Limits,
) -> Result<Started, String> {
    let environment =
        Environment::new(std::env::vars_os(), &request.environment, &request.site.variables, user);
    let directory = StartingDirectory::choose(request.site.directory.as_deref(), &user.home);
    let mut command = command(&request.run, &environment, &request.site, user)?;
    command.env_clear().envs(&environment.variables);
    command.current_dir(&directory.path);
    // A session without an agent is better than none. `sshbox-shell` tells the user.
    let agent =
        request.agent.then(|| AgentSocket::listen(Path::new(agent_socket::FOLDER))).and_then(Result::ok);
    if let Some((socket, _)) = &agent {
        command.env("SSH_AUTH_SOCK", socket.path());
    }
    let started = match &request.terminal {
        Some((size, modes)) => {
            let notes =
                if request.run == Run::Shell { notes(&environment, directory, user) } else { Vec::new() };
            let (master, slave) = tty::open(size, modes).map_err(|error| terminal_failure(&error, limits))?;
            on_terminal(&mut command, (master, slave), &notes, limits)
        }
        None => on_pipes(&mut command, fds, limits),
    };
    let (pid, master) = started.map_err(|error| start_failure(&error, command.get_program()))?;
    Ok(Started { pid, master, agent })
}

/// Why a terminal could not be opened, for the user. The kernel gives one error for two limits: that of the
/// container and that of the host (`kernel.pty.max`, pty(7)).
fn terminal_failure(error: &io::Error, limits: Limits) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        // The library turns ENOSPC into the error that POSIX has for this.
        Some(Errno::EAGAIN | Errno::ENOSPC) => texts::no_terminal_left(limits.terminals_in_use()),
        _ => texts::cannot_start(error),
    }
}

/// What is shown before a shell. A program that waits for a prompt uses a dumb terminal: it gets none.
fn notes(environment: &Environment, directory: StartingDirectory, user: &ContainerUser) -> Vec<u8> {
    if environment.variables.get(OsStr::new("TERM")).is_some_and(|kind| kind == "dumb") {
        return Vec::new();
    }
    let mut notes = welcome::new_text(Path::new(welcome::TEXT), &user.home).unwrap_or_default();
    let space = home_space::notice(Path::new(home_space::LIMITED), &user.home);
    for note in [space, environment.terminal_note(), directory.note].into_iter().flatten() {
        notes.extend(format!("{note}\n").into_bytes());
    }
    notes
}

fn on_terminal(
    command: &mut Command,
    (master, slave): (OwnedFd, OwnedFd),
    notes: &[u8],
    limits: Limits,
) -> io::Result<(Pid, Option<OwnedFd>)> {
    if !notes.is_empty() {
        // Shorter than the queue of a new terminal, so this does not block.
        let _ = rustix::io::write(&slave, notes);
    }
    command.env("SSH_TTY", OsStr::from_bytes(&tty::name(&slave)?));
    command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
    let pid = spawn(command, true, limits.open_files)?;
    // Close the copies of the slave here, or the terminal never ends.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok((pid, Some(master)))
}

fn on_pipes(command: &mut Command, fds: Vec<OwnedFd>, limits: Limits) -> io::Result<(Pid, Option<OwnedFd>)> {
    let Ok([stdin, stdout, stderr]) = <[OwnedFd; 3]>::try_from(fds) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let pid = spawn(command, false, limits.open_files)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok((pid, None))
}

/// The command of a session, as sshd would run it.
pub fn command(
    run: &Run,
    environment: &Environment,
    site: &SiteSettings,
    user: &ContainerUser,
) -> Result<Command, String> {
    match run {
        Run::Shell => {
            let name = user.shell.file_name().unwrap_or_default();
            let mut login_shell = OsString::from("-");
            login_shell.push(name);
            let mut command = Command::new(&user.shell);
            command.arg0(login_shell);
            Ok(command)
        }
        Run::Command(text) => {
            let mut command = Command::new(&user.shell);
            command.arg0(user.shell.file_name().unwrap_or_default());
            command.arg("-c").arg(OsStr::from_bytes(text));
            Ok(command)
        }
        Run::Sftp => SFTP_SERVERS
            .iter()
            .find(|path| Path::new(path).exists())
            .map(Command::new)
            .ok_or_else(|| texts::NO_SFTP_SERVER.to_owned()),
        Run::Sshd(key) => inner_sshd::command(key, environment, site, user),
    }
}

/// Why a program could not be started, for the user.
pub fn start_failure(error: &io::Error, program: &OsStr) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => texts::too_many_tasks(own_cgroup::tasks()),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            texts::no_program(&program.to_string_lossy())
        }
        _ => texts::cannot_start(error),
    }
}
