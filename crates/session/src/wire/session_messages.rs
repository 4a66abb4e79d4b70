//! Messages on `init.sock`: the request of `sshbox-shell` for one session, and the replies of
//! `sshbox-init`.

use super::VERSION;
use super::fields::Fields;
use super::site_settings::SiteSettings;

/// The command that stands for the file transfer subsystem, see `Subsystem` in `sshd_config.d`.
pub const SFTP: &str = "internal-sftp";

/// The first message of `sshbox-init`, with the name of the container's user. `sshbox-shell` sends
/// nothing before it has arrived: a frozen container would keep a command and sshd's pipes, and run
/// the command when its caller has long gone.
#[must_use]
pub fn hello(user: &[u8]) -> Fields {
    Fields::default().with("hello", VERSION.as_bytes()).with("user", user)
}

/// Whether this is the first message of an init.
#[must_use]
pub fn is_hello(fields: &Fields) -> bool {
    fields.get("hello").is_some()
}

/// The request of `sshbox-shell` to start a session. Without a terminal, file descriptors 0, 1 and 2
/// travel beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to run.
    pub run: Run,
    /// Variables from the client.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the site gives to the session.
    pub site: SiteSettings,
    /// The terminal, if the client has one: its size and its modes, as `tty` writes them.
    pub terminal: Option<(String, String)>,
    /// Whether the session gets a socket for the agent of the client.
    pub agent: bool,
}

/// What a session runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// The login shell.
    Shell,
    /// A command for the user's shell.
    Command(Vec<u8>),
    /// The file transfer server.
    Sftp,
    /// An SSH server that accepts this key, `type base64`.
    Sshd(String),
}

impl Run {
    /// From the client's command, which sshd passes in `SSH_ORIGINAL_COMMAND`.
    #[must_use]
    pub fn of(original: Option<Vec<u8>>) -> Self {
        match original {
            None => Self::Shell,
            Some(command) if command == SFTP.as_bytes() => Self::Sftp,
            Some(command) => Self::Command(command),
        }
    }
}

/// Sent by `sshbox-shell` when it has the exit status and its client is still connected. If the
/// connection ends without it, the client has vanished, and the init hangs up the rest of the session.
#[must_use]
pub fn goodbye() -> Fields {
    Fields::default().with("goodbye", b"")
}

impl From<&Request> for Fields {
    fn from(request: &Request) -> Self {
        let fields = Self::default().with("sshbox", VERSION.as_bytes());
        let mut fields = match &request.run {
            Run::Shell => fields.with("ask", b"shell"),
            Run::Sftp => fields.with("ask", b"sftp"),
            Run::Command(command) => fields.with("ask", b"command").with("command", command),
            Run::Sshd(key) => fields.with("ask", b"sshd").with("key", key.as_bytes()),
        };
        if let Some((size, modes)) = &request.terminal {
            fields = fields.with("size", size.as_bytes()).with("modes", modes.as_bytes());
        }
        if request.agent {
            fields = fields.with("agent", b"");
        }
        for (name, value) in &request.environment {
            fields = fields.with("env", &[name, &b"="[..], value].concat());
        }
        request.site.add_to(fields)
    }
}

impl Request {
    /// Parses a request; `None` when it is not a known one.
    #[must_use]
    pub fn parse(fields: &Fields) -> Option<Self> {
        let run = match fields.get("ask")? {
            b"shell" => Run::Shell,
            b"sftp" => Run::Sftp,
            b"command" => Run::Command(fields.get("command")?.to_vec()),
            b"sshd" => Run::Sshd(fields.text("key")?.to_owned()),
            _ => return None,
        };
        let environment = fields.iter().filter(|(name, _)| *name == b"env").filter_map(|(_, value)| {
            let at = value.iter().position(|byte| *byte == b'=')?;
            let (name, value) = value.split_at(at);
            Some((name.to_vec(), value.get(1..)?.to_vec()))
        });
        let terminal = fields
            .text("size")
            .map(|size| (size.to_owned(), fields.text("modes").unwrap_or_default().to_owned()));
        let site = SiteSettings::of(fields);
        let agent = fields.get("agent").is_some();
        Some(Self { run, environment: environment.collect(), site, terminal, agent })
    }
}

/// A reply of `sshbox-init`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The program has started. The master of its terminal travels beside it.
    Started {
        /// Whether the socket for the agent travels beside it as well, after the master. It listens, and each
        /// connection to it is one to the agent.
        agent: bool,
    },
    /// The program exited with this status.
    Exited(u8),
    /// This signal killed the program.
    Killed(i32),
    /// The kernel killed the program because the container was out of memory.
    OutOfMemory,
    /// The program could not be started; the text is for the user.
    Failed(String),
}

impl From<&Reply> for Fields {
    fn from(reply: &Reply) -> Self {
        match reply {
            Reply::Started { agent: false } => Self::default().with("started", b""),
            Reply::Started { agent: true } => Self::default().with("started", b"").with("agent", b""),
            Reply::Exited(status) => Self::default().with("exited", status.to_string().as_bytes()),
            Reply::Killed(signal) => Self::default().with("killed", signal.to_string().as_bytes()),
            Reply::OutOfMemory => Self::default().with("killed", b"9").with("memory", b""),
            Reply::Failed(text) => Self::default().with("failed", text.as_bytes()),
        }
    }
}

impl Reply {
    /// Parses a reply; `None` when it is not a known one.
    #[must_use]
    pub fn parse(fields: &Fields) -> Option<Self> {
        match fields.iter().next()?.0 {
            b"started" => Some(Self::Started { agent: fields.get("agent").is_some() }),
            b"exited" => fields.parse("exited").map(Self::Exited),
            b"killed" if fields.get("memory").is_some() => Some(Self::OutOfMemory),
            b"killed" => fields.parse("killed").map(Self::Killed),
            b"failed" => Some(Self::Failed(fields.text("failed")?.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(request: &Request) {
        assert_eq!(Request::parse(&Fields::from(request)).as_ref(), Some(request));
    }

    #[test]
    fn requests_survive_with_every_byte_that_can_occur() {
        let every: Vec<u8> = (1..=255).collect();
        let of = |run| Request {
            run,
            environment: vec![],
            site: SiteSettings::default(),
            terminal: None,
            agent: false,
        };
        round_trip(&of(Run::Sftp));
        round_trip(&of(Run::Sshd("ssh-ed25519 AAAA".to_owned())));
        round_trip(&Request {
            run: Run::Command(every.clone()),
            environment: vec![(b"LC_ALL".to_vec(), every.clone()), (b"LANG".to_vec(), vec![])],
            site: SiteSettings {
                variables: vec![(b"TOKEN".to_vec(), every.clone())],
                directory: Some(every),
            },
            terminal: Some(("24:80:0:0".to_owned(), "1:2:3:4:5".to_owned())),
            agent: true,
        });
    }

    #[test]
    fn replies_survive() {
        for reply in [
            Reply::Started { agent: false },
            Reply::Started { agent: true },
            Reply::Exited(255),
            Reply::Killed(9),
            Reply::OutOfMemory,
            Reply::Failed("no".to_owned()),
        ] {
            assert_eq!(Reply::parse(&Fields::from(&reply)), Some(reply));
        }
    }

    #[test]
    fn programs_that_know_no_agent_understand_those_that_do() {
        // As earlier releases sent them.
        let request = Request::parse(&Fields::from_bytes(b"sshbox=1\0ask=shell\0".to_vec())).unwrap();
        assert!(!request.agent);
        let started = Reply::parse(&Fields::from_bytes(b"started=\0".to_vec()));
        assert_eq!(started, Some(Reply::Started { agent: false }));
        // Earlier releases look at the first field of a reply only, and skip fields of a request.
        let reply = Fields::from(&Reply::Started { agent: true });
        assert_eq!(reply.iter().next().unwrap().0, b"started");
    }

    #[test]
    fn a10_garbage_is_no_reply() {
        for garbage in [
            &b""[..],
            b"\0\0\0",
            b"exited=256\0",
            b"exited=\0",
            b"killed=x\0",
            b"started",
            b"=\0",
            b"failed=\xff\0",
        ] {
            assert_eq!(Reply::parse(&Fields::from_bytes(garbage.to_vec())), None, "{garbage:?}");
            assert_eq!(Request::parse(&Fields::from_bytes(garbage.to_vec())), None, "{garbage:?}");
        }
    }
}
