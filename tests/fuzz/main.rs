//! The parsers of what comes from outside, with inputs that no one would write: each input is one
//! of `corpus/NAME/`, changed in up to eight places, or bytes at random. None may panic, and what
//! is accepted must survive being written and read again.
//!
//! `SSHBOX_FUZZ_RUNS` sets the number of inputs for each parser. An input that found a defect is
//! added to the corpus.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops at the first surprise, its helpers too"
)]

use host::account::{self, AccountReply, ReplyFormat};
use host::config;
use identity::Login;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use session::authorized_key::AuthorizedKey;
use session::variables::problem_of_site_variable;
use session::wire::{Fields, Reply, Request, Socket, Verb};
use std::fs;
use std::path::Path;

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    /// Replaces a byte.
    Set(Index, u8),
    /// Inserts bytes.
    Insert(Index, Vec<u8>),
    /// Removes up to so many bytes.
    Remove(Index, usize),
    /// Writes a part once more, elsewhere.
    Repeat(Index, Index, usize),
    /// Ends the input here.
    Truncate(Index),
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let place = any::<Index>;
        // Bytes that parsers look for come more often than others.
        let special = b"\0\n\r\t\"'\\,:;=@ {}[]#-.%".to_vec();
        let byte = prop_oneof![any::<u8>(), proptest::sample::select(special)];
        prop_oneof![
            (place(), byte.clone()).prop_map(|(at, byte)| Self::Set(at, byte)),
            (place(), vec(byte, 1..12)).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            (place(), 1_usize..40).prop_map(|(at, length)| Self::Remove(at, length)),
            (place(), place(), 1_usize..200).prop_map(|(from, to, length)| Self::Repeat(from, to, length)),
            place().prop_map(Self::Truncate),
        ]
    }

    fn apply(&self, input: &mut Vec<u8>) {
        let at = |index: &Index| index.index(input.len() + 1);
        match self {
            Self::Set(index, byte) => {
                let at = at(index);
                if let Some(place) = input.get_mut(at) {
                    *place = *byte;
                }
            }
            Self::Insert(index, bytes) => {
                let at = at(index);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(index, length) => {
                let at = at(index);
                let end = (at + length).min(input.len());
                input.drain(at..end);
            }
            Self::Repeat(from, to, length) => {
                let (from, to) = (at(from), at(to));
                let part = input[from..(from + length).min(input.len())].to_vec();
                input.splice(to..to, part);
            }
            Self::Truncate(index) => input.truncate(at(index)),
        }
    }
}

/// Calls `property` with inputs made from the corpus of this name. At least one must be accepted.
fn fuzz(name: &str, property: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let accepted = corpus.iter().filter(|input| property(input)).count();
    assert!(accepted > 0, "no input of the corpus is accepted");

    let changed = (any::<Index>(), vec(Change::any(), 1..8)).prop_map(move |(one, changes)| {
        let mut input = one.get(&corpus).clone();
        for change in &changes {
            change.apply(&mut input);
        }
        input
    });
    let inputs = prop_oneof![9 => changed, 1 => vec(any::<u8>(), 0..300)];
    let runs = std::env::var("SSHBOX_FUZZ_RUNS").map_or(4000, |runs| runs.parse().unwrap());
    let config =
        Config { cases: runs, failure_persistence: None, max_shrink_iters: 10_000, ..Config::default() };
    TestRunner::new(config)
        .run(&inputs, |input| {
            property(&input);
            Ok(())
        })
        .unwrap();
}

fn alice() -> Login {
    Login::parse(b"alice").unwrap()
}

#[test]
fn login_names() {
    fuzz("login", |input| {
        let Ok(login) = Login::parse(input) else { return false };
        assert_eq!(login.as_str().as_bytes(), input);
        assert!(input.len() <= 64 && !input.starts_with(b"-") && !input.starts_with(b"."));
        assert!(input.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte)));
        assert!((0x7000_0000..=0x7fff_ffff).contains(&login.uid()));
        true
    });
}

#[test]
fn public_keys() {
    fuzz("authorized_key", |input| {
        let text = String::from_utf8_lossy(input);
        let Ok(key) = AuthorizedKey::parse(&text) else { return false };
        // What sshd is given is one line without options.
        assert!(key.line().bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
        assert!(key.line().starts_with(key.kind()));
        let again = AuthorizedKey::parse(key.line()).unwrap();
        assert_eq!((again.line(), again.fingerprint()), (key.line(), key.fingerprint()));
        assert_eq!(AuthorizedKey::parse(&key.with_comment()).unwrap().fingerprint(), key.fingerprint());
        assert_eq!(
            key.authorized(session::authorized_key::Forwarding { ports: true, agent: true }).lines().count(),
            1
        );
        true
    });
}

#[test]
fn accounts() {
    fuzz("account", |input| {
        let mut accepted = false;
        for format in [ReplyFormat::Json, ReplyFormat::KeyLines] {
            match account::parse(&alice(), format, input).map(|parsed| parsed.reply) {
                Ok(AccountReply::Known(account)) => {
                    assert!(account.active && account.user == "alice");
                    assert!((1..=100).contains(&account.keys.len()));
                    assert!(account.keys.iter().all(|key| AuthorizedKey::parse(key).is_ok()));
                    let site = account.site_settings();
                    assert!(account.id.is_none_or(|id| !id.contains(['\n', ' ', '\0'])));
                    let known = |name: &[u8]| std::str::from_utf8(name).map(problem_of_site_variable);
                    assert!(site.variables.iter().all(|(name, _)| known(name) == Ok(None)));
                    let mut texts = site.variables.iter().map(|(_, value)| value).chain(&site.directory);
                    assert!(texts.all(|text| text.len() <= 32 * 1024 && !text.contains(&0)));
                    accepted = true;
                }
                Ok(AccountReply::Refused(reason)) => assert!(!reason.is_empty()),
                Err(error) => assert!(!error.to_string().contains(['\n', '\x1b'])),
            }
        }
        accepted
    });
}

#[test]
fn configurations() {
    fuzz("config", |input| {
        let Ok(text) = std::str::from_utf8(input) else { return false };
        match config::parse(Path::new("sshbox.toml"), text) {
            Ok(config) => {
                let home = config.container.home.fill(&alice());
                assert!(home.starts_with('/') && !home.split('/').any(|part| part == ".."), "{home}");
                assert!(config.container.network != "host" && config.container.uids.first != 0);
                assert!(!matches!(config.container.user, config::BoxUser::Fixed(user) if user.uid == 0));
                assert!(config.accounts.timeout.0.as_secs() <= 20);
                // `sshbox config` writes what was read.
                let written = toml::to_string(&config).unwrap();
                let again = config::parse(Path::new("written"), &written).unwrap();
                assert_eq!(toml::to_string(&again).unwrap(), written);
                true
            }
            Err(error) => {
                assert!(error.to_string().starts_with("sshbox.toml is not valid"), "{error}");
                false
            }
        }
    });
}

/// The fields of a packet with these bytes, as they arrive at a socket.
fn received(packet: &[u8]) -> Option<Fields> {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap();
    rustix::net::send(&ours, packet, SendFlags::empty()).unwrap();
    drop(ours);
    Socket::from_fd(theirs).receive().ok()?.map(|(fields, _)| fields)
}

#[test]
fn fields() {
    fuzz("fields", |input| {
        let Some(fields) = received(input) else { return false };
        let mut written = Fields::default();
        for (name, value) in fields.iter() {
            assert!(!name.contains(&b'=') && !value.contains(&0));
            let Ok(name) = std::str::from_utf8(name) else { continue };
            assert!(fields.get(name).is_some());
            written = written.with(name, value);
        }
        assert!(written.length() <= input.len() + 1);
        for (name, value) in written.iter() {
            let name = std::str::from_utf8(name).unwrap();
            assert!(written.iter().any(|field| field == (name.as_bytes(), value)));
            assert_eq!(fields.get(name), written.get(name));
        }
        if let Some((verb, login)) = Verb::parse(&fields)
            && let Ok(login) = std::str::from_utf8(login)
        {
            assert_eq!(Verb::parse(&verb.request(login, "00000000")), Some((verb, login.as_bytes())));
        }
        written.length() > 0
    });
}

#[test]
fn requests() {
    fuzz("request", |input| {
        let Some(request) = received(input).as_ref().and_then(Request::parse) else { return false };
        assert_eq!(Request::parse(&Fields::from(&request)), Some(request));
        true
    });
}

#[test]
fn replies() {
    fuzz("reply", |input| {
        let Some(reply) = received(input).as_ref().and_then(Reply::parse) else { return false };
        assert_eq!(Reply::parse(&Fields::from(&reply)), Some(reply));
        true
    });
}
