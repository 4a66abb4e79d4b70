//! Sessions that a hostile init never starts, starts with an invalid reply, or refuses.

use super::{
    Connection, ExpectedEnd, INVALID_REPLY, NO_ANSWER, START_LIMIT, STEP_LIMIT, Streams, WENT_AWAY, case,
    pty, refuse, run_cases,
};
use session::wire::hello;
use std::fs::File;
use std::os::fd::AsFd;

#[test]
fn a10_an_init_that_never_starts_a_session() {
    run_cases(
        "never",
        START_LIMIT,
        true,
        &[
            case("silence", Streams::Both, WENT_AWAY, Connection::wait_for_close),
            case("the connection is closed at once", Streams::Both, WENT_AWAY, |_| {}),
            case("garbage for a hello", Streams::Both, WENT_AWAY, |session| {
                session.send_packet(&[0xff; 500], &[]);
                session.wait_for_close();
            }),
            case("a hello that is too long", Streams::Pipes, WENT_AWAY, |session| {
                session.send_packet(&[b"hello=".as_slice(), &vec![b'x'; 204_000]].concat(), &[]);
                session.wait_for_close();
            }),
            case("a hello byte by byte", Streams::Pipes, WENT_AWAY, |session| {
                for byte in b"hello=1\0" {
                    session.send_packet(&[*byte], &[]);
                }
                session.wait_for_close();
            }),
            case("hello and nothing", Streams::Both, NO_ANSWER, |session| {
                session.handshake();
                session.wait_for_close();
            }),
            case("hello without listening", Streams::Pipes, NO_ANSWER, |session| {
                session.send(&hello(b"user"));
                session.wait_for_close();
            }),
            case("hello, then the connection is closed", Streams::Both, WENT_AWAY, Connection::handshake),
            case("a reply that is too long", Streams::Both, WENT_AWAY, |session| {
                session.handshake();
                session.send_packet(&[b"failed=".as_slice(), &vec![b'x'; 204_000]].concat(), &[]);
                session.wait_for_close();
            }),
        ],
    );
}

#[test]
fn a10_an_init_that_sends_invalid_replies() {
    run_cases(
        "nonsense",
        STEP_LIMIT,
        false,
        &[
            case("an unknown reply", Streams::Both, INVALID_REPLY, |session| {
                session.handshake();
                session.send_packet(b"welcome=\0", &[]);
                session.wait_for_close();
            }),
            case("random bytes", Streams::Both, INVALID_REPLY, |session| {
                session.handshake();
                session.send_packet(&[0x1b; 3000], &[]);
                session.wait_for_close();
            }),
            case("a reply byte by byte", Streams::Both, INVALID_REPLY, |session| {
                session.handshake();
                for byte in b"started=\0" {
                    session.send_packet(&[*byte], &[]);
                }
                session.wait_for_close();
            }),
            case("an exit before the start", Streams::Both, INVALID_REPLY, |session| {
                session.handshake();
                session.send_packet(b"exited=0\0", &[]);
                session.wait_for_close();
            }),
            case("hello without end", Streams::Both, INVALID_REPLY, |session| {
                while !session.is_closed() && session.send_packet(b"hello=1\0", &[]) {}
            }),
            case("a flood of the longest packets", Streams::Both, INVALID_REPLY, |session| {
                session.send(&hello(b"user"));
                while !session.is_closed() && session.send_packet(&vec![b'x'; 199_000], &[]) {}
            }),
            case("no terminal though one was requested", Streams::Terminal, INVALID_REPLY, |session| {
                session.reply_started(&[]);
            }),
            case("a terminal that was not requested", Streams::Pipes, INVALID_REPLY, |session| {
                session.start_with_master(pty().0);
            }),
            case(
                "three file descriptors that were not requested",
                Streams::Pipes,
                INVALID_REPLY,
                |session| {
                    let null = File::open("/dev/null").unwrap();
                    session.reply_started(&[null.as_fd(); 3]);
                    session.wait_for_close();
                },
            ),
            case("sixteen file descriptors with a hello", Streams::Both, INVALID_REPLY, |session| {
                let null = File::open("/dev/null").unwrap();
                session.send_packet(b"hello=1\0", &[null.as_fd(); 16]);
                session.receive();
                session.send_packet(b"what=\0", &[null.as_fd(); 16]);
                session.wait_for_close();
            }),
        ],
    );
}

#[test]
fn a10_a14_a_refusal_reaches_the_terminal_as_plain_text() {
    run_cases(
        "refusal",
        STEP_LIMIT,
        false,
        &[
            case(
                "escapes",
                Streams::Both,
                ExpectedEnd::Message(69, r"\x1b]0;owned\x07\x1b[31mred\xc2\x9b2J"),
                |session| {
                    // A C1 control character in UTF-8, since the text must be valid UTF-8.
                    refuse(session, "\x1b]0;owned\x07\x1b[31mred\u{9b}2J".as_bytes());
                },
            ),
            case(
                "lines of its own",
                Streams::Both,
                ExpectedEnd::Message(69, r"one\x0d\x0asshbox: two"),
                |session| {
                    refuse(session, b"one\r\nsshbox: two");
                },
            ),
            case(
                "a NUL in the middle",
                Streams::Both,
                ExpectedEnd::Message(69, "sshbox: before (ref "),
                |session| {
                    refuse(session, b"before\0behind");
                },
            ),
            case(
                "a right-to-left override",
                Streams::Both,
                ExpectedEnd::Message(69, r"\xe2\x80\xae"),
                |session| {
                    refuse(session, "\u{202e}evil".as_bytes());
                },
            ),
            case("no text at all", Streams::Both, INVALID_REPLY, |session| {
                refuse(session, b"\xff\xfe\x1b[2J");
            }),
            case("190 KB", Streams::Both, ExpectedEnd::Message(69, "\\x1b\\x1b..."), |session| {
                refuse(session, &vec![0x1b; 190_000]);
            }),
            case("an empty text", Streams::Both, ExpectedEnd::Message(69, "sshbox: "), |session| {
                refuse(session, b"");
            }),
        ],
    );
}
