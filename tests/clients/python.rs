//! Clients written in Python: paramiko, asyncssh, fabric, ansible. The first three are short
//! programs beside this file that stop at the first surprise and end by saying the version.

use crate::desk::{Desk, tried};
use crate::harness::{until, world};

/// Runs one of the programs; what it says last is the version.
fn version(desk: &Desk, program: &str) -> String {
    let said = desk.does(&format!("$PYTHON/python $REPOSITORY/tests/clients/{program}"));
    said.lines().last().unwrap_or_else(|| panic!("{program} says nothing")).to_owned()
}

#[test]
fn paramiko() {
    let _world = world();
    let desk = Desk::new("paramiko");
    let version = version(&desk, "with_paramiko.py");
    until("nothing of it is left", || !desk.user.runs_in_box("sleep 7300"));
    tried(
        "paramiko",
        &version,
        "exec, exit status and signal, stdin, shell with pty and resize, 10 channels, sftp (prefetch, rename, links, chmod)",
    );
}

#[test]
fn asyncssh() {
    let _world = world();
    let desk = Desk::new("asyncssh");
    let version = version(&desk, "with_asyncssh.py");
    until("nothing of it is left", || !desk.user.runs_in_box("sleep 7300"));
    tried(
        "asyncssh",
        &version,
        "run, exit status and signal, pty and resize, sftp, scp, 50 sessions at once over one connection",
    );
}

#[test]
fn fabric() {
    let _world = world();
    let desk = Desk::new("fabric");
    tried("fabric", &version(&desk, "with_fabric.py"), "run, with and without pty, failure, put, get");
}

#[test]
fn ansible() {
    let _world = world();
    let desk = Desk::new("ansible");
    desk.does("cp -r $REPOSITORY/tests/clients/ansible play; echo ansible-box >inventory");
    for (pipelining, transfer) in
        [("False", "smart"), ("True", "smart"), ("False", "scp"), ("False", "piped")]
    {
        let setting = format!(
            "export ANSIBLE_PIPELINING={pipelining} ANSIBLE_SSH_TRANSFER_METHOD={transfer} ANSIBLE_HOME=$PWD/ansible"
        );
        if transfer == "smart" {
            let told = desk.manages(&format!("{setting}; $PYTHON/ansible -i inventory all -m ping"));
            assert!(told.contains("ansible-box | SUCCESS") && told.contains("\"ping\": \"pong\""), "{told}");
        }
        desk.user.says("rm -rf site");
        let play = format!("{setting}; $PYTHON/ansible-playbook -i inventory play/play.yml");
        let told = desk.manages(&play);
        assert!(told.contains("failed=0") && told.contains("unreachable=0"), "{told}");
        assert_eq!(
            desk.user
                .says("cd site; cat greeting; stat -c %a greeting script; ./script; readlink link; cat made"),
            "hello from box\n640\n750\nit runs\ngreeting\nmade by a command\n",
            "{told}"
        );
        // A second time there is nothing left to do.
        if pipelining == "True" {
            let told = desk.manages(&play);
            assert!(told.contains("changed=0"), "{told}");
        }
    }
    assert_eq!(desk.user.says("ls -A | grep -v '^[.]bash\\|^[.]profile\\|^[.]ssh$'"), ".ansible\nsite\n");
    let version = desk.does("$PYTHON/ansible --version | sed -n '1s/.*core \\(.*\\)\\]/\\1/p'");
    tried(
        "ansible-core",
        &version,
        "`-m ping`; playbook with copy, template, command, file, stat, fetch; pipelining off and on; by sftp, scp and piped",
    );
}

#[test]
fn ansible_with_the_login_name_in_its_inventory() {
    let _world = world();
    let desk = Desk::new("inventory");
    desk.does("printf 'box ansible_user=%s\\n' $NAME >inventory");
    desk.manages("ANSIBLE_HOME=$PWD/ansible $PYTHON/ansible -i inventory all -m ping");
    assert_eq!(desk.user.says("ls -d .ansible '~'* 2>/dev/null; echo ~inventory"), ".ansible\n/home/user\n");
}
