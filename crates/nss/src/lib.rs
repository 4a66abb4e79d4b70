//! `libnss_sshbox.so.2`: gives every valid login name a passwd entry with its own uid.
//!
//! Only sshbox's sshd loads it, through a private `nsswitch.conf`. It does no I/O, takes no lock and
//! allocates nothing; it applies the rule of `identity`. A uid cannot be mapped back to a name, so there
//! is no `getpwuid`. All unsafe code is in `ffi`.

#[allow(unsafe_code, reason = "glibc calls NSS modules through C pointers")]
mod ffi;

/// Home directory of every login on the host: owned by root, without files of the user.
const HOME: &[u8] = b"/\0";

/// The login shell: sshd runs `SHELL -c ForceCommand`, and both name the same program.
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

/// The result of a look-up.
#[derive(Debug, PartialEq, Eq)]
enum LookupResult {
    Found(Entry),
    /// The buffer is too small; glibc calls again with a larger one.
    TooSmall,
    NotFound,
}

/// Looks up `name` and writes its strings to `buffer`.
fn look_up(name: &[u8], buffer: &mut [u8]) -> LookupResult {
    if !identity::is_login(name) {
        return LookupResult::NotFound;
    }
    write_strings(name, buffer).map_or(LookupResult::TooSmall, LookupResult::Found)
}

/// Writes the strings one after the other; `None` when they do not fit.
fn write_strings(name: &[u8], buffer: &mut [u8]) -> Option<Entry> {
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
        let LookupResult::Found(entry) = look_up(b"root", &mut buffer) else {
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
    fn every_buffer_that_is_too_small_is_reported() {
        let mut large = [0; 256];
        let LookupResult::Found(entry) = look_up(b"alice", &mut large) else {
            panic!("not found");
        };
        let needed = entry.shell + SHELL.len();
        for length in 0..needed {
            assert_eq!(look_up(b"alice", &mut large[..length]), LookupResult::TooSmall);
        }
        assert!(matches!(look_up(b"alice", &mut large[..needed]), LookupResult::Found(_)));
    }

    #[test]
    fn accounts_that_sshd_needs_are_left_to_the_files() {
        for name in [&b"sshd"[..], b"sshbox-keys", b"nobody", b"", b"../x", b"-x"] {
            assert_eq!(look_up(name, &mut [0; 256]), LookupResult::NotFound);
        }
    }
}
