//! Many sessions over one connection of OpenSSH, the tools of `PuTTY`, and the ways to start the sftp server.

use crate::client::{Client, package_version, record};
use crate::harness::{text, until, world};

#[test]
fn control_master_and_persist() {
    let _world = world();
    let client = Client::new("master");
    client.program(
        "ssh",
        "#!/bin/sh\nexec /usr/bin/ssh -o ControlMaster=auto -o ControlPersist=yes -o ControlPath=/tmp/clients/master/control \"$@\"\n",
    );
    // There is no connection yet; the first client opens it and exits. The master keeps the first client's stderr
    // open unless it is redirected, as with plain sshd.
    assert_eq!(client.try_run("./ssh -O check $TO").status, 255);
    let port = client.run("./ssh $TO 'echo $SSH_CONNECTION' 2>first.err");
    assert!(client.try_run("./ssh -O check $TO").err.starts_with("Master running (pid="));
    // Many commands, twenty at a time, each with its own exit status, over the same connection: a refused command
    // would open another connection, from another port.
    let lines = client.run(
        "seq 1 60 | xargs -P 20 -I % sh -c './ssh $TO \"echo % \\$SSH_CONNECTION; exit %\"; echo % status $?'",
    );
    for number in 1..=60 {
        assert!(lines.contains(&format!("{number} {port}")), "{number}: {lines}");
        assert!(lines.contains(&format!("{number} status {number}\n")), "{number}: {lines}");
    }
    // Other clients use the same connection.
    client.run(
        "seq 100000 >file; scp -q -S ./ssh file $TO:copied; scp -q -O -S ./ssh file $TO:old
         rsync -e ./ssh file $TO:synced; echo 'put file put' | sftp -q -b - -S ./ssh $TO >/dev/null",
    );
    let sums = client.run("./ssh $TO 'md5sum <copied; md5sum <old; md5sum <synced; md5sum <put'");
    assert_eq!(sums, client.run("md5sum <file").repeat(4));
    // A terminal works too. A killed client ends only its own session.
    let control = format!("{}/control", client.folder);
    let ssh = client.user.ssh().args(&["-S", &control]);
    let mut terminal = ssh.terminal(24, 80, &["echo from $SSH_CONNECTION; stty size; exec sleep 7100"]);
    terminal.shows(&format!("from {}", port.trim()));
    terminal.shows("24 80");
    terminal.kill();
    until("its command has ended", || !client.user.runs_in_box("sleep 7100"));
    assert_eq!(client.run("./ssh $TO 'echo $SSH_CONNECTION'"), port);
    assert!(client.try_run("./ssh -O exit $TO").err.contains("Exit request sent."));
    until("the master has exited", || client.try_run("./ssh -O check $TO").status == 255);
    assert_ne!(client.run("ssh $TO 'echo $SSH_CONNECTION'"), port);
    record(
        "ssh with ControlMaster",
        &package_version("openssh-client"),
        "auto, persist, check, exit; 60 commands, scp, sftp, rsync over one connection",
    );
}

/// First message of an sftp server. Input stays open until the reply has arrived: `sftp-server` exits at once at the
/// end of input.
fn hello(client: &Client, command: &str) -> String {
    let ask = "printf '\\0\\0\\0\\5\\1\\0\\0\\0\\3'; until [ -s hello ]; do sleep 0.1; done";
    client.run(&format!(": >hello; ({ask}) | {command} >hello; cat hello"))
}

#[test]
fn putty() {
    let _world = world();
    let client = Client::new("putty");
    let fingerprint = client.run("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key | cut -d' ' -f2");
    // PuTTY's dialogues ask once for the host key, and need the user's key in PuTTY's format.
    let options = format!("-batch -P 2200 -i key.ppk -hostkey {}", fingerprint.trim());
    client.run("puttygen $KEY -O private -o key.ppk; seq 100000 >file; mkdir tree; cp file 'tree/a b'");
    let result =
        client.try_run(&format!("plink {options} $NAME@127.0.0.1 'echo out; echo err >&2; exit 42'"));
    assert_eq!((result.status, result.out.as_str()), (42, "out\n"), "{result:?}");
    assert!(result.err.contains("err\n") && !result.err.contains("sshbox"), "{result:?}");
    // A terminal, and a subsystem.
    let result = client.run_verbose(&format!("plink {options} -t $NAME@127.0.0.1 'tty; stty size'"));
    assert!(result.contains("/dev/pts/"), "{result}");
    let reply = hello(&client, &format!("plink {options} -s $NAME@127.0.0.1 sftp"));
    assert!(reply.contains("posix-rename@openssh.com"), "{reply}");
    for protocol in ["-sftp", "-scp"] {
        client.run_verbose(&format!(
            "pscp {protocol} -q -r -p {options} tree file $NAME@127.0.0.1:; rm -rf back
             mkdir back; pscp {protocol} -q -r -p {options} $NAME@127.0.0.1:tree back; diff -r tree back/tree"
        ));
        assert_eq!(
            client.user.says("md5sum <file; md5sum <'tree/a b'"),
            client.run("md5sum <file").repeat(2)
        );
        client.user.says("rm -r tree file");
    }
    client.file("batch", "mkdir d\ncd d\nput file f\nmv f g\nchmod 600 g\nget g h\nls\n");
    let result = client.run_verbose(&format!("psftp {options} -b batch $NAME@127.0.0.1"));
    assert!(result.contains(" g\n"), "{result}");
    assert_eq!(client.run("md5sum <h"), client.user.says("md5sum <d/g"));
    record(
        "PuTTY: plink, pscp, psftp",
        &package_version("putty-tools"),
        "commands, exit status, pty, subsystem; pscp with both protocols, `-r -p`; psftp",
    );
}

#[test]
fn the_sftp_server_runs_as_a_subsystem_and_by_path() {
    let _world = world();
    let (client, plain) = (Client::new("subsystem"), Client::plain("subsystem"));
    // `ssh -s` requests the subsystem. `sftp -s /path` runs a program, as WinSCP can be configured to do.
    let reply = hello(&client, "ssh -s $TO sftp");
    assert!(reply.contains("posix-rename@openssh.com"), "{reply}");
    assert_eq!(reply, hello(&plain, "ssh -s $TO sftp"));
    client.run("echo content >file; echo 'put file' | sftp -q -b - -s /usr/lib/openssh/sftp-server $TO");
    assert_eq!(client.user.says("cat file"), "content\n");
    let output = client.user.ssh().run("/usr/lib/openssh/sftp-server -Q requests");
    assert!(text(&output.stdout).contains("symlink"), "{output:?}");
    record(
        "sftp, ssh: other ways to the server",
        &package_version("openssh-client"),
        "`ssh -s … sftp`, `sftp -s /usr/lib/openssh/sftp-server`",
    );
}
