//! `@help`, `@config`, `@status`, `@keys`, `@restart` and `@stop`.

use super::{json, line};
use crate::harness::{Changed, Undo, User, private_world, run, text, until, world, world_alone};
use serde_json::Value;
use std::process::Command;

#[test]
fn help_lists_all_special_commands_and_starts_no_box() {
    let _world = private_world();
    // Otherwise each connection starts the box.
    let _config = Changed::config("enabled = true", "enabled = false");
    let user = User::new("helped");
    let help = user.says("@help");
    for word in ["@status", "@restart", "@stop", "@keys", "@config", "@sshd", "@help"] {
        assert!(help.contains(&format!("\n  {word} ")), "{help}");
    }
    assert!(help.contains("helped@127.0.0.1 @config >> ~/.ssh/config"), "{help}");
    let found = Command::new("docker").args(["inspect", &user.container()]).output().unwrap();
    assert!(!found.status.success(), "a box was created");
}

#[test]
fn config_contains_the_login_name_and_the_host_name_that_the_admin_sets() {
    let _world = world_alone();
    let user = User::new("configured");
    let wanted = "    ProxyCommand ssh -T -p 2200 configured@127.0.0.1 @sshd\n";
    let config = user.says("@config");
    assert!(
        config.contains("\nHost configured-box\n    User configured\n") && config.contains(wanted),
        "{config}"
    );
    // ssh parses the output as configuration.
    std::fs::write("/tmp/configured", &config).unwrap();
    let seen = run("ssh", &["-F", "/tmp/configured", "-G", "configured-box"]);
    assert!(seen.contains("proxycommand ssh -T -p 2200 configured@127.0.0.1 @sshd\n"), "{seen}");
    let path = "/etc/sshbox/sshd_config";
    let before = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, before.replace("#SetEnv SSHBOX_HOST=", "SetEnv SSHBOX_HOST=")).unwrap();
    let back = Undo(|| {
        std::fs::write(path, &before).unwrap();
        drop(run("packaging/demo/without-systemd", &["reload"]));
    });
    run("packaging/demo/without-systemd", &["reload"]);
    // During the restart sshd does not listen for a moment.
    let says = |name: &str| text(&user.ssh().run("@config").stdout).contains(&format!("{name} @sshd"));
    until("the name is in the output", || says("configured@box.example.org"));
    // A client must not be able to set it.
    let client = user.ssh().args(&["-o", "SetEnv=SSHBOX_HOST=evil.example.org"]).run("@config");
    assert!(text(&client.stdout).contains("configured@box.example.org"), "{client:?}");
    drop(back);
    until("the name is not in the output", || says("configured@127.0.0.1"));
}

#[test]
fn status_shows_a_running_box_with_its_sessions() {
    let _world = world();
    let user = User::new("shown");
    user.says("true");
    let mut first = user.ssh().begin(&["echo in; while :; do :; done"]);
    let mut second = user.ssh().begin(&["echo in; exec sleep 300"]);
    assert_eq!((first.line(), second.line()), ("in".to_owned(), "in".to_owned()));
    let status = json(&user);
    assert_eq!(status["box"], user.container());
    assert_eq!(status["state"], "running");
    assert_eq!(status["image"], "sshbox-user:latest");
    assert_eq!(status["sessions"], 2);
    assert_eq!(status["cpu"]["limit"], 2.0);
    // On a busy machine the box gets little CPU time, but some.
    assert!(status["cpu"]["used"].as_f64().unwrap() > 0.0, "{status}");
    assert_eq!(status["memory"]["limit"], 8_u64 << 30);
    let memory = status["memory"]["used"].as_u64().unwrap();
    assert!((100 << 10..1 << 30).contains(&memory), "{status}");
    assert_eq!(status["processes"]["limit"], 512);
    assert!(status["processes"]["used"].as_u64().unwrap() >= 3, "{status}");
    assert!(status["disk"]["free"].as_u64().unwrap() > 0, "{status}");
    assert_eq!(status["idle_timeout_seconds"], 1800);
    assert_eq!(status["stops_at"], Value::Null, "a session is open");
    assert!(status["up_seconds"].as_u64().unwrap() < 600);
    let text = user.says("@status");
    assert!(line(&text, "sessions").starts_with("2 of 50, connections "), "{text}");
    assert!(status["connections"].as_u64().unwrap() >= 3, "{status}");
    assert_eq!(status["connections_limit"], 20);
    assert!(line(&text, "state").starts_with("running since 20"), "{text}");
    assert_eq!(line(&text, "idle stop"), "30m after the last session or connection");
    assert!(line(&text, "memory").ends_with(" of 8.0 GiB"), "{text}");
    first.kill();
    second.kill();
    until("all sessions have ended", || json(&user)["sessions"] == 0);
    // The connection that asks keeps the box running.
    assert_eq!(line(&user.says("@status"), "idle stop"), "30m after the last session or connection");
    assert_eq!(json(&user)["stops_at"], Value::Null);
}

#[test]
fn special_commands_work_in_every_state_of_the_box() {
    let _world = private_world();
    // Otherwise each connection starts the box.
    let _config = Changed::config("enabled = true", "enabled = false");
    let user = User::new("broken");
    assert_eq!(json(&user)["state"], "missing");
    assert_eq!(user.says("@stop"), "your box does not run\n");
    user.says("true");
    run("docker", &["pause", &user.container()]);
    assert_eq!(json(&user)["state"], "paused");
    assert_eq!(user.says("@stop"), "your box is stopped; the next login starts it\n");
    assert_eq!(json(&user)["state"], "stopped");
    assert_eq!(user.says("@restart"), "your box was restarted\n");
    assert_eq!(json(&user)["state"], "running");
    // An init that is stuck: the box does not reply, but special commands do, since the host handles them.
    let init = user.inspect("{{.State.Pid}}").parse().unwrap();
    crate::harness::signal(init, nix::sys::signal::Signal::SIGSTOP);
    assert_eq!(json(&user)["state"], "running");
    assert_eq!(user.says("@restart"), "your box was restarted\n");
    assert_eq!(user.says("echo in"), "in\n");
}

#[test]
fn f7_a_user_can_restart_a_box_at_its_process_limit() {
    let _world = world();
    let user = User::new("fork-bomber");
    let bomb = "echo began; for n in $(seq 600); do setsid sleep 300 & done 2>/dev/null; sleep 300";
    let mut session = user.ssh().begin(&[bomb]);
    session.line();
    until("the box is at its process limit", || user.ssh().status("true") != 0);
    until("the limit is reported", || {
        let refused = text(&user.ssh().run("true").stderr);
        // Threads count as processes. A user who counts only processes sees fewer, so the message must mention threads.
        refused.contains("as many tasks as it may (processes and threads, 51")
            && refused.contains(" of 512); end some of them, or stop all with @restart (ref ")
    });
    assert!(json(&user)["processes"]["used"].as_u64().unwrap() >= 510);
    assert_eq!(user.says("@restart"), "your box was restarted\n");
    assert_eq!(user.says("echo in"), "in\n");
}

#[test]
fn restart_and_stop_ask_on_a_terminal() {
    let _world = world();
    let user = User::new("asked");
    user.says("true");
    let began = user.inspect("{{.State.StartedAt}}");
    let mut other = user.ssh().begin(&["echo in; exec sleep 300"]);
    assert_eq!(other.line(), "in");
    for no in ["n\n", "\n", "\u{4}"] {
        let mut terminal = user.ssh().terminal(24, 80, &["@restart"]);
        terminal.shows("1 session is open and will end. [y/N] ");
        terminal.types(no);
        terminal.shows("nothing was done");
        assert_eq!(terminal.ends(), 1);
    }
    assert_eq!(user.inspect("{{.State.StartedAt}}"), began);
    let mut terminal = user.ssh().terminal(24, 80, &["@restart"]);
    terminal.shows("Restart your box? ");
    terminal.types("y\n");
    terminal.shows("your box was restarted");
    assert_eq!(terminal.ends(), 0);
    assert_ne!(user.inspect("{{.State.StartedAt}}"), began);
    let (status, _, error) = other.output();
    assert_eq!(status, 137, "{error}");
    assert!(error.starts_with("sshbox: your box was stopped: you typed @restart; log in again"), "{error}");
    let mut terminal = user.ssh().terminal(24, 80, &["@stop"]);
    terminal.shows("Stop your box? ");
    terminal.types("yes\n");
    terminal.shows("your box is stopped; the next login starts it");
    assert_eq!(terminal.ends(), 0);
    assert_eq!(user.inspect("{{.State.Status}}"), "exited");
}

#[test]
fn keys_lists_the_keys_of_the_account_and_where_they_are_managed() {
    let _world = private_world();
    // Otherwise each connection starts the box.
    let _config = Changed::config("enabled = true", "enabled = false");
    let user = User::new("lister");
    let second = format!("{}/second-of-lister", crate::harness::STATE);
    run("ssh-keygen", &["-q", "-t", "ecdsa", "-N", "", "-C", "old desk", "-f", &second]);
    crate::harness::manage(&["sshbox_key", "add", "lister", &format!("{second}.pub")]);
    let fingerprint = |path: &str| run("ssh-keygen", &["-lf", path]).split(' ').nth(1).unwrap().to_owned();
    let (ours, other) = (fingerprint(&format!("{}/key.pub", crate::harness::STATE)), fingerprint(&second));
    let said = user.says("@keys");
    let marked = |said: &str| {
        let lines: Vec<String> =
            said.lines().filter(|line| line.starts_with("* ")).map(str::to_owned).collect();
        lines.first().cloned().unwrap_or_default()
    };
    assert!(marked(&said).contains(&ours), "{said}");
    assert!(said.contains(&format!("  ecdsa-sha2-nistp256  {other}  old desk\n")), "{said}");
    assert!(said.ends_with(
        "\nYou manage this list where you have your account\nsshbox does not use the box's ~/.ssh/authorized_keys.\n"
    ));
    let found = Command::new("docker").args(["inspect", &user.container()]).output().unwrap();
    assert!(!found.status.success(), "a box was created");
    let _page = Changed::config("manage_url = \"\"", "manage_url = \"https://example.org/{user}/keys\"");
    let said = text(&user.ssh().key("second-of-lister").run("@keys").stdout);
    assert!(marked(&said).contains(&other), "{said}");
    assert!(said.contains("\nTo add or remove keys: https://example.org/lister/keys\n"), "{said}");
}
