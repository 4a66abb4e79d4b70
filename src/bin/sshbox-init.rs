//! `sshbox-init`: see `src/init.rs`.

fn main() -> std::process::ExitCode {
    sshbox::init::run()
}
