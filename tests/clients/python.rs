//! Clients written in Python: paramiko, asyncssh, fabric, ansible. The first three run short programs beside this
//! file, which stop at the first failure and print the client's version at the end.

use crate::client::{Client, record};
use crate::harness::{STATE, until, world};

/// Runs one of the programs. Its last line is the version.
fn version(client: &Client, program: &str) -> String {
    let output = client.run(&format!("$PYTHON/python $REPOSITORY/tests/clients/{program}"));
    output.lines().last().unwrap_or_else(|| panic!("{program} prints nothing")).to_owned()
}

#[test]
fn paramiko() {
    let _world = world();
    let client = Client::new("paramiko");
    let version = version(&client, "with_paramiko.py");
    until("its command has ended", || !client.user.runs_in_box("sleep 7300"));
    record(
        "paramiko",
        &version,
        "exec, exit status and signal, stdin, shell with pty and resize, 10 channels, sftp (prefetch, rename, links, chmod)",
    );
}

#[test]
fn asyncssh() {
    let _world = world();
    let client = Client::new("asyncssh");
    let version = version(&client, "with_asyncssh.py");
    until("its command has ended", || !client.user.runs_in_box("sleep 7300"));
    record(
        "asyncssh",
        &version,
        "run, exit status and signal, pty and resize, sftp, scp, 30 sessions at once over one connection",
    );
}

#[test]
fn fabric() {
    let _world = world();
    let client = Client::new("fabric");
    record("fabric", &version(&client, "with_fabric.py"), "run, with and without pty, failure, put, get");
}

#[test]
fn ansible() {
    let _world = world();
    let client = Client::new("ansible");
    client.run("cp -r $REPOSITORY/tests/clients/ansible play; echo ansible-box >inventory");
    for (pipelining, transfer) in
        [("False", "smart"), ("True", "smart"), ("False", "scp"), ("False", "piped")]
    {
        let setting = format!(
            "export ANSIBLE_PIPELINING={pipelining} ANSIBLE_SSH_TRANSFER_METHOD={transfer} ANSIBLE_HOME=$PWD/ansible"
        );
        if transfer == "smart" {
            let result = client.run_verbose(&format!("{setting}; $PYTHON/ansible -i inventory all -m ping"));
            assert!(
                result.contains("ansible-box | SUCCESS") && result.contains("\"ping\": \"pong\""),
                "{result}"
            );
        }
        client.user.says("rm -rf site");
        let play = format!("{setting}; $PYTHON/ansible-playbook -i inventory play/play.yml");
        let result = client.run_verbose(&play);
        assert!(result.contains("failed=0") && result.contains("unreachable=0"), "{result}");
        assert_eq!(
            client
                .user
                .says("cd site; cat greeting; stat -c %a greeting script; ./script; readlink link; cat made"),
            "hello from box\n640\n750\nit runs\ngreeting\nmade by a command\n",
            "{result}"
        );
        // A second run changes nothing.
        if pipelining == "True" {
            let result = client.run_verbose(&play);
            assert!(result.contains("changed=0"), "{result}");
        }
    }
    assert_eq!(client.user.says("ls -A | grep -v '^[.]bash\\|^[.]profile\\|^[.]ssh$'"), ".ansible\nsite\n");
    let version = client.run("$PYTHON/ansible --version | sed -n '1s/.*core \\(.*\\)\\]/\\1/p'");
    record(
        "ansible-core",
        &version,
        "`-m ping`; playbook with copy, template, command, file, stat, fetch; pipelining off and on; by sftp, scp and piped",
    );
}

#[test]
fn ansible_with_the_login_name_in_its_inventory() {
    let _world = world();
    let client = Client::new("inventory");
    client.run("printf 'box ansible_user=%s\\n' $NAME >inventory");
    client.run_verbose("ANSIBLE_HOME=$PWD/ansible $PYTHON/ansible -i inventory all -m ping");
    assert_eq!(
        client.user.says("ls -d .ansible '~'* 2>/dev/null; echo ~inventory"),
        ".ansible\n/home/user\n"
    );
}

/// The example of docs/src/web-terminal.md, with the world's site.
#[test]
fn a_terminal_in_the_browser_shares_the_box_with_ssh() {
    let _world = world();
    let client = Client::new("browser");
    let django = format!(
        "export DJANGO_SETTINGS_MODULE=demo_site.settings SSHBOX_DEMO_DATA={STATE}/django SSHBOX_TOKEN_FILE={STATE}/token
        export PYTHONPATH=$(echo $REPOSITORY/target/venv/lib/python3*/site-packages):$REPOSITORY/django/src:$REPOSITORY/django/demo"
    );
    client.run_verbose(&format!("{django}\n$PYTHON/python $REPOSITORY/tests/clients/with_web_terminal.py"));
    until("its programs have ended", || !client.user.runs_in_box("sleep 730"));
}
