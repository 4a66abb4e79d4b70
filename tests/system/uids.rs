//! One uid of the host for each box: who gets which, that it stays, and how a home gets it.

use crate::harness::{
    Changed, STATE, User, journal, private_world, run, status_of, text, until, world, world_alone,
};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output};

const CLAIMS: &str = "/var/lib/sshbox/uids";

/// The number that Django gave this user.
fn id_of(user: &User) -> u32 {
    let note = format!("/var/lib/sshbox/homes/.{}.sshbox-id", user.name);
    fs::read_to_string(note).unwrap().trim().parse().unwrap()
}

fn chown(arguments: &[&str]) -> Output {
    Command::new("/usr/sbin/sshbox").arg("chown").args(arguments).output().unwrap()
}

/// Whether this uid of the host can read the root directory of the box by way of a program that runs in it.
/// The init hides its own.
fn reaches_into(user: &User, uid: u32) -> bool {
    let is_sleep = |pid: &i32| status_of(*pid, "Name:").is_some_and(|name| name == "sleep");
    let program = user.box_processes().into_iter().find(is_sleep).unwrap();
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()]);
    command.args(["ls", &format!("/proc/{program}/root/")]).output().unwrap().status.success()
}

#[test]
fn a13_each_box_has_a_uid_of_its_own_that_stays() {
    let _world = world();
    let (one, other) = (User::new("own1"), User::new("own2"));
    let programs = [&one, &other].map(|user| {
        let mut program = user.ssh().begin(&["echo kept > file; echo runs; sleep 600"]);
        assert_eq!(program.line(), "runs");
        until("it sleeps", || user.runs_in_box("sleep 600"));
        program
    });
    for user in [&one, &other] {
        let own = 1_700_000_000 + id_of(user);
        let file = fs::metadata(format!("{}/file", user.home())).unwrap();
        assert_eq!((user.box_uid(), file.uid(), file.gid()), (own, own, own));
        assert_eq!(fs::read_link(format!("{CLAIMS}/{own}")).unwrap(), Path::new(&user.name));
        // Neither a local user nor the neighbour reads the box by way of /proc.
        assert!(reaches_into(user, own) && !reaches_into(user, 1000), "{}", user.name);
    }
    assert!(!reaches_into(&one, other.box_uid()));
    drop(programs);
    let before = one.box_uid();
    run("docker", &["rm", "-f", &one.container()]);
    fs::remove_file(format!("{CLAIMS}/{before}")).unwrap();
    assert_eq!(one.says("cat file; id -u"), format!("kept\n{before}\n"));
    assert_eq!(fs::read_link(format!("{CLAIMS}/{before}")).unwrap(), Path::new("own1"));
}

#[test]
fn a13_the_name_is_the_logins_in_any_image() {
    let _world = world_alone();
    // An image without accounts, one with another first user, and the shipped one.
    let change =
        "docker run --name changed --network none --user 0:0 --entrypoint sh sshbox-user:latest -c \"$1\"
        docker commit --change 'USER 1000:1000' --change 'ENTRYPOINT []' changed \"$2\" && docker rm changed";
    let node = "sed -i 's|^user:\\(.*\\):/home/user:/bin/bash|node:\\1:/home/node:/bin/dash|' /etc/passwd && grep ^node /etc/passwd";
    for (script, image) in [("rm /etc/passwd /etc/group", "nobody-known:1"), (node, "node:1")] {
        run("bash", &["-euc", change, "change", script, image]);
    }
    for (name, image, shell) in [
        ("named", "sshbox-user:latest", "/bin/bash"),
        ("unknown", "nobody-known:1", "/bin/sh"),
        ("noded", "node:1", "/bin/dash"),
    ] {
        let _config = Changed::config("image = \"sshbox-user:latest\"", &format!("image = \"{image}\""));
        let user = User::new(name);
        let own = {
            user.says("true");
            user.box_uid()
        };
        assert_eq!(
            user.says(&format!("whoami; id -un; id -gn; id -u; echo ~{name} ~ $USER $SHELL")),
            format!("{name}\n{name}\n{name}\n{own}\n/home/user /home/user {name} {shell}\n"),
            "{image}"
        );
        let git = "git init -q r && cd r && git -c user.name=n -c user.email=x@y commit -q --allow-empty -m m && git log --format=%an";
        assert_eq!(
            user.says(&format!("{git}; ssh -T -G host | grep '^user '")),
            format!("n\nuser {name}\n"),
            "{image}"
        );
        assert_eq!(user.ssh().args(&["-s"]).status("sftp"), 0, "{image}");
        assert_eq!(user.ssh().status("echo x >>/etc/passwd"), 2 - i32::from(shell == "/bin/bash"), "{image}");
    }
    // Nothing is left of the containers that the files came from.
    assert_eq!(run("docker", &["ps", "--all", "--quiet", "--filter", "label=sshbox.image-files"]), "");
}

#[test]
fn a13_two_users_with_one_uid_and_a_uid_that_is_not_for_boxes_are_refused() {
    let _world = world();
    let user = User::new("claimant");
    user.says("true");
    let own = user.box_uid();
    run("docker", &["rm", "-f", &user.container()]);
    let claim = format!("{CLAIMS}/{own}");
    fs::remove_file(&claim).unwrap();
    std::os::unix::fs::symlink("somebody", &claim).unwrap();
    let refused = user.ssh().run("true");
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    let said = text(&refused.stderr);
    assert!(
        said.starts_with("sshbox: the uid of your box belongs to another box; tell your admin (ref "),
        "{said}"
    );
    let reason = format!("uid {own} belongs to the box of somebody; if that user is gone or was renamed");
    until("the journal has the reason", || journal().contains(&reason));
    fs::remove_file(&claim).unwrap();
    user.says("true");
}

/// Fills the cache as a login does, and adds a uid to the account, as a web app may.
fn cached_with_uid(name: &str, uid: u32) -> User {
    let user = User::new(name);
    let keys = "setpriv --reuid sshbox-keys --regid sshbox-keys --clear-groups /usr/lib/sshbox/sshbox-keys";
    run("sh", &["-c", &format!("{keys} --fingerprint none -- {name}")]);
    let path = format!("/var/cache/sshbox/{name}.json");
    let record = fs::read_to_string(&path).unwrap();
    let changed = record.replace("\"uid\":null", &format!("\"uid\":{uid}"));
    assert_ne!(record, changed);
    fs::write(path, changed).unwrap();
    user
}

#[test]
fn a13_an_account_may_name_the_uid() {
    let _world = world();
    let start = |name: &str| Command::new("sshbox").args(["start", name]).output().unwrap();
    let named = cached_with_uid("named-uid", 1_712_345_678);
    let started = start("named-uid");
    assert!(started.status.success(), "{started:?}");
    assert_eq!(
        (named.box_uid(), &*named.inspect("{{.Config.User}}")),
        (1_712_345_678, "1712345678:1712345678")
    );
    let outside = cached_with_uid("outside-uid", 1000);
    for (name, reason) in [
        ("outside-uid", "the account names uid 1000, which is not in box.uids"),
        ("same-uid", "uid 1712345678 belongs to the box of named-uid"),
    ] {
        if name == "same-uid" {
            cached_with_uid(name, 1_712_345_678);
        }
        let refused = start(name);
        assert_eq!(refused.status.code(), Some(77), "{refused:?}");
        assert!(text(&refused.stderr).contains(reason), "{refused:?}");
    }
    assert!(!Path::new(&outside.home()).exists());
}

#[test]
fn a13_a_home_of_another_uid_is_refused_until_it_is_moved() {
    let _world = world();
    let user = User::new("mover");
    user.says("mkdir dir && echo kept > dir/file && ln -s /etc/hostname link");
    let own = user.box_uid();
    // The session may still be ending.
    let refused = || {
        let refused = chown(&["mover"]);
        assert_eq!(refused.status.code(), Some(75), "{refused:?}");
        text(&refused.stderr)
    };
    until("the box runs", || refused().contains("mover has a box that runs; first run: sshbox stop mover"));
    let open = user.ssh().begin(&["sleep 600"]);
    until("the session is open", || refused().contains("mover has an open session"));
    drop(open);
    run("sshbox", &["stop", "mover"]);
    run("chown", &["--recursive", "--no-dereference", "1000:1000", &user.home()]);
    run("chown", &["root:root", &format!("{}/dir/file", user.home())]);

    let refused = user.ssh().run("true");
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    let said = text(&refused.stderr);
    let cure = "sshbox: your home belongs to another uid on this host; ask your admin to run: sudo sshbox chown mover (ref ";
    assert!(said.starts_with(cure), "{said}");
    assert_eq!(user.box_uid(), 1000);
    let doctor = Command::new("sshbox").args(["doctor", "--json", "homes"]).output().unwrap();
    assert!(text(&doctor.stdout).contains("mover"), "{doctor:?}");

    let hostname = fs::metadata("/etc/hostname").unwrap().uid();
    let dry = chown(&["--dry-run", "mover"]);
    assert!(text(&dry.stdout).contains("entries of 1000 would be given to 17"), "{dry:?}");
    assert_eq!(user.box_uid(), 1000);
    let done = chown(&["mover"]);
    assert!(done.status.success(), "{done:?}");
    let said = text(&done.stdout);
    assert!(said.contains(&format!("given to {own}:{own}; 1 entry of other owners")), "{said}");
    assert_eq!(fs::metadata("/etc/hostname").unwrap().uid(), hostname);
    assert!(journal().contains(&format!("chown {} from 1000 to {own}:{own}", user.home())));
    assert!(text(&chown(&["--from", "0", "mover"]).stdout).contains("1 entry of 0 given to "));
    assert_eq!(user.says("cat dir/file; stat -c %u dir/file link"), format!("kept\n{own}\n{own}\n"));
    run("sshbox", &["stop", "mover"]);
    assert!(text(&chown(&["mover"]).stdout).contains("already\n"));
    assert_eq!(chown(&["nosuchuser"]).status.code(), Some(69));
}

#[test]
fn a13_the_doctor_reports_a_local_user_with_a_uid_of_boxes() {
    let _world = world_alone();
    let check = || {
        let output = Command::new("sshbox").args(["doctor", "--json", "uids"]).output().unwrap();
        text(&output.stdout)
    };
    assert!(check().contains("each box has its own, from 1700000000-1799999999"), "{}", check());
    run("useradd", &["--uid", "1700000003", "--no-create-home", "squatter"]);
    let _gone = crate::harness::Undo(|| drop(run("userdel", &["squatter"])));
    assert!(check().contains("local user squatter has a uid or gid of the boxes (box.uids)"), "{}", check());
}

#[test]
fn a13_an_account_without_a_number_gets_a_free_uid_that_a_lost_claim_does_not_change() {
    let _world = private_world();
    let _config = Changed::config(
        "url = \"http://127.0.0.1:8000/sshbox/accounts/{user}\"",
        "url = \"file:///etc/sshbox/keys/{user}\"",
    );
    fs::create_dir_all("/etc/sshbox/keys").unwrap();
    let user = |name: &str| {
        fs::copy(format!("{STATE}/key.pub"), format!("/etc/sshbox/keys/{name}")).unwrap();
        let user = User { name: name.to_owned() };
        user.says("true");
        user
    };
    let (first, second) = (user("unnumbered1"), user("unnumbered2"));
    let (one, two) = (first.box_uid(), second.box_uid());
    assert!(one <= 1_799_999_999 && one > 1_799_990_000 && one != two, "{one} {two}");
    run("docker", &["rm", "-f", &first.container(), &second.container()]);
    for uid in [one, two] {
        fs::remove_file(format!("{CLAIMS}/{uid}")).unwrap();
    }
    // A new user gets neither of the two, and those who have a home keep theirs.
    let third = user("unnumbered3").box_uid();
    assert!(third != one && third != two, "{third}");
    assert_eq!((first.says("id -u"), second.says("id -u")), (format!("{one}\n"), format!("{two}\n")));
}
