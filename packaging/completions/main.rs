//! `sshbox-completions DIRECTORY` writes the completions of the `sshbox` command for bash, zsh and
//! fish. `make pack` runs it; it is not part of the package.
//!
//! A package of its own, not an example of `admin`: the development dependencies of `admin` could
//! change the features of shared crates, and the build would compile them twice.

use clap_complete::{Shell, generate_to};
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Error> {
    let directory =
        env::args_os().nth(1).ok_or_else(|| Error::new(ErrorKind::InvalidInput, "DIRECTORY is missing"))?;
    write_to(Path::new(&directory))
}

fn write_to(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut admin::command(), "sshbox", directory)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn completions_know_every_command_and_option() {
        let directory = tempfile::tempdir().unwrap();
        write_to(directory.path()).unwrap();
        let mut sshbox = admin::command();
        sshbox.build();
        for name in ["sshbox.bash", "_sshbox", "sshbox.fish"] {
            let text = fs::read_to_string(directory.path().join(name)).unwrap();
            for command in sshbox.get_subcommands() {
                assert!(text.contains(command.get_name()), "{name}: {}", command.get_name());
                for option in command.get_arguments().filter_map(|argument| argument.get_long()) {
                    assert!(text.contains(option), "{name}: {} --{option}", command.get_name());
                }
            }
        }
        let bash = directory.path().join("sshbox.bash");
        let script = format!("source {0}; complete -p sshbox", bash.display());
        assert!(Command::new("bash").args(["-euc", &script]).status().unwrap().success());
    }
}
