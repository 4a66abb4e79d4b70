//! The `sshbox` command with real boxes and sessions. Snapshots of its output are in `crates/admin`.

use crate::harness::{
    Changed, STATE, Terminal, Undo, User, alice, journal, private_world, run, signal, text, to_the_end,
    until, world, world_alone,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/sbin/sshbox");
    command.args(arguments);
    command
}

fn sshbox(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Output of a command that must succeed and write nothing to stderr.
fn output_of(arguments: &[&str]) -> String {
    let output = sshbox(arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    let said = output_of(&[arguments, &["--json"]].concat());
    assert!(said.bytes().all(|byte| byte == b'\n' || (0x20..=0x7e).contains(&byte)), "{said:?}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Exit status and stderr of a command that prints nothing else.
fn refusal_of(arguments: &[&str]) -> (i32, String) {
    let output = sshbox(arguments);
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    (output.status.code().unwrap(), text(&output.stderr))
}

/// The entry of this user in a list.
fn entry(list: &Value, user: &User) -> Value {
    let found = list.as_array().unwrap().iter().find(|one| one["user"] == *user.name);
    found.unwrap_or_else(|| panic!("no {} in {list}", user.name)).clone()
}

/// Cells of the row that begins with this word.
fn row<'a>(table: &'a str, word: &str) -> Vec<&'a str> {
    let found = table.lines().find(|line| line.split_whitespace().next() == Some(word));
    let line = found.unwrap_or_else(|| panic!("no {word} in {table}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

fn sessions_of(user: &User) -> Vec<Value> {
    json(&["sessions", &user.name]).as_array().unwrap().clone()
}

#[test]
fn list_shows_sessions_and_usage_of_each_box() {
    let _world = world();
    let (busy, rested) = (User::new("listed"), User::new("rested"));
    rested.says("true");
    output_of(&["stop", &rested.name]);
    let mut session = busy.ssh().begin(&["echo in; while :; do :; done"]);
    assert_eq!(session.line(), "in");

    let list = json(&["list"]);
    let one = entry(&list, &busy);
    assert_eq!((&one["state"], &one["box"]), (&"running".into(), &"sshbox-listed".into()));
    assert_eq!((&one["sessions"], &one["stops_at"]), (&1.into(), &Value::Null), "{one}");
    // On a busy machine the box gets little CPU time, but some.
    assert!(one["cpu"]["used"].as_f64().unwrap() > 0.0, "{one}");
    assert!((100 << 10..1 << 30).contains(&one["memory"]["used"].as_u64().unwrap()), "{one}");
    assert!(one["processes"]["used"].as_u64().unwrap() >= 2, "{one}");
    assert!(one["disk"]["free"].as_u64().unwrap() > 0, "{one}");
    assert_eq!(one["out_of_date"], false);
    let other = entry(&list, &rested);
    assert_eq!((&other["state"], &other["cpu"]["used"]), (&"stopped".into(), &Value::Null), "{other}");
    assert_eq!(other["last_stop"]["reason"], "an admin stopped it");
    assert!(other["idle_since"].as_str().unwrap().ends_with('Z'), "{other}");

    let table = output_of(&["list"]);
    assert!(table.starts_with("USER "), "{table}");
    assert!(!table.contains('\x1b'), "no colour without a terminal");
    let cells = row(&table, "listed");
    assert_eq!((cells[1], cells[3]), ("running", "1"), "{table}");
    assert_eq!(row(&table, "rested")[1], "stopped", "{table}");
    session.kill();
    until("the session has ended", || entry(&json(&["list"]), &busy)["sessions"] == 0);
    assert!(entry(&json(&["list"]), &busy)["stops_at"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn list_escapes_the_labels_of_foreign_containers() {
    let _world = world_alone();
    let label = "sshbox.user=../\u{1b}]0;x\u{7}\u{202e}";
    let _gone = Undo(|| drop(run("docker", &["rm", "-f", "labelled"])));
    run("docker", &["create", "--name", "labelled", "--label", label, "sshbox-user:latest", "true"]);
    let table = output_of(&["list"]);
    assert!(table.contains(r"../\x1b]0;x\x07\xe2\x80\xae"), "{table}");
    let list = json(&["list"]);
    assert!(list.as_array().unwrap().iter().any(|one| one["user"] == "../\u{1b}]0;x\u{7}\u{202e}"), "{list}");
}

#[test]
fn colours_appear_only_on_a_terminal_and_without_no_color() {
    let _world = world();
    alice().says("true");
    let shown = |command: &mut Command| {
        let mut terminal = Terminal::of(command, 24, 200);
        let shown = terminal.shows("alice");
        assert_eq!(terminal.ends(), 0);
        shown
    };
    assert!(shown(&mut command(&["list"])).contains("\x1b[1mUSER\x1b[0m"));
    assert!(!shown(command(&["list"]).env("NO_COLOR", "1")).contains('\x1b'));
}

#[test]
fn status_shows_what_the_user_sees_and_details_of_the_host() {
    let _world = world_alone();
    let user = User::new("looked-at");
    user.says("true");
    let status = json(&["status", &user.name]);
    assert_eq!(status["container"], user.inspect("{{.Id}}"));
    assert_eq!(status["home"], user.home());
    assert_eq!(status["account"], user.inspect("{{index .Config.Labels \"sshbox.id\"}}"));
    assert_eq!((&status["account"], &status["out_of_date"]), (&status["made_for"], &false.into()));
    let said = output_of(&["status", &user.name]);
    for begin in
        ["box        sshbox-looked-at\n", "\nstate      running since 20", "\nmade       up to date\n"]
    {
        assert!(said.contains(begin), "{said}");
    }
    {
        let _config = Changed::config("mount = \"/home/user\"", "mount = \"/home/other\"");
        assert_eq!(json(&["status", &user.name])["out_of_date"], true);
        assert!(output_of(&["status", &user.name]).contains("\nmade       out of date: "));
    }
    // A user with an account but without a box.
    run("docker", &["rm", "-f", &user.container()]);
    let status = json(&["status", &user.name]);
    assert_eq!((&status["state"], &status["container"]), (&"missing".into(), &Value::Null));
    assert_eq!(status["image"], "sshbox-user:latest");
}

#[test]
fn a2_a_foreign_container_is_neither_shown_nor_stopped() {
    let _world = world();
    let user = User::new("squatted");
    let _gone = Undo(|| drop(run("docker", &["rm", "-f", "sshbox-squatted"])));
    run(
        "docker",
        &[
            "run",
            "-d",
            "--name",
            "sshbox-squatted",
            "--network",
            "none",
            "sshbox-user:latest",
            "sleep",
            "600",
        ],
    );
    for arguments in [["status", "squatted"], ["stop", "squatted"], ["start", "squatted"]] {
        let (status, said) = refusal_of(&arguments);
        assert_eq!(status, 77, "{said}");
        assert!(
            said.contains("sshbox-squatted is not the box of squatted: it lacks the labels of sshbox"),
            "{said}"
        );
    }
    assert_eq!(user.inspect("{{.State.Status}}"), "running");
}

#[test]
fn an_unknown_user_is_refused_with_a_clear_error() {
    let _world = world();
    for verb in ["status", "stop", "start", "restart"] {
        let (status, said) = refusal_of(&[verb, "nobody-knows"]);
        assert_eq!(status, 69, "{verb}: {said}");
        let wanted = "sshbox: nobody-knows has no box and has not logged in yet; check the name";
        assert!(said.starts_with(wanted), "{verb}: {said}");
        let (status, said) = refusal_of(&[verb, "../etc"]);
        assert_eq!(status, 64, "{verb}: {said}");
        assert!(said.contains("not a login name"), "{verb}: {said}");
    }
    assert!(!fs::exists("/run/sshbox/users/nobody-knows").unwrap());
    assert_eq!(refusal_of(&["frobnicate"]).0, 64);
}

#[test]
fn users_other_than_root_are_refused() {
    let _world = world();
    for arguments in [&["list"][..], &["stop", "alice"], &["keys", "alice"], &["sessions"], &["kill", "1-1"]]
    {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "/usr/sbin/sshbox"])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(77), "{arguments:?}");
        let wanted = "sshbox: this command needs root; run it with sudo\n";
        assert_eq!(text(&output.stderr), wanted, "{arguments:?}");
    }
}

#[test]
fn stop_start_and_restart_work_and_notify_open_sessions() {
    let _world = world();
    let user = User::new("steered");
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    terminal.types("echo rea''dy\n");
    terminal.shows("ready");
    assert_eq!(output_of(&["stop", &user.name]), "the box of steered was stopped\n");
    terminal.shows("sshbox: your box was stopped: an admin stopped it; log in again to start it (ref ");
    assert_eq!(terminal.ends(), 137);
    assert_eq!(user.inspect("{{.State.Status}}"), "exited");
    assert_eq!(output_of(&["stop", &user.name]), "the box of steered is not running\n");

    assert_eq!(output_of(&["start", &user.name]), "the box of steered is running\n");
    assert_eq!(user.inspect("{{.State.Status}}"), "running");
    assert_eq!(output_of(&["start", &user.name]), "the box of steered is running\n");
    let mut session = user.ssh().begin(&["echo in; exec sleep 300"]);
    assert_eq!(session.line(), "in");
    let started = user.inspect("{{.State.StartedAt}}");
    assert_eq!(output_of(&["restart", &user.name]), "the box of steered was restarted\n");
    assert_ne!(user.inspect("{{.State.StartedAt}}"), started);
    let (status, _, told) = session.output();
    assert_eq!(status, 137);
    assert!(told.contains("your box was stopped: an admin restarted it"), "{told}");
    assert_eq!(user.says("echo in"), "in\n");

    let output = to_the_end(
        {
            let mut stop = command(&["stop", &user.name]);
            stop.env("SUDO_USER", "ada");
            stop
        },
        Vec::new(),
    );
    assert!(output.status.success(), "{output:?}");
    let journal = journal();
    for wanted in [
        r#"admin action user="steered" by="uid 0" action="stop""#,
        r#"admin action user="steered" by="uid 0" action="restart""#,
        r#"admin action user="steered" by="ada" action="stop""#,
    ] {
        assert!(journal.contains(wanted), "{wanted}");
    }
}

#[test]
fn a_slow_command_shows_progress() {
    let _world = private_world();
    let _config = Changed::config("grace = \"10s\"", "grace = \"2s\"");
    let user = User::new("slow-to-stop");
    user.says("true");
    // A stopped init does not react to SIGTERM, so the stop takes the whole grace period.
    signal(user.inspect("{{.State.Pid}}").parse().unwrap(), Signal::SIGSTOP);
    let mut terminal = Terminal::of(&mut command(&["stop", &user.name]), 24, 80);
    terminal.shows("\r| stopping the box ...");
    terminal.shows("\r/ stopping the box ...");
    terminal.shows("\r                      \r");
    terminal.shows("the box of slow-to-stop was stopped\r\n");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn a_failure_of_the_wake_service_is_reported_with_its_cause() {
    let _world = private_world();
    let user = User::new("unmade");
    user.says("true");
    run("docker", &["rm", "-f", &user.container()]);
    let _config = Changed::config("image = \"sshbox-user:latest\"", "image = \"gone:1\"");
    let (status, said) = refusal_of(&["start", &user.name]);
    assert_eq!(status, 69, "{said}");
    let wanted = "sshbox: image gone:1 is not on this host; the user sees: the image of your box is not on this host; tell your admin (ref ";
    assert!(said.starts_with(wanted), "{said}");
}

#[test]
fn sessions_are_listed_with_what_they_run() {
    let _world = world();
    let user = User::new("present");
    let mut shell = user.ssh().terminal(24, 80, &[]);
    shell.types("echo rea''dy\n");
    shell.shows("ready");
    let mut hostile =
        user.ssh().begin(&["echo in '\x1b]0;x\x07' \u{202e} >/dev/null; echo in; exec sleep 300"]);
    assert_eq!(hostile.line(), "in");
    let sftp = user.ssh().args(&["-s"]).begin(&["sftp"]);
    until("all sessions are listed", || sessions_of(&user).len() == 3);

    let sessions = sessions_of(&user);
    let what: Vec<_> = sessions.iter().map(|session| session["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["shell", "command", "sftp"]);
    let terminals: Vec<_> = sessions.iter().map(|session| session["terminal"].as_bool().unwrap()).collect();
    assert_eq!(terminals, [true, false, false]);
    assert!(sessions[1]["command"].as_str().unwrap().contains("'\u{1b}]0;x\u{7}' \u{202e}"));
    for session in &sessions {
        assert_eq!((&session["from"], &session["user"]), (&"127.0.0.1".into(), &"present".into()));
        let pid = i32::try_from(session["pid"].as_i64().unwrap()).unwrap();
        assert!(user.host_processes().contains(&pid), "{session}");
        let since = session["since"].as_str().unwrap();
        assert!(since.starts_with("20") && since.ends_with('Z'), "{session}");
    }
    let table = output_of(&["sessions"]);
    assert!(
        table.contains(r"  echo in '\x1b]0;x\x07' \xe2\x80\xae >/dev/null; echo in; exec sleep 300"),
        "{table}"
    );
    assert_eq!(row(&table, sessions[0]["session"].as_str().unwrap())[4], "yes", "{table}");
    drop(sftp);
    hostile.kill();
    shell.kill();
    until("all sessions have ended", || sessions_of(&user).is_empty());
    assert_eq!(output_of(&["sessions", "nobody-knows"]).lines().count(), 1);
}

#[test]
fn p8_kill_ends_one_session_and_leaves_detached_programs() {
    let _world = world();
    let user = User::new("ended");
    let control = "/tmp/ended-control";
    let _connection = user.connects(control);
    // Both sessions use one connection: the other session shows that the connection survives.
    let mut stubborn = user
        .ssh_over(control)
        .begin(&["trap : HUP; setsid sleep 4711 < /dev/null > /dev/null 2>&1 & sleep 0.1; echo in; sleep 4712; sleep 4713"]);
    assert_eq!(stubborn.line(), "in");
    let mut other = user.ssh_over(control).begin(&["echo in; read x; echo still $x"]);
    assert_eq!(other.line(), "in");
    let sessions = sessions_of(&user);
    let of = |word: &str| {
        let found = sessions.iter().find(|session| session["command"].as_str().unwrap().contains(word));
        found.unwrap()["session"].as_str().unwrap().to_owned()
    };
    let id = of("sleep 4712");
    assert_eq!(output_of(&["kill", &id]), format!("session {id} of ended was ended\n"));
    assert_ne!(stubborn.wait(), 0);
    // The program ignores SIGHUP, so it is killed a little later.
    until("its program has ended", || !user.runs_in_box("sleep 4712") && !user.runs_in_box("trap"));
    assert!(user.runs_in_box("sleep 4711"), "the detached program has ended");
    assert!(!user.runs_in_box("sleep 4713"));
    other.write(b"here\n");
    assert_eq!(other.line(), "still here");
    assert_eq!(other.wait(), 0);

    let (status, said) = refusal_of(&["kill", &id]);
    assert_eq!(status, 69);
    assert_eq!(
        said,
        format!("sshbox: no session has the id {id}; list open sessions with `sshbox sessions`\n")
    );
    assert!(journal().contains(&format!(r#"admin action user="ended" by="uid 0" action="kill {id}""#)));
    user.says("pkill -f 'sleep 4711'");
}

#[test]
fn kill_ends_a_session_with_a_terminal_and_refuses_processes_that_are_no_session() {
    let _world = world();
    let user = User::new("kicked");
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    let before = terminal.modes();
    terminal.types("sleep 4714\n");
    until("the program runs", || user.runs_in_box("sleep 4714"));
    let id = sessions_of(&user)[0]["session"].as_str().unwrap().to_owned();
    let (pid, began) = id.split_once('-').unwrap();
    // The same pid with another start time, and processes that are no session.
    let later = format!("{pid}-{:x}", u64::from_str_radix(began, 16).unwrap() + 10);
    for no_session in [&*later, "1-0", "999999-1"] {
        assert_eq!(refusal_of(&["kill", no_session]).0, 69, "{no_session}");
    }
    assert_eq!(refusal_of(&["kill", pid]).0, 64);
    assert_eq!(sessions_of(&user).len(), 1);
    // A stopped session is ended as well.
    signal(pid.parse().unwrap(), Signal::SIGSTOP);
    output_of(&["kill", &id]);
    assert_ne!(terminal.ends(), 0);
    assert_eq!(terminal.modes(), before);
    until("the program has ended", || !user.runs_in_box("sleep 4714"));
}

#[test]
fn reap_reports_its_decision_for_each_box() {
    let _world = world_alone();
    let _config = Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
    let (idle, busy) = (User::new("reapable"), User::new("kept"));
    idle.says("true");
    let mut session = busy.ssh().begin(&["echo in; exec sleep 300"]);
    assert_eq!(session.line(), "in");
    let judged = json(&["reap", "--dry-run"]);
    assert_eq!(entry(&judged, &idle)["verdict"], "would stop");
    assert!(entry(&judged, &idle)["reason"].as_str().unwrap().starts_with("idle for "), "{judged}");
    assert_eq!(entry(&judged, &busy)["reason"], "a session is open");
    let table = output_of(&["reap", "--dry-run"]);
    assert_eq!(row(&table, "kept")[1..], ["kept", "a session is open"], "{table}");
    assert_eq!(idle.inspect("{{.State.Status}}"), "running");
    assert_eq!(entry(&json(&["reap"]), &idle)["verdict"], "stopped");
    assert_eq!(idle.inspect("{{.State.Status}}"), "exited");
    assert_eq!(busy.inspect("{{.State.Status}}"), "running");
}

#[test]
fn keys_shows_each_step_and_changes_nothing() {
    let _world = world_alone();
    let user = User::new("looked");
    let token = fs::read_to_string(format!("{STATE}/token")).unwrap();
    let cached = "/var/cache/sshbox/looked.json";
    // Before the first login only the web app knows the account, and the command does not change the cache.
    let steps = json(&["keys", &user.name]);
    assert_eq!((&steps["cache"], &steps["serves"]), (&Value::Null, &"answer".into()), "{steps}");
    assert!(!fs::exists(cached).unwrap());
    user.says("true");
    let before = (fs::read(cached).unwrap(), fs::metadata(cached).unwrap().modified().unwrap());
    let steps = json(&["keys", &user.name]);
    assert!(steps["runs_as"].as_str().unwrap().starts_with("sshbox-keys (uid "), "{steps}");
    assert_eq!((&steps["answer"]["is"], &steps["cache"]["serves"]), (&"account".into(), &true.into()));
    let public = fs::read_to_string(format!("{STATE}/key.pub")).unwrap();
    let blob = public.split_whitespace().nth(1).unwrap();
    assert_eq!(steps["prints"][0]["line"], format!("restrict,pty ssh-ed25519 {blob}"));
    let fingerprint = run("ssh-keygen", &["-lf", &format!("{STATE}/key.pub")]);
    assert_eq!(steps["prints"][0]["fingerprint"], fingerprint.split(' ').nth(1).unwrap());
    let said = output_of(&["keys", &user.name]);
    for wanted in ["runs as  sshbox-keys (uid ", "\nuses     the answer", "\nprints   for SHA256:"] {
        assert!(said.contains(wanted), "{said}");
    }
    assert!(!said.contains(token.trim()) && !steps.to_string().contains(token.trim()), "A16");

    // Without the web app the cached answer is used, and an unknown user gets none.
    run("tests/system/web", &["stop"]);
    let back = Undo(|| drop(run("tests/system/web", &["start"])));
    until("the web app has ended", || fs::metadata(format!("{STATE}/web.pid")).is_err());
    let steps = json(&["keys", &user.name]);
    assert_eq!((&steps["answer"]["is"], &steps["serves"]), (&"nothing".into(), &"cache".into()), "{steps}");
    assert_eq!(steps["prints"].as_array().unwrap().len(), 1);
    assert!(output_of(&["keys", "nobody-knows"]).contains("\nuses     nothing: a login would be refused\n"));
    drop(back);
    until("the web app replies", || json(&["keys", "nobody-knows"])["answer"]["is"] == "refusal");
    assert!(output_of(&["keys", "nobody-knows"]).contains("\nanswer   no: HTTP 404 (after "));
    assert_eq!((fs::read(cached).unwrap(), fs::metadata(cached).unwrap().modified().unwrap()), before);

    // The command shows what would make a login fail: here a token that sshbox-keys cannot read.
    let _owner = Undo(|| drop(run("chown", &["sshbox-keys", "/etc/sshbox/token"])));
    run("chown", &["root", "/etc/sshbox/token"]);
    let said = output_of(&["keys", &user.name]);
    assert!(said.contains("answer   none: cannot read /etc/sshbox/token: Permission denied"), "{said}");
}

#[test]
fn config_is_checked_and_shown() {
    let _world = world_alone();
    assert_eq!(output_of(&["config", "check"]), "/etc/sshbox/sshbox.toml is valid\n");
    let list = json(&["config", "show"]);
    let of = |list: &Value, key: &str| {
        list.as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap().clone()
    };
    assert_eq!(of(&list, "box.limits.memory")["value"], "8GiB");
    {
        let _config = Changed::config("idle_timeout = \"30m\"\n", "");
        let list = json(&["config", "show"]);
        assert_eq!(
            (&of(&list, "reap.idle_timeout")["from"], &of(&list, "reap.grace")["from"]),
            (&"default".into(), &"file".into())
        );
        assert_eq!(row(&output_of(&["config", "show"]), "reap.grace")[1..], ["file", "10s"], "{list}");
    }
    {
        let _config = Changed::config("idle_timeout = \"30m\"", "idel_timeout = \"30m\"");
        let (status, said) = refusal_of(&["config", "check"]);
        assert_eq!(status, 78);
        assert!(said.contains("sshbox.toml is not valid: TOML parse error at line "), "{said}");
        assert!(said.contains(", column 1\n") && said.contains("unknown field `idel_timeout`"), "{said}");
        let output = sshbox(&["config", "check", "--json"]);
        assert_eq!(output.status.code(), Some(78));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["valid"], false);
        assert!(said["error"].as_str().unwrap().contains(", column 1"), "{said}");
        // Every other command prints the same error.
        assert_eq!(refusal_of(&["list"]).0, 78);
    }
    let _config = Changed::config("grace = \"10s\"", "grace = \"10m\"");
    let (status, said) = refusal_of(&["config", "check"]);
    assert_eq!(status, 78);
    assert!(said.contains(", column 1: reap.grace must be 30s at most"), "{said}");
}

#[test]
fn top_refreshes_until_q_and_restores_the_terminal() {
    let _world = world();
    let user = User::new("on-top");
    let mut session = user.ssh().begin(&["echo in; while :; do :; done"]);
    assert_eq!(session.line(), "in");
    for end in ["q", "\x03", ""] {
        let mut top = Terminal::of(&mut command(&["top"]), 10, 100);
        let before = top.modes();
        top.shows("\x1b[?1049h\x1b[?25l\x1b[Hboxes ");
        top.shows("on-top");
        assert_ne!(top.modes(), before);
        // `top` refreshes by itself, and at once when the size changes.
        top.shows("\x1b[Hboxes ");
        top.resizes(3, 20);
        while top.shows("\x1b[J").contains("on-top") {}
        if end.is_empty() {
            top.signals(Signal::SIGTERM);
        } else {
            top.types(end);
        }
        top.shows("\x1b[?25h\x1b[?1049l");
        assert_eq!(top.ends(), 0);
        assert_eq!(top.modes(), before, "{end:?}");
    }
    let once = output_of(&["top"]);
    assert!(once.starts_with("boxes ") && row(&once, "on-top").len() >= 7, "{once}");
    let mut terminal = Terminal::of(&mut command(&["top", "--once"]), 50, 200);
    assert!(!terminal.shows("on-top").contains("\x1b[?1049h"));
    assert_eq!(terminal.ends(), 0);
    let list = json(&["top"]);
    assert!(entry(&list, &user)["cpu"]["used"].as_f64().unwrap() > 0.0, "{list}");
}

#[test]
fn completions_and_manual_pages_are_in_the_standard_directories() {
    let _world = world();
    let completed = "source /usr/share/bash-completion/completions/sshbox; complete -p sshbox";
    assert!(run("bash", &["-c", completed]).contains("sshbox"));
    for path in [
        "/usr/share/zsh/vendor-completions/_sshbox",
        "/usr/share/fish/vendor_completions.d/sshbox.fish",
        "/usr/share/man/man8/sshbox.8.gz",
    ] {
        assert!(fs::exists(path).unwrap(), "{path}");
    }
}
