//! `sshbox-wake`: see `crates/lifecycle/src/wake.rs`.

fn main() -> std::process::ExitCode {
    lifecycle::wake::run()
}
