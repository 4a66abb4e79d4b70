//! Programs that use the whole screen, seen as a person sees them: the client runs in a local tmux, and what tmux
//! shows is what is looked at.

use crate::harness::run;
use crate::subject::{Folder, Sleep, subject, word};
use std::process::Command;

/// A screen of 80 columns and 24 rows with a login shell in it.
struct Screen {
    tmux: String,
}

impl Screen {
    fn open() -> Self {
        let screen = Self { tmux: format!("oracle-{}", word()) };
        // What stays when the client has ended: tmux's own word of it does not always come.
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

    /// Presses keys that have names.
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

    /// Waits until a line is exactly this.
    fn line(&self, line: &str) -> String {
        self.until(line, |shown| shown.lines().any(|found| found.trim_end() == line))
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Back at the prompt, with what was there before.
    fn prompt(&self) {
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

/// A file of a thousand lines.
fn book() -> Folder {
    let folder = Folder::new();
    subject().says(&format!("seq -f 'line %g' 1000 >{}/book", folder.0));
    folder
}

#[test]
fn less_shows_a_page_and_leaves_the_screen_as_it_was() {
    let (folder, screen) = (book(), Screen::open());
    screen.types(&format!("echo before; less {}/book\n", folder.0));
    let shown = screen.line("line 23");
    assert!(shown.starts_with("line 1\n"), "{shown}");
    screen.presses(&["Space"]);
    assert!(screen.line("line 46").starts_with("line 24\n"));
    screen.types("G");
    screen.line("line 1000");
    screen.types("/line 50$\n");
    screen.types("g/line 500\n");
    screen.until("line 500 on top", |shown| shown.starts_with("line 500\n"));
    screen.types("q");
    screen.line("before");
    screen.prompt();
}

#[test]
fn f21_less_takes_a_new_size() {
    let (folder, screen) = (book(), Screen::open());
    screen.types(&format!("less {}/book\n", folder.0));
    screen.line("line 23");
    screen.resize(60, 40);
    screen.until("39 lines", |shown| shown.lines().any(|line| line == "line 39"));
    screen.resize(60, 10);
    screen.until("9 lines", |shown| shown.contains("line 9\n") && !shown.contains("line 10\n"));
    screen.types("q");
    screen.prompt();
}

#[test]
fn vi_writes_what_was_typed() {
    let (folder, screen) = (Folder::new(), Screen::open());
    screen.types(&format!("vi -N -u NONE {}/letter\n", folder.0));
    screen.line("~");
    screen.types("ifirst line\nsecond line");
    screen.line("second line");
    screen.presses(&["Up", "Home"]);
    screen.types("the ");
    screen.line("the first line");
    screen.presses(&["Escape"]);
    screen.types("yyp");
    screen.until("the line twice", |shown| shown.matches("the first line").count() == 2);
    screen.types(":wq\n");
    screen.prompt();
    assert_eq!(
        subject().says(&format!("cat {}/letter", folder.0)),
        "the first line\nthe first line\nsecond line\n"
    );
}

#[test]
fn f21_vi_takes_a_new_size() {
    let (folder, screen) = (book(), Screen::open());
    screen.types(&format!("vi -N -u NONE -R {}/book\n", folder.0));
    screen.line("line 23");
    screen.resize(100, 50);
    screen.line("line 49");
    screen.types(":set columns? lines?\n");
    screen.until("its size", |shown| shown.contains("columns=100"));
    screen.presses(&["Enter"]);
    screen.types(":q!\n");
    screen.prompt();
}

#[test]
fn vi_takes_bytes_that_are_not_ascii() {
    let (folder, screen) = (Folder::new(), Screen::open());
    screen.types(&format!("vi -N -u NONE {}/letter\n", folder.0));
    screen.line("~");
    screen.types("ihéllo 漢字");
    screen.line("héllo 漢字");
    screen.presses(&["Escape"]);
    screen.types(":wq\n");
    screen.prompt();
    assert_eq!(subject().says(&format!("cat {}/letter", folder.0)), "héllo 漢字\n");
}

#[test]
fn vi_can_be_stopped_and_called_back() {
    let (folder, screen) = (book(), Screen::open());
    screen.types(&format!("vi -N -u NONE -R {}/book\n", folder.0));
    screen.line("line 23");
    screen.presses(&["C-z"]);
    screen.until("it has stopped", |shown| shown.contains("Stopped"));
    screen.prompt();
    screen.types("clear; fg\n");
    screen.line("line 23");
    screen.types(":q!\n");
    screen.prompt();
}

#[test]
fn top_shows_programs_and_ends_at_a_key() {
    let screen = Screen::open();
    screen.types("top -d 0.3\n");
    let shown = screen.until("its table", |shown| shown.contains(" PID USER ") && shown.contains("%CPU"));
    assert!(shown.starts_with("top - ") && shown.contains("Tasks:"), "{shown}");
    screen.types("u");
    screen.until("its question", |shown| shown.contains("Which user"));
    screen.types(&format!("{}\n", subject().account));
    screen.until("only this user", |shown| {
        let table = shown.split("COMMAND").nth(1).unwrap_or_default();
        // While it still asks, further keys would be a part of the answer.
        !shown.contains("Which user") && table.contains(" top") && !table.contains(" root ")
    });
    screen.types("q");
    screen.prompt();
}

#[test]
fn tmux_runs_inside_and_outlives_its_client() {
    let (screen, sleep) = (Screen::open(), Sleep::new());
    let name = format!("inner-{}", word());
    screen.types(&format!("tmux -f /dev/null -L {name} new-session bash --norc\n"));
    screen.until("its status line", |shown| shown.contains("[0] 0:bash*"));
    screen.types("PS1='in''ner: '; clear\n");
    screen.line("inner:");
    screen.types(&format!("{}\n", sleep.command()));
    sleep.comes();
    screen.resize(90, 30);
    screen.until("its status line at the new end", |shown| {
        shown.lines().nth(29).is_some_and(|line| line.contains("0:sleep*"))
    });
    // The window is closed; what runs in there stays and can be entered again.
    drop(screen);
    let screen = Screen::open();
    assert!(sleep.runs());
    screen.types(&format!("tmux -L {name} attach\n"));
    screen.until("the same again", |shown| shown.contains("inner:") && shown.contains("0:sleep*"));
    screen.presses(&["C-b"]);
    screen.types("d");
    screen.until("detached", |shown| shown.contains("[detached"));
    screen.prompt();
    screen.types(&format!("tmux -L {name} kill-server\n"));
    sleep.goes();
}

#[test]
fn the_cursor_goes_where_a_program_puts_it() {
    let screen = Screen::open();
    screen.types("clear; tput cup 9 19; printf mark; tput cup 20 0\n");
    let shown = screen.until("the mark", |shown| shown.contains("mark\n"));
    assert_eq!(shown.lines().nth(9), Some(&*format!("{}mark", " ".repeat(19))), "{shown}");
}

#[test]
fn colours_arrive() {
    let screen = Screen::open();
    screen.types("clear; printf '\\033[1;31mred\\033[0m \\033[38;5;42mgreen\\033[m\\n'\n");
    screen.line("red green");
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
    screen.line(&format!("{:0>20}", 7));
    screen.types(&format!("clear; echo {}\n", "x".repeat(90)));
    screen.until("the shell wraps what it echoes", |shown| {
        shown.lines().any(|line| line == "x".repeat(90 - 80))
    });
}

#[test]
fn f18_a_closed_window_hangs_up() {
    let (screen, sleep, detached) = (Screen::open(), Sleep::new(), Sleep::new());
    screen.types(&format!("setsid {} & {}\n", detached.command(), sleep.command()));
    sleep.comes();
    detached.comes();
    screen.tmux(&["kill-session"]);
    sleep.goes();
    assert!(detached.runs());
}

#[test]
fn the_screen_says_nothing_but_what_programs_say() {
    let screen = Screen::open();
    screen.types("exit 3\n");
    let shown = screen.until("the end", |shown| shown.contains("client ended with"));
    let lines: Vec<&str> = shown.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    // The shell's farewell may clear the screen.
    let (last, before) = lines.split_last().unwrap();
    assert_eq!(*last, "client ended with 3", "{shown}");
    let farewell =
        |line: &&str| ["prompt: exit 3", "logout", "Connection to 127.0.0.1 closed."].contains(line);
    assert!(before.iter().all(farewell), "{shown}");
}

#[test]
fn a_prompt_comes_by_itself() {
    let mut terminal = subject().ssh().args(&["-o", "SetEnv=TERM=dumb"]).terminal(24, 80, &[]);
    let seen = terminal.shows(":~$ ");
    assert!(seen.contains(&format!("{}@", subject().account)), "{seen:?}");
}
