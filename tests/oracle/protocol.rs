//! The protocol itself (RFC 4254), for what the client does not show: which signal a program died of, and the
//! order of messages. A client that holds a connection lets others speak over it, unencrypted, through its
//! socket (PROTOCOL.mux of OpenSSH, "proxy"); this is such another.

use crate::subject::Connection;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a whole session may take.
const PATIENCE: Duration = Duration::from_secs(60);

const HELLO: u32 = 1;
const PROXY: u32 = 0x1000_000f;
const PROXY_GRANTED: u32 = 0x8000_000f;
const VERSION: u32 = 4;

const OPEN: u8 = 90;
const OPENED: u8 = 91;
const WINDOW: u8 = 93;
const DATA: u8 = 94;
const EXTENDED_DATA: u8 = 95;
const EOF: u8 = 96;
const CLOSE: u8 = 97;
const REQUEST: u8 = 98;
const SUCCESS: u8 = 99;
const FAILURE: u8 = 100;

/// What the server says of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Room for some bytes more.
    Window,
    Out(Vec<u8>),
    Err(Vec<u8>),
    Eof,
    Close,
    Status(u32),
    /// Name, and whether there is a core.
    Signal(String, bool),
    /// Another request, like `eow@openssh.com`.
    Other(String),
    Success,
    Failure,
}

/// One session, seen as messages.
pub struct Channel {
    stream: UnixStream,
    /// The server's number of the session.
    number: u32,
    /// How many bytes the server has been ready to take until now, in all.
    pub window: u64,
    end: Instant,
    _connection: Connection,
}

impl Channel {
    pub fn open() -> Self {
        let connection = Connection::open();
        let mut stream = UnixStream::connect(&connection.path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        send(&mut stream, &[word(HELLO), word(VERSION)].concat());
        assert_eq!(number(&receive(&mut stream), 0), HELLO);
        send(&mut stream, &[word(PROXY), word(7)].concat());
        assert_eq!(receive(&mut stream), [word(PROXY_GRANTED), word(7)].concat());
        let mut channel =
            Self { stream, number: 0, window: 0, end: Instant::now() + PATIENCE, _connection: connection };
        // Our window never closes, so that only the server's is of interest.
        channel.packet(OPEN, &[string(b"session"), word(0), word(u32::MAX / 2), word(32768)].concat());
        let packet = channel.packet_heard();
        assert_eq!(packet[0], OPENED, "{packet:?}");
        channel.number = number(&packet, 5);
        channel.window = u64::from(number(&packet, 9));
        channel
    }

    /// A request that wants an answer.
    pub fn request(&mut self, name: &str, payload: &[u8]) {
        let body = [word(self.number), string(name.as_bytes()), vec![1], payload.to_vec()].concat();
        self.packet(REQUEST, &body);
    }

    /// Asks for a command, and expects a yes.
    pub fn exec(&mut self, command: &str) {
        self.request("exec", &string(command.as_bytes()));
        let answer = self.hears();
        assert_eq!(answer, Message::Success, "{command}");
    }

    pub fn data(&mut self, bytes: &[u8]) {
        let body = [word(self.number), string(bytes)].concat();
        self.packet(DATA, &body);
    }

    pub fn eof(&mut self) {
        self.packet(EOF, &word(self.number));
    }

    pub fn close(&mut self) {
        self.packet(CLOSE, &word(self.number));
    }

    fn next(&mut self) -> Message {
        assert!(Instant::now() < self.end, "the session does not end");
        let packet = self.packet_heard();
        let body = &packet[5..];
        match packet[0] {
            WINDOW => {
                self.window += u64::from(number(body, 0));
                Message::Window
            }
            DATA => Message::Out(bytes(body).to_vec()),
            EXTENDED_DATA => Message::Err(bytes(&body[4..]).to_vec()),
            EOF => Message::Eof,
            CLOSE => Message::Close,
            SUCCESS => Message::Success,
            FAILURE => Message::Failure,
            REQUEST => {
                let name = String::from_utf8(bytes(body).to_vec()).unwrap();
                let rest = &body[4 + name.len() + 1..];
                match &*name {
                    "exit-status" => Message::Status(number(rest, 0)),
                    "exit-signal" => {
                        let signal = bytes(rest);
                        let name = String::from_utf8(signal.to_vec()).unwrap();
                        Message::Signal(name, rest[4 + signal.len()] != 0)
                    }
                    _ => Message::Other(name),
                }
            }
            other => panic!("message {other}: {packet:?}"),
        }
    }

    /// The next message, without those that come at any time: windows, and questions whether one lives.
    pub fn hears(&mut self) -> Message {
        loop {
            let message = self.next();
            let alive = Message::Other("keepalive@openssh.com".to_owned());
            if !matches!(message, Message::Window) && message != alive {
                return message;
            }
        }
    }

    /// All up to the server's close, which is answered; output that came in pieces is one.
    pub fn rest(&mut self) -> Vec<Message> {
        let mut all: Vec<Message> = Vec::new();
        loop {
            let message = self.hears();
            match (all.last_mut(), &message) {
                (Some(Message::Out(before)), Message::Out(more))
                | (Some(Message::Err(before)), Message::Err(more)) => before.extend(more),
                _ => all.push(message.clone()),
            }
            if message == Message::Close {
                return all;
            }
        }
    }

    /// The output up to the server's close.
    pub fn output(&mut self) -> Vec<u8> {
        let output = self.rest().into_iter().filter_map(|message| match message {
            Message::Out(bytes) => Some(bytes),
            _ => None,
        });
        output.flatten().collect()
    }

    /// Hears of windows, until there is none for this long.
    pub fn windows(&mut self, silence: Duration) {
        self.stream.set_read_timeout(Some(silence)).unwrap();
        let mut first = [0];
        while rustix::net::recv(&self.stream, &mut first, rustix::net::RecvFlags::PEEK).is_ok() {
            assert_eq!(self.next(), Message::Window);
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    fn packet(&mut self, kind: u8, body: &[u8]) {
        // The length of the padding, which there is none of, comes first.
        send(&mut self.stream, &[&[0, kind], body].concat());
    }

    fn packet_heard(&mut self) -> Vec<u8> {
        receive(&mut self.stream)[1..].to_vec()
    }
}

fn send(stream: &mut UnixStream, bytes: &[u8]) {
    stream.write_all(&string(bytes)).unwrap();
}

fn receive(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut packet = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut packet).unwrap();
    packet
}

/// A number as the protocol has it.
pub fn word(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Bytes with their count before them.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&word(u32::try_from(bytes.len()).unwrap()), bytes].concat()
}

fn number(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(packet[at..at + 4].try_into().unwrap())
}

fn bytes(packet: &[u8]) -> &[u8] {
    &packet[4..4 + number(packet, 0) as usize]
}
