//! Checks of sshbox's sshd: configuration, host keys, name service, and whether it is the one that listens.

use super::{SSHD_CONFIG, check, mode, run_doctor, traces, without};
use crate::harness::{Changed, STATE, Undo, run, text, until, world_alone};
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

#[test]
fn an_sshd_with_a_wrong_configuration() {
    let _world = world_alone();
    {
        let _changed = Changed::file(SSHD_CONFIG, "UsePAM no", "UsePAM no\nNonsense yes");
        check("sshd-config").says("fail", "Nonsense", "sshd_config(5)");
    }
    {
        let _changed =
            Changed::file(SSHD_CONFIG, "AllowStreamLocalForwarding no", "AllowStreamLocalForwarding yes");
        check("sshd-settings").says(
            "fail",
            "allowstreamlocalforwarding is 'yes', not 'no'",
            "systemctl reload sshbox-sshd",
        );
    }
    {
        let _changed = Changed::file(SSHD_CONFIG, "ForceCommand ", "#ForceCommand ");
        check("sshd-settings").says("fail", "users would get a shell on this host", "");
    }
    let _mode = mode(SSHD_CONFIG, 0o664);
    check("sshd-config").says("fail", "with mode 0664", "chmod 0644");
    run_doctor(&["--fix", "sshd-config"]).0.remove(0).says("ok", "", "");
}

#[test]
fn host_keys_that_other_users_can_read_or_that_are_missing() {
    let _world = world_alone();
    {
        let _mode = mode("/etc/ssh/ssh_host_rsa_key", 0o644);
        check("host-keys").says("fail", "ssh_host_rsa_key belongs to 0:0 with mode 0644", "chmod 0600");
    }
    let _gone = without("/etc/ssh/ssh_host_rsa_key");
    check("host-keys").says("warn", "missing: /etc/ssh/ssh_host_rsa_key", "ssh-keygen -A");
}

#[test]
fn login_names_that_every_program_on_the_host_resolves() {
    let _world = world_alone();
    let _changed = Changed::file("/etc/nsswitch.conf", "passwd:", "passwd: sshbox");
    check("nss").says("fail", "every program on this host", "take sshbox out of /etc/nsswitch.conf");
}

/// Every process can choose its title. Root enters the mount namespace of the sshd, where a program of
/// another user would run as root.
#[test]
fn processes_with_the_title_of_the_sshd_are_not_taken_for_it() {
    const TITLE: &str = "sshd: /usr/sbin/sshd -D -f /etc/sshbox/sshd_config [listener] 0 of 150-300 startups";
    let _world = world_alone();
    run("packaging/demo/without-systemd", &["stop"]);
    let _back = Undo(|| drop(run("packaging/demo/without-systemd", &["start"])));
    let key = format!("{STATE}/titled_key");
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    run("chown", &["nobody", &key]);
    // Root with another program, and another user with sshd itself, whose own title names the file.
    let sleeps = format!("exec -a '{TITLE}' sleep 600");
    let serves = format!(
        "exec setpriv --reuid nobody --clear-groups /usr/sbin/sshd -D -f /dev/null -h {key} -p 2299 -o PidFile=none \
         -o Banner=/etc/sshbox/sshd_config"
    );
    for script in [sleeps, serves] {
        let mut titled = Command::new("unshare");
        let mut titled =
            titled.args(["--mount", "bash", "-c", &script]).stderr(Stdio::null()).spawn().unwrap();
        let has_title = || {
            let line = text(&fs::read(format!("/proc/{}/cmdline", titled.id())).unwrap());
            line.starts_with("sshd: ") && line.contains(SSHD_CONFIG) && line.contains("[listener]")
        };
        until("the process has its title", has_title);
        let (nss, keys) = (check("nss"), run("sshbox", &["keys", "titled", "--json"]));
        let ended = titled.try_wait().unwrap();
        titled.kill().unwrap();
        titled.wait().unwrap();
        assert!(ended.is_none(), "{script}: {ended:?}");
        nss.says("ok", "an sshd with its nsswitch.conf", "");
        let keys: Value = serde_json::from_str(&keys).unwrap();
        assert_eq!(keys["name"]["is"], "untested", "{script}: {keys}");
    }
}

#[test]
fn an_sshd_that_does_not_run_or_is_a_different_one() {
    let _world = world_alone();
    {
        run("packaging/demo/without-systemd", &["stop"]);
        let _back = Undo(|| drop(run("packaging/demo/without-systemd", &["start"])));
        check("port").says("fail", "refused", "systemctl enable --now sshbox-sshd");
        check("login").says("fail", "refused", "journalctl");
        check("wake-socket").says(
            "fail",
            "nobody listens at /run/sshbox/wake.sock",
            "restart sshbox-wake.socket",
        );
        check("nss").says("ok", "an sshd with its nsswitch.conf", "");
        assert_eq!(traces(), "");
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in silent.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"220 mail.example\r\n"));
        }
    });
    let _changed =
        Changed::file(SSHD_CONFIG, "Port 2200", Box::leak(format!("Port {port}").into_boxed_str()));
    check("port").says("fail", "'220 mail.example', which is no SSH", "ss -ltnp");
}

#[test]
fn an_sshd_with_other_host_keys() {
    let _world = world_alone();
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &format!("{STATE}/other_host_key")]);
    // The running sshd has not read this change.
    let _ed25519 =
        Changed::file(SSHD_CONFIG, "/etc/ssh/ssh_host_ed25519_key", "/run/sshbox-tests/other_host_key");
    let _ecdsa = Changed::file(SSHD_CONFIG, "HostKey /etc/ssh/ssh_host_ecdsa_key", "");
    let _rsa = Changed::file(SSHD_CONFIG, "HostKey /etc/ssh/ssh_host_rsa_key", "");
    check("port").says("fail", "has other host keys", "systemctl restart sshbox-sshd");
}
