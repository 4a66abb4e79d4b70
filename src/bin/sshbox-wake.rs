//! `sshbox-wake`: see `src/wake.rs`.

fn main() -> std::process::ExitCode {
    sshbox::wake::run()
}
