//! The environment of programs in a box: the same in every kind of session, with the variables that clients send, and
//! with a replacement for a locale or terminal type that the box does not know.

use crate::harness::{STATE, Terminal, User, alice, run, text, until, user_without, world, world_alone};
use crate::inner_sshd::Machine;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

pub type Variables = BTreeMap<String, String>;

pub fn parse(environ: &[u8]) -> Variables {
    let text = text(environ);
    let fields = text.split_terminator('\0').filter_map(|field| field.split_once('='));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Prints the initial environment of a shell, without the variables that the shell adds.
pub const PRINT_ENVIRONMENT: &str = "cat /proc/$$/environ; :";

/// Environment of the sftp server that this client has started in the box.
fn of_sftp(user: &User, mut client: Command) -> Variables {
    let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut client = crate::harness::Running::of(client);
    until("the sftp server runs", || sftp_server(user).is_some());
    let found = parse(&fs::read(format!("/proc/{}/environ", sftp_server(user).unwrap())).unwrap());
    client.kill();
    until("the sftp server has ended", || sftp_server(user).is_none());
    found
}

/// The pid of an sftp server in the box of this user.
pub fn sftp_server(user: &User) -> Option<i32> {
    let is_server = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| text(&line).contains("sftp-server"))
    };
    user.box_processes().into_iter().find(is_server)
}

/// Environment in each kind of session, with these client options.
pub fn every_kind(machine: &Machine, options: &[&str]) -> Vec<(&'static str, Variables)> {
    let user = &machine.user;
    let shell = format!("{PRINT_ENVIRONMENT}\nexit\n").into_bytes();
    let mut through = machine.command("ssh");
    through.args(options).args(["-T", &machine.host()]);
    let sftp = user.ssh().args(options).args(&["-s"]).command(&["sftp"]);
    let mut sftp_through = machine.command("ssh");
    sftp_through.args(options).args(["-s", &machine.host(), "sftp"]);
    vec![
        ("command", parse(&user.ssh().args(options).run(PRINT_ENVIRONMENT).stdout)),
        ("shell", parse(&user.ssh().args(options).args(&["-T"]).input(&shell).run("").stdout)),
        ("sftp", of_sftp(user, sftp)),
        ("@sshd: command", parse(&machine.ssh(options, PRINT_ENVIRONMENT).stdout)),
        ("@sshd: shell", parse(&crate::harness::to_the_end(through, shell).stdout)),
        ("@sshd: sftp", of_sftp(user, sftp_through)),
    ]
}

#[test]
fn every_kind_of_session_has_the_same_environment_and_the_images_language() {
    let _world = world();
    let machine = Machine::of(&User::new("ways"));
    let ways = every_kind(&machine, &[]);
    let (_, command) = &ways[0];
    for (kind, found) in &ways {
        let strip = |variables: &Variables| {
            let mut variables = variables.clone();
            variables.retain(|name, _| !["SSH_CLIENT", "SSH_CONNECTION"].contains(&&**name));
            variables
        };
        assert_eq!(strip(found), strip(command), "{kind}");
        // The variables describe the connection of the user's machine to this host.
        let words: Vec<&str> = found["SSH_CONNECTION"].split(' ').collect();
        assert!(words[1].parse::<u16>().is_ok_and(|port| port != u16::MAX), "{kind}: {words:?}");
        assert_eq!([words[0], words[2], words[3]], ["127.0.0.1", "127.0.0.1", "2200"], "{kind}");
        assert_eq!(found["SSH_CLIENT"], format!("127.0.0.1 {} 2200", words[1]), "{kind}");
    }
    // The environment is that of the image, and what plain sshd sets except for the mailbox.
    let image = run(
        "docker",
        &["image", "inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", "sshbox-user:latest"],
    );
    let image: Variables = image
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    assert_eq!(image["LANG"], "C.UTF-8");
    for (name, value) in &image {
        assert_eq!(command.get(name), Some(value), "{name}");
    }
    let plain = parse(&User::plain().ssh().run(PRINT_ENVIRONMENT).stdout);
    let beyond: Vec<&String> = command.keys().filter(|name| !image.contains_key(*name)).collect();
    let expected: Vec<&String> =
        plain.keys().filter(|name| *name != "MAIL" && !image.contains_key(*name)).collect();
    assert_eq!(beyond, expected);
    assert_eq!(machine.says(&[], "locale charmap"), "UTF-8\n");
}

#[test]
fn variables_of_the_client_reach_every_kind_of_session() {
    let _world = world();
    let machine = Machine::of(&User::new("colours"));
    let sent = [
        ("LANG", "en_US.UTF-8"),
        ("LC_TIME", "C"),
        ("COLORTERM", "truecolor"),
        ("NO_COLOR", "1"),
        ("GIT_PROTOCOL", "version=2"),
        ("TERM_PROGRAM", "WezTerm"),
        ("TERM_PROGRAM_VERSION", "20240203-110809"),
    ];
    let list = sent.map(|(name, value)| format!("{name}={value}")).join(" ");
    for (kind, found) in every_kind(&machine, &["-o", &format!("SetEnv={list} FOO=no LD_PRELOAD=/no")]) {
        for (name, value) in sent {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{kind}: {name}");
        }
        assert!(!found.contains_key("FOO") && !found.contains_key("LD_PRELOAD"), "{kind}");
    }
    // Variables with unprintable bytes are left out.
    let hostile = format!("SetEnv=\"COLORTERM=a\u{1b}[31mb\" NO_COLOR={} LC_KEPT=yes", "x".repeat(300));
    for (kind, found) in every_kind(&machine, &["-o", &hostile]) {
        assert_eq!(found.get("LC_KEPT").map(String::as_str), Some("yes"), "{kind}");
        assert!(!found.contains_key("COLORTERM") && !found.contains_key("NO_COLOR"), "{kind}: {found:?}");
    }
}

#[test]
fn git_uses_version_2_of_its_protocol() {
    let _world = world();
    let user = User::new("git-two");
    user.says("git init -q -b main p && cd p && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one");
    let machine = Machine::of(&user);
    let config = format!("ssh -F {}/config -o BatchMode=yes", machine.folder);
    let outer = format!(
        "ssh -F /dev/null -i {STATE}/key -p 2200 -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -q"
    );
    for (ssh, from) in [(outer, "git-two@127.0.0.1:p"), (config, "git-two-box:p")] {
        let mut git = Command::new("git");
        git.args(["-c", "protocol.version=2", "ls-remote", from]).env("GIT_SSH_COMMAND", &ssh);
        let output = git.env("GIT_TRACE_PACKET", "1").stdin(Stdio::null()).output().unwrap();
        assert!(text(&output.stdout).contains("refs/heads/main"), "{output:?}");
        assert!(text(&output.stderr).contains("ls-remote< version 2"), "{from}: {output:?}");
    }
}

#[test]
fn a_locale_that_the_image_lacks_is_replaced_silently_by_c_utf_8() {
    let _world = world();
    let machine = Machine::of(&User::new("locales"));
    let path = format!("{}/config", machine.folder);
    let send = "-o SendEnv=LANG -o SendEnv=LC_*";
    let config =
        fs::read_to_string(&path).unwrap().replace("ProxyCommand ssh ", &format!("ProxyCommand ssh {send} "));
    fs::write(&path, config).unwrap();
    // By default, clients send variables on both connections.
    let through = |sent: &str, command: &str| {
        let mut ssh = machine.command("ssh");
        ssh.args(send.split(' ')).args([&*machine.host(), command]).env("SHELL", "/bin/sh");
        ssh.env_remove("LANG").envs(sent.split(' ').filter_map(|one| one.split_once('=')));
        crate::harness::to_the_end(ssh, Vec::new())
    };
    // perl and bash each print a warning for a locale that does not exist.
    let ask = "perl -e 1; bash -c 'printf é | wc -m'; echo $LANG $LC_ALL $LC_TIME";
    for (sent, found) in [
        ("LANG=de_DE.UTF-8 LC_TIME=xx_YY@z", "C.UTF-8 C.UTF-8"),
        ("LC_ALL=de_DE.UTF-8", "C.UTF-8 C.UTF-8"),
        // macOS sends this.
        ("LC_CTYPE=UTF-8", "C.UTF-8"),
        ("LANG=en_US.UTF-8", "en_US.UTF-8"),
        ("LANG=en_US.utf8 LC_TIME=POSIX", "en_US.utf8 POSIX"),
        ("LANG=../../../tmp/x", "C.UTF-8"),
    ] {
        let option = format!("SetEnv={sent}");
        for output in [machine.user.ssh().args(&["-o", &option]).run(ask), through(sent, ask)] {
            assert_eq!(text(&output.stderr), "", "{sent}");
            assert_eq!(text(&output.stdout), format!("1\n{found}\n"), "{sent}");
        }
    }
}

#[test]
fn without_a_locale_archive_c_utf_8_is_used() {
    let alone = world_alone();
    let user = user_without("unspoken", "/usr/lib/locale/locale-archive", &alone);
    let output = user.ssh().args(&["-o", "SetEnv=LANG=en_US.UTF-8"]).run("perl -e 1; echo $LANG");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("C.UTF-8\n".to_owned(), String::new()));
}

#[test]
fn an_unknown_terminal_type_is_replaced_and_reported_once() {
    let _world = world();
    let user = User::new("typist");
    user.says("true");
    let machine = Machine::of(&user);
    let outer = |kind: &str, words: &[&str]| {
        user.ssh().args(&["-o", &format!("SetEnv=TERM={kind}")]).terminal(24, 80, words)
    };
    let inner = |kind: &str, words: &[&str]| {
        let mut ssh = machine.command("ssh");
        ssh.args(["-tt", "-o", &format!("SetEnv=TERM={kind}"), &machine.host()]).args(words);
        Terminal::of(&mut ssh, 24, 80)
    };
    let notice = |kind: &str| {
        format!(
            "sshbox: this box does not know the terminal type {kind}; its programs get xterm-256color\r\n"
        )
    };
    let shell = |mut terminal: Terminal| {
        let before = terminal.shows("$ ");
        terminal.types("tput colors; echo =$TERM=$SSH_TTY=$(tty)=; exit 3\n");
        let said = terminal.shows("=xterm-256color=");
        assert!(said.contains("256\r\n"), "{said}");
        let ttys = terminal.shows("=\r\n");
        let (variable, tty) = ttys.trim_end_matches("=\r\n").split_once('=').unwrap();
        assert!(variable == tty && tty.starts_with("/dev/pts/"), "{ttys}");
        assert_eq!(terminal.ends(), 3);
        before
    };
    // A command prints only its own output.
    for mut terminal in [outer("nobodys-1", &["echo =$TERM="]), inner("nobodys-1", &["echo =$TERM="])] {
        assert_eq!(terminal.shows("=xterm-256color=\r\n"), "=xterm-256color=\r\n");
    }
    assert!(shell(outer("nobodys-1", &[])).contains(&notice("nobodys-1")));
    for again in [outer("nobodys-1", &[]), inner("nobodys-1", &[])] {
        assert!(!shell(again).contains("sshbox:"));
    }
    assert!(shell(inner("nobodys-2", &[])).contains(&notice("nobodys-2")));
    assert!(!shell(outer("nobodys-2", &[])).contains("sshbox:"));
    // A hostile type opens no other file, and no unprintable byte reaches the terminal.
    for hostile in ["../../etc/passwd", "x/xterm", "..", "a\u{1b}[31mb", &"x".repeat(2000)] {
        for mut terminal in [outer(hostile, &["echo =$TERM="]), inner(hostile, &["echo =$TERM="])] {
            assert_eq!(terminal.shows("=\r\n"), "=xterm-256color=\r\n", "{hostile:.20}");
        }
    }
    assert!(shell(outer("b\u{1b}[31mb", &[])).contains(&notice(r"b\x1b[31mb")));
    // A type that the user has installed in the home is known.
    user.says("mkdir -p ~/.terminfo/n && cd /usr/share && cp -L $(ls -d {/lib,.}/terminfo/x/xterm-256color 2>/dev/null | head -1) ~/.terminfo/n/nobodys-3");
    for mut terminal in [outer("nobodys-3", &["echo =$TERM="]), inner("nobodys-3", &["echo =$TERM="])] {
        terminal.shows("=nobodys-3=\r\n");
    }
}

#[test]
fn commands_and_variables_that_are_too_long_are_refused_with_the_limit() {
    let _world = world();
    let (user, plain) = (alice(), User::plain());
    let refused = |options: &[&str], command: &[&str], advice: &str| {
        let (status, _, said) = user.ssh().args(options).begin(command).output();
        assert_eq!(status, 64, "{said}");
        assert!(said.starts_with(&format!("sshbox: {advice} (ref ")), "{said}");
    };
    // 150 KB arrive. More works with plain sshd; sshbox refuses it and prints the reason.
    let fits = long_variables(15_000);
    assert_eq!(text(&user.ssh().args(&["-F", &fits]).run("echo ${#LC_LONG_9}").stdout), "15000\n");
    let long = long_variables(20_500);
    assert_eq!(text(&plain.ssh().args(&["-F", &long]).run("echo ${#LC_LONG_9}").stdout), "20500\n");
    refused(
        &["-F", &long],
        &["true"],
        "the variables that your client and your site send are 205 KB long, and at most 200 KB fit, command included; see SendEnv and SetEnv in your ssh_config",
    );
    refused(
        &["-F", &long],
        &["@sshd"],
        "the variables that your client and your site send are 205 KB long, and at most 200 KB fit, command included; see SendEnv and SetEnv in your ssh_config",
    );
    // No sshd can execute a command of this length: sshbox prints the same error as plain sshd.
    let half = "x".repeat(75_000);
    let command = ["true; #", &half, &half];
    let ended = [&plain, &user].map(|user| user.ssh().begin(&command).output());
    for (status, _, said) in &ended {
        assert!(*status == ended[0].0 && said.contains("Argument list too long"), "{status} {said}");
    }
}

/// Writes an `ssh_config` that sends ten variables of this length, which is too much for a command line.
fn long_variables(length: usize) -> String {
    let path = format!("{STATE}/long-{length}");
    let variables = (0..10).map(|number| format!(" LC_LONG_{number}={}", "x".repeat(length)));
    fs::write(&path, format!("SetEnv{}\n", variables.collect::<String>())).unwrap();
    path
}
