//! Checks of the web app: replies, redirects and certificates.

use super::{TOKEN, check, folder};
use crate::harness::{Changed, Undo, run, until, world_alone};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

#[test]
fn a_web_app_that_does_not_reply_or_does_not_accept_the_token() {
    let _world = world_alone();
    {
        run("tests/system/web", &["freeze"]);
        let _back = Undo(|| drop(run("tests/system/web", &["thaw"])));
        check("site").says("fail", "no answer within 1.5s", "check accounts.url");
    }
    {
        let _changed = Changed::config("127.0.0.1:8000", "127.0.0.1:9");
        check("site").says("fail", "Connection refused", "check accounts.url");
        check("site-token").says("skip", "see check site", "");
    }
    {
        let _changed = Changed::config("/sshbox/accounts/{user}", "/elsewhere/{user}");
        check("site-token").says("warn", "not tested", "accounts.url may lead elsewhere");
    }
    let token = fs::read_to_string(TOKEN).unwrap();
    let _changed = Changed::file(TOKEN, &token, "another");
    check("site").says("ok", "HTTP 401", "");
    check("site-token").says("fail", "does not accept the token", "SSHBOX_TOKEN_FILE");
}

#[test]
fn a_web_app_that_redirects_fails_or_has_an_account_for_every_name() {
    let _world = world_alone();
    for (head, seen) in [
        ("302 Found\r\nLocation: /elsewhere", "redirects (HTTP 302)"),
        ("500 Oops", "HTTP 500"),
        ("200 OK", "an account for a name that no user has"),
    ] {
        let site = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = format!("127.0.0.1:{}", site.local_addr().unwrap().port());
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        thread::spawn(move || {
            for mut stream in site.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let _changed = Changed::config("127.0.0.1:8000", &here);
        let found = check("site");
        assert!(!found.fix.is_empty(), "{found:?}");
        found.says("fail", seen, "");
    }
}

#[test]
fn an_untrusted_certificate_and_an_unencrypted_connection() {
    let _world = world_alone();
    let _folder = folder("/run/sshbox-tests/tls");
    let certify = "cd /run/sshbox-tests/tls &&
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3 -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
            -keyout key.pem -out cert.pem";
    run("sh", &["-c", certify]);
    let mut server = Command::new("openssl");
    server.args(["s_server", "-www", "-accept", "127.0.0.1:8443", "-cert", "/run/sshbox-tests/tls/cert.pem"]);
    server.args(["-key", "/run/sshbox-tests/tls/key.pem"]).stdin(Stdio::null()).stdout(Stdio::null());
    let _server = crate::harness::Running::of(server.spawn().unwrap());
    until("the server listens", || std::net::TcpStream::connect("127.0.0.1:8443").is_ok());
    let _url = Changed::config("http://127.0.0.1:8000", "https://localhost:8443");
    {
        let _authorities =
            Changed::config("/etc/ssl/certs/ca-certificates.crt", "/run/sshbox-tests/tls/cert.pem");
        check("tls").says("ok", "has verified the certificate", "");
    }
    check("site").says("fail", "certificate", "check accounts.url");
    check("tls").says("skip", "see check site", "");
    let _clear = Changed::config("https://localhost:8443", "http://10.0.0.1:8000");
    check("tls").says("warn", "in the clear", "use https://");
}
