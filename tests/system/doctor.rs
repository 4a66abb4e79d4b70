//! `sshbox doctor`: in a working world no check fails; then each test breaks one thing for real and expects the
//! doctor to report it. Unit tests in `crates/admin` check what depends on systemd or on the kernel.

use crate::harness::{
    Changed, STATE, Terminal, Undo, User, alice, run, text, to_the_end, until, user_without, world_alone,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

const SSHD_CONFIG: &str = "/etc/sshbox/sshd_config";
const TOKEN: &str = "/etc/sshbox/token";

fn doctor(arguments: &[&str]) -> Command {
    let mut command = Command::new("sshbox");
    command.arg("doctor").args(arguments);
    command
}

/// Runs the doctor. Returns the results and the exit status.
fn run_doctor(arguments: &[&str]) -> (Vec<Found>, i32) {
    let output = to_the_end(doctor(&[&["--json"], arguments].concat()), Vec::new());
    assert_eq!(text(&output.stderr), "");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = report["checks"].as_array().unwrap().iter().map(Found::of).collect();
    (found, output.status.code().unwrap())
}

/// Result of one check.
fn check(id: &str) -> Found {
    let (mut found, status) = run_doctor(&[id]);
    assert_eq!(found.len(), 1);
    let found = found.remove(0);
    assert_eq!(status, i32::from(found.state == "fail"), "{found:?}");
    found
}

#[derive(Debug)]
struct Found {
    id: String,
    state: String,
    seen: String,
    fix: String,
    fixed: String,
}

impl Found {
    fn of(json: &Value) -> Self {
        let get = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        Self { id: get("id"), state: get("state"), seen: get("seen"), fix: get("fix"), fixed: get("fixed") }
    }

    /// Checks the state, and texts in the observation and in the suggested fix.
    fn says(self, state: &str, seen: &str, fix: &str) {
        assert_eq!(self.state, state, "{self:?}");
        assert!(self.seen.contains(seen) && self.fix.contains(fix), "{self:?}");
        assert_eq!(self.fix.is_empty(), matches!(&*self.state, "ok" | "skip"), "{self:?}");
    }
}

/// Changes the mode of a file or directory until this is dropped.
fn mode(path: &'static str, mode: u32) -> Undo<impl Fn()> {
    let set = |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let before = fs::metadata(path).unwrap().permissions().mode();
    set(mode);
    Undo(move || fs::set_permissions(path, fs::Permissions::from_mode(before)).unwrap())
}

/// Moves a file or directory away until this is dropped.
fn without(path: &'static str) -> Undo<impl Fn()> {
    let aside = format!("{path}.aside");
    fs::rename(path, &aside).unwrap();
    Undo(move || fs::rename(&aside, path).unwrap())
}

/// Creates a directory, which must not exist, until this is dropped.
fn folder(path: &'static str) -> Undo<impl Fn()> {
    fs::create_dir_all(path).unwrap();
    Undo(move || fs::remove_dir_all(path).unwrap())
}

/// Everything that a test login of the doctor could leave behind.
fn traces() -> String {
    // The brackets keep the patterns from matching this command itself.
    let visited = "find /var/lib/sshbox /run/sshbox /var/cache/sshbox /tmp -name '*[s]shbox-doctor-*';
                   docker ps --all --format '{{.Names}}' | grep '[s]shbox-doctor-';
                   ps -e -o args | grep '[s]shbox-doctor-'; true";
    run("sh", &["-c", visited])
}

#[test]
fn in_a_working_world_no_check_fails_and_nothing_is_left_behind() {
    let _world = world_alone();
    let user = alice();
    let mut session = user.ssh().begin(&["echo in; read line; echo $line"]);
    assert_eq!(session.line(), "in");
    let began = user.inspect("{{.State.StartedAt}}");
    let (found, status) = run_doctor(&[]);
    let to_know_of = ["updates", "box", "isolation", "cgroups"];
    for one in &found {
        // No systemd runs in a world.
        let systemd = matches!(&*one.id, "sshd-service" | "reap-timer");
        assert_eq!(one.state == "skip", systemd, "{one:?}");
        assert!(matches!(&*one.state, "ok" | "skip") || to_know_of.contains(&&*one.id), "{one:?}");
        assert_ne!(one.state, "fail", "{one:?}");
    }
    assert_eq!((found.len(), status), (28, 0));
    assert_eq!(traces(), "");
    // Other users are not affected.
    session.write(b"still here\n");
    assert_eq!(session.line(), "still here");
    assert_eq!(user.inspect("{{.State.StartedAt}}"), began);
}

#[test]
fn people_get_lines_with_colour_only_on_a_terminal() {
    let _world = world_alone();
    let output = to_the_end(doctor(&["config", "users"]), Vec::new());
    assert_eq!(
        text(&output.stdout),
        "ok    config          /etc/sshbox/sshbox.toml\n\
         ok    users           group sshbox is 1879048192, user sshbox-keys is there\n\
         2 checks: 2 ok, 0 to know of, 0 failed, 0 skipped\n"
    );
    for (plain, colour) in [("", true), ("1", false)] {
        let mut command = doctor(&["config"]);
        if !plain.is_empty() {
            command.env("NO_COLOR", plain);
        }
        let mut terminal = Terminal::of(&mut command, 24, 80);
        assert_eq!(terminal.ends(), 0);
        assert_eq!(terminal.seen().contains("\x1b[32mok"), colour, "{:?}", terminal.seen());
        assert!(terminal.seen().contains("config ..."), "progress: {:?}", terminal.seen());
    }
}

#[test]
fn users_other_than_root_and_unknown_checks_are_refused() {
    let _world = world_alone();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--clear-groups", "sshbox", "doctor"]);
    let output = to_the_end(nobody, Vec::new());
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert!(text(&output.stderr).contains("try sudo sshbox doctor"), "{output:?}");
    let output = to_the_end(doctor(&["tokens"]), Vec::new());
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(text(&output.stderr).contains("tokens"), "{output:?}");
}

#[test]
fn an_invalid_configuration() {
    let _world = world_alone();
    {
        let _changed = Changed::config("url = ", "urll = ");
        check("config").says("fail", "line ", "sshbox.toml(5)");
        check("site").says("skip", "see check config", "");
    }
    let _mode = mode("/etc/sshbox/sshbox.toml", 0o666);
    check("config").says(
        "fail",
        "sshbox.toml belongs to 0:0 with mode 0666",
        "chmod 0644 /etc/sshbox/sshbox.toml",
    );
    let (found, status) = run_doctor(&["--fix", "config"]);
    assert_eq!((&*found[0].state, &*found[0].fixed, status), ("ok", "chmod 0644 /etc/sshbox/sshbox.toml", 0));
}

#[test]
fn missing_system_users() {
    let _world = world_alone();
    {
        let _changed = Changed::file("/etc/passwd", "sshbox-keys:", "sshbox-kees:");
        check("users").says("fail", "there is no user sshbox-keys", "systemd-sysusers sshbox.conf");
        check("token").says("skip", "see check users", "");
    }
    {
        let _changed = Changed::file("/etc/group", "sshbox:x:1879048192", "sshbox:x:1879048193");
        check("users").says("fail", "has the number 1879048193", "groupmod --gid 1879048192");
    }
    check("users").says("ok", "", "");
}

#[test]
fn files_and_directories_that_other_users_can_change() {
    let _world = world_alone();
    for (path, wrong, id, seen) in [
        ("/var/cache/sshbox", 0o777, "directories", "with mode 0777, not to "),
        ("/usr/lib/sshbox/sshbox-keys", 0o775, "programs", "sshbox-keys belongs to 0:0 with mode 0775"),
        (TOKEN, 0o644, "token", "with mode 0644"),
    ] {
        let _mode = mode(path, wrong);
        check(id).says("fail", seen, "");
        let (found, status) = run_doctor(&["--fix", id]);
        assert_eq!((&*found[0].state, status), ("ok", 0), "{found:?}");
        assert!(!found[0].fixed.is_empty() && !found[0].fixed.contains("failed"), "{found:?}");
        check(id).says("ok", "", "");
    }
    let _mode = mode("/usr/lib/sshbox", 0o777);
    check("programs").says("fail", "/usr/lib/sshbox can be changed by others than root", "chmod go-w");
}

#[test]
fn missing_files_directories_and_packages() {
    let _world = world_alone();
    {
        let _gone = without("/usr/lib/sshbox/sshbox-reap");
        check("programs").says("fail", "sshbox-reap is missing", "reinstall sshbox");
    }
    {
        let _gone = without(SSHD_CONFIG);
        check("sshd-config").says("fail", "is missing", "reinstall");
        check("sshd-settings").says("skip", "see check sshd-config", "");
    }
    {
        let _gone = without(TOKEN);
        check("token").says("fail", "is missing", "install -m 0400");
        check("site").says("fail", "cannot read /etc/sshbox/token", "accounts.token_file");
    }
    let _gone = without("/run/sshbox/boxes");
    check("directories").says(
        "fail",
        "/run/sshbox/boxes is missing",
        "systemd-tmpfiles --create sshbox.conf",
    );
    run_doctor(&["--fix", "directories"]).0.remove(0).says("ok", "", "");
    fs::remove_dir("/run/sshbox/boxes").unwrap();
}

#[test]
fn homes_that_other_users_can_change() {
    let _world = world_alone();
    let homes = "/var/lib/sshbox/homes";
    {
        let _mode = mode(homes, 0o755);
        check("homes").says("warn", "can be entered by every local user", "chmod 0700");
    }
    {
        let _mode = mode(homes, 0o777);
        check("homes").says("fail", "can be changed by others than root", "chmod go-w");
    }
    {
        let _owner = Undo(|| drop(run("chown", &["root", homes])));
        run("chown", &["sshbox-keys", homes]);
        check("homes").says("fail", "can be changed by others than root", "chown root");
    }
    let _changed = Changed::config("home = \"/var/lib/sshbox/homes/{user}\"", "home = \"/nowhere/{user}\"");
    check("homes").says("fail", "/nowhere is no directory", "install -d -m 0700");
}

#[test]
fn an_sshd_with_a_wrong_configuration() {
    let _world = world_alone();
    {
        let _changed = Changed::file(SSHD_CONFIG, "UsePAM no", "UsePAM no\nNonsense yes");
        check("sshd-config").says("fail", "Nonsense", "sshd_config(5)");
    }
    {
        let _changed = Changed::file(SSHD_CONFIG, "DisableForwarding yes", "DisableForwarding no");
        check("sshd-settings").says(
            "fail",
            "disableforwarding is 'no', not 'yes'",
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

#[test]
fn a_login_that_cannot_start_a_box() {
    let _world = world_alone();
    {
        let _mode = mode("/run/sshbox/wake.sock", 0o600);
        check("wake-socket").says("fail", "with mode 0600", "systemctl restart sshbox-wake.socket");
        check("login").says("fail", "(ref ", "journalctl --grep");
        check("sftp").says("skip", "see check login", "");
    }
    let _mode = mode("/usr/lib/sshbox/sshbox-keys", 0o644);
    check("login").says("fail", "Permission denied", "journalctl -t sshbox-keys");
    assert_eq!(traces(), "");
}

#[test]
fn an_image_that_is_missing_or_has_no_sftp_server() {
    let world = world_alone();
    {
        let _changed = Changed::config("image = \"sshbox-user:latest\"", "image = \"nowhere:1\"");
        check("image").says("fail", "nowhere:1 is not on this host", "packaging/image/build");
        check("login").says("fail", "(ref ", "");
    }
    user_without("doctored", "/usr/lib/openssh/sftp-server", &world);
    let _changed = Changed::config("image = \"sshbox-user:latest\"", "image = \"without-doctored:1\"");
    check("sftp").says("fail", "", "openssh-sftp-server");
}

#[test]
fn a_network_on_which_boxes_reach_each_other() {
    let _world = world_alone();
    {
        run("docker", &["network", "create", "sshbox-open"]);
        let _gone = Undo(|| drop(run("docker", &["network", "rm", "sshbox-open"])));
        let _changed = Changed::config("network = \"sshbox\"", "network = \"sshbox-open\"");
        check("network").says(
            "fail",
            "sshbox-open lets boxes reach each other",
            "enable_icc=false sshbox-open",
        );
        check("isolation").says("fail", "a box reaches another box", "see check network");
    }
    let _changed = Changed::config("network = \"sshbox\"", "network = \"sshbox-new\"");
    check("network").says("ok", "sshbox-new is not there yet", "");
}

#[test]
fn services_of_the_host_that_a_box_can_reach() {
    let _world = world_alone();
    // Docker's bridge has an address of this host, and boxes can reach a service on it.
    let service = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = service.local_addr().unwrap().port().to_string();
    run("ip", &["address", "add", "169.254.169.254/32", "dev", "lo"]);
    let _gone = Undo(|| drop(run("ip", &["address", "del", "169.254.169.254/32", "dev", "lo"])));
    let _metadata = TcpListener::bind("169.254.169.254:80").unwrap();
    let found = check("isolation");
    assert!(found.seen.split_whitespace().any(|word| word == port), "{port}: {found:?}");
    found.says("warn", "the metadata service at 169.254.169.254", "DOCKER-USER");
}

#[test]
fn an_engine_that_does_not_run_hangs_or_stops_boxes_when_it_ends() {
    let _world = world_alone();
    let answers = || {
        Command::new("docker")
            .arg("version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    {
        run("tests/system/engine", &["freeze"]);
        let _back = Undo(|| drop(run("tests/system/engine", &["thaw"])));
        check("docker").says("fail", "did not answer at /run/docker.sock in time", "journalctl -u docker");
    }
    run("tests/system/engine", &["stop"]);
    {
        let _back = Undo(move || {
            run("tests/system/engine", &["start-mortal"]);
            until("dockerd replies", answers);
        });
        until("dockerd has ended", || !answers());
        check("docker").says("fail", "cannot reach the engine at /run/docker.sock", "systemctl start docker");
        check("live-restore").says("skip", "see check docker", "");
    }
    check("live-restore").says("warn", "off", "\"live-restore\": true");
    run("tests/system/engine", &["stop"]);
    run("tests/system/engine", &["start"]);
    until("dockerd replies", answers);
    check("live-restore").says("ok", "", "");
}

/// Creates a fake of this program until the first value is dropped. The second value is a PATH that contains it.
fn fake(name: &str, script: &str) -> (Undo<impl Fn() + use<>>, String) {
    let folder = folder("/run/sshbox-tests/fake");
    let path = format!("/run/sshbox-tests/fake/{name}");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, format!("/run/sshbox-tests/fake:{}", std::env::var("PATH").unwrap()))
}

#[test]
fn pending_security_updates_are_listed_without_network_access() {
    let _world = world_alone();
    let check = |apt: &str| {
        let (_fake, path) = fake("apt-get", &format!("#!/bin/sh\n{apt}\n"));
        let mut command = doctor(&["--json", "updates"]);
        command.env("PATH", path);
        let report: Value = serde_json::from_slice(&to_the_end(command, Vec::new()).stdout).unwrap();
        Found::of(&report["checks"][0])
    };
    let asked = "echo \"$*\" > /run/sshbox-tests/fake-asked";
    let origin = "Debian-Security:12/oldstable-security [amd64]";
    check(&format!("{asked}; echo 'Inst runc [1.1.5-1] (1.1.5-1+deb12u1 {origin})'")).says(
        "warn",
        "pending security updates: runc 1.1.5-1+deb12u1",
        "apt install runc",
    );
    let asked = fs::read_to_string("/run/sshbox-tests/fake-asked").unwrap();
    assert!(asked.starts_with("--simulate ") && !asked.contains("update "), "{asked}");
    check("exit 100").says("skip", "cannot tell", "");
    // An update that is not a security update, and one of a package that boxes do not need.
    let found = check("echo 'Inst runc [1] (2 Debian:12.11/oldstable [amd64])'");
    assert!(!found.seen.contains("wait:"), "{found:?}");
    let found = check(&format!("echo 'Inst jq [1] (2 {origin})'"));
    assert!(!found.seen.contains("wait:"), "{found:?}");
}

#[test]
fn a_web_app_that_does_not_reply_or_does_not_accept_the_token() {
    let _world = world_alone();
    {
        run("tests/system/web", &["freeze"]);
        let _back = Undo(|| drop(run("tests/system/web", &["thaw"])));
        check("site").says("fail", "no answer within 1.5s", "check accounts.url");
    }
    {
        let _changed = Changed::config("127.0.0.1:8000", "127.0.0.1:9");
        check("site").says("fail", "Connection refused", "check accounts.url");
        check("site-token").says("skip", "see check site", "");
    }
    {
        let _changed = Changed::config("/sshbox/accounts/{user}", "/elsewhere/{user}");
        check("site-token").says("warn", "not tested", "accounts.url may lead elsewhere");
    }
    let token = fs::read_to_string(TOKEN).unwrap();
    let _changed = Changed::file(TOKEN, &token, "another");
    check("site").says("ok", "HTTP 401", "");
    check("site-token").says("fail", "does not accept the token", "SSHBOX_TOKEN_FILE");
}

#[test]
fn a_web_app_that_redirects_fails_or_has_an_account_for_every_name() {
    let _world = world_alone();
    for (head, seen) in [
        ("302 Found\r\nLocation: /elsewhere", "redirects (HTTP 302)"),
        ("500 Oops", "HTTP 500"),
        ("200 OK", "an account for a name that no user has"),
    ] {
        let site = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = format!("127.0.0.1:{}", site.local_addr().unwrap().port());
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        thread::spawn(move || {
            for mut stream in site.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let _changed = Changed::config("127.0.0.1:8000", &here);
        let found = check("site");
        assert!(!found.fix.is_empty(), "{found:?}");
        found.says("fail", seen, "");
    }
}

#[test]
fn an_untrusted_certificate_and_an_unencrypted_connection() {
    let _world = world_alone();
    let _folder = folder("/run/sshbox-tests/tls");
    let certify = "cd /run/sshbox-tests/tls &&
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3 -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
            -keyout key.pem -out cert.pem";
    run("sh", &["-c", certify]);
    let mut server = Command::new("openssl");
    server.args(["s_server", "-www", "-accept", "127.0.0.1:8443", "-cert", "/run/sshbox-tests/tls/cert.pem"]);
    server.args(["-key", "/run/sshbox-tests/tls/key.pem"]).stdin(Stdio::null()).stdout(Stdio::null());
    let _server = crate::harness::Running::of(server.spawn().unwrap());
    until("the server listens", || std::net::TcpStream::connect("127.0.0.1:8443").is_ok());
    let _url = Changed::config("http://127.0.0.1:8000", "https://localhost:8443");
    {
        let _authorities =
            Changed::config("/etc/ssl/certs/ca-certificates.crt", "/run/sshbox-tests/tls/cert.pem");
        check("tls").says("ok", "has verified the certificate", "");
    }
    check("site").says("fail", "certificate", "check accounts.url");
    check("tls").says("skip", "see check site", "");
    let _clear = Changed::config("https://localhost:8443", "http://10.0.0.1:8000");
    check("tls").says("warn", "in the clear", "use https://");
}

#[test]
fn disabled_units() {
    let _world = world_alone();
    // No systemd runs here: a fake shows that the doctor asks systemd and acts on the replies.
    let _system = folder("/run/systemd/system");
    let systemctl = "#!/bin/sh\necho \"$*\" >> /run/sshbox-tests/fake/asked\n\
        [ \"$1\" = show ] && printf 'ActiveState=inactive\\nUnitFileState=disabled\\n'\nexit 0\n";
    let (_fake, path) = fake("systemctl", systemctl);
    let mut command = doctor(&["--json", "--fix", "sshd-service", "wake-socket", "reap-timer"]);
    command.env("PATH", path);
    let output = to_the_end(command, Vec::new());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (index, unit) in ["sshbox-sshd.service", "sshbox-wake.socket", "sshbox-reap.timer"].iter().enumerate()
    {
        let found = Found::of(&report["checks"][index]);
        assert_eq!(found.fixed.is_empty(), index == 0, "{found:?}");
        found.says(
            "fail",
            &format!("{unit} is inactive, disabled"),
            &format!("systemctl enable --now {unit}"),
        );
    }
    let asked = fs::read_to_string("/run/sshbox-tests/fake/asked").unwrap();
    let enabled: Vec<_> = asked.lines().filter(|line| line.starts_with("enable")).collect();
    assert_eq!(enabled, ["enable --now sshbox-wake.socket", "enable --now sshbox-reap.timer"]);
}

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
    // Without a key file the web app decides, as for every user.
    let registered = User::new("sshbox-doctor-00000002");
    assert_eq!(registered.says("echo in"), "in\n");
    // The doctor does not remove such a user as one of its own.
    check("leftovers").says("ok", "the temporary users are removed; 2 of a doctor", "");
    assert!(Path::new(&registered.home()).exists());
    assert_eq!(registered.says("echo still in"), "still in\n");
    run("docker", &["rm", "--force", &registered.container()]);
    let rest = "rm -r $(find /var/lib/sshbox /run/sshbox /var/cache/sshbox -name '*sshbox-doctor-00000002*')";
    run("sh", &["-c", rest]);
}
