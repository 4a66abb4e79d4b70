//! `sshbox-keys`: see `crates/site/src/keys.rs`.

fn main() -> std::process::ExitCode {
    site::keys::run()
}
