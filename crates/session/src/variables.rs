//! Which variables of a client reach the programs of a container, and which the site may set. The sshd on the
//! host, `sshbox-shell` and the SSH server in the container use the same list of the client's. Knows no process
//! and no file.

/// The variables that sshd accepts from clients: the value of `AcceptEnv` (`sshd_config(5)`).
pub const ACCEPTED: &str = "LANG LC_* COLORTERM NO_COLOR GIT_PROTOCOL TERM_PROGRAM TERM_PROGRAM_VERSION";

/// Longest value in bytes, except for variables of the language and the terminal.
const LONGEST: usize = 256;

/// Whether a client's variable is passed on. Language and terminal type are passed on as plain sshd does;
/// the others only with a short printable value, because programs print them.
#[must_use]
pub fn is_passed_on(name: &[u8], value: &[u8]) -> bool {
    // TERM is part of the pty request and not subject to AcceptEnv. sshbox-init checks it.
    if matches!(name, b"LANG" | b"TERM") || name.starts_with(b"LC_") {
        return true;
    }
    let known = ACCEPTED.split(' ').any(|accepted| accepted.as_bytes() == name);
    known && value.len() <= LONGEST && value.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// Variables that only the container and the client's terminal decide.
const OF_SESSION: [&str; 6] = ["PATH", "HOME", "SHELL", "USER", "LOGNAME", "TERM"];

/// Beginnings of names that belong to the dynamic linker, to SSH and to sshbox.
const RESERVED: [&str; 3] = ["LD_", "SSH_", "SSHBOX_"];

/// Why the site may not give a variable of this name to the sessions of a user; `None` if it may.
#[must_use]
pub fn problem_of_site_variable(name: &str) -> Option<&'static str> {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let mut bytes = name.bytes();
    if !bytes.next().is_some_and(is_letter) || !bytes.all(|byte| is_letter(byte) || byte.is_ascii_digit()) {
        return Some("expected a name of letters, digits and _, which begins with no digit");
    }
    if OF_SESSION.contains(&name) || RESERVED.iter().any(|reserved| name.starts_with(reserved)) {
        return Some("the site may not set this variable");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a6_only_harmless_variables_travel() {
        for name in ["TERM", "LANG", "LC_ALL", "LC_CTYPE", "COLORTERM", "NO_COLOR", "GIT_PROTOCOL"] {
            assert!(is_passed_on(name.as_bytes(), b"value") && is_passed_on(name.as_bytes(), b""), "{name}");
        }
        assert!(
            is_passed_on(b"TERM_PROGRAM", b"iTerm.app") && is_passed_on(b"TERM_PROGRAM_VERSION", b"3.5.0")
        );
        for name in [
            "LD_PRELOAD",
            "PATH",
            "SSH_USER_AUTH",
            "SSH_ORIGINAL_COMMAND",
            "SSH_CONNECTION",
            "HOME",
            "USER",
            "LC",
            "LANGUAGE",
            "GIT_SSH_COMMAND",
            "COLORTERM2",
            "",
        ] {
            assert!(!is_passed_on(name.as_bytes(), b"value"), "{name}");
        }
    }

    #[test]
    fn values_are_short_and_printable_but_for_language_and_terminal() {
        for value in [&b"true\x1b[31m"[..], b"two\nlines", b"\xff", &[b'x'; 257]] {
            assert!(!is_passed_on(b"COLORTERM", value) && !is_passed_on(b"TERM_PROGRAM", value), "{value:?}");
            assert!(is_passed_on(b"LC_ANY", value));
        }
    }

    #[test]
    fn the_site_sets_variables_but_none_of_the_session() {
        for name in ["TOKEN", "_", "a1", "LC_ALL", "LANG", "http_proxy", "LD", "SSH", "PATHS", "TERM_PROGRAM"]
        {
            assert_eq!(problem_of_site_variable(name), None, "{name}");
        }
        for name in ["", "1A", "A-B", "A B", "A=", "\u{e4}", "A\n", "A\0"] {
            assert!(problem_of_site_variable(name).unwrap().starts_with("expected a name"), "{name:?}");
        }
        for name in [
            "PATH",
            "HOME",
            "SHELL",
            "USER",
            "LOGNAME",
            "TERM",
            "LD_PRELOAD",
            "SSH_AUTH_SOCK",
            "SSHBOX_X",
            "LD_",
        ] {
            assert_eq!(problem_of_site_variable(name), Some("the site may not set this variable"), "{name}");
        }
    }

    #[test]
    fn sshd_accepts_this_list() {
        let config = include_str!("../../../sshd_config.d/sshbox.conf");
        let lines: Vec<_> = config.lines().filter(|line| line.starts_with("AcceptEnv")).collect();
        assert_eq!(lines, [format!("AcceptEnv {ACCEPTED}")]);
    }
}
