//! `sshbox-shell`: see `crates/session/src/shell.rs`.

fn main() -> std::process::ExitCode {
    session::shell::run()
}
