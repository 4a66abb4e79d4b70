//! Compares our parser of public keys with OpenSSH's.

use session::authorized_key::AuthorizedKey;
use std::fs;
use std::process::Command;

#[test]
fn a3_keys_made_by_ssh_keygen_are_parsed_as_ssh_keygen_parses_them() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, bits, expected) in [
        ("ed25519", "", true),
        ("ecdsa", "256", true),
        ("ecdsa", "384", true),
        ("ecdsa", "521", true),
        ("rsa", "2048", true),
        ("rsa", "3072", true),
        ("rsa", "1024", false),
    ] {
        let path = dir.path().join(format!("{kind}{bits}"));
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", "a comment", "-t", kind, "-f"]).arg(&path);
        if !bits.is_empty() {
            command.args(["-b", bits]);
        }
        assert!(command.status().unwrap().success());
        let public = path.with_extension("pub");
        let text = fs::read_to_string(&public).unwrap();
        let key = AuthorizedKey::parse(text.trim_end());
        assert_eq!(key.is_ok(), expected, "{kind} {bits}: {key:?}");
        let Ok(key) = key else { continue };
        assert_eq!(key.line(), text.trim_end().strip_suffix(" a comment").unwrap());
        let listed = Command::new("ssh-keygen").arg("-lf").arg(&public).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed.split(' ').nth(1), Some(key.fingerprint()), "{kind} {bits}");
    }
}

#[test]
fn a3_every_accepted_key_is_valid_for_ssh_keygen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pub");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqtFPPIHmLhfPMcTVcfMeJ1rgwyTgIlHe0v1DoqXsrI";
    // Change each byte of the line in turn: OpenSSH must accept every key that we accept.
    for at in 0..key.len() {
        for byte in *b"A=+ /\t\x7f0," {
            let mut line = key.as_bytes().to_vec();
            line[at] = byte;
            let line = String::from_utf8(line).unwrap();
            let Ok(accepted) = AuthorizedKey::parse(&line) else {
                continue;
            };
            fs::write(&path, format!("{}\n", accepted.line())).unwrap();
            let listed = Command::new("ssh-keygen").arg("-lf").arg(&path).output().unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            assert_eq!(listed.split(' ').nth(1), Some(accepted.fingerprint()), "{line}");
        }
    }
}
