//! Completions of `sshbox` for three shells, as they stand in `packaging/completions`: made by
//! this test, so that nobody has to make them when the package is built.

use clap_complete::Shell;
use std::fs;
use std::path::Path;

#[test]
fn completions_are_those_of_the_command() {
    for (shell, name) in [(Shell::Bash, "sshbox.bash"), (Shell::Zsh, "_sshbox"), (Shell::Fish, "sshbox.fish")]
    {
        let mut made = Vec::new();
        clap_complete::generate(shell, &mut admin::command(), "sshbox", &mut made);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/completions").join(name);
        if std::env::var_os("SSHBOX_COMPLETIONS").is_some_and(|what| what == "write") {
            fs::write(&path, &made).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == made, "{name} is old: SSHBOX_COMPLETIONS=write cargo test --test it completions");
    }
}
