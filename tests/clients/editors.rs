//! Emacs: TRAMP's own words to a shell, spelled out, and TRAMP itself.

use crate::desk::{Desk, packaged, tried};
use crate::harness::world;
use std::fmt::Write as _;

/// A prompt as TRAMP makes it: one that no output has by chance.
const PROMPT: &str = "///4b3b7d4fa561141c84c94a1cf25e8575#$";

#[test]
fn a_shell_as_tramp_talks_to_it() {
    let _world = world();
    let desk = Desk::new("shell");
    let mut shell = desk.user.ssh().args(&["-e", "none"]).terminal(24, 80, &[]);
    shell.types(&format!(
        "exec env TERM=dumb INSIDE_EMACS='28.2,tramp:2.5.3' ENV='' HISTFILE=~/.tramp_history PROMPT_COMMAND='' \
         PS1={}\\#\\$\\  PS2='' PS3='' /bin/sh -i\n",
        &PROMPT[..PROMPT.len() - 2]
    ));
    shell.shows(&format!("{PROMPT} "));
    shell.types("stty -inlcr -onlcr -echo kill '^U' erase '^H'\n");
    shell.shows(&format!("{PROMPT} "));
    // From here on only output comes back, with bare line feeds and no echo.
    let mut says = |command: &str| {
        shell.types(&format!("{command}\n"));
        shell.shows(&format!("{PROMPT} ")).replace(&format!("{PROMPT} "), "")
    };
    assert_eq!(says("echo \"`uname -s`\"; printf 'a\\nb\\n'"), "Linux\na\nb\n");
    assert_eq!(says("cd /nonexistent 2>/dev/null; echo tramp_exit_status $?"), "tramp_exit_status 2\n");
    assert!(says("stty -a").contains("erase = ^H; kill = ^U"));
    // A file up, inline, and down again.
    desk.does("head -c 60000 /dev/urandom >file; base64 file >coded");
    let coded = desk.does("cat coded");
    let mut upload = String::from("base64 -d -i >uploaded <<'4b3b7d4fa561'\n");
    write!(upload, "{coded}4b3b7d4fa561").unwrap();
    says(&upload);
    assert_eq!(says("md5sum <uploaded"), desk.does("md5sum <file"));
    assert_eq!(says("base64 <uploaded"), coded);
    assert_eq!(
        says("test -e uploaded && echo tramp_exit_status $?; (stat -c '((%F) %s)' uploaded)"),
        "tramp_exit_status 0\n((regular file) 60000)\n"
    );
    shell.types("exit 3\n");
    assert_eq!(shell.ends(), 3);
    tried(
        "TRAMP's words, by hand",
        &packaged("openssh-client"),
        "`ssh -e none`, `exec env … /bin/sh -i`, `stty -onlcr -echo …`, 60 kB of base64 both ways",
    );
}

#[test]
fn tramp() {
    let _world = world();
    let desk = Desk::new("tramp");
    desk.does("head -c 3000000 /dev/urandom >large");
    let said = desk.manages("emacs --batch --quick --load $REPOSITORY/tests/clients/tramp.el");
    let version =
        said.lines().find_map(|line| line.strip_prefix("versions: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(said.contains("all done"), "{said}");
    let sum = desk.does("md5sum <large");
    for method in ["ssh", "sshx", "scp", "rsync"] {
        let found = desk.user.says(&format!("cd {method}; md5sum <large; cat renamed; ls -A"));
        assert_eq!(found, format!("{sum}héllo\nmore\nlarge\nrenamed\n"), "{method}");
    }
    tried(
        "Emacs TRAMP",
        version,
        "`/ssh:`, `/sshx:`, `/scp:`, `/rsync:`; read, write, list, rename, copy 3 MB both ways, `process-file`, async process",
    );
}
