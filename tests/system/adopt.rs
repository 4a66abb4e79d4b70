//! `sshbox adopt`: containers of an earlier gateway are set aside only when the admin confirms it. They keep their
//! contents, and their users keep their homes.

use crate::harness::{
    Changed, STATE, Terminal, Undo, User, journal, private_world, run, text, until, world, world_alone,
};
use std::fs;
use std::process::{Command, Output};
use std::thread;

fn adopt(arguments: &[&str]) -> Output {
    Command::new("/usr/sbin/sshbox").arg("adopt").args(arguments).output().unwrap()
}

/// Gives boxes the names of the earlier gateway's containers.
fn names_of_old_gateway() -> Changed {
    Changed::config("name = \"sshbox-{digest}\"", "name = \"sshbox-{user}\"")
}

fn inspect(container: &str, format: &str) -> String {
    run("docker", &["inspect", "--format", format, container]).trim().to_owned()
}

/// New name of a container that was set aside.
fn name_set_aside(container: &str) -> String {
    let filter = format!("name=^/{container}.before-sshbox-");
    let names = run("docker", &["ps", "--all", "--format", "{{.Names}}", "--filter", &filter]);
    assert_eq!(names.lines().count(), 1, "{names}");
    names.trim().to_owned()
}

/// A user with a home and a container like those of an earlier gateway.
fn user_of_old_gateway(name: &str, options: &[&str]) -> User {
    let user = User::new(name);
    make_home(&user, "1000");
    let mount = format!("{}:/home/user", user.home());
    run_old_container(&user, &[&["--restart", "always", "--volume", &*mount], options].concat());
    user
}

fn make_home(user: &User, owner: &str) {
    run("install", &["-d", "-m", "0700", "-o", owner, "-g", owner, &user.home()]);
    let script = format!("echo kept > {0}/file && chown {owner}:{owner} {0}/file", user.home());
    run("sh", &["-c", &script]);
}

/// Starts such a container. `--init` handles SIGTERM, so that most tests need not wait for the grace period.
fn run_old_container(user: &User, options: &[&str]) {
    let name = user.container();
    let begin = ["run", "--detach", "--init", "--network", "none", "--name", &name];
    run("docker", &[&begin, options, &["sshbox-user:latest", "sleep", "infinity"]].concat());
}

/// Removes the containers and homes that a test has created for these users.
fn remove_containers(names: &[&str]) {
    let all = run("docker", &["ps", "--all", "--format", "{{.Names}}"]);
    let of = |name: &&str| names.iter().any(|user| name.starts_with(&format!("sshbox-{user}")));
    for name in all.lines().filter(of) {
        run("docker", &["rm", "--force", "--volumes", name]);
    }
    for name in names {
        // Their homes have the uid of the old gateway, which the doctor would report.
        run("sh", &["-c", &format!("cd /var/lib/sshbox/homes && rm -rf {name} .{name}.sshbox-id")]);
    }
}

#[test]
fn a2_a_container_is_set_aside_only_when_the_admin_confirms() {
    // Alone: a reaper with other names would rename the box.
    let _world = world_alone();
    let _names = names_of_old_gateway();
    let user = user_of_old_gateway("moved", &[]);
    let _gone = Undo(|| remove_containers(&["moved"]));
    run("docker", &["exec", "--user", "0", "sshbox-moved", "touch", "/etc/only-here"]);
    run("docker", &["exec", "--detach", "sshbox-moved", "sleep", "4242"]);
    let id = user.inspect("{{.Id}}");
    let untouched = || {
        assert_eq!(user.inspect("{{.Id}} {{.State.Running}}"), format!("{id} true"));
        assert_eq!(user.inspect("{{.HostConfig.RestartPolicy.Name}}"), "always");
    };

    let asked = adopt(&["moved"]);
    assert_eq!(asked.status.code(), Some(64), "{asked:?}");
    assert!(text(&asked.stderr).contains("there is no way to confirm"), "{asked:?}");
    untouched();
    let dry = adopt(&["--dry-run", "moved"]);
    assert!(dry.status.success(), "{dry:?}");
    let shown = text(&dry.stdout);
    for line in [
        "sshbox-moved\n",
        "  image      sshbox-user:latest\n",
        "  state      running, restart policy always\n",
        "  mount      bind /var/lib/sshbox/homes/moved at /home/user\n",
        "  home       belongs to 1000:1000, which will be 17000",
        "  processes  3 will end: ",
        "sleep 4242",
        "  changes    1 outside the home, which the box will lack: /etc/only-here\n",
        "  verdict    can be set aside\n",
        "1 container would be set aside; nothing was changed\n",
    ] {
        assert!(shown.contains(line), "{line:?} is not in {shown}");
    }
    untouched();
    assert!(!fs::exists("/var/lib/sshbox/homes/.moved.sshbox-id").unwrap());
    assert_eq!(user.ssh().status("true"), 77);
    untouched();

    let done = adopt(&["--yes", "moved"]);
    assert!(done.status.success(), "{done:?}");
    let aside = name_set_aside("sshbox-moved");
    assert!(text(&done.stdout).contains(&format!("sshbox-moved: set aside as {aside}\n")), "{done:?}");
    assert_eq!(inspect(&aside, "{{.Id}} {{.State.Running}}"), format!("{id} false"));
    assert_eq!(inspect(&aside, "{{.HostConfig.RestartPolicy.Name}}"), "no");
    let line = journal().lines().find(|line| line.contains("adopt sshbox-moved as ")).unwrap().to_owned();
    assert!(line.contains(r#"admin action user="moved" by=""#), "{line}");
    // The home now belongs to this account, even before its first login.
    assert!(fs::exists("/var/lib/sshbox/homes/.moved.sshbox-id").unwrap());

    let own = user.box_uid();
    assert_ne!(own, 1000);
    assert_eq!(user.says("cat file; stat -c %u file; echo new > other"), format!("kept\n{own}\n"));
    assert_eq!(user.inspect("{{index .Config.Labels \"sshbox.user\"}}"), "moved");
    let again = adopt(&["--yes", "moved"]);
    assert!(again.status.success(), "{again:?}");
    assert!(text(&again.stdout).contains("already a box of sshbox"), "{again:?}");

    // Undo the adoption as the manual page describes.
    run("docker", &["rm", "--force", "sshbox-moved"]);
    run("chown", &["--recursive", "--no-dereference", "1000:1000", &user.home()]);
    run("docker", &["rename", &aside, "sshbox-moved"]);
    run("docker", &["update", "--restart", "always", "sshbox-moved"]);
    run("docker", &["start", "sshbox-moved"]);
    let old = run("docker", &["exec", "sshbox-moved", "sh", "-c", "ls /etc/only-here; cat ~/file ~/other"]);
    assert_eq!(old, "/etc/only-here\nkept\nnew\n");
}

#[test]
fn p5_an_adoption_that_would_lose_data_is_refused_with_the_reason() {
    let _world = private_world();
    let _names = names_of_old_gateway();
    let names =
        ["nobox", "otherhome", "ownvolume", "fleeting", "rooted", "nohome", "unlisted", "earlier", "linked"];
    let _gone = Undo(|| remove_containers(&[&names[..], &["elsewhere"]].concat()));
    let user = |name: &str| User { name: name.to_owned() };
    for name in names.iter().filter(|name| **name != "unlisted") {
        User::new(name);
    }
    let home = |name: &str| format!("{}:/home/user", user(name).home());
    for name in ["otherhome", "ownvolume", "fleeting", "nohome", "unlisted", "earlier"] {
        make_home(&user(name), "1000");
    }
    make_home(&user("rooted"), "0");
    fs::create_dir("/var/lib/sshbox/homes/elsewhere").unwrap();
    run_old_container(&user("otherhome"), &["--volume", "/var/lib/sshbox/homes/elsewhere:/home/user"]);
    run_old_container(&user("ownvolume"), &["--volume", &home("ownvolume"), "--volume", "data-of-it:/data"]);
    run_old_container(&user("fleeting"), &["--volume", &home("fleeting"), "--rm"]);
    run_old_container(&user("rooted"), &["--volume", &home("rooted")]);
    run_old_container(&user("nohome"), &[]);
    run_old_container(&user("unlisted"), &["--volume", &home("unlisted")]);
    run_old_container(&user("earlier"), &["--volume", &home("earlier")]);
    fs::write("/var/lib/sshbox/homes/.earlier.sshbox-id", "0\n").unwrap();
    run_old_container(&user("linked"), &["--volume", &home("linked")]);
    fs::remove_dir(user("linked").home()).unwrap();
    std::os::unix::fs::symlink("/etc", user("linked").home()).unwrap();
    let _link = Undo(|| fs::remove_file("/var/lib/sshbox/homes/linked").unwrap());

    for (name, reason) in [
        ("nobox", "no container has this name"),
        ("otherhome", "its /home/user is bind /var/lib/sshbox/homes/elsewhere, and box.home says"),
        ("ownvolume", "volume data-of-it is at /data, and the box would not have it"),
        ("fleeting", "it was started with --rm: stopping removes it"),
        ("rooted", "homes/rooted belongs to root: see what is in it"),
        ("nohome", "nothing is mounted at /home/user"),
        ("unlisted", "the web app refuses unlisted"),
        ("earlier", "belongs to account 0, not to account "),
        ("linked", "cannot open the home /var/lib/sshbox/homes/linked as a directory"),
    ] {
        let output = adopt(&["--yes", name]);
        assert_eq!(output.status.code(), Some(77), "{name}: {output:?}");
        let shown = text(&output.stdout);
        assert!(shown.contains(reason), "{shown}");
        assert_eq!(shown.matches("  refused    ").count(), 1, "{shown}");
        assert!(shown.ends_with("nothing was changed\n"), "{shown}");
        if name != "nobox" {
            assert_eq!(user(name).inspect("{{.State.Running}}"), "true", "{name}");
        }
    }
    assert_eq!(adopt(&["--yes", "../etc"]).status.code(), Some(64));
}

#[test]
fn f29_without_the_web_app_nothing_is_adopted() {
    let _world = world_alone();
    let _names = names_of_old_gateway();
    let user = user_of_old_gateway("unheard", &[]);
    let _gone = Undo(|| remove_containers(&["unheard"]));
    // The account is cached from an earlier login, which is not enough.
    assert_eq!(user.ssh().status("true"), 77);
    run("tests/system/web", &["stop"]);
    let _back = Undo(|| {
        run("tests/system/web", &["start"]);
        until("Django replies", || std::net::TcpStream::connect("127.0.0.1:8000").is_ok());
    });
    until("Django has ended", || fs::metadata(format!("{STATE}/web.pid")).is_err());
    let output = adopt(&["--yes", "unheard"]);
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(text(&output.stdout).contains("the web app gave no account for unheard"), "{output:?}");
    assert_eq!(user.inspect("{{.State.Running}}"), "true");
}

#[test]
fn all_are_set_aside_after_one_confirmation_and_others_are_left_alone() {
    let _world = world_alone();
    let _names = names_of_old_gateway();
    let (runs, paused, stopped) = (
        user_of_old_gateway("runs", &[]),
        user_of_old_gateway("paused", &[]),
        user_of_old_gateway("stopped", &[]),
    );
    let names = ["runs", "paused", "stopped", "foreigner"];
    let _gone = Undo(|| remove_containers(&names));
    run("docker", &["pause", &paused.container()]);
    run("docker", &["stop", &stopped.container()]);
    let foreign = User { name: "foreigner".to_owned() };
    run_old_container(&foreign, &[]);
    let ours = User::new("ours");
    ours.says("true");
    let id = ours.inspect("{{.Id}}");

    let mut command = Command::new("/usr/sbin/sshbox");
    command.args(["adopt", "--all"]);
    let mut terminal = Terminal::of(&mut command, 24, 200);
    let shown = terminal.shows("Stop and set aside 3 containers? ");
    assert!(!shown.contains("sshbox-ours") && shown.contains("nothing is mounted at /home/user"), "{shown}");
    terminal.types("\n");
    assert_eq!(terminal.ends(), 1);
    assert_eq!(runs.inspect("{{.State.Running}}"), "true");

    let mut terminal = Terminal::of(&mut command, 24, 200);
    terminal.shows("[y/N] ");
    terminal.types("y\n");
    // The foreign container was refused, and the exit status reports that.
    assert_eq!(terminal.ends(), 77, "{}", terminal.seen());
    for user in [&runs, &paused, &stopped] {
        assert_eq!(inspect(&name_set_aside(&user.container()), "{{.State.Status}}"), "exited");
        assert_eq!(user.says("cat file"), "kept\n");
    }
    assert_eq!(foreign.inspect("{{.State.Running}}"), "true");
    assert_eq!(ours.inspect("{{.Id}} {{.State.Running}}"), format!("{id} true"));
    // A container that was set aside is not offered again, although its name could be that of a user.
    let again = text(&adopt(&["--all", "--dry-run"]).stdout);
    assert!(!again.contains(".before-sshbox-"), "{again}");
}

#[test]
fn a_login_during_an_adoption_waits_and_gets_a_box() {
    let _world = private_world();
    let _names = names_of_old_gateway();
    // Its PID 1 ignores SIGTERM, so the stop takes the whole grace period.
    let user = user_of_old_gateway("meanwhile", &["--init=false"]);
    let _gone = Undo(|| remove_containers(&["meanwhile"]));
    let adoption = thread::spawn(|| adopt(&["--yes", "meanwhile"]));
    until("the adoption has started", || {
        Command::new("docker")
            .args(["inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", "sshbox-meanwhile"])
            .output()
            .is_ok_and(|output| output.stdout == b"no\n")
    });
    assert_eq!(user.says("cat file"), "kept\n");
    assert!(adoption.join().unwrap().status.success());
}

#[test]
fn names_with_a_digest_are_no_names_of_an_earlier_gateway() {
    let _world = world();
    for arguments in [["--dry-run", "--all"], ["--dry-run", "alice"]] {
        let output = adopt(&arguments);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(text(&output.stderr).contains("box.name contains {digest}"), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}
