//! `sshbox-disk`: see `crates/disk/src/service.rs`.

fn main() -> std::process::ExitCode {
    disk::service::run()
}
