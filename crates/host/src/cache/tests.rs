//! The cache while its directories are full, missing or read-only, and across reboots.

use super::*;
use crate::account::{Account, SiteVariables};
use crate::config::TimeSpan;
use crate::limits::RequestedLimits;

fn login(name: &str) -> Login {
    Login::parse(name.as_bytes()).unwrap()
}

/// A cache without a fallback directory, unless the test creates `fallback`.
fn cache(dir: &Path) -> Cache {
    Cache { fallback: dir.join("fallback"), ..Cache::new(dir) }
}

fn account(name: &str) -> Account {
    Account {
        user: name.to_owned(),
        id: None,
        active: true,
        keys: vec!["k".to_owned()],
        limits: RequestedLimits::default(),
        idle_timeout: None,
        image: None,
        uid: None,
        internet: None,
        forward: None,
        env: SiteVariables::default(),
        directory: None,
    }
}

fn at(boot: &str, boottime: u64, wall: u64) -> Now {
    Now { boot_id: boot.to_owned(), boottime: Duration::from_secs(boottime), wall: Duration::from_secs(wall) }
}

const DAY: TimeSpan = TimeSpan(Duration::from_secs(86_400));
const YEAR: u64 = 365 * 86_400;

#[test]
fn f16_a_clock_that_jumps_neither_kills_nor_revives_a_record() {
    let record = AccountRecord::new(account("alice"), &at("a", 1000, YEAR * 50));
    for wall in [YEAR * 49, YEAR * 50 - 3600, YEAR * 50 + 3600, YEAR * 51] {
        assert!(record.serves(&at("a", 1000 + 3600, wall), DAY));
        assert!(!record.serves(&at("a", 1000 + 86_400, wall), DAY));
    }
}

#[test]
fn p3_after_a_reboot_the_wall_clock_decides_and_a_future_record_is_not_used() {
    let record = AccountRecord::new(account("alice"), &at("a", 90_000, YEAR));
    assert!(record.serves(&at("b", 10, YEAR + 3600), DAY));
    assert!(!record.serves(&at("b", 10, YEAR + 86_400), DAY));
    assert!(!record.serves(&at("b", 10, YEAR - 1), DAY));
}

#[test]
fn p3_stale_zero_never_serves() {
    let now = at("a", 1000, YEAR);
    assert!(!AccountRecord::new(account("alice"), &now).serves(&now, TimeSpan(Duration::ZERO)));
}

#[test]
fn a_record_is_written_read_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let (alice, record) = (login("alice"), AccountRecord::new(account("alice"), &at("a", 1, 1)));
    assert_eq!(cache.read(&alice), None);
    cache.write(&alice, &record).unwrap();
    assert_eq!(cache.read(&alice), Some(record));
    cache.revoke(&alice, &at("a", 2, 2)).unwrap();
    cache.revoke(&alice, &at("a", 2, 2)).unwrap();
    assert_eq!(cache.read(&alice), None);
}

#[test]
fn a12_a_login_with_the_known_account_writes_nothing_to_the_disk() {
    let (dir, fallback) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache { dir: dir.path().to_owned(), fallback: fallback.path().to_owned() };
    let alice = login("alice");
    let hour = |hour: u64| at("a", hour * 3600, YEAR + hour * 3600);
    let on_disk =
        || AccountRecord::read(&cache.path(&alice), &alice).map(|record| record.boottime.as_secs() / 3600);
    let logs_in = |account: Account, when: u64| {
        cache
            .write_at_login(&alice, &AccountRecord::new(account.clone(), &hour(when)), &hour(when), DAY)
            .unwrap();
        // What counts is always the latest reply.
        assert_eq!(cache.read(&alice), Some(AccountRecord::new(account, &hour(when))));
        on_disk()
    };
    assert_eq!(logs_in(account("alice"), 1), Some(1));
    assert_eq!(logs_in(account("alice"), 12), Some(1));
    // After half of `stale`, so that a reboot during an outage of the web app locks nobody out.
    assert_eq!(logs_in(account("alice"), 13), Some(13));
    assert_eq!(logs_in(account("alice"), 14), Some(13));
    // A change is on the disk at once: a power failure must not bring a removed key back.
    assert_eq!(logs_in(Account { keys: Vec::new(), ..account("alice") }, 15), Some(15));
    assert_eq!(logs_in(account("alice"), 16), Some(16));
    assert_eq!(logs_in(account("alice"), 17), Some(16));
    // A refusal removes both.
    cache.revoke(&alice, &hour(18)).unwrap();
    assert_eq!((cache.read(&alice), on_disk()), (None, None));
}

#[test]
fn f33_a_login_notices_that_the_cache_directory_can_be_written_again() {
    let (dir, fallback) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache { dir: dir.path().to_owned(), fallback: fallback.path().join("full") };
    let (alice, now) = (login("alice"), at("a", 2, 2));
    let record = |seconds| AccountRecord::new(account("alice"), &at("a", seconds, seconds));
    cache.write(&alice, &record(1)).unwrap();
    // The fallback directory cannot be written: the record goes to the disk.
    cache.write_at_login(&alice, &record(2), &now, DAY).unwrap();
    assert_eq!(AccountRecord::read(&cache.path(&alice), &alice), Some(record(2)));
    fs::create_dir(&cache.fallback).unwrap();
    assert!(cache.mark_first_failure());
    cache.write_at_login(&alice, &record(3), &now, DAY).unwrap();
    assert_eq!(AccountRecord::read(&cache.path(&alice), &alice), Some(record(3)));
    assert!(!cache.failure_mark().exists());
    // With `stale` zero no record serves after a reboot: the disk keeps the one that it has.
    cache.write_at_login(&alice, &record(4), &now, TimeSpan(Duration::ZERO)).unwrap();
    assert_eq!(cache.read(&alice), Some(record(4)));
    assert_eq!(AccountRecord::read(&cache.path(&alice), &alice), Some(record(3)));
}

#[test]
fn f26_incomplete_empty_and_foreign_records_count_as_absent() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let record = serde_json::to_string(&AccountRecord::new(account("bob"), &at("a", 1, 1))).unwrap();
    for text in ["", "{", "null", &record[..record.len() / 2], &record] {
        fs::write(dir.path().join("alice.json"), text).unwrap();
        assert_eq!(cache.read(&login("alice")), None, "{text}");
    }
}

#[test]
fn a_fifo_or_a_link_in_place_of_a_record_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let path = dir.path().join("alice.json");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(cache.read(&login("alice")), None);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert_eq!(cache.read(&login("alice")), None);
}

#[test]
fn f13_when_nothing_can_be_written_the_old_record_stays() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let alice = login("alice");
    let record = AccountRecord::new(account("alice"), &at("a", 1, 1));
    cache.write(&alice, &record).unwrap();
    // A directory with the name of the temporary file makes the write fail.
    fs::create_dir(dir.path().join(".alice.json.new")).unwrap();
    assert!(cache.write(&alice, &AccountRecord::new(account("alice"), &at("a", 2, 2))).is_err());
    assert_eq!(cache.read(&alice), Some(record));
}

#[test]
fn f33_an_unusable_directory_is_replaced_by_the_fallback_and_logged_once() {
    let (dir, fallback) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let missing = dir.path().join("missing");
    let cache = Cache { dir: missing.clone(), fallback: fallback.path().to_owned() };
    let (alice, now) = (login("alice"), at("a", 2, 2));
    let record = AccountRecord::new(account("alice"), &now);
    cache.check_writable().unwrap_err();
    let lock = cache.lock_lookup(&alice, Duration::ZERO).unwrap();
    assert_eq!(cache.lock_lookup(&alice, Duration::ZERO).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(
        cache.write(&alice, &record).is_err() && cache.mark_first_failure() && !cache.mark_first_failure()
    );
    assert_eq!(cache.read(&alice), Some(record.clone()));
    cache.store_outcome(&alice, LookupOutcome::Failed, &now).unwrap();
    assert_eq!(cache.last_outcome(&alice, &now), Some((LookupOutcome::Failed, now.boottime)));
    drop(lock);
    // The directory can be used again.
    fs::create_dir(&missing).unwrap();
    cache.check_writable().unwrap();
    let later = at("a", 3, 3);
    let record = AccountRecord::new(account("alice"), &later);
    cache.write(&alice, &record).unwrap();
    assert_eq!(cache.read(&alice), Some(record));
    assert!(!fallback.path().join(".alice.json").exists() && cache.mark_first_failure());
    cache.store_outcome(&alice, LookupOutcome::Refused, &later).unwrap();
    assert_eq!(cache.last_outcome(&alice, &later), Some((LookupOutcome::Refused, later.boottime)));
}

#[test]
fn p3_f33_a_no_is_an_answer_when_the_old_record_cannot_be_removed() {
    let (dir, fallback) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache { dir: dir.path().join("cache"), fallback: fallback.path().to_owned() };
    let (alice, aside) = (login("alice"), dir.path().join("aside"));
    let record = |seconds| AccountRecord::new(account("alice"), &at("a", seconds, seconds));
    fs::create_dir(&cache.dir).unwrap();
    for old in [record(1), AccountRecord::new(account("alice"), &at("an earlier boot", 9, 1))] {
        cache.write(&alice, &old).unwrap();
        // An admin moves the directory away, to free disk space, and back.
        fs::rename(&cache.dir, &aside).unwrap();
        cache.revoke(&alice, &at("a", 2, 2)).unwrap_err();
        fs::rename(&aside, &cache.dir).unwrap();
        assert_eq!(cache.read(&alice), None, "{old:?}");
    }
    cache.write(&alice, &record(3)).unwrap();
    assert_eq!(cache.read(&alice), Some(record(3)));
}

#[test]
fn p3_f33_no_old_record_returns_from_either_directory() {
    let (dir, fallback) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache { dir: dir.path().to_owned(), fallback: fallback.path().join("full") };
    let alice = login("alice");
    let old = AccountRecord::new(account("alice"), &at("a", 1, 1));
    let without_key = Account { keys: Vec::new(), ..account("alice") };
    cache.write(&alice, &old).unwrap();
    // Neither directory can be written: no record is better than one with a removed key.
    fs::create_dir(dir.path().join(".alice.json.new")).unwrap();
    cache.write(&alice, &AccountRecord::new(without_key.clone(), &at("a", 2, 2))).unwrap_err();
    assert_eq!(cache.read(&alice), None);
    fs::create_dir(&cache.fallback).unwrap();
    cache.write(&alice, &old).unwrap_err();
    assert_eq!(cache.read(&alice), Some(old));
    fs::create_dir(cache.fallback.join("..alice.json.new")).unwrap();
    cache.write(&alice, &AccountRecord::new(without_key, &at("a", 3, 3))).unwrap_err();
    assert_eq!(cache.read(&alice), None);
}

#[test]
fn f33_revocations_of_many_names_take_one_file_while_the_directory_is_unusable() {
    let (dir, fallback) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = Cache { dir: dir.path().join("missing"), fallback: fallback.path().to_owned() };
    for n in 0..10_000 {
        cache.revoke(&login(&format!("u{n}")), &at("a", 1, 1)).unwrap_err();
    }
    assert_eq!(fs::read_dir(&fallback).unwrap().count(), 1);
}

#[test]
fn f33_without_a_writable_directory_each_failure_is_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(&dir.path().join("missing"));
    assert_eq!(
        cache.lock_lookup(&login("alice"), Duration::ZERO).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert!(cache.write(&login("alice"), &AccountRecord::new(account("alice"), &at("a", 1, 1))).is_err());
    assert!(cache.mark_first_failure() && cache.mark_first_failure());
    assert_eq!(cache.read(&login("alice")), None);
}

#[test]
fn outcomes_for_a_hundred_thousand_names_take_one_small_file() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let now = at("a", 7, 7);
    for n in 0..100_000 {
        cache.store_outcome(&login(&format!("u{n}")), LookupOutcome::Refused, &now).unwrap();
    }
    assert_eq!(cache.last_outcome(&login("u99999"), &now), Some((LookupOutcome::Refused, now.boottime)));
    assert_eq!(cache.last_outcome(&login("u99999"), &at("b", 7, 7)), None);
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 1);
    assert!(files[0].metadata().unwrap().len() <= slots::SLOTS * 24);
}

#[test]
fn one_lookup_per_user_and_none_waits_for_another_user() {
    let dir = tempfile::tempdir().unwrap();
    let cache = cache(dir.path());
    let lock = cache.lock_lookup(&login("alice"), Duration::ZERO).unwrap();
    let second = cache.lock_lookup(&login("alice"), Duration::from_millis(30));
    assert_eq!(second.unwrap_err().kind(), io::ErrorKind::TimedOut);
    cache.lock_lookup(&login("bob"), Duration::ZERO).unwrap();
    drop(lock);
    // It is free a moment later while another test, in this process, starts ssh-keygen.
    cache.lock_lookup(&login("alice"), Duration::from_secs(20)).unwrap();
}
