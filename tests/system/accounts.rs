//! Keys and accounts: changes in Django take effect at once.

use crate::harness::{
    Changed, STATE, Undo, User, WHOSE, alice, journal, manage, private_world, run, text, until, world,
    world_alone,
};
use std::fs;
use std::time::{Duration, Instant};

fn refused(output: &std::process::Output) -> bool {
    output.status.code() == Some(255) && text(&output.stderr).contains("Permission denied (publickey)")
}

#[test]
fn p3_a_new_key_works_at_once_and_a_removed_one_fails_at_the_next_login() {
    let _world = world();
    let user = User::new("keyed");
    assert_eq!(user.says("echo in"), "in\n");
    manage(&["sshbox_key", "remove", "keyed", &format!("{STATE}/key.pub")]);
    assert!(refused(&user.ssh().run("echo in")));
    // A new key works at once too: an earlier refusal is not cached, not even for five seconds.
    manage(&["sshbox_key", "add", "keyed", &format!("{STATE}/key.pub")]);
    assert_eq!(user.says("echo in"), "in\n");
}

#[test]
fn unknown_users_wrong_keys_and_inactive_users_get_the_same_error() {
    let _world = world();
    let inactive = User::new("inactive");
    manage(&[
        "shell",
        "-c",
        "from django.contrib.auth.models import User; User.objects.filter(username='inactive').update(is_active=False)",
    ]);
    let stranger = User { name: "nosuchuser".to_owned() };
    let outputs =
        [stranger.ssh().run("id"), alice().ssh().key("stranger").run("id"), inactive.ssh().run("id")];
    let texts: Vec<String> = outputs
        .iter()
        .map(|output| {
            text(&output.stderr).replace("nosuchuser", "X").replace("inactive", "X").replace("alice", "X")
        })
        .collect();
    assert!(outputs.iter().all(refused), "{texts:?}");
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    assert!(!fs::exists(inactive.home()).unwrap() && !fs::exists(stranger.home()).unwrap());
}

#[test]
fn f29_without_django_known_users_can_log_in_and_others_cannot() {
    let _world = world_alone();
    let user = alice();
    run("tests/system/web", &["stop"]);
    let _back = Undo(|| {
        run("tests/system/web", &["start"]);
        until("Django replies", django_replies);
    });
    until("Django has ended", || fs::metadata(format!("{STATE}/web.pid")).is_err());
    assert_eq!(user.says("echo in"), "in\n");
    assert!(refused(&User { name: "nosuchuser".to_owned() }.ssh().run("id")));
    assert!(refused(&user.ssh().key("stranger").run("id")));
    let _config = Changed::config("stale = \"24h\"", "stale = \"0s\"");
    assert!(refused(&user.ssh().run("id")));
    assert!(journal().contains(r#"account source failed user="alice""#));
}

fn django_replies() -> bool {
    std::process::Command::new("curl")
        .args(["--silent", "--fail", "--output", "/dev/null", "http://127.0.0.1:8000/"])
        .status()
        .unwrap()
        .success()
}

#[test]
fn f29_p6_a_hanging_django_delays_a_login_by_one_timeout() {
    let _world = world_alone();
    let user = alice();
    // The login that is timed starts no box.
    user.says("true");
    run("tests/system/web", &["freeze"]);
    let _back = Undo(|| drop(run("tests/system/web", &["thaw"])));
    let began = Instant::now();
    assert_eq!(user.says("echo in"), "in\n");
    // The promise itself: one login makes one request of at most 1.5 s, and sshd can double that to 3 s.
    assert!(began.elapsed() < Duration::from_millis(3500), "{:?}", began.elapsed());
}

#[test]
fn a5_a_login_with_many_keys_makes_one_request() {
    let _world = world_alone();
    let user = User::new("flooded");
    let before = requests_for("flooded");
    let mut ssh = user.ssh().key("flood1");
    run(
        "sh",
        &["-c", &format!("for n in 1 2 3 4 5; do ssh-keygen -q -t ed25519 -N '' -f {STATE}/flood$n; done")],
    );
    for n in 2..=5 {
        ssh = ssh.args(&["-i", &format!("{STATE}/flood{n}")]);
    }
    // Five wrong keys, then the right one.
    let output = ssh.args(&["-i", &format!("{STATE}/key")]).run("echo in");
    assert_eq!(text(&output.stdout), "in\n", "{output:?}");
    assert_eq!(requests_for("flooded") - before, 1);
}

#[test]
fn f30_each_login_makes_one_request_even_if_it_is_refused() {
    let _world = world_alone();
    let user = alice();
    for (user, key, accepted) in
        [(user, "key", true), (User { name: "nosuchuser2".to_owned() }, "key", false)]
    {
        let before = requests_for(&user.name);
        assert_eq!(user.ssh().key(key).run("true").status.success(), accepted);
        assert_eq!(requests_for(&user.name) - before, 1, "{}", user.name);
    }
}

fn requests_for(user: &str) -> usize {
    let log = fs::read_to_string(format!("{STATE}/access.log")).unwrap();
    log.lines().filter(|line| line.contains(&format!("GET /sshbox/accounts/{user} "))).count()
}

#[test]
fn keys_can_come_from_files_without_a_web_app() {
    let _world = private_world();
    let _config = Changed::config(
        "url = \"http://127.0.0.1:8000/sshbox/accounts/{user}\"",
        "url = \"file:///etc/sshbox/keys/{user}\"",
    );
    fs::create_dir_all("/etc/sshbox/keys").unwrap();
    let user = User { name: "fromfile".to_owned() };
    assert!(refused(&user.ssh().run("echo in")));
    fs::copy(format!("{STATE}/key.pub"), "/etc/sshbox/keys/fromfile").unwrap();
    assert_eq!(user.says("echo in"), "in\n");
    assert_eq!(user.says(WHOSE), "fromfile\n");
    fs::remove_file("/etc/sshbox/keys/fromfile").unwrap();
    assert!(refused(&user.ssh().run("echo in")));
}

#[test]
fn a18_a_login_name_of_a_new_account_is_refused_with_the_reason() {
    let _world = world();
    let user = User::new("reborn");
    user.says("echo secret > diary");
    // Its home belongs to the uid of the first account, which `sshbox doctor` reports.
    let _gone = Undo(|| {
        let user = User { name: "reborn".to_owned() };
        run("docker", &["rm", "-f", &user.container()]);
        run(
            "sh",
            &["-c", &format!("rm -rf {0} {1}", user.home(), "/var/lib/sshbox/homes/.reborn.sshbox-id")],
        );
    });
    manage(&[
        "shell",
        "-c",
        "from django.contrib.auth.models import User; User.objects.get(username='reborn').delete()",
    ]);
    assert!(refused(&user.ssh().run("cat diary")));
    // A new account with the same login name, while the box of the old account still runs.
    let user = User::new("reborn");
    for _ in 0..2 {
        let output = user.ssh().run("cat diary");
        assert_eq!(output.status.code(), Some(77), "{output:?}");
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).contains("belongs to an earlier account"), "{output:?}");
    }
    let output = text(&user.ssh().run("cat diary").stderr);
    let reference = output.split("(ref ").nth(1).unwrap().trim_end().trim_end_matches(')').to_owned();
    let line = journal()
        .lines()
        .find(|line| line.contains(&reference) && line.contains("wake failed"))
        .unwrap()
        .to_owned();
    assert!(line.contains("belongs to account"), "{line}");
    assert_eq!(fs::read_to_string(format!("{}/diary", user.home())).unwrap(), "secret\n");
}

#[test]
fn a16_the_token_appears_in_no_log_process_or_container() {
    let _world = world();
    let user = alice();
    let token = fs::read_to_string(format!("{STATE}/token")).unwrap();
    assert_eq!(token.len().clamp(30, 60), token.len());
    let mut session = user.ssh().begin(&["echo began; sleep 60"]);
    session.line();
    assert!(!journal().contains(&token));
    assert!(!fs::read_to_string("/run/sshbox-by-hand/sshd.log").unwrap().contains(&token));
    assert!(!run("docker", &["inspect", &user.container()]).contains(&token));
    for pid in user.host_processes() {
        for file in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            assert!(!text(&bytes).contains(&token), "{pid} {file}");
        }
    }
    session.kill();
}
