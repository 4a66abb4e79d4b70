//! Which uid a box gets: from the account, its id, the home, an earlier claim, or the top of the range.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

const RANGE: UidRange = UidRange { first: 1_700_000_000, last: 1_799_999_999 };

fn login(name: &str) -> Login {
    Login::parse(name.as_bytes()).unwrap()
}

fn account(fields: &str) -> Account {
    serde_json::from_str(&format!(r#"{{"user":"alice","keys":[]{fields}}}"#)).unwrap()
}

/// [`super::claim`] on a host whose only users are those with an uid of 900 to 950.
fn claim(
    config: &ContainerConfig,
    login: &Login,
    account: &Account,
    claims: &Path,
) -> Result<UidGid, BoxUserError> {
    let host_owner = |uid| Ok((900..=950).contains(&uid).then(|| format!("user u{uid}")));
    claim_beside(config, login, account, claims, host_owner)
}

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("homes")).unwrap();
        Self(dir)
    }

    fn config(&self) -> ContainerConfig {
        let home = format!("{}/homes/{{user}}", self.0.path().display()).parse().unwrap();
        ContainerConfig { home, ..ContainerConfig::default() }
    }

    fn claims(&self) -> PathBuf {
        self.0.path().join("uids")
    }

    fn claim(&self, name: &str, fields: &str) -> Result<u32, BoxUserError> {
        let user = claim(&self.config(), &login(name), &account(fields), &self.claims())?;
        assert_eq!(user.uid, user.gid);
        assert_eq!(
            look(&self.config(), &login(name), Some(&account(fields)), &self.claims()).unwrap(),
            Some(user)
        );
        Ok(user.uid)
    }
}

#[test]
fn a13_the_account_names_the_uid_or_its_id_does() {
    let host = Host::new();
    assert_eq!(host.claim("alice", r#","id":42,"uid":1700000007"#).unwrap(), RANGE.first + 7);
    assert_eq!(host.claim("bob", r#","id":42"#).unwrap(), RANGE.first + 42);
    assert_eq!(host.claim("carol", r#","id":"99999999""#).unwrap(), RANGE.last);
    // The same at each start.
    assert_eq!(host.claim("bob", r#","id":42"#).unwrap(), RANGE.first + 42);
    assert_eq!(fs::read_link(host.claims().join("1700000042")).unwrap(), Path::new("bob"));
    for uid in ["1", "1000", "1699999999", "1800000000", "1879048192", "4294967294"] {
        let error = host.claim("dora", &format!(r#","uid":{uid}"#)).unwrap_err();
        let text = format!("the account names uid {uid}, which is not in box.uids (1700000000-1799999999)");
        assert_eq!(error.to_string(), text);
        let account = account(&format!(r#","uid":{uid}"#));
        assert!(look(&host.config(), &login("dora"), Some(&account), &host.claims()).is_err());
    }
}

#[test]
fn a13_an_id_that_is_no_number_in_the_range_gets_the_highest_free_uid() {
    let host = Host::new();
    let mut expected = RANGE.last;
    for (name, id) in [
        ("a", r#""8f-1""#),
        ("b", "100000000"),
        ("c", "-1"),
        ("d", r#""+5""#),
        ("e", r#""007""#),
        ("f", "null"),
        ("g", "4294967295"),
    ] {
        assert_eq!(host.claim(name, &format!(r#","id":{id}"#)).unwrap(), expected, "{id}");
        expected -= 1;
    }
    assert_eq!(host.claim("a", r#","id":"8f-1""#).unwrap(), RANGE.last);
    release(&login("a"), &host.claims()).unwrap();
    assert_eq!(host.claim("h", "").unwrap(), RANGE.last);
}

#[test]
fn a13_two_users_with_one_uid_are_refused() {
    let host = Host::new();
    host.claim("alice", r#","id":42"#).unwrap();
    for fields in [r#","id":42"#, r#","uid":1700000042"#] {
        let error = host.claim_only("bob", fields).unwrap_err().to_string();
        assert!(error.starts_with("uid 1700000042 belongs to the box of alice; "), "{error}");
        assert!(error.ends_with("/uids/1700000042"), "{error}");
    }
    // A claim that no program of ours can have made.
    symlink("\u{1b}[31m", host.claims().join("1700000043")).unwrap();
    let error = host.claim_only("bob", r#","id":43"#).unwrap_err().to_string();
    assert!(error.contains("the box of \\x1b[31m;"), "{error}");
}

#[test]
fn a13_the_owner_of_a_home_stands_for_a_claim_that_was_lost() {
    let host = Host::new();
    fs::create_dir(host.0.path().join("homes/alice")).unwrap();
    // The homes belong to whoever runs the test.
    let me = nix::unistd::geteuid().as_raw();
    let two = ContainerConfig { uids: UidRange { first: me, last: me + 1 }, ..host.config() };
    let claim = |config: &ContainerConfig, name: &str, fields: &str| {
        claim(config, &login(name), &account(fields), &host.claims()).map(|user| user.uid)
    };
    // Nobody gets the uid of somebody else's home.
    let error = claim(&two, "dora", r#","id":0"#).unwrap_err();
    assert!(matches!(&error, BoxUserError::Taken { by, .. } if by == "alice"), "{error}");
    assert_eq!(claim(&two, "carol", "").unwrap(), me + 1);
    assert!(matches!(claim(&two, "dora", ""), Err(BoxUserError::NoneLeft(_))));
    let of_alice = |config| look(config, &login("alice"), None, &host.claims()).unwrap();
    assert_eq!(of_alice(&two), Some(UidGid { uid: me, gid: me }));
    assert_eq!(claim(&two, "alice", "").unwrap(), me);
    // The account decides before the home does, and the owner outside the range demands nothing.
    assert!(
        matches!(claim(&two, "alice", r#","id":1"#), Err(BoxUserError::Taken { by, .. }) if by == "carol")
    );
    let elsewhere = ContainerConfig { uids: UidRange { first: me + 7, last: me + 8 }, ..host.config() };
    assert_eq!(of_alice(&elsewhere), None);
    assert_eq!(claim(&elsewhere, "alice", "").unwrap(), me + 8);
}

#[test]
fn a13_users_who_claim_at_the_same_time_get_different_uids() {
    let host = Host::new();
    let claimed: Vec<_> = thread::scope(|scope| {
        let host = &host;
        let claim = |n: u32| scope.spawn(move || host.claim_only(&format!("user{n}"), "").unwrap());
        let threads: Vec<_> = (0..16).map(claim).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let different: std::collections::BTreeSet<_> = claimed.iter().collect();
    assert_eq!(different.len(), 16, "{claimed:?}");
    let same: Vec<_> = thread::scope(|scope| {
        let host = &host;
        let claim = |n: u32| scope.spawn(move || host.claim_only(&format!("twin{n}"), r#","id":5"#).is_ok());
        let threads: Vec<_> = (0..16).map(claim).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(same.iter().filter(|claimed| **claimed).count(), 1);
}

#[test]
fn a_fixed_user_needs_no_claim() {
    let host = Host::new();
    let user = UidGid { uid: 1000, gid: 100 };
    let config = ContainerConfig { user: BoxUser::Fixed(user), ..host.config() };
    let account = account(r#","id":42,"uid":7"#);
    assert_eq!(claim(&config, &login("alice"), &account, &host.claims()).unwrap(), user);
    assert_eq!(look(&config, &login("alice"), None, &host.claims()).unwrap(), Some(user));
    assert!(!host.claims().exists());
}

#[test]
fn a13_a_number_of_a_user_of_the_host_is_skipped_or_refused() {
    let host = Host::new();
    let claim = |uids: &str, name: &str, fields: &str| {
        let config = ContainerConfig { uids: uids.parse().unwrap(), ..host.config() };
        claim(&config, &login(name), &account(fields), &host.claims()).map(|user| user.uid)
    };
    assert_eq!(claim("800-905", "a", "").unwrap(), 899);
    assert_eq!(
        claim("900-905", "b", "").unwrap_err().to_string(),
        "all uids of box.uids (900-905) are taken"
    );
    // A directory service that has the whole range is not asked for each number.
    assert!(matches!(claim("800-950", "b", ""), Err(BoxUserError::OfHost(934, _))));
    for fields in [r#","uid":903"#, r#","id":3"#] {
        let error = claim("900-999", "b", fields).unwrap_err().to_string();
        assert!(error.starts_with("uid 903 belongs to user u903 of this host; set box.uids "), "{error}");
    }
    // It is asked before a claim is made, not at each start.
    symlink("c", host.claims().join("904")).unwrap();
    assert_eq!(claim("900-999", "c", r#","uid":904"#).unwrap(), 904);
}

#[test]
fn a_range_that_is_used_up_is_reported() {
    let host = Host::new();
    let config = ContainerConfig { uids: "5-6".parse().unwrap(), ..host.config() };
    let claim = |name| claim(&config, &login(name), &account(""), &host.claims());
    assert_eq!((claim("a").unwrap().uid, claim("b").unwrap().uid), (6, 5));
    assert_eq!(claim("c").unwrap_err().to_string(), "all uids of box.uids (5-6) are taken");
    assert_eq!(claim("b").unwrap().uid, 5);
}

impl Host {
    /// Claims without the comparison with `look`, for users who are refused or who race.
    fn claim_only(&self, name: &str, fields: &str) -> Result<u32, BoxUserError> {
        claim(&self.config(), &login(name), &account(fields), &self.claims()).map(|user| user.uid)
    }
}
