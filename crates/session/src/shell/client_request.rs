//! What the client requests: sshd passes its command, its variables and its terminal.

use super::agent;
use super::special_commands::{self, Parsed, SpecialCommand};
use crate::exit::Failure;
use crate::texts;
use crate::tty;
use crate::variables::is_passed_on;
use crate::wire::{Fields, PACKET_MAX, Request, Run, SiteSettings};
use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;

/// Variables of sshd that describe the connection.
const CONNECTION: [&[u8]; 2] = [b"SSH_CLIENT", b"SSH_CONNECTION"];

/// The request of a client.
#[derive(Debug)]
pub(super) enum ClientRequest {
    /// A session in the container.
    Session(Request),
    /// A command for sshbox itself.
    Special(SpecialCommand),
}

/// Reads the request; `original` is `SSH_ORIGINAL_COMMAND`, `settings` what the site gives to this session.
pub(super) fn read(original: Option<OsString>, settings: SiteSettings) -> Result<ClientRequest, Failure> {
    let run = match Run::of(original.map(OsString::into_vec)) {
        Run::Command(command) if command.starts_with(b"@") => match special_commands::parse(&command)? {
            Parsed::Special(command) => return Ok(ClientRequest::Special(command)),
            Parsed::Session(run) => run,
        },
        run => run,
    };
    let environment = env::vars_os()
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .filter(|(name, value)| CONNECTION.contains(&name.as_slice()) || is_passed_on(name, value))
        .collect();
    let stdin = io::stdin();
    let terminal = stdin.is_terminal().then(|| {
        // A terminal whose size or modes cannot be read gets the kernel's defaults.
        let size = tty::size(stdin.as_fd()).unwrap_or_default();
        (size, tty::modes(stdin.as_fd()).unwrap_or_default())
    });
    let agent = agent::is_forwarded(&run);
    Ok(ClientRequest::Session(Request { run, environment, site: settings, terminal, agent }))
}

/// Why a request does not fit into a packet; `None` if it fits. A command alone always fits: sshd cannot
/// pass a longer one (`MAX_ARG_STRLEN`, execve(2)).
pub(super) fn too_long(request: &Request) -> Option<String> {
    if Fields::from(request).length() <= PACKET_MAX {
        return None;
    }
    let variables = request.environment.iter().chain(&request.site.variables);
    let length = variables.map(|(name, value)| name.len() + 1 + value.len()).sum();
    Some(texts::environment_too_long(length, PACKET_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_that_is_too_long_is_named_and_no_command_is() {
        let of = |command: usize, variables: &[usize]| {
            let environment =
                variables.iter().map(|length| (b"LC_X".to_vec(), vec![b'x'; *length])).collect();
            let site = SiteSettings {
                variables: vec![(b"SITE".to_vec(), vec![b'x'; 1000])],
                ..SiteSettings::default()
            };
            let run = Run::Command(vec![b'x'; command]);
            too_long(&Request { run, environment, site, terminal: None, agent: false })
        };
        assert_eq!(of(131_071, &[]), None);
        assert_eq!(of(1, &[131_000, 60_000]), None);
        for (command, variables) in [(1, [100_000, 100_000]), (131_000, [40_000, 40_000])] {
            let refused = of(command, &variables).unwrap();
            assert!(
                refused.starts_with("the variables that your client and your site send are "),
                "{refused}"
            );
        }
    }

    #[test]
    fn sshd_says_what_to_run() {
        for (original, run) in [
            (None, Run::Shell),
            (Some("internal-sftp"), Run::Sftp),
            (Some("internal-sftp "), Run::Command(b"internal-sftp ".to_vec())),
            (Some("ls | wc"), Run::Command(b"ls | wc".to_vec())),
        ] {
            let Ok(ClientRequest::Session(request)) =
                read(original.map(OsString::from), SiteSettings::default())
            else {
                panic!("no session")
            };
            assert_eq!(request.run, run);
        }
    }
}
