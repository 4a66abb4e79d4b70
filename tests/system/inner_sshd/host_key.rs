//! The host key of the sshd in the box: one for each user, for as long as the user has an account.

use super::Machine;
use crate::harness::{User, run, text, world};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

#[test]
fn the_host_key_outlives_the_home_the_container_and_the_cache() {
    let _world = world();
    let user = User::new("steady");
    let machine = Machine::of(&user);
    assert_eq!(machine.says(&[], "rm -rf ~/.local; echo in"), "in\n");
    let known = fs::read_to_string(format!("{}/known_hosts", machine.folder)).unwrap();
    let strict = ["-o", "StrictHostKeyChecking=yes"];
    assert_eq!(machine.says(&strict, "find ~ -mindepth 1 -delete; ls -A ~"), "");
    // A full or closed home does not matter either: nothing is written there.
    assert_eq!(machine.says(&strict, "chmod 500 ~; ls -A ~"), "");
    user.says("@restart");
    assert_eq!(machine.says(&strict, "echo in"), "in\n");
    run("docker", &["rm", "-f", &user.container()]);
    fs::remove_dir_all("/run/sshbox/boxes/steady").unwrap();
    assert_eq!(machine.says(&strict, "echo in"), "in\n");
    assert_eq!(fs::read_to_string(format!("{}/known_hosts", machine.folder)).unwrap(), known);
    // Only the box's user can read the key, and cannot change it.
    let tried = "key=/run/sshbox/ssh_host_ed25519_key; stat -c '%a %U' $key; (rm -f $key; : >>$key; : >/run/sshbox/x) 2>/dev/null; ls $key /run/sshbox/x 2>/dev/null || true";
    assert_eq!(user.ssh().status(&format!("{{ {tried}; }} >/tmp/tried")), 0);
    assert_eq!(user.says("cat /tmp/tried"), "600 steady\n/run/sshbox/ssh_host_ed25519_key\n");
    let secret = fs::metadata("/var/lib/sshbox/host-key-secret").unwrap();
    assert_eq!((secret.mode() & 0o777, secret.uid(), secret.len()), (0o600, 0, 32));
    user.says("chmod 700 ~");
}

#[test]
fn a_host_key_of_an_earlier_release_is_used_until_it_is_deleted_without_a_warning() {
    let _world = world();
    let user = User::new("upgraded");
    let machine = Machine::of(&user);
    let state = "~/.local/state/sshbox";
    user.says(&format!(
        "mkdir -p {state} && chmod 700 {state} && ssh-keygen -q -t ed25519 -N '' -C sshbox -f {state}/ssh_host_ed25519_key"
    ));
    let earlier = user.says(&format!("cut -d' ' -f2 {state}/ssh_host_ed25519_key.pub"));
    let known = format!("{}/known_hosts", machine.folder);
    fs::write(&known, format!("upgraded-box ssh-ed25519 {earlier}")).unwrap();
    // Clients do this by default with their usual known_hosts file.
    let strict = ["-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=yes"];
    assert_eq!(machine.says(&strict, "sleep 1; echo in"), "in\n");
    assert_eq!(
        fs::read_to_string(&known).unwrap().lines().count(),
        2,
        "the client has not learned the new key"
    );
    assert_eq!(machine.says(&strict, "rm -rf ~/.local; echo in"), "in\n");
    assert_eq!(machine.says(&strict, "echo in"), "in\n");
}

#[test]
fn twenty_concurrent_first_connections_get_one_host_key() {
    let _world = world();
    let user = User::new("hurried");
    user.says("true");
    let machine = Machine::of(&user);
    let options = ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no"];
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut ssh = machine.command("ssh");
            ssh.args(options).args([&*machine.host(), "md5sum </run/sshbox/ssh_host_ed25519_key"]);
            ssh.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let keys: std::collections::BTreeSet<_> =
        clients.into_iter().map(|client| text(&client.wait_with_output().unwrap().stdout)).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_eq!(user.says("ls -d ~/.local /tmp/.sshbox* 2>/dev/null || true"), "");
}
