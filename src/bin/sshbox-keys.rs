//! `sshbox-keys`: see `src/keys.rs`.

fn main() -> std::process::ExitCode {
    sshbox::keys::run()
}
