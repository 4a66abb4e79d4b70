//! `sshbox-reap`: see `crates/lifecycle/src/reap.rs`.

fn main() -> std::process::ExitCode {
    lifecycle::reap::run()
}
