//! `sshbox`, the admin's command: see `src/admin.rs`.

fn main() -> std::process::ExitCode {
    sshbox::admin::run()
}
