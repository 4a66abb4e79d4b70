//! The account source: the web app over HTTP, or a file. One question, one answer, within
//! one deadline. The HTTP client is named in this file only.

use host::account::{self, Answer, BadBody, Format, Parsed};
use host::config::{AccountsConfig, InsecureFile, check_owner};
use identity::Login;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Longest body that is read, in bytes: a hundred RSA keys take half of it.
const BODY_MAX: u64 = 256 * 1024;

/// Longest token file that is read, in bytes.
const TOKEN_MAX: u64 = 4096;

/// Why there is no answer. The cached account serves then.
#[derive(Debug)]
pub enum SourceError {
    /// No answer within the deadline.
    Timeout(Duration),
    /// The host has no thread for the question.
    Thread(io::Error),
    /// The question could not be asked, or the answer not read.
    Http(Box<ureq::Error>),
    /// An answer with a status that says nothing of the user.
    Status(u16),
    /// Neither JSON nor plain text.
    ContentType(String),
    /// What it says is no account.
    Body(BadBody),
    /// A file that the question needs could not be read.
    Read(PathBuf, io::Error),
    /// A file that others can change.
    Insecure(PathBuf, InsecureFile),
    /// The token is no single line of printable ASCII.
    Token(PathBuf),
    /// The CA file holds no certificate.
    Authorities(PathBuf),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(limit) => write!(f, "no answer within {limit:?}"),
            Self::Thread(_) => f.write_str("no thread can be started to ask the web app"),
            Self::Http(_) => f.write_str("the web app cannot be asked"),
            Self::Status(401) => f.write_str("the web app does not accept our token (HTTP 401)"),
            Self::Status(status) => write!(f, "the web app answered HTTP {status}"),
            Self::ContentType(kind) => write!(f, "the web app answered with content type \"{kind}\""),
            Self::Body(_) => f.write_str("the web app's answer cannot be used"),
            Self::Read(path, _) => write!(f, "cannot read {}", path.display()),
            Self::Insecure(path, _) => write!(f, "{} is not safe to use", path.display()),
            Self::Token(path) => write!(f, "{} holds no token: one line of printable ASCII", path.display()),
            Self::Authorities(path) => write!(f, "{} holds no certificate", path.display()),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Http(error) => Some(&**error),
            Self::Body(error) => Some(error),
            Self::Read(_, error) | Self::Thread(error) => Some(error),
            Self::Insecure(_, error) => Some(error),
            _ => None,
        }
    }
}

/// Asks for `login` once, within `timeout`.
///
/// # Errors
/// [`SourceError`]: no answer. A refusal is an answer.
pub fn ask(config: &AccountsConfig, login: &Login, timeout: Duration) -> Result<Parsed, SourceError> {
    reply(config, login, timeout).answer
}

/// A reply of the account source.
#[derive(Debug)]
pub struct SourceReply {
    /// HTTP status; `None` for a file, and without a reply.
    pub status: Option<u16>,
    /// What it says of the user.
    pub answer: Result<Parsed, SourceError>,
}

/// Asks as [`ask`] does, and returns the HTTP status as well.
#[must_use]
pub fn reply(config: &AccountsConfig, login: &Login, timeout: Duration) -> SourceReply {
    let url = config.url.fill(login);
    if let Some(path) = url.strip_prefix("file://") {
        return SourceReply { status: None, answer: ask_file(Path::new(path), login) };
    }
    let (config, login) = (config.clone(), login.clone());
    within(timeout, move || {
        let response = get(&config, &url)?;
        let status = Some(response.status().as_u16());
        Ok(SourceReply { status, answer: parse(response, &login) })
    })
    .unwrap_or_else(|error| SourceReply { status: None, answer: Err(error) })
}

/// The client's own deadlines do not cover every step (looking a name up can hang in the C
/// library) and cost a thread each, so the whole call gets one, from outside. The thread
/// ends with the program, a moment later.
fn within<T: Send + 'static>(
    timeout: Duration,
    call: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().spawn(move || {
        // Nobody listens any more once the deadline is over.
        let _ = sender.send(call());
    });
    thread.map_err(SourceError::Thread)?;
    receiver.recv_timeout(timeout).unwrap_or(Err(SourceError::Timeout(timeout)))
}

/// Whether all is there that a question needs of this host: the token, and the authorities.
///
/// # Errors
/// [`SourceError`], without having asked anybody.
pub fn prepared(config: &AccountsConfig) -> Result<(), SourceError> {
    if config.url.scheme() == "file" {
        return Ok(());
    }
    token(&config.token_file)?;
    agent(config, config.url.scheme() == "https").map(drop)
}

fn ask_file(path: &Path, login: &Login) -> Result<Parsed, SourceError> {
    match read(path, BODY_MAX) {
        Ok(body) => account::parse(login, Format::Lines, &body).map_err(SourceError::Body),
        Err(SourceError::Read(_, error)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(refused("no key file"))
        }
        Err(error) => Err(error),
    }
}

fn get(config: &AccountsConfig, url: &str) -> Result<Response<Body>, SourceError> {
    let agent = agent(config, url.starts_with("https://"))?;
    let mut request = agent.get(url).header(header::ACCEPT, "application/json, text/plain");
    if let Some(token) = token(&config.token_file)? {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    request.call().map_err(http)
}

fn parse(mut response: Response<Body>, login: &Login) -> Result<Parsed, SourceError> {
    match response.status() {
        StatusCode::OK => {}
        StatusCode::FORBIDDEN => return Ok(refused("HTTP 403")),
        StatusCode::NOT_FOUND => return Ok(refused("HTTP 404")),
        StatusCode::GONE => return Ok(refused("HTTP 410")),
        other => return Err(SourceError::Status(other.as_u16())),
    }
    let format = match response.body().mime_type() {
        Some("application/json") => Format::Json,
        Some("text/plain") => Format::Lines,
        other => {
            let kind = session::escape::printable(other.unwrap_or("none").as_bytes());
            return Err(SourceError::ContentType(kind));
        }
    };
    let body = response.body_mut().with_config().limit(BODY_MAX).read_to_vec().map_err(http)?;
    account::parse(login, format, &body).map_err(SourceError::Body)
}

fn http(error: ureq::Error) -> SourceError {
    SourceError::Http(Box::new(error))
}

fn refused(reason: &'static str) -> Parsed {
    Parsed { answer: Answer::Refused(reason), left_out: Vec::new(), bounded: None }
}

/// No redirect (the token would travel), no proxy from the environment, no compression.
fn agent(config: &AccountsConfig, tls: bool) -> Result<Agent, SourceError> {
    let mut builder = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .accept_encoding("identity")
        .user_agent(concat!("sshbox/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(16 * 1024);
    if tls {
        let roots = authorities(&config.ca_file)?;
        builder = builder.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    Ok(builder.build().new_agent())
}

fn authorities(path: &Path) -> Result<RootCerts, SourceError> {
    let pem = read(path, 1 << 22)?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(SourceError::Authorities(path.to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The Bearer token, a type that does not show itself.
struct Token(String);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn token(path: &Path) -> Result<Option<Token>, SourceError> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = read(path, TOKEN_MAX)?;
    let token = text.trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(SourceError::Token(path.to_owned()));
    }
    Ok(Some(Token(String::from_utf8_lossy(token).into_owned())))
}

/// Reads a file that nobody but root and ourselves can change.
fn read(path: &Path, longest: u64) -> Result<Vec<u8>, SourceError> {
    let failed = |error| SourceError::Read(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    check_owner(&file).map_err(|error| SourceError::Insecure(path.to_owned(), error))?;
    let mut text = Vec::new();
    file.take(longest.saturating_add(1)).read_to_end(&mut text).map_err(failed)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > longest {
        return Err(failed(io::Error::other("the file is too long")));
    }
    Ok(text)
}
