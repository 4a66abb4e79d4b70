//! Keys as typed at a keyboard: line editing of the terminal, job control, and raw mode.

use crate::harness::{Terminal, text};
use crate::subject::{RemoteFolder, Sleep, subject};
use std::thread;
use std::time::Duration;

/// A login shell at a terminal, with a prompt that no output contains.
fn shell() -> Terminal {
    let mut terminal = subject().ssh().terminal(24, 200, &[]);
    terminal.types("PS1='pro''mpt: '; PROMPT_COMMAND=; bind 'set enable-bracketed-paste off'\n");
    terminal.shows("prompt: ");
    terminal
}

/// Starts a command once the terminal is in raw mode, so that no key comes too early.
fn raw(command: &str) -> Terminal {
    let command = format!("stty raw -echo; echo ready; {command}");
    let mut terminal = subject().ssh().args(&["-e", "none"]).terminal(24, 80, &[&command]);
    terminal.shows("ready\n");
    terminal
}

#[test]
fn a_shell_at_a_terminal_is_interactive_and_does_not_complain() {
    let mut terminal = subject().ssh().terminal(24, 80, &[]);
    terminal.types("echo =$0=$-=; shopt login_shell; echo E''ND\n");
    let seen = terminal.shows("END");
    assert!(seen.contains("=-bash=himBHs=") && seen.contains("login_shell    \ton"), "{seen}");
    assert!(!seen.contains("job control") && !seen.contains("terminal process group"), "{seen}");
}

#[test]
fn f20_every_byte_that_is_typed_arrives_at_a_raw_program() {
    let mut terminal = raw("head -c 256 | od -An -v -tu1 -w256 | tr -s ' '");
    let every: Vec<u8> = (0..=255).collect();
    terminal.types_bytes(&every);
    let expected: String = every.iter().map(|byte| " ".to_owned() + &byte.to_string()).collect();
    terminal.shows(&expected);
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn a_single_key_arrives_alone_and_at_once() {
    let mut terminal = raw("for n in 1 2 3; do head -c 1 | od -An -tx1; done");
    for (key, shown) in [("a", " 61\n"), ("\x1b", " 1b\n"), ("\r", " 0d\n")] {
        terminal.types(key);
        terminal.shows(shown);
    }
}

#[test]
fn function_keys_arrive_whole() {
    let mut terminal = raw("head -c 14 | od -An -tx1 -w14");
    terminal.types("\x1b[A\x1bOP\x1b[15~\x1b[Z");
    terminal.shows(" 1b 5b 41 1b 4f 50 1b 5b 31 35 7e 1b 5b 5a\n");
}

#[test]
fn f20_a_paste_of_64_kibibytes_arrives_complete() {
    let paste: Vec<u8> = (0..65536_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    let mut terminal = raw("head -c 65536 | md5sum");
    terminal.types_bytes(&paste);
    let sum = sum_of(&paste);
    terminal.shows(&sum);
}

#[test]
fn f20_a_paste_before_the_program_reads_is_not_lost() {
    let paste: Vec<u8> = (0..65536_u32).map(|n| n.wrapping_mul(2_246_822_519).to_le_bytes()[3]).collect();
    let mut terminal = raw("sleep 2; head -c 65536 | md5sum");
    terminal.types_bytes(&paste);
    let sum = sum_of(&paste);
    terminal.shows(&sum);
}

/// Checksum of these bytes, computed locally.
fn sum_of(bytes: &[u8]) -> String {
    let output = crate::harness::to_the_end(std::process::Command::new("md5sum"), bytes.to_vec());
    text(&output.stdout).split(' ').next().unwrap().to_owned()
}

#[test]
fn a_long_paste_of_lines_arrives_line_by_line() {
    let lines: String = (0..600).flat_map(|n| [format!("{n:0100}"), "\n".to_owned()]).collect();
    let mut terminal = subject().ssh().terminal(24, 200, &["stty -echo; echo ready; head -600 | md5sum"]);
    terminal.shows("ready");
    terminal.types(&lines);
    let sum = sum_of(lines.as_bytes());
    terminal.shows(&sum);
}

#[test]
fn keys_are_echoed_unless_the_program_disables_echo() {
    let mut terminal = subject().ssh().terminal(
        24,
        80,
        &["echo ready; read a; stty -echo; echo off; read b; stty echo; echo on; read c; echo \"<$a $b $c>\""],
    );
    terminal.shows("ready");
    terminal.types("seen\n");
    terminal.shows("seen\r\noff\r\n");
    terminal.types("hidden\n");
    assert_eq!(terminal.shows("on\r\n"), "on\r\n");
    terminal.types("again\n");
    terminal.shows("again\r\n<seen hidden again>\r\n");
}

#[test]
fn a_password_is_not_shown() {
    let mut terminal = shell();
    terminal.types("read -rsp 'pass''word? ' word; echo; echo \"${#word}\"\n");
    terminal.shows("password? ");
    terminal.types("secret123\n");
    assert_eq!(terminal.shows("9\r\n").trim(), "9");
}

#[test]
fn a_line_can_be_edited_before_it_is_sent() {
    let mut terminal = subject().ssh().terminal(24, 80, &["echo ready; cat | sed -u 's/.*/<&>/'"]);
    terminal.shows("ready");
    // Erase a character, erase a word, kill the line, insert the next key literally.
    terminal.types("abcx\x7fd\n");
    terminal.shows("<abcd>");
    terminal.types("one two\x17three\n");
    terminal.shows("<one three>");
    terminal.types("forget it\x15kept\n");
    terminal.shows("<kept>");
    terminal.types("a\x16\x03b\n");
    terminal.shows("<a\x03b>");
    terminal.types("\x04");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn a_multibyte_character_is_erased_as_one() {
    let mut terminal =
        subject().ssh().args(&["-tt"]).at_terminal(24, 80, &["echo ready; head -1 | od -An -tx1"], |path| {
            crate::harness::run("stty", &["-F", path, "sane", "iutf8"]);
        });
    terminal.shows("ready");
    terminal.types("aé漢\x7f\x7fb\n");
    terminal.shows(" 61 62 0a\r\n");
}

#[test]
fn multibyte_characters_arrive_and_are_echoed() {
    let mut terminal = subject().ssh().args(&["-o", "SetEnv=LC_ALL=C.UTF-8"]).terminal(
        24,
        80,
        &["echo ready; read x; echo \"<$x ${#x}>\""],
    );
    terminal.shows("ready");
    terminal.types("héllo 漢字 😀\n");
    terminal.shows("<héllo 漢字 😀 10>");
}

#[test]
fn ctrl_c_interrupts_the_program_and_not_the_shell() {
    let sleep = Sleep::new();
    let mut terminal = shell();
    terminal.types(&format!("{}\n", sleep.command()));
    sleep.wait_for_start();
    terminal.types("\x03");
    terminal.shows("^C\r\nprompt: ");
    terminal.types("echo =$?=\n");
    terminal.shows("=130=");
    assert!(!sleep.runs());
}

#[test]
fn ctrl_c_ends_a_command_that_has_a_terminal() {
    let sleep = Sleep::new();
    let mut terminal = subject().ssh().terminal(24, 80, &[sleep.command()]);
    sleep.wait_for_start();
    terminal.types("\x03");
    assert_eq!(terminal.ends(), 255);
    sleep.wait_for_end();
}

#[test]
fn ctrl_c_stops_a_flood() {
    let mut terminal = shell();
    terminal.types("yes\n");
    terminal.shows("y\r\ny\r\ny\r\n");
    terminal.types("\x03");
    terminal.shows("prompt: ");
    terminal.types("echo =$?=\n");
    terminal.shows("=130=");
}

#[test]
fn ctrl_backslash_quits_the_program() {
    let sleep = Sleep::new();
    let mut terminal = shell();
    terminal.types(&format!("{}\n", sleep.command()));
    sleep.wait_for_start();
    terminal.types("\x1c");
    terminal.shows("Quit");
    terminal.types("echo =$?=\n");
    terminal.shows("=131=");
}

#[test]
fn ctrl_z_stops_a_job_and_fg_continues_it() {
    let sleep = Sleep::new();
    let mut terminal = shell();
    terminal.types(&format!("{}\n", sleep.command()));
    sleep.wait_for_start();
    terminal.types("\x1a");
    terminal.shows("Stopped");
    terminal.types("echo =$?=\n");
    terminal.shows("=148=");
    terminal.types("jobs\n");
    terminal.shows(&format!("[1]+  Stopped                 {}", sleep.command()));
    terminal.types("bg\n");
    terminal.shows(&format!("[1]+ {} &", sleep.command()));
    terminal.types("jobs\n");
    terminal.shows(&format!("[1]+  Running                 {} &", sleep.command()));
    terminal.types("fg\n");
    terminal.shows(&format!("fg\r\n{}\r\n", sleep.command()));
    terminal.types("\x03");
    terminal.shows("prompt: ");
    sleep.wait_for_end();
    terminal.types("jobs; echo E''ND\n");
    terminal.shows("\r\nEND");
}

#[test]
fn a_background_job_that_reads_is_stopped() {
    let mut terminal = shell();
    terminal.types("cat &\n");
    terminal.shows("prompt: ");
    terminal.types("until jobs -s | grep .; do sleep 0.1; done\n");
    terminal.shows("Stopped");
    terminal.types("fg\n");
    terminal.shows("fg\r\ncat\r\n");
    terminal.types("heard\n");
    terminal.shows("heard\r\nheard\r\n");
    terminal.types("\x04");
    terminal.shows("prompt: ");
}

#[test]
fn the_shell_reports_a_finished_background_job() {
    let mut terminal = shell();
    terminal.types("sleep 0.3 & wait; echo\n");
    terminal.shows("[1]+  Done                    sleep 0.3");
}

#[test]
fn ctrl_d_ends_the_shell_with_the_status_of_the_last_command() {
    let mut terminal = shell();
    terminal.types("(exit 17)\n");
    terminal.shows("prompt: ");
    terminal.types("\x04");
    assert_eq!(terminal.ends(), 17);
    assert!(terminal.seen().contains("logout"), "{}", terminal.seen());
}

#[test]
fn exit_ends_the_shell_with_the_status_that_it_names() {
    for status in [0, 1, 255] {
        let mut terminal = shell();
        terminal.types(&format!("exit {status}\n"));
        assert_eq!(terminal.ends(), status);
    }
}

#[test]
fn a_login_shell_reads_profile_bashrc_and_bash_logout() {
    let mut terminal =
        subject().ssh().args(&["-o", "SetEnv=LC_ORACLE=bashrc,profile,bash_logout"]).terminal(24, 80, &[]);
    terminal.shows("read-profile\r\n");
    terminal.shows("read-bashrc\r\n");
    terminal.types("exit\n");
    terminal.shows("read-bash_logout\r\n");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn ctrl_d_ends_the_input_of_a_program() {
    let mut terminal = subject().ssh().terminal(24, 80, &["echo ready; wc -l; exit 3"]);
    terminal.shows("ready");
    terminal.types("one\ntwo\n\x04");
    terminal.shows("2\r\n");
    assert_eq!(terminal.ends(), 3);
}

#[test]
fn ctrl_s_pauses_output_and_ctrl_q_resumes_it() {
    let folder = RemoteFolder::new();
    let command = format!(
        "stty ixon -echo; echo ready; for n in $(seq 300); do echo tick $n; echo $n >{}/at; sleep 0.05; done",
        folder.0
    );
    let mut terminal = subject().ssh().terminal(24, 80, &[&command]);
    terminal.shows("tick 3\r\n");
    terminal.types("\x13");
    // The program itself stops, once the buffers between it and the client are full.
    let at = || subject().says(&format!("cat {}/at", folder.0));
    crate::harness::until("the program stops writing", || {
        let before = at();
        thread::sleep(Duration::from_secs(1));
        before == at()
    });
    assert_ne!(at(), "300\n");
    terminal.types("\x11");
    terminal.shows("tick 300\r\n");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn without_ixon_ctrl_s_reaches_the_program() {
    let mut terminal =
        subject().ssh().terminal(24, 80, &["stty -ixon -icanon -echo; echo ready; head -c 2 | od -An -tx1"]);
    terminal.shows("ready");
    terminal.types("\x13\x11");
    terminal.shows(" 13 11\r\n");
}

#[test]
fn pasted_text_is_marked_as_pasted() {
    let mut terminal = subject().ssh().terminal(24, 80, &["bash --norc --noprofile -i"]);
    // The shell enables bracketed paste: the terminal puts marks around pasted text.
    terminal.shows("\x1b[?2004h");
    terminal.types("\x1b[200~echo fir''st\necho sec''ond\x1b[201~");
    terminal.shows("sec''ond");
    thread::sleep(Duration::from_millis(500));
    terminal.types("\n");
    let seen = terminal.shows("\r\nsecond\r\n");
    // No pasted line ran before Enter was pressed.
    assert!(seen.contains("\u{1b}[?2004l\rfirst\r\nsecond\r\n"), "{seen:?}");
}

#[test]
fn line_editing_of_the_shell_works() {
    let mut terminal = shell();
    // Go to the start, insert; go to the end, back one, insert; kill and yank; search the history.
    terminal.types("cho a\x01e\x05bd\x02c\n");
    terminal.shows("\r\nabcd\r\n");
    terminal.types("echo gone\x15\x19 back\n");
    terminal.shows("\r\ngone back\r\n");
    terminal.types("\x12echo abc\r");
    terminal.shows("\r\nabcd\r\n");
    terminal.types("\x1b[A\n");
    terminal.shows("\r\nabcd\r\n");
}

#[test]
fn the_tab_key_completes() {
    let folder = RemoteFolder::new();
    subject().says(&format!("echo content >{}/unmistakable-name", folder.0));
    let mut terminal = shell();
    terminal.types(&format!("cat {}/unm\t\n", folder.0));
    terminal.shows("content\r\n");
}

#[test]
fn text_typed_ahead_is_not_lost() {
    let mut terminal = subject().ssh().terminal(24, 80, &[]);
    terminal.types("echo fir''st\nsleep 0.5\necho sec''ond\nexit 12\n");
    terminal.shows("first");
    terminal.shows("second");
    assert_eq!(terminal.ends(), 12);
}

#[test]
fn programs_read_the_keys_that_the_shell_did_not_read() {
    let mut terminal = shell();
    terminal.types("echo rea''dy; cat\n");
    terminal.shows("ready\r\n");
    terminal.types("for the cat\n");
    terminal.shows("for the cat\r\nfor the cat\r\n");
    terminal.types("\x04echo for the she''ll\n");
    terminal.shows("for the shell");
}

#[test]
fn the_escape_sequence_of_the_client_ends_the_session() {
    let sleep = Sleep::new();
    let mut terminal = subject().ssh().terminal(24, 80, &[&format!("echo ready; {}", sleep.command())]);
    terminal.shows("ready");
    sleep.wait_for_start();
    terminal.types("\r~.");
    assert_eq!(terminal.ends(), 255);
    sleep.wait_for_end();
}
