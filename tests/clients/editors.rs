//! Emacs TRAMP: the commands that it sends to a shell, and TRAMP itself.

use crate::client::{Client, package_version, record};
use crate::harness::world;
use std::fmt::Write as _;

/// A prompt like TRAMP's, which no output contains by chance.
const PROMPT: &str = "///4b3b7d4fa561141c84c94a1cf25e8575#$";

#[test]
fn a_shell_accepts_the_commands_of_tramp() {
    let _world = world();
    let client = Client::new("shell");
    let mut shell = client.user.ssh().args(&["-e", "none"]).terminal(24, 80, &[]);
    shell.types(&format!(
        "exec env TERM=dumb INSIDE_EMACS='28.2,tramp:2.5.3' ENV='' HISTFILE=~/.tramp_history PROMPT_COMMAND='' \
         PS1={}\\#\\$\\  PS2='' PS3='' /bin/sh -i\n",
        &PROMPT[..PROMPT.len() - 2]
    ));
    shell.shows(&format!("{PROMPT} "));
    shell.types("stty -inlcr -onlcr -echo kill '^U' erase '^H'\n");
    shell.shows(&format!("{PROMPT} "));
    // From here on the shell sends only output, with bare line feeds and without echo.
    let mut run = |command: &str| {
        shell.types(&format!("{command}\n"));
        shell.shows(&format!("{PROMPT} ")).replace(&format!("{PROMPT} "), "")
    };
    assert_eq!(run("echo \"`uname -s`\"; printf 'a\\nb\\n'"), "Linux\na\nb\n");
    assert_eq!(run("cd /nonexistent 2>/dev/null; echo tramp_exit_status $?"), "tramp_exit_status 2\n");
    assert!(run("stty -a").contains("erase = ^H; kill = ^U"));
    // Upload a file inline, and download it again.
    client.run("head -c 60000 /dev/urandom >file; base64 file >coded");
    let coded = client.run("cat coded");
    let mut upload = String::from("base64 -d -i >uploaded <<'4b3b7d4fa561'\n");
    write!(upload, "{coded}4b3b7d4fa561").unwrap();
    run(&upload);
    assert_eq!(run("md5sum <uploaded"), client.run("md5sum <file"));
    assert_eq!(run("base64 <uploaded"), coded);
    assert_eq!(
        run("test -e uploaded && echo tramp_exit_status $?; (stat -c '((%F) %s)' uploaded)"),
        "tramp_exit_status 0\n((regular file) 60000)\n"
    );
    shell.types("exit 3\n");
    assert_eq!(shell.ends(), 3);
    record(
        "TRAMP's words, by hand",
        &package_version("openssh-client"),
        "`ssh -e none`, `exec env … /bin/sh -i`, `stty -onlcr -echo …`, 60 kB of base64 both ways",
    );
}

#[test]
fn tramp() {
    let _world = world();
    let client = Client::new("tramp");
    client.run("head -c 3000000 /dev/urandom >large");
    let output = client.run_verbose("emacs --batch --quick --load $REPOSITORY/tests/clients/tramp.el");
    let version =
        output.lines().find_map(|line| line.strip_prefix("versions: ")).unwrap_or_else(|| panic!("{output}"));
    assert!(output.contains("all done"), "{output}");
    let sum = client.run("md5sum <large");
    for method in ["ssh", "sshx", "scp", "rsync"] {
        let found = client.user.says(&format!("cd {method}; md5sum <large; cat renamed; ls -A"));
        assert_eq!(found, format!("{sum}héllo\nmore\nlarge\nrenamed\n"), "{method}");
    }
    record(
        "Emacs TRAMP",
        version,
        "`/ssh:`, `/sshx:`, `/scp:`, `/rsync:`; read, write, list, rename, copy 3 MB both ways, `process-file`, async process",
    );
}
