//! What a command or a shell starts with: its arguments, its environment, and the state of a new process.

use crate::harness::text;
use crate::protocol::{Channel, Message, string};
use crate::subject::{LocalFolder, RemoteFolder, begin, subject};
use std::collections::BTreeMap;

/// Environment of a command run with these client options.
fn variables(options: &[&str]) -> BTreeMap<String, String> {
    let output = subject().ssh().args(options).run("env -0");
    let text = text(&output.stdout);
    text.split_terminator('\0')
        .map(|line| line.split_once('=').unwrap())
        .map(|(n, v)| (n.into(), v.into()))
        .collect()
}

/// Runs this Python program in place of the shell.
fn python(program: &str) -> String {
    subject().says(&format!("exec /usr/bin/python3 -c '{program}'"))
}

#[test]
fn quotes_spaces_and_dollars_arrive_as_typed() {
    assert_eq!(
        subject()
            .says(r#"printf '<%s>' 'a  b' "c d" \$x \\ '"' "'" "$(echo sub)" `echo tick` ~ {1,2} $((6*7))"#),
        format!(r#"<a  b><c d><$x><\><"><'><sub><tick><{}><1><2><42>"#, subject().home)
    );
}

#[test]
fn newlines_tabs_and_comments_arrive_as_typed() {
    assert_eq!(subject().says("echo one\necho two # not this\n\n\techo three\n"), "one\ntwo\nthree\n");
    assert_eq!(subject().says("printf %s 'a\n\tb\r\n'"), "a\n\tb\r\n");
    assert_eq!(subject().says("cat <<END\nhere $HOME\nEND\n"), format!("here {}\n", subject().home));
}

#[test]
fn text_that_is_not_ascii_arrives_as_typed() {
    assert_eq!(subject().says("printf %s 'é漢😀'"), "é漢😀");
    let mut command = b"printf %s '".to_vec();
    command.extend((1..=255).filter(|byte| *byte != b'\''));
    command.extend(b"' | od -An -v -tu1 | tr -s ' \\n' ' '");
    let output = subject().ssh().run_bytes(&command);
    let expected: String =
        (1..=255).filter(|byte| *byte != b'\'').map(|byte: u8| " ".to_owned() + &byte.to_string()).collect();
    assert_eq!(text(&output.stdout).trim_end(), expected);
}

#[test]
fn arguments_are_joined_by_spaces_and_parsed_by_a_shell() {
    let output = subject().local("remote printf '=%s=' 'a b' '\"c  d\"' '$HOME' '; echo' end");
    assert_eq!(text(&output.stdout), format!("=a==b==c  d=={}=end\n", subject().home));
}

#[test]
fn a_command_of_100_kilobytes_arrives() {
    let long = "x".repeat(100_000);
    let sum = subject().local("head -c 100000 /dev/zero | tr '\\0' x | md5sum").stdout;
    assert_eq!(subject().says(&format!("printf %s {long} | md5sum")), text(&sum));
}

#[test]
fn a_command_may_be_as_long_as_the_kernel_allows() {
    // One argument has at most 131,072 bytes including its NUL. Close to that, both servers may refuse.
    let output = subject().ssh().run(&format!("true; # {}", "x".repeat(131_000)));
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn the_shell_reads_a_command_with_a_leading_dash_as_an_option() {
    let output = subject().ssh().run("-x");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    assert_eq!(text(&output.stderr), "bash: -c: option requires an argument\n");
}

#[test]
fn an_empty_command_is_a_login_shell() {
    let output = subject().ssh().input(b"echo $0; shopt login_shell; exit 3\n").run("");
    assert_eq!(text(&output.stdout), "-bash\nlogin_shell    \ton\n");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_command_runs_in_a_non_login_shell() {
    assert_eq!(
        subject().says("echo $0 $- $#; shopt login_shell || true; echo $BASH_EXECUTION_STRING | head -c 7"),
        "bash hBc 0\nlogin_shell    \toff\necho $0"
    );
}

#[test]
fn a_shell_without_a_terminal_reads_commands_and_returns_its_status() {
    let mut session = subject().ssh().args(&["-T"]).begin(&[]);
    session.write(b"echo $0 $-; tty; exit 4\n");
    let (status, out, err) = session.output();
    assert_eq!((status, &*out, &*err), (4, "-bash hBs\nnot a tty\n", ""));
}

#[test]
fn at_end_of_input_a_shell_returns_the_status_of_its_last_command() {
    let mut session = subject().ssh().args(&["-T"]).begin(&[]);
    session.write(b"echo here; (exit 5)\n");
    let (status, out, err) = session.output();
    assert_eq!((status, &*out, &*err), (5, "here\n", ""));
}

#[test]
fn a_command_reads_bashrc_and_a_login_shell_reads_profile() {
    // Debian's bash reads bashrc for a command when sshd has started it.
    let all = ["-o", "SetEnv=LC_ORACLE=bashrc,profile,bash_logout", "-T"];
    let output = subject().ssh().args(&all).run("echo command");
    assert_eq!(text(&output.stdout), "read-bashrc\ncommand\n");
    let output = subject().ssh().args(&all).input(b"echo shell; exit").run("");
    assert_eq!(text(&output.stdout), "read-profile\nread-bashrc\nshell\nread-bash_logout\n");
}

#[test]
fn language_variables_are_passed_on() {
    let set = variables(&["-o", "SetEnv=LANG=en_US.UTF-8 LC_TIME=C LC_ORACLE_2=odd~value=with;signs"]);
    assert_eq!(set["LANG"], "en_US.UTF-8");
    assert_eq!(set["LC_TIME"], "C");
    assert_eq!(set["LC_ORACLE_2"], "odd~value=with;signs");
}

#[test]
fn values_with_any_byte_empty_and_long_are_passed_on() {
    let mut channel = Channel::open();
    let every: Vec<u8> = (1..=255).collect();
    for (name, value) in [("LC_EVERY", &*every), ("LC_EMPTY", b""), ("LC_LONG", &vec![b'x'; 20_000])] {
        channel.request("env", &[string(name.as_bytes()), string(value)].concat());
        assert_eq!(channel.next_message(), Message::Success, "{name}");
    }
    channel.request("env", &[string(b"PATH"), string(b"/x")].concat());
    assert_eq!(channel.next_message(), Message::Failure);
    channel.exec("printf %s \"$LC_EVERY\" | od -An -v -tu1 | tr -s ' \\n' ' '; echo; echo \"=${LC_EMPTY-unset}=\" ${#LC_LONG}");
    let bytes: String = (1..=255).map(|byte: u8| " ".to_owned() + &byte.to_string()).collect();
    assert_eq!(channel.output(), format!("{bytes} \n== 20000\n").into_bytes());
}

#[test]
fn a6_no_other_variable_is_passed_on() {
    let set = variables(&[
        "-o",
        "SetEnv=LD_PRELOAD=/x PATH=/x HOME=/x USER=x SHELL=/x BASH_ENV=/x FOO=x IFS=x SSH_TTY=x LC=x LANGUAGE=x TZ=x",
    ]);
    let names: Vec<&str> = set.keys().map(String::as_str).collect();
    let always =
        ["HOME", "LOGNAME", "PATH", "PWD", "SHELL", "SHLVL", "SSH_CLIENT", "SSH_CONNECTION", "USER", "_"];
    for name in always {
        assert!(names.contains(&name), "{name} is missing: {names:?}");
    }
    // The server or the image may add these: the mailbox, the language, the directory of screen's sockets.
    for name in names {
        let of_server = ["MAIL", "LANG", "SCREENDIR"].contains(&name);
        assert!(always.contains(&name) || of_server, "{name}: {set:?}");
    }
    assert!(set.values().all(|value| value != "x" && value != "/x"), "{set:?}");
}

#[test]
fn no_variable_of_the_server_is_visible() {
    let set = variables(&[]);
    for (name, value) in &set {
        assert!(!name.starts_with("SSHBOX") && !name.starts_with("SSH_ORIGINAL"), "{name}={value}");
    }
    assert!(
        !set.contains_key("TERM") && !set.contains_key("SSH_TTY") && !set.contains_key("OLDPWD"),
        "{set:?}"
    );
}

#[test]
fn variables_name_the_user_the_home_and_the_shell() {
    let set = variables(&[]);
    assert_eq!(set["HOME"], subject().home);
    assert_eq!(set["PWD"], subject().home);
    assert_eq!(set["USER"], subject().program_user);
    assert_eq!(set["LOGNAME"], subject().program_user);
    assert_eq!(set["SHELL"], "/bin/bash");
    // bash decrements SHLVL before it executes its last command in its own place, so 0 means: no shell around it.
    assert_eq!(set["SHLVL"], "0");
    assert_eq!(set["PATH"], "/usr/local/bin:/usr/bin:/bin:/usr/games");
}

#[test]
fn the_user_is_the_one_that_the_variables_name() {
    let output =
        subject().says("id -un; id -gn; id -Gn; getent passwd $(id -u) | cut -d: -f1,6,7; echo ~; whoami");
    let (user, home) = (subject().program_user, subject().home);
    assert_eq!(output, format!("{user}\n{user}\n{user}\n{user}:{home}:/bin/bash\n{home}\n{user}\n"));
}

#[test]
fn variables_describe_the_connection() {
    let session = begin(subject().ssh(), "echo $SSH_CONNECTION; echo $SSH_CLIENT; cat");
    let (port, server_port) = (session.port, subject().port);
    assert_eq!(subject().servers(port).len(), 2, "no sshd holds the connection that the variables describe");
    let (status, out, _) = session.client.output();
    assert_eq!(
        (status, out),
        (0, format!("127.0.0.1 {port} 127.0.0.1 {server_port}\n127.0.0.1 {port} {server_port}\n"))
    );
}

#[test]
fn a_command_starts_in_the_home_directory() {
    assert_eq!(
        subject().says("pwd; pwd -P; readlink /proc/$$/cwd"),
        format!("{0}\n{0}\n{0}\n", subject().home)
    );
    assert_eq!(subject().ssh().status("cd - 2>/dev/null"), 1);
}

#[test]
fn the_user_owns_the_home_directory() {
    let user = subject().program_user;
    assert_eq!(
        subject()
            .says("stat -c '%U %G' ~; file=$(mktemp ~/oracle.XXXXXX) && stat -c '%U %G %a' $file; rm $file"),
        format!("{user} {user}\n{user} {user} 600\n")
    );
}

#[test]
fn new_files_have_the_modes_of_umask_022() {
    let folder = RemoteFolder::new();
    assert_eq!(
        subject().says(&format!("umask; cd {}; touch file; mkdir folder; stat -c %a file folder", folder.0)),
        "0022\n644\n755\n"
    );
}

#[test]
fn a_program_has_exactly_three_file_descriptors() {
    let program = "
import os
def there(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
print([fd for fd in range(1024) if there(fd)])";
    assert_eq!(python(program), "[0, 1, 2]\n");
    let mut terminal = subject().ssh().terminal(24, 80, &[&format!("exec /usr/bin/python3 -c '{program}'")]);
    terminal.shows("[0, 1, 2]");
}

#[test]
fn a_program_has_no_signal_blocked_ignored_or_pending() {
    // The C library reserves signals 32 and 33: no program can set them. Its posix_spawn, with which make starts
    // these tests, leaves them ignored for all descendants.
    const RESERVED_BY_LIBC: u64 = 0b11 << 31;
    let names = ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"];
    let masks = |status: &str| -> Vec<(String, u64)> {
        let fields = status.lines().filter_map(|line| line.trim().split_once(":\t"));
        fields
            .filter(|(name, _)| names.contains(name))
            .map(|(name, mask)| (name.to_owned(), u64::from_str_radix(mask, 16).unwrap() & !RESERVED_BY_LIBC))
            .collect()
    };
    let expected = names.map(|name| (name.to_owned(), 0));
    let command = "exec cat /proc/self/status";
    assert_eq!(masks(&subject().says(command)), expected);
    let mut terminal = subject().ssh().terminal(24, 80, &[command]);
    assert_eq!(masks(&terminal.shows("nonvoluntary_ctxt_switches")), expected);
}

#[test]
fn a_program_has_no_parent_death_signal() {
    // PR_GET_PDEATHSIG
    let program = "
import ctypes
number = ctypes.c_int(-1)
ctypes.CDLL(None).prctl(2, ctypes.byref(number), 0, 0, 0)
print(number.value)";
    assert_eq!(python(&program.replace('\'', "\"")), "0\n");
}

#[test]
fn a_program_has_the_usual_limits_and_nice_value_and_writes_no_core() {
    assert_eq!(
        subject().says("ulimit -c; ulimit -s; ulimit -t; ulimit -f; ulimit -v; ulimit -d; nice; cat /proc/self/personality"),
        "0\n8192\nunlimited\nunlimited\nunlimited\nunlimited\n0\n00000000\n"
    );
    let files: u32 = subject().says("ulimit -n").trim().parse().unwrap();
    let processes: u32 = subject().says("ulimit -u").trim().parse().unwrap();
    assert!(files >= 1024 && processes >= 500, "{files} files, {processes} processes");
}

#[test]
fn a_program_can_read_its_own_proc_entries() {
    assert_eq!(
        subject().says("cd /proc/$$ && ls fd >/dev/null && head -c 5 environ >/dev/null && wc -l <maps >/dev/null && stat -c %U fd environ"),
        format!("{0}\n{0}\n", subject().program_user)
    );
}

#[test]
fn a_command_leads_a_session_without_a_terminal() {
    assert_eq!(
        subject().says("set -- $(ps -o pid=,pgid=,sid=,tty=,tpgid= -p $$); [ $1 = $2 ] && [ $2 = $3 ] && echo $4 $5; tty; ( : </dev/tty ) 2>&1 | grep -o 'No such device.*'"),
        "? -1\nnot a tty\nNo such device or address\n"
    );
}

#[test]
fn an_unknown_subsystem_is_refused() {
    let output = subject().local("remote -s nonsense; echo $?");
    assert_eq!(text(&output.stdout), "255\n");
    assert_eq!(text(&output.stderr).trim(), "subsystem request failed on channel 0");
}

#[test]
fn sftp_transfers_files_with_mode_and_time() {
    let (here, there) = (LocalFolder::new(), RemoteFolder::new());
    let script = format!(
        "cd {0}; seq 100000 >sent; chmod 640 sent; touch -d '2001-02-03 04:05:06' sent
         printf 'put -p sent {1}/there\nget -p {1}/there back\nls -1 {1}\n' | sftp -q -b - -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR {2}
         cmp sent back && stat -c '%a %Y' back",
        here.0,
        there.0,
        subject().target("-P")
    );
    let output = subject().local(&script);
    assert!(text(&output.stdout).ends_with(&format!("{}/there\n640 981173106\n", there.0)), "{output:?}");
}

#[test]
fn scp_transfers_files_with_both_protocols() {
    let (here, there) = (LocalFolder::new(), RemoteFolder::new());
    for kind in ["-s", "-O"] {
        let options = subject().target("-P").replace(" 127.0.0.1", "");
        let script = format!(
            "cd {0}; mkdir -p tree/sub; seq 5000 >'tree/a b'; echo x >tree/sub/c; rm -rf back
             copy() {{ scp -q {kind} -r -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR {options} \"$@\"; }}
             copy tree 127.0.0.1:{1}/tree{kind} && copy 127.0.0.1:{1}/tree{kind} back && diff -r tree back && echo same",
            here.0, there.0
        );
        let output = subject().local(&script);
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("same\n".to_owned(), String::new()),
            "{kind}"
        );
    }
}
