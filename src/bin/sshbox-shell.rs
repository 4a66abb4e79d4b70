//! `sshbox-shell`: see `src/shell.rs`.

fn main() -> std::process::ExitCode {
    sshbox::shell::run()
}
