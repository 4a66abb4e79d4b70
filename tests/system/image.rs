//! Programs and terminal types of the image, and its messages for programs that cannot work.

use crate::harness::{User, alice, text, world};

/// The single line on stderr of a command that must fail.
fn refused(command: &str, status: i32) -> String {
    let output = alice().ssh().run(command);
    let error = text(&output.stderr);
    assert_eq!((output.status.code(), &*text(&output.stdout)), (Some(status), ""), "{command}: {error}");
    assert_eq!(error.lines().count(), 1, "{command}: {error}");
    error
}

#[test]
fn common_terminal_types_are_known_in_the_box() {
    let _world = world();
    let types = [
        "xterm-ghostty",
        "ghostty",
        "wezterm",
        "contour",
        "contour-latest",
        "rio",
        "xterm-rio",
        "xterm-termite",
        "xterm-kitty",
        "alacritty",
        "foot",
        "tmux-256color",
        "screen-256color",
        "st-256color",
        "vte-256color",
        "konsole-256color",
        "rxvt-unicode-256color",
        "xterm-256color",
        "iterm2",
        "mintty",
    ];
    let ask =
        format!("for type in {}; do TERM=$type tput colors >/dev/null || echo $type; done", types.join(" "));
    assert_eq!(alice().says(&ask), "", "unknown");
    // Programs query these capabilities: colours, and strings for drawing.
    for kind in ["xterm-ghostty", "wezterm", "contour", "rio"] {
        let said = alice()
            .says(&format!("export TERM={kind}; tput colors; tput setaf 208; tput cup 4 2; tput smcup"));
        assert!(said.starts_with("256\n\u{1b}[38;5;208m\u{1b}[5;3H\u{1b}[?1049h"), "{kind}: {said:?}");
    }
}

#[test]
fn common_programs_are_in_the_box() {
    let _world = world();
    let programs = "nano vim man pip pip3 gcc make ip ss htop unzip python3 git curl rsync tmux screen";
    let missing =
        format!("for program in {programs}; do command -v $program >/dev/null || echo $program; done");
    assert_eq!(alice().says(&missing), "", "missing");
    assert!(alice().says("man ls | head -n 1").starts_with("LS(1)"));
    assert!(
        alice().says("python3 -m venv /tmp/venv && /tmp/venv/bin/pip --version").contains("/tmp/venv/lib/")
    );
    let compiled =
        "cd /tmp && echo 'int main(void) { return 7; }' >seven.c && make -s seven && ./seven; echo $?";
    assert_eq!(alice().says(compiled), "7\n");
    assert!(alice().says("ip -brief address show lo").starts_with("lo "));
}

#[test]
fn programs_that_cannot_work_say_why_and_what_to_use_instead() {
    let _world = world();
    for command in ["apt install cowsay", "apt-get -y update", "apt-get -qq install cowsay"] {
        assert!(refused(command, 1).contains("use a venv with pip, or conda, or ask your admin"));
    }
    for command in ["sudo ls", "su -"] {
        assert!(refused(command, 1).contains("there is no root in this box; "));
    }
    assert!(refused("passwd", 1).starts_with("passwd: there is no password: you log in with a key; "));
    assert!(refused("chsh -s /bin/sh", 1).starts_with("chsh: your account entry is read-only; "));
    // What needs no root still works.
    let list = alice().ssh().run("apt list --installed; dpkg -s bash");
    assert!(list.status.success() && text(&list.stdout).contains("\nbash/"), "{list:?}");
    let pip = alice().ssh().run("pip install --user cowsay");
    assert_eq!(pip.status.code(), Some(1));
    assert!(text(&pip.stderr).contains("python3 -m venv ~/venv"), "{pip:?}");
}

#[test]
fn a_missing_command_says_how_to_install_software() {
    let _world = world();
    let mut terminal = alice().ssh().terminal(24, 200, &[]);
    terminal.types("nosuchprogram; echo status $((100 + $?))\n");
    terminal
        .shows("nosuchprogram: command not found; install it into your home (venv and pip, conda), or ask");
    terminal.shows("status 227");
    terminal.types("@status\n");
    terminal.shows("@status: run special commands of sshbox on your own computer: ssh ... @status");
    // Without a terminal the error is that of plain sshd.
    assert_eq!(refused("nosuchprogram", 127), "bash: line 1: nosuchprogram: command not found\n");
}

#[test]
fn the_authorized_keys_file_of_a_new_home_explains_itself() {
    let _world = world();
    let user = User::new("skeleton");
    assert!(
        user.says("cat ~/.ssh/authorized_keys")
            .starts_with("# Keys in this file cannot be used to log in to your box.")
    );
    assert_eq!(user.says("stat -c %a ~/.ssh"), "700\n");
}
