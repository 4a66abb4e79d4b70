//! The account source: the web app over HTTP, or a file. One request has one reply, within one
//! deadline. Only this file uses the HTTP client.

use host::account::{self, InvalidReply, ParsedReply, REPLY_MAX, ReplyFormat, TOO_LONG};
use host::config::AccountsConfig;
use host::trusted_file::{self, UntrustedFile};
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

/// Longest token file, in bytes.
const TOKEN_MAX: u64 = 4096;

/// Longest CA file, in bytes.
const CA_FILE_MAX: u64 = 1 << 22;

/// Why there is no usable reply. The caller then uses the cached account.
#[derive(Debug)]
pub enum SourceError {
    /// No reply within the deadline.
    Timeout(Duration),
    /// Starting a thread for the request failed.
    Thread(io::Error),
    /// Sending the request or receiving the reply failed.
    Http(Box<ureq::Error>),
    /// The HTTP status says nothing about the user.
    Status(u16),
    /// The content type is neither JSON nor plain text.
    ContentType(String),
    /// The body is not a valid account.
    Body(InvalidReply),
    /// Reading a file failed.
    Read(PathBuf, io::Error),
    /// Another user can change this file.
    Untrusted(PathBuf, UntrustedFile),
    /// The token file does not hold one line of printable ASCII.
    Token(PathBuf),
    /// The CA file holds no certificate.
    NoCertificate(PathBuf),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(limit) => write!(f, "no answer within {limit:?}"),
            Self::Thread(_) => f.write_str("cannot start a thread to ask the web app"),
            Self::Http(_) => f.write_str("the web app cannot be asked"),
            Self::Status(401) => f.write_str("the web app rejects the token (HTTP 401)"),
            Self::Status(status) => write!(f, "the web app answered HTTP {status}"),
            Self::ContentType(kind) => write!(f, "the web app answered with content type \"{kind}\""),
            Self::Body(_) => f.write_str("the web app's answer is not valid"),
            Self::Read(path, _) => write!(f, "cannot read {}", path.display()),
            Self::Untrusted(path, _) => write!(f, "{} is not safe to use", path.display()),
            Self::Token(path) => {
                write!(f, "{} does not hold a token: one line of printable ASCII", path.display())
            }
            Self::NoCertificate(path) => write!(f, "{} holds no certificate", path.display()),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Http(error) => Some(&**error),
            Self::Body(error) => Some(error),
            Self::Read(_, error) | Self::Thread(error) => Some(error),
            Self::Untrusted(_, error) => Some(error),
            _ => None,
        }
    }
}

impl SourceError {
    /// Whether the account source was not reached, so that a question about another user would hardly fare
    /// better. Any other error may be about this user alone.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Thread(_) => true,
            Self::Http(error) => matches!(
                **error,
                ureq::Error::Io(_)
                    | ureq::Error::Timeout(_)
                    | ureq::Error::HostNotFound
                    | ureq::Error::ConnectionFailed
                    | ureq::Error::Tls(_)
                    | ureq::Error::Rustls(_)
            ),
            _ => false,
        }
    }
}

/// A reply of the account source.
#[derive(Debug)]
pub struct SourceReply {
    /// HTTP status; `None` for a file, and if there is no reply.
    pub status: Option<u16>,
    /// What the reply says of the user. A refusal is `Ok`.
    pub account: Result<ParsedReply, SourceError>,
}

/// Request the account of `login` once, within `timeout`.
#[must_use]
pub fn request(config: &AccountsConfig, login: &Login, timeout: Duration) -> SourceReply {
    let url = config.url.fill(login);
    if let Some(path) = url.strip_prefix("file://") {
        return SourceReply { status: None, account: read_key_file(Path::new(path), login) };
    }
    let (config, login) = (config.clone(), login.clone());
    with_deadline(timeout, move || {
        let response = get(&config, &url)?;
        let status = Some(response.status().as_u16());
        Ok(SourceReply { status, account: parse_response(response, &login) })
    })
    .unwrap_or_else(|error| SourceReply { status: None, account: Err(error) })
}

/// Run `call` in a thread and wait for at most `timeout`.
///
/// The HTTP client's own deadlines start a thread each and do not cover name resolution, which can
/// hang in the C library. A thread that misses the deadline ends with the program.
fn with_deadline<T: Send + 'static>(
    timeout: Duration,
    call: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().spawn(move || {
        // Fails only after the deadline, when the receiver is gone.
        let _ = sender.send(call());
    });
    thread.map_err(SourceError::Thread)?;
    receiver.recv_timeout(timeout).unwrap_or(Err(SourceError::Timeout(timeout)))
}

/// Check the files that a request needs: the token and the CA file. Sends nothing.
///
/// # Errors
/// [`SourceError`].
pub fn check_files(config: &AccountsConfig) -> Result<(), SourceError> {
    if config.url.scheme() == "file" {
        return Ok(());
    }
    read_token(&config.token_file)?;
    http_agent(config, config.url.scheme() == "https").map(drop)
}

fn read_key_file(path: &Path, login: &Login) -> Result<ParsedReply, SourceError> {
    match read(path, REPLY_MAX) {
        Ok(body) => account::parse(login, ReplyFormat::KeyLines, &body).map_err(SourceError::Body),
        Err(SourceError::Read(_, error)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(ParsedReply::refused("no key file"))
        }
        Err(SourceError::Read(_, error)) if error.kind() == io::ErrorKind::FileTooLarge => {
            Ok(ParsedReply::refused(TOO_LONG))
        }
        Err(error) => Err(error),
    }
}

fn get(config: &AccountsConfig, url: &str) -> Result<Response<Body>, SourceError> {
    let agent = http_agent(config, url.starts_with("https://"))?;
    let mut request = agent.get(url).header(header::ACCEPT, "application/json, text/plain");
    if let Some(token) = read_token(&config.token_file)? {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.0));
    }
    request.call().map_err(http_error)
}

fn parse_response(mut response: Response<Body>, login: &Login) -> Result<ParsedReply, SourceError> {
    match response.status() {
        StatusCode::OK => {}
        StatusCode::FORBIDDEN => return Ok(ParsedReply::refused("HTTP 403")),
        StatusCode::NOT_FOUND => return Ok(ParsedReply::refused("HTTP 404")),
        StatusCode::GONE => return Ok(ParsedReply::refused("HTTP 410")),
        other => return Err(SourceError::Status(other.as_u16())),
    }
    let format = match response.body().mime_type() {
        Some("application/json") => ReplyFormat::Json,
        Some("text/plain") => ReplyFormat::KeyLines,
        other => {
            let kind = session::escape::printable(other.unwrap_or("none").as_bytes());
            return Err(SourceError::ContentType(kind));
        }
    };
    match response.body_mut().with_config().limit(REPLY_MAX).read_to_vec() {
        Ok(body) => account::parse(login, format, &body).map_err(SourceError::Body),
        Err(ureq::Error::BodyExceedsLimit(_)) => Ok(ParsedReply::refused(TOO_LONG)),
        Err(error) => Err(http_error(error)),
    }
}

fn http_error(error: ureq::Error) -> SourceError {
    SourceError::Http(Box::new(error))
}

/// An HTTP client that follows no redirect, which would send the token elsewhere, takes no proxy
/// from the environment, and accepts no compression.
fn http_agent(config: &AccountsConfig, tls: bool) -> Result<Agent, SourceError> {
    let mut builder = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .accept_encoding("identity")
        .user_agent(concat!("sshbox/", env!("CARGO_PKG_VERSION")))
        .max_response_header_size(16 * 1024);
    if tls {
        let roots = read_certificates(&config.ca_file)?;
        builder = builder.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    Ok(builder.build().new_agent())
}

fn read_certificates(path: &Path) -> Result<RootCerts, SourceError> {
    let pem = read(path, CA_FILE_MAX)?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(SourceError::NoCertificate(path.to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The Bearer token. Without `Debug` and `Display`, so that no message can contain it.
struct Token(String);

fn read_token(path: &Path) -> Result<Option<Token>, SourceError> {
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

/// Read a file that only root and the program's own user can change.
fn read(path: &Path, max_length: u64) -> Result<Vec<u8>, SourceError> {
    let failed = |error| SourceError::Read(path.to_owned(), error);
    let file = File::open(path).map_err(failed)?;
    trusted_file::check(&file).map_err(|error| SourceError::Untrusted(path.to_owned(), error))?;
    let mut text = Vec::new();
    file.take(max_length.saturating_add(1)).read_to_end(&mut text).map_err(failed)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > max_length {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(text)
}
