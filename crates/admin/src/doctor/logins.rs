//! Logins of the temporary users: with a wrong key, into a box, and with sftp.

use super::report::{CheckResult, fail, ok, skip};
use super::temporary_users::{TemporaryUsers, temporary_users};
use super::{Checked, Doctor, missing};
use session::deadlines::{HOST_PROGRAM, LOGIN};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// The command of the first login into a box. It prints the privileges of its process, the addresses and
/// routes of the box, and the security profile.
pub const INSPECT: &str = "cat /proc/self/status /etc/hosts /proc/net/route; \
    printf 'Profile:\\t%s\\n' \"$(cat /proc/self/attr/current 2>/dev/null)\"";

/// `port`: does sshbox's sshd answer at its port, with its own host keys, and refuse an unknown key?
pub fn port(doctor: &Doctor) -> Checked {
    let users = temporary_users(doctor)?;
    let server = users.client.server;
    let banner = match banner(server) {
        Ok(banner) if banner.starts_with("SSH-2.0-") => banner,
        Ok(other) => {
            return Ok(fail(
                format!("{server} answers '{other}', which is no SSH"),
                "another program has the port: ss -ltnp; set Port in /etc/sshbox/sshd_config",
            ));
        }
        Err(error) => {
            return Ok(fail(
                format!("{server}: {error}"),
                "systemctl enable --now sshbox-sshd; journalctl -u sshbox-sshd shows why it ended",
            ));
        }
    };
    let [name, _] = &users.names;
    let ended = doctor.must(&mut users.client.ssh(&[], name, "stranger", "true"), HOST_PROGRAM * 3)?;
    Ok(judge_stranger(server, &banner, ended.code(), &ended.last_words()))
}

fn banner(server: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&server, HOST_PROGRAM)?;
    stream.set_read_timeout(Some(HOST_PROGRAM))?;
    let mut line = String::new();
    match BufReader::new(stream.take(256)).read_line(&mut line) {
        // A server that sends nothing has an empty banner.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        other => drop(other?),
    }
    Ok(line.trim_end().to_owned())
}

fn judge_stranger(server: SocketAddr, banner: &str, status: Option<i32>, words: &str) -> CheckResult {
    match status {
        Some(0) => fail(
            format!("{server} accepts an unknown key"),
            "stop it at once (systemctl stop sshbox-sshd), and see check sshd-settings",
        ),
        _ if words.contains("Permission denied") => {
            ok(format!("{server} is {banner}, and refuses an unknown key"))
        }
        _ if words.to_lowercase().contains("host key") => fail(
            format!("{server} has other host keys than /etc/sshbox/sshd_config names: {words}"),
            "restart it (systemctl restart sshbox-sshd); if another server has the port: ss -ltnp",
        ),
        _ => fail(format!("{server}: {words}"), "journalctl -u sshbox-sshd shows its side of this login"),
    }
}

/// `login`: can the temporary user log in and get a box, without a terminal and with one?
pub fn login(doctor: &Doctor) -> Checked {
    let users = temporary_users(doctor)?;
    let [name, _] = &users.names;
    let began = Instant::now();
    let first = doctor.must(&mut users.client.ssh(&[], name, "key", INSPECT), LOGIN)?;
    let took = began.elapsed().as_millis();
    let output = users.first_login.get_or_init(|| {
        if first.succeeded() { Ok(first.out) } else { Err(refused("", first.code(), &first.last_words())) }
    });
    output.as_ref().map_err(Clone::clone)?;
    let second = doctor.must(&mut users.client.ssh(&["-tt"], name, "key", "tty"), HOST_PROGRAM * 3)?;
    if !second.succeeded() {
        return Ok(refused("with a terminal: ", second.code(), &second.last_words()));
    }
    Ok(ok(format!("{name} had a box after {took} ms, and a terminal in it")))
}

/// Why a login failed, by the exit status of the client and its last line.
fn refused(how: &str, status: Option<i32>, words: &str) -> CheckResult {
    let fix = match status {
        _ if words.contains("Permission denied") => {
            "sshbox-keys did not accept the key: journalctl -t sshbox-keys, and journalctl -u sshbox-sshd"
        }
        _ if words.contains("(ref ") => {
            "the log entry with that reference says why: journalctl --grep 'ref=\"...\"'"
        }
        Some(255) => "journalctl -u sshbox-sshd shows its side of this login",
        _ => "try it by hand as a user of the web app; journalctl -t sshbox-shell -t sshbox-wake",
    };
    fail(format!("{how}{words}"), fix)
}

/// The temporary users and the output of their first login, for checks of the box.
pub fn first_login(doctor: &Doctor) -> Result<(&TemporaryUsers, &str), CheckResult> {
    let users = temporary_users(doctor)?;
    if users.first_login.get().is_none() {
        // A failure is in `first_login` then; the check `login` reports it.
        drop(login(doctor));
    }
    match users.first_login.get() {
        Some(Ok(output)) => Ok((users, output)),
        _ => Err(skip("the temporary user could not log in, see check login")),
    }
}

/// `sftp`: can files be transferred?
pub fn sftp(doctor: &Doctor) -> Checked {
    let (users, _) = first_login(doctor)?;
    let [name, _] = &users.names;
    let ended = doctor
        .tool(&mut users.client.sftp(name), "pwd\n", HOST_PROGRAM * 3)
        .map_err(|error| missing(&error))?;
    Ok(if ended.succeeded() {
        ok("the image has an sftp-server")
    } else {
        fail(
            ended.last_words(),
            "put openssh-sftp-server into the image: scp, sftp, sshfs and editors need it",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;

    #[test]
    fn an_unknown_key_must_be_refused_by_our_own_server() {
        let server = "127.0.0.1:2200".parse().unwrap();
        let judge = |status, words| judge_stranger(server, "SSH-2.0-x", status, words).state;
        assert_eq!(judge(Some(255), "x@127.0.0.1: Permission denied (publickey)."), CheckState::Ok);
        assert_eq!(judge(Some(0), ""), CheckState::Fail);
        assert_eq!(judge(Some(255), "Host key verification failed."), CheckState::Fail);
        assert_eq!(judge(Some(255), "Connection reset by peer"), CheckState::Fail);
    }

    #[test]
    fn the_advice_for_a_refused_login_leads_to_its_explanation() {
        let fix = |status, words| refused("", status, words).fix.unwrap();
        assert!(fix(Some(255), "x: Permission denied (publickey).").contains("-t sshbox-keys"));
        assert!(fix(Some(69), "sshbox: no image (ref 01234567)").contains("reference"));
        assert!(fix(Some(255), "Connection closed").contains("-u sshbox-sshd"));
    }
}
