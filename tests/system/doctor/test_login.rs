//! The doctor's test login: what an interrupted one leaves behind, and its temporary user.

use super::{check, doctor, folder, traces};
use crate::harness::{STATE, User, journal, text, until, world_alone};
use nix::sys::signal::Signal;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

/// Runs the doctor until its first test login has succeeded, and then sends this signal.
fn cut_short(signal: Signal) -> std::process::ExitStatus {
    let mut child = doctor(&["login", "sftp", "isolation"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut seen = Vec::new();
    while !text(&seen).contains("login") {
        let mut bytes = [0; 256];
        let count = child.stdout.as_mut().unwrap().read(&mut bytes).unwrap();
        assert!(count > 0, "the doctor ended: {}", text(&seen));
        seen.extend_from_slice(&bytes[..count]);
    }
    crate::harness::signal(i32::try_from(child.id()).unwrap(), signal);
    child.wait().unwrap()
}

#[test]
fn an_interrupted_doctor_cleans_up_and_a_killed_one_leaves_it_to_the_next() {
    let _world = world_alone();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        assert_eq!(cut_short(signal).signal(), Some(signal as i32));
        assert_eq!(traces(), "", "{signal}");
    }
    cut_short(Signal::SIGKILL);
    assert!(traces().contains("/var/lib/sshbox/homes/sshbox-doctor-"));
    // The client that it had started ends by itself.
    until("its client has ended", || !traces().contains("StrictHostKeyChecking"));
    check("leftovers").says("ok", "2 of a doctor that was killed, too", "");
    assert_eq!(traces(), "");
}

#[test]
fn only_one_test_login_at_a_time() {
    let _world = world_alone();
    let lock = fs::File::options().create(true).append(true).open("/run/sshbox/doctor.lock").unwrap();
    lock.lock().unwrap();
    check("login").says("skip", "another doctor is at work", "");
}

#[test]
fn a_temporary_user_is_no_other_user_and_only_root_can_create_one() {
    let _world = world_alone();
    let _folder = folder("/var/lib/sshbox/doctor");
    let key = fs::read_to_string(format!("{STATE}/key.pub")).unwrap();
    let write_key_file = |name: &str| {
        let path = format!("/var/lib/sshbox/doctor/{name}");
        fs::write(&path, &key).unwrap();
        path
    };
    let user = |name: &str| User { name: name.to_owned() };
    // A key file for a name that is not a temporary user's opens nothing.
    write_key_file("mallory");
    assert_eq!(user("mallory").ssh().status("true"), 255);
    // Neither does a file that other users can write, or a link to one.
    let path = write_key_file("sshbox-doctor-00000000");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(user("sshbox-doctor-00000000").ssh().status("true"), 255);
    symlink("/etc/passwd", "/var/lib/sshbox/doctor/sshbox-doctor-00000001").unwrap();
    assert_eq!(user("sshbox-doctor-00000001").ssh().status("true"), 255);
    // Without a key file nobody has such a name, whatever the web app says: it would have no limit of the disk.
    let registered = User::new("sshbox-doctor-00000002");
    assert_eq!(registered.ssh().status("true"), 255);
    until("the journal says why", || journal().contains("names that begin with sshbox-doctor- are reserved"));
    let explained = Command::new("sshbox").args(["keys", &registered.name]).output().unwrap();
    assert!(text(&explained.stderr).contains("are reserved for sshbox doctor"), "{explained:?}");
    // The doctor does not remove such a user, of an earlier release, as one of its own.
    fs::create_dir(registered.home()).unwrap();
    check("leftovers").says("ok", "the temporary users are removed; 2 of a doctor", "");
    fs::remove_dir(registered.home()).unwrap();
}
