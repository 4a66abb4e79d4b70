//! `sshbox-keys`: see `crates/site/src/authorized_keys.rs`.

fn main() -> std::process::ExitCode {
    site::authorized_keys::run()
}
