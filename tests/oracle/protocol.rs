//! The SSH connection protocol (RFC 4254), for what the client does not show: the signal that ended a program,
//! and the order of messages. A client that holds a connection lets other programs use it, unencrypted, through
//! its control socket ("proxy" in OpenSSH's PROTOCOL.mux); this module is such a program.

use crate::subject::Connection;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Upper bound for a whole session.
const TIMEOUT: Duration = Duration::from_secs(60);

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

/// A message from the server about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Window adjustment: the server accepts more bytes.
    Window,
    Out(Vec<u8>),
    Err(Vec<u8>),
    Eof,
    Close,
    Status(u32),
    /// Name of the signal, and whether the program dumped core.
    Signal(String, bool),
    /// Any other channel request, such as `eow@openssh.com`.
    Other(String),
    Success,
    Failure,
}

/// One session at the level of protocol messages.
pub struct Channel {
    stream: UnixStream,
    /// The channel number that the server has chosen.
    number: u32,
    /// Number of bytes that the server has allowed so far, in total.
    pub window: u64,
    deadline: Instant,
    _connection: Connection,
}

impl Channel {
    pub fn open() -> Self {
        let connection = Connection::open();
        let mut stream = UnixStream::connect(&connection.path).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        send(&mut stream, &[uint32(HELLO), uint32(VERSION)].concat());
        assert_eq!(uint32_at(&receive(&mut stream), 0), HELLO);
        send(&mut stream, &[uint32(PROXY), uint32(7)].concat());
        assert_eq!(receive(&mut stream), [uint32(PROXY_GRANTED), uint32(7)].concat());
        let mut channel = Self {
            stream,
            number: 0,
            window: 0,
            deadline: Instant::now() + TIMEOUT,
            _connection: connection,
        };
        // Our window never closes: only the server's matters here.
        channel.send_packet(
            OPEN,
            &[string(b"session"), uint32(0), uint32(u32::MAX / 2), uint32(32768)].concat(),
        );
        let packet = channel.receive_packet();
        assert_eq!(packet[0], OPENED, "{packet:?}");
        channel.number = uint32_at(&packet, 5);
        channel.window = u64::from(uint32_at(&packet, 9));
        channel
    }

    /// Sends a request that wants a reply.
    pub fn request(&mut self, name: &str, payload: &[u8]) {
        let body = [uint32(self.number), string(name.as_bytes()), vec![1], payload.to_vec()].concat();
        self.send_packet(REQUEST, &body);
    }

    /// Requests a command and expects success.
    pub fn exec(&mut self, command: &str) {
        self.request("exec", &string(command.as_bytes()));
        let reply = self.next_message();
        assert_eq!(reply, Message::Success, "{command}");
    }

    pub fn data(&mut self, bytes: &[u8]) {
        let body = [uint32(self.number), string(bytes)].concat();
        self.send_packet(DATA, &body);
    }

    pub fn eof(&mut self) {
        self.send_packet(EOF, &uint32(self.number));
    }

    pub fn close(&mut self) {
        self.send_packet(CLOSE, &uint32(self.number));
    }

    fn next_of_any_kind(&mut self) -> Message {
        assert!(Instant::now() < self.deadline, "the session does not end");
        let packet = self.receive_packet();
        let body = &packet[5..];
        match packet[0] {
            WINDOW => {
                self.window += u64::from(uint32_at(body, 0));
                Message::Window
            }
            DATA => Message::Out(string_at_start(body).to_vec()),
            EXTENDED_DATA => Message::Err(string_at_start(&body[4..]).to_vec()),
            EOF => Message::Eof,
            CLOSE => Message::Close,
            SUCCESS => Message::Success,
            FAILURE => Message::Failure,
            REQUEST => {
                let name = String::from_utf8(string_at_start(body).to_vec()).unwrap();
                let rest = &body[4 + name.len() + 1..];
                match &*name {
                    "exit-status" => Message::Status(uint32_at(rest, 0)),
                    "exit-signal" => {
                        let signal = string_at_start(rest);
                        let name = String::from_utf8(signal.to_vec()).unwrap();
                        Message::Signal(name, rest[4 + signal.len()] != 0)
                    }
                    _ => Message::Other(name),
                }
            }
            other => panic!("message {other}: {packet:?}"),
        }
    }

    /// Next message, except those that may come at any time: window adjustments and keepalives.
    pub fn next_message(&mut self) -> Message {
        loop {
            let message = self.next_of_any_kind();
            let keepalive = Message::Other("keepalive@openssh.com".to_owned());
            if !matches!(message, Message::Window) && message != keepalive {
                return message;
            }
        }
    }

    /// All messages up to the server's close. Consecutive pieces of output are joined.
    pub fn messages_until_close(&mut self) -> Vec<Message> {
        let mut all: Vec<Message> = Vec::new();
        loop {
            let message = self.next_message();
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

    /// Output up to the server's close.
    pub fn output(&mut self) -> Vec<u8> {
        let output = self.messages_until_close().into_iter().filter_map(|message| match message {
            Message::Out(bytes) => Some(bytes),
            _ => None,
        });
        output.flatten().collect()
    }

    /// Receives window adjustments until none has come for this long.
    pub fn receive_windows(&mut self, silence: Duration) {
        self.stream.set_read_timeout(Some(silence)).unwrap();
        let mut first = [0];
        while rustix::net::recv(&self.stream, &mut first, rustix::net::RecvFlags::PEEK).is_ok() {
            assert_eq!(self.next_of_any_kind(), Message::Window);
        }
        self.stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    }

    fn send_packet(&mut self, kind: u8, body: &[u8]) {
        // The first byte is the length of the padding: there is none.
        send(&mut self.stream, &[&[0, kind], body].concat());
    }

    fn receive_packet(&mut self) -> Vec<u8> {
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

/// Encodes a uint32 (RFC 4251, section 5).
pub fn uint32(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// Encodes a string (RFC 4251, section 5): its length, then its bytes.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&uint32(u32::try_from(bytes.len()).unwrap()), bytes].concat()
}

fn uint32_at(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(packet[at..at + 4].try_into().unwrap())
}

fn string_at_start(packet: &[u8]) -> &[u8] {
    &packet[4..4 + uint32_at(packet, 0) as usize]
}
