//! A refusal for SFTP clients. sshd discards the stderr of a subsystem, so a line there never reaches
//! the user of `sftp` or `scp`. `sftp` and most libraries show the errors of a server: this server
//! replies to every request with the refusal. It speaks version 3 of the protocol, as all clients do
//! (draft-ietf-secsh-filexfer-02).

use std::io::{self, Read, Write};

/// Requests that get a reply before the connection is closed; a client gives up after one or two.
const REQUESTS: usize = 1000;

/// Longest request, in bytes: that of OpenSSH's own server (`SFTP_MAX_MSG_LENGTH`).
const LONGEST: u32 = 256 * 1024;

const INIT: u8 = 1;
const VERSION: u8 = 2;
const STATUS: u8 = 101;
const FAILURE: u32 = 4;

/// Replies until the client closes the connection.
///
/// # Errors
/// The I/O error; `InvalidData` when the client does not speak the protocol.
pub fn serve(mut from: impl Read, mut to: impl Write, text: &str) -> io::Result<()> {
    for _ in 0..REQUESTS {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if !(5..=LONGEST).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut head = [0; 5];
        from.read_exact(&mut head)?;
        io::copy(&mut from.by_ref().take(u64::from(length) - 5), &mut io::sink())?;
        let [kind, number @ ..] = head;
        let reply = if kind == INIT { version() } else { status(number, text) };
        let length = u32::try_from(reply.len()).map_err(io::Error::other)?;
        to.write_all(&[&length.to_be_bytes(), &*reply].concat())?;
        to.flush()?;
    }
    Ok(())
}

fn version() -> Vec<u8> {
    [&[VERSION][..], &3_u32.to_be_bytes()].concat()
}

fn status(number: [u8; 4], text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or_default().to_be_bytes();
    [&[STATUS][..], &number, &FAILURE.to_be_bytes(), &length, text.as_bytes(), &[0; 4]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_gets_the_refusal() {
        let init = [0, 0, 0, 5, INIT, 0, 0, 0, 3];
        // SSH_FXP_REALPATH, number 7, ".".
        let realpath = [0, 0, 0, 10, 16, 0, 0, 0, 7, 0, 0, 0, 1, b'.'];
        let mut answer = Vec::new();
        let end = serve(&*[&init[..], &realpath].concat(), &mut answer, "no").unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        let version = [0, 0, 0, 5, VERSION, 0, 0, 0, 3];
        let status = [0, 0, 0, 19, STATUS, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 2, b'n', b'o', 0, 0, 0, 0];
        assert_eq!(answer, [&version[..], &status].concat());
    }

    #[test]
    fn an_invalid_request_ends_the_connection() {
        for wrong in [&[0, 0, 0, 4, INIT, 0, 0, 0][..], &[0xff; 64], &[0; 64]] {
            assert_eq!(serve(wrong, io::sink(), "no").unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
