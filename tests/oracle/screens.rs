//! Full-screen programs, checked as a user sees them: the client runs in a local tmux, and tests read the screen
//! from tmux.

use crate::harness::run;
use crate::subject::{RemoteFolder, Sleep, subject, unique_number};
use std::process::Command;

/// A screen of 80 columns and 24 rows with a login shell in it.
struct Screen {
    tmux: String,
}

impl Screen {
    fn open() -> Self {
        let screen = Self { tmux: format!("oracle-{}", unique_number()) };
        // `cat` keeps the screen after the client has ended: tmux does not always report the end itself.
        let client =
            format!("{} -o SetEnv=LC_ALL=C.UTF-8; echo client ended with $?; exec cat", subject().client());
        screen.tmux(&["new-session", "-d", "-x", "80", "-y", "24", &client]);
        screen.tmux(&["set-option", "-g", "prefix", "None"]);
        screen.types("PS1='pro''mpt: '; PROMPT_COMMAND=; clear\n");
        screen.until("the prompt alone", |shown| shown.trim() == "prompt:");
        screen
    }

    fn tmux(&self, words: &[&str]) -> String {
        run("env", &[&["-u", "TMUX", "tmux", "-u", "-f", "/dev/null", "-L", &self.tmux], words].concat())
    }

    fn types(&self, keys: &str) {
        self.tmux(&["send-keys", "-l", keys]);
    }

    /// Presses keys by their tmux names.
    fn presses(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn until(&self, what: &str, ready: impl Fn(&str) -> bool) -> String {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let shown = self.shown();
            if ready(&shown) {
                return shown;
            }
            assert!(
                std::time::Instant::now() < end,
                "gave up waiting: {what}, in {} on the screen:\n{shown}",
                self.tmux(&[
                    "list-panes",
                    "-F",
                    "client #{pane_pid}, dead: #{pane_dead}, #{pane_current_command}"
                ])
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Waits until the screen contains exactly this line.
    fn wait_for_line(&self, line: &str) -> String {
        self.until(line, |shown| shown.lines().any(|found| found.trim_end() == line))
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Waits until the last line is the prompt.
    fn wait_for_prompt(&self) {
        self.until("the prompt", |shown| {
            shown.lines().rfind(|line| !line.is_empty()).unwrap_or_default().starts_with("prompt:")
        });
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = Command::new("tmux").args(["-L", &self.tmux, "kill-server"]).output();
    }
}

/// A directory with `book`, a file of a thousand lines.
fn folder_with_book() -> RemoteFolder {
    let folder = RemoteFolder::new();
    subject().says(&format!("seq -f 'line %g' 1000 >{}/book", folder.0));
    folder
}

#[test]
fn less_shows_a_page_and_restores_the_screen() {
    let (folder, screen) = (folder_with_book(), Screen::open());
    screen.types(&format!("echo before; less {}/book\n", folder.0));
    let shown = screen.wait_for_line("line 23");
    assert!(shown.starts_with("line 1\n"), "{shown}");
    screen.presses(&["Space"]);
    assert!(screen.wait_for_line("line 46").starts_with("line 24\n"));
    screen.types("G");
    screen.wait_for_line("line 1000");
    screen.types("/line 50$\n");
    screen.types("g/line 500\n");
    screen.until("line 500 on top", |shown| shown.starts_with("line 500\n"));
    screen.types("q");
    screen.wait_for_line("before");
    screen.wait_for_prompt();
}

#[test]
fn f21_less_adapts_to_a_new_size() {
    let (folder, screen) = (folder_with_book(), Screen::open());
    screen.types(&format!("less {}/book\n", folder.0));
    screen.wait_for_line("line 23");
    screen.resize(60, 40);
    screen.until("39 lines", |shown| shown.lines().any(|line| line == "line 39"));
    screen.resize(60, 10);
    screen.until("9 lines", |shown| shown.contains("line 9\n") && !shown.contains("line 10\n"));
    screen.types("q");
    screen.wait_for_prompt();
}

#[test]
fn vi_saves_typed_text() {
    let (folder, screen) = (RemoteFolder::new(), Screen::open());
    screen.types(&format!("vi -N -u NONE {}/letter\n", folder.0));
    screen.wait_for_line("~");
    screen.types("ifirst line\nsecond line");
    screen.wait_for_line("second line");
    screen.presses(&["Up", "Home"]);
    screen.types("the ");
    screen.wait_for_line("the first line");
    screen.presses(&["Escape"]);
    screen.types("yyp");
    screen.until("the line twice", |shown| shown.matches("the first line").count() == 2);
    screen.types(":wq\n");
    screen.wait_for_prompt();
    assert_eq!(
        subject().says(&format!("cat {}/letter", folder.0)),
        "the first line\nthe first line\nsecond line\n"
    );
}

#[test]
fn f21_vi_adapts_to_a_new_size() {
    let (folder, screen) = (folder_with_book(), Screen::open());
    screen.types(&format!("vi -N -u NONE -R {}/book\n", folder.0));
    screen.wait_for_line("line 23");
    screen.resize(100, 50);
    screen.wait_for_line("line 49");
    screen.types(":set columns? lines?\n");
    screen.until("the new size", |shown| shown.contains("columns=100"));
    screen.presses(&["Enter"]);
    screen.types(":q!\n");
    screen.wait_for_prompt();
}

#[test]
fn vi_accepts_text_that_is_not_ascii() {
    let (folder, screen) = (RemoteFolder::new(), Screen::open());
    screen.types(&format!("vi -N -u NONE {}/letter\n", folder.0));
    screen.wait_for_line("~");
    screen.types("ihéllo 漢字");
    screen.wait_for_line("héllo 漢字");
    screen.presses(&["Escape"]);
    screen.types(":wq\n");
    screen.wait_for_prompt();
    assert_eq!(subject().says(&format!("cat {}/letter", folder.0)), "héllo 漢字\n");
}

#[test]
fn vi_can_be_stopped_and_resumed() {
    let (folder, screen) = (folder_with_book(), Screen::open());
    screen.types(&format!("vi -N -u NONE -R {}/book\n", folder.0));
    screen.wait_for_line("line 23");
    screen.presses(&["C-z"]);
    screen.until("vi has stopped", |shown| shown.contains("Stopped"));
    screen.wait_for_prompt();
    screen.types("clear; fg\n");
    screen.wait_for_line("line 23");
    screen.types(":q!\n");
    screen.wait_for_prompt();
}

#[test]
fn top_shows_processes_and_quits_on_a_key() {
    let screen = Screen::open();
    screen.types("top -d 0.3\n");
    let shown = screen.until("the table", |shown| shown.contains(" PID USER ") && shown.contains("%CPU"));
    assert!(shown.starts_with("top - ") && shown.contains("Tasks:"), "{shown}");
    screen.types("u");
    screen.until("the prompt for a user", |shown| shown.contains("Which user"));
    screen.types(&format!("{}\n", subject().program_user));
    screen.until("only this user", |shown| {
        let table = shown.split("COMMAND").nth(1).unwrap_or_default();
        // While top still prompts, further keys would become part of the reply.
        !shown.contains("Which user") && table.contains(" top") && !table.contains(" root ")
    });
    screen.types("q");
    screen.wait_for_prompt();
}

#[test]
fn tmux_in_the_session_outlives_its_client() {
    let (screen, sleep) = (Screen::open(), Sleep::new());
    let name = format!("inner-{}", unique_number());
    screen.types(&format!("tmux -f /dev/null -L {name} new-session bash --norc\n"));
    screen.until("the status line of tmux", |shown| shown.contains("[0] 0:bash*"));
    screen.types("PS1='in''ner: '; clear\n");
    screen.wait_for_line("inner:");
    screen.types(&format!("{}\n", sleep.command()));
    sleep.wait_for_start();
    screen.resize(90, 30);
    screen.until("the status line of tmux in the new last row", |shown| {
        shown.lines().nth(29).is_some_and(|line| line.contains("0:sleep*"))
    });
    // The window is closed. The inner tmux keeps running and can be attached again.
    drop(screen);
    let screen = Screen::open();
    assert!(sleep.runs());
    screen.types(&format!("tmux -L {name} attach\n"));
    screen.until("the same screen again", |shown| shown.contains("inner:") && shown.contains("0:sleep*"));
    screen.presses(&["C-b"]);
    screen.types("d");
    screen.until("detached", |shown| shown.contains("[detached"));
    screen.wait_for_prompt();
    screen.types(&format!("tmux -L {name} kill-server\n"));
    sleep.wait_for_end();
}

#[test]
fn a_program_can_move_the_cursor() {
    let screen = Screen::open();
    screen.types("clear; tput cup 9 19; printf mark; tput cup 20 0\n");
    let shown = screen.until("the mark", |shown| shown.contains("mark\n"));
    assert_eq!(shown.lines().nth(9), Some(&*format!("{}mark", " ".repeat(19))), "{shown}");
}

#[test]
fn colours_arrive() {
    let screen = Screen::open();
    screen.types("clear; printf '\\033[1;31mred\\033[0m \\033[38;5;42mgreen\\033[m\\n'\n");
    screen.wait_for_line("red green");
    let coloured = screen.tmux(&["capture-pane", "-p", "-e"]);
    assert!(
        coloured.contains("\u{1b}[1m\u{1b}[31mred") || coloured.contains("\u{1b}[1;31mred"),
        "{coloured:?}"
    );
    assert!(coloured.contains("\u{1b}[38;5;42mgreen"), "{coloured:?}");
}

#[test]
fn long_lines_wrap_at_the_edge() {
    let screen = Screen::open();
    screen.types("clear; printf '%0100d\\n' 7\n");
    screen.wait_for_line(&format!("{:0>20}", 7));
    screen.types(&format!("clear; echo {}\n", "x".repeat(90)));
    screen.until("the shell wraps what it echoes", |shown| {
        shown.lines().any(|line| line == "x".repeat(90 - 80))
    });
}

#[test]
fn f18_a_closed_window_hangs_up_its_session() {
    let (screen, sleep, detached) = (Screen::open(), Sleep::new(), Sleep::new());
    screen.types(&format!("setsid {} & {}\n", detached.command(), sleep.command()));
    sleep.wait_for_start();
    detached.wait_for_start();
    screen.tmux(&["kill-session"]);
    sleep.wait_for_end();
    assert!(detached.runs());
}

#[test]
fn the_screen_shows_only_the_output_of_programs() {
    let screen = Screen::open();
    screen.types("exit 3\n");
    let shown = screen.until("the end of the client", |shown| shown.contains("client ended with"));
    let lines: Vec<&str> = shown.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    // The logout file of the shell may clear the screen.
    let (last, before) = lines.split_last().unwrap();
    assert_eq!(*last, "client ended with 3", "{shown}");
    let expected =
        |line: &&str| ["prompt: exit 3", "logout", "Connection to 127.0.0.1 closed."].contains(line);
    assert!(before.iter().all(expected), "{shown}");
}

#[test]
fn the_default_prompt_appears() {
    let mut terminal = subject().ssh().args(&["-o", "SetEnv=TERM=dumb"]).terminal(24, 80, &[]);
    let seen = terminal.shows(":~$ ");
    assert!(seen.contains(&format!("{}@", subject().program_user)), "{seen:?}");
}
