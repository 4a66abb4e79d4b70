//! The uids of boxes: whether anyone else on this host has one, and whether each home has that of its box.

use super::report::{CheckResult, fail, ok, warn};
use super::{Checked, Doctor};
use host::box_user;
use host::cache::Cache;
use host::config::{BoxUser, Config, UidRange};
use host::home;
use host::quota;
use identity::{UID_BASE, UID_MASK};
use session::exit::chain;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// How many conflicts or homes are named.
const MAX_NAMED: usize = 5;

/// About how many uids of boxes the name service is asked.
const MAX_ASKED: usize = 100;

/// Numbers that an account or a user namespace of the host has.
#[derive(Debug, PartialEq, Eq)]
struct HostUids {
    owner: String,
    first: u32,
    last: u32,
}

/// `uids`: does anyone else on this host have the uid of a box?
pub fn uids(doctor: &Doctor) -> Checked {
    let config = doctor.config()?;
    let read = |path: &str| fs::read(path).unwrap_or_default();
    let mut others = accounts("local user", &read("/etc/passwd"));
    if config.container.user == BoxUser::Own {
        // Then the gid of a box is its uid.
        let groups = accounts("local group", &read("/etc/group")).into_iter();
        // Most users have a group of their own with the same number: one name is enough.
        let own: Vec<_> = groups.filter(|group| !is_known(group.first, &others)).collect();
        others.extend(own);
    }
    for path in ["/etc/subuid", "/etc/subgid"] {
        others.extend(namespaces(path, &read(path)));
    }
    if config.container.user == BoxUser::Own {
        others.extend(named_by_service(config.container.uids, &others));
    }
    Ok(judge_uids(config.container.user, config.container.uids, &others))
}

/// Users and groups that only the name service knows, such as those of a directory: who has the first or last
/// uid of the range, or one of a box.
fn named_by_service(range: UidRange, known: &[HostUids]) -> Vec<HostUids> {
    let claimed = box_user::claimed(Path::new(box_user::DIRECTORY)).unwrap_or_default();
    let claimed = claimed.into_iter().filter(|uid| range.contains(*uid)).take(MAX_ASKED);
    let asked: BTreeSet<u32> = [range.first, range.last].into_iter().chain(claimed).collect();
    let named = |uid| Some(HostUids { owner: box_user::host_owner(uid).ok()??, first: uid, last: uid });
    asked.into_iter().filter(|uid| !is_known(*uid, known)).filter_map(named).collect()
}

fn is_known(number: u32, known: &[HostUids]) -> bool {
    known.iter().any(|known| (known.first..=known.last).contains(&number))
}

fn judge_uids(user: BoxUser, own: UidRange, others: &[HostUids]) -> CheckResult {
    let (range, key) = match user {
        BoxUser::Own => (own, "box.uids"),
        BoxUser::Fixed(user) => (UidRange { first: user.uid, last: user.uid }, "box.user"),
    };
    if range.overlaps(UID_BASE, UID_BASE | UID_MASK) {
        return fail(
            format!("{key} has a uid of the users' own processes on the host, {UID_BASE} and above"),
            format!("set {key} to a number below {UID_BASE}"),
        );
    }
    let conflicts: Vec<_> = others
        .iter()
        .filter(|other| range.overlaps(other.first, other.last))
        .map(|other| other.owner.clone())
        .collect();
    if !conflicts.is_empty() {
        return fail(
            format!("{} has a uid or gid of the boxes ({key})", named(&conflicts)),
            "it owns the files of a box, and a process that leaves a box has its rights: set box.user = \
             \"own\" or another box.uids, then run sshbox chown for each user",
        );
    }
    match user {
        BoxUser::Own => ok(format!("each box has its own, from {own}; nobody else on this host has one")),
        BoxUser::Fixed(user) => warn(
            format!("all boxes have {user} (box.user): what one uses up, no other can have"),
            "set box.user = \"own\", then run sshbox chown for each user",
        ),
    }
}

/// The accounts in passwd(5), or the groups in group(5): both have the number in the third field.
fn accounts(kind: &str, text: &[u8]) -> Vec<HostUids> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        Some(HostUids { owner: format!("{kind} {name}"), first: number, last: number })
    };
    String::from_utf8_lossy(text).lines().filter_map(parse).collect()
}

/// The ranges in subuid(5) and subgid(5).
fn namespaces(path: &str, text: &[u8]) -> Vec<HostUids> {
    let parse = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, first, count] = fields[..] else { return None };
        let (first, count): (u32, u32) = (first.parse().ok()?, count.parse().ok()?);
        let last = first.saturating_add(count.checked_sub(1)?);
        Some(HostUids { owner: format!("{name} in {path}"), first, last })
    };
    String::from_utf8_lossy(text).lines().filter_map(parse).collect()
}

/// The first of these, and how many more there are.
pub fn named(names: &[String]) -> String {
    let shown = names.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MAX_NAMED) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// The homes that do not belong to the uid of their box; `None` if all do. Users without a cached account may be
/// gone.
pub fn wrong_owners(config: &Config) -> Option<CheckResult> {
    let homes = match home::owners(&config.container.home) {
        Ok(homes) => homes,
        Err(error) => {
            return Some(fail(format!("{}: {error}", config.container.home.as_str()), "see the error"));
        }
    };
    let (cache, claims) = (Cache::new(&config.accounts.cache), Path::new(box_user::DIRECTORY));
    let (mut refused, mut without_account) = (Vec::new(), Vec::new());
    for (login, owner) in homes {
        if quota::is_mount_point(Path::new(&config.container.home.fill(&login))) {
            // The home is in an image that is not mounted: the next start checks it.
            continue;
        }
        let account = cache.read(&login).map(|record| record.account);
        match (box_user::look(&config.container, &login, account.as_ref(), claims), account) {
            (Ok(Some(user)), _) if user.uid == owner => {}
            (Ok(_), Some(_)) => refused.push(login.to_string()),
            (Err(error), Some(_)) => refused.push(format!("{login} ({})", chain(&error))),
            (_, None) => without_account.push(login.to_string()),
        }
    }
    judge_owners(&refused, &without_account)
}

fn judge_owners(refused: &[String], without_account: &[String]) -> Option<CheckResult> {
    if !refused.is_empty() {
        return Some(fail(
            format!("homes that belong to another uid than their box: {}", named(refused)),
            "these users cannot log in; run sshbox chown for each (see: uids and homes, in operate.md)",
        ));
    }
    (!without_account.is_empty()).then(|| {
        warn(
            format!("homes that belong to no uid of boxes: {}", named(without_account)),
            "before such a user logs in again, run sshbox chown",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::CheckState;
    use super::*;
    use host::config::UidGid;

    const OWN: UidRange = UidRange { first: 1_700_000_000, last: 1_799_999_999 };

    fn judge(user: BoxUser, passwd: &str, subuid: &str) -> CheckResult {
        let mut others = accounts("local user", passwd.as_bytes());
        others.extend(namespaces("/etc/subuid", subuid.as_bytes()));
        judge_uids(user, OWN, &others)
    }

    #[test]
    fn a13_an_account_or_a_namespace_with_a_uid_of_boxes_is_reported() {
        let fixed = BoxUser::Fixed(UidGid { uid: 1000, gid: 1000 });
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/bash\n";
        let far = passwd.to_owned() + "carol:x:1700000007:100::/:/bin/sh\n";
        let all = "bob:100000:65536\n";
        assert_eq!(judge(BoxUser::Own, passwd, all).state, CheckState::Ok);
        for (result, name) in [
            (judge(BoxUser::Own, &far, all), "local user carol has"),
            (judge(BoxUser::Own, passwd, "dave:1699999999:2\n"), "dave in /etc/subuid has"),
            (judge(BoxUser::Own, passwd, "dave:1500000000:4294967295\n"), "dave in /etc/subuid has"),
            (judge(fixed, passwd, all), "local user bob has"),
            (judge(fixed, "", "eve:1000:1\n"), "eve in /etc/subuid has"),
        ] {
            assert_eq!(result.state, CheckState::Fail, "{name}");
            assert!(result.finding.starts_with(name), "{}", result.finding);
        }
        assert_eq!(
            judge(BoxUser::Own, passwd, "dave:1699999999:1\nx:1800000000:9\nbad\n:::\n").state,
            CheckState::Ok
        );
        assert_eq!(judge(fixed, "bob:x:1001:1000::/:\n", all).state, CheckState::Warn);
        let groups = accounts("local group", b"root:x:0:\nstaff:x:1700000009:bob,carol\n");
        let result = judge_uids(BoxUser::Own, OWN, &groups);
        assert_eq!(result.state, CheckState::Fail);
        assert!(result.finding.starts_with("local group staff has"), "{}", result.finding);
        let login = BoxUser::Fixed(UidGid { uid: UID_BASE + 5, gid: 1 });
        assert_eq!(judge(login, passwd, all).state, CheckState::Fail);
    }

    #[test]
    fn a13_the_name_service_tells_who_else_has_a_uid_of_boxes() {
        let roots = UidRange { first: 0, last: 0 };
        let root = named_by_service(roots, &[]);
        assert_eq!(root.first().map(|root| &*root.owner), Some("user root"));
        // What the files name already is not asked for again.
        assert_eq!(named_by_service(roots, &accounts("local user", b"root:x:0:\n")), []);
    }

    #[test]
    fn homes_of_another_uid_are_named() {
        assert!(judge_owners(&[], &[]).is_none());
        let names = |count: usize| (0..count).map(|n| format!("u{n}")).collect::<Vec<_>>();
        let result = judge_owners(&names(7), &names(1)).unwrap();
        assert_eq!(result.state, CheckState::Fail);
        assert!(result.finding.ends_with(": u0, u1, u2, u3, u4 and 2 more"), "{}", result.finding);
        assert_eq!(judge_owners(&[], &names(1)).unwrap().state, CheckState::Warn);
    }
}
