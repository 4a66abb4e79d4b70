//! `sshbox-reap`: see `src/reap.rs`.

fn main() -> std::process::ExitCode {
    sshbox::reap::run()
}
