//! `sshbox-init`: see `crates/session/src/init.rs`.

fn main() -> std::process::ExitCode {
    session::init::run()
}
