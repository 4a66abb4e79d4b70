//! `libnss_sshbox.so.2`: gives every well-formed login name its own uid.
//!
//! Loaded by sshbox's sshd only, through a private `nsswitch.conf`. It does no I/O, takes
//! no lock and allocates nothing; all it knows is the rule in `identity`. A uid has no way
//! back to a name, so there is no `getpwuid`. All unsafe code of the module is in `ffi`.

#[allow(unsafe_code, reason = "glibc calls NSS modules through C pointers")]
mod ffi;

/// Home directory of every login on the host: root-owned, nothing of the user's in it.
const HOME: &[u8] = b"/\0";

/// The login shell: sshd runs `SHELL -c ForceCommand`, and both are the same program.
const SHELL: &[u8] = b"/usr/lib/sshbox/sshbox-shell\0";

/// No password matches `*`; unlike `!` it does not mark the account as locked.
const PASSWORD: &[u8] = b"*\0";

/// Offsets of a `passwd` entry's strings in the caller's buffer.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    uid: u32,
    name: usize,
    password: usize,
    gecos: usize,
    home: usize,
    shell: usize,
}

/// What became of a look-up.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Found(Entry),
    /// The buffer is too small; glibc calls again with a larger one.
    TooSmall,
    NotFound,
}

/// Looks `name` up and lays its strings out in `buffer`.
fn look_up(name: &[u8], buffer: &mut [u8]) -> Answer {
    if !identity::is_login(name) {
        return Answer::NotFound;
    }
    lay_out(name, buffer).map_or(Answer::TooSmall, Answer::Found)
}

/// Writes the strings one after the other; `None` when they do not fit.
fn lay_out(name: &[u8], buffer: &mut [u8]) -> Option<Entry> {
    let mut end = 0;
    let mut put = |text: &[u8]| {
        let start = end;
        end += text.len();
        buffer.get_mut(start..end)?.copy_from_slice(text);
        Some(start)
    };
    let start = put(name)?;
    put(b"\0")?;
    Some(Entry {
        uid: identity::uid(name),
        name: start,
        password: put(PASSWORD)?,
        gecos: put(b"\0")?,
        home: put(HOME)?,
        shell: put(SHELL)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(buffer: &[u8], start: usize) -> &str {
        let rest = &buffer[start..];
        let end = rest.iter().position(|b| *b == 0).unwrap();
        std::str::from_utf8(&rest[..end]).unwrap()
    }

    #[test]
    fn a_login_is_found_with_all_its_strings() {
        let mut buffer = [0xaa; 256];
        let Answer::Found(entry) = look_up(b"root", &mut buffer) else {
            panic!("not found");
        };
        assert_eq!(entry.uid, identity::uid(b"root"));
        assert_ne!(entry.uid, 0);
        assert_eq!(text(&buffer, entry.name), "root");
        assert_eq!(text(&buffer, entry.password), "*");
        assert_eq!(text(&buffer, entry.gecos), "");
        assert_eq!(text(&buffer, entry.home), "/");
        assert_eq!(text(&buffer, entry.shell), "/usr/lib/sshbox/sshbox-shell");
    }

    #[test]
    fn every_buffer_that_is_too_small_is_told() {
        let mut large = [0; 256];
        let Answer::Found(entry) = look_up(b"alice", &mut large) else {
            panic!("not found");
        };
        let needed = entry.shell + SHELL.len();
        for length in 0..needed {
            assert_eq!(look_up(b"alice", &mut large[..length]), Answer::TooSmall);
        }
        assert!(matches!(look_up(b"alice", &mut large[..needed]), Answer::Found(_)));
    }

    #[test]
    fn accounts_that_sshd_needs_are_left_to_the_files() {
        for name in [&b"sshd"[..], b"sshbox-keys", b"nobody", b"", b"../x", b"-x"] {
            assert_eq!(look_up(name, &mut [0; 256]), Answer::NotFound);
        }
    }
}
