//! `sshbox`, the admin's command: see `crates/admin/src/lib.rs`.

fn main() -> std::process::ExitCode {
    admin::run()
}
