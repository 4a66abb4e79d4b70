//! What rides on one connection of OpenSSH, and putty's way of making one.

use crate::desk::{Desk, packaged, tried};
use crate::harness::{text, until, world};

#[test]
fn control_master_and_persist() {
    let _world = world();
    let desk = Desk::new("master");
    desk.program(
        "ssh",
        "#!/bin/sh\nexec /usr/bin/ssh -o ControlMaster=auto -o ControlPersist=yes -o ControlPath=/tmp/clients/master/control \"$@\"\n",
    );
    // Nothing there yet, and then the first client makes it and leaves. The master keeps standard
    // error of the first client unless it is sent elsewhere, as with plain sshd.
    assert_eq!(desk.types("./ssh -O check $TO").status, 255);
    let port = desk.does("./ssh $TO 'echo $SSH_CONNECTION' 2>first.err");
    assert!(desk.types("./ssh -O check $TO").err.starts_with("Master running (pid="));
    // Many commands, twenty at a time, each with its own status, all over the same connection: one
    // that is refused would make another, from another port.
    let lines = desk.does(
        "seq 1 60 | xargs -P 20 -I % sh -c './ssh $TO \"echo % \\$SSH_CONNECTION; exit %\"; echo % status $?'",
    );
    for number in 1..=60 {
        assert!(lines.contains(&format!("{number} {port}")), "{number}: {lines}");
        assert!(lines.contains(&format!("{number} status {number}\n")), "{number}: {lines}");
    }
    // Others ride along.
    desk.does(
        "seq 100000 >file; scp -q -S ./ssh file $TO:copied; scp -q -O -S ./ssh file $TO:old
         rsync -e ./ssh file $TO:synced; echo 'put file put' | sftp -q -b - -S ./ssh $TO >/dev/null",
    );
    let sums = desk.does("./ssh $TO 'md5sum <copied; md5sum <old; md5sum <synced; md5sum <put'");
    assert_eq!(sums, desk.does("md5sum <file").repeat(4));
    // A terminal too, and a client that is killed takes only its own session along.
    let control = format!("{}/control", desk.folder);
    let ssh = desk.user.ssh().args(&["-S", &control]);
    let mut terminal = ssh.terminal(24, 80, &["echo from $SSH_CONNECTION; stty size; exec sleep 7100"]);
    terminal.shows(&format!("from {}", port.trim()));
    terminal.shows("24 80");
    terminal.kill();
    until("its command is gone", || !desk.user.runs_in_box("sleep 7100"));
    assert_eq!(desk.does("./ssh $TO 'echo $SSH_CONNECTION'"), port);
    assert!(desk.types("./ssh -O exit $TO").err.contains("Exit request sent."));
    until("the master has gone", || desk.types("./ssh -O check $TO").status == 255);
    assert_ne!(desk.does("ssh $TO 'echo $SSH_CONNECTION'"), port);
    tried(
        "ssh with ControlMaster",
        &packaged("openssh-client"),
        "auto, persist, check, exit; 60 commands, scp, sftp, rsync over one connection",
    );
}

/// What a file server says first. It is asked to wait for the answer before the input ends, for at
/// the end of input `sftp-server` leaves at once.
fn hello(desk: &Desk, client: &str) -> String {
    let ask = "printf '\\0\\0\\0\\5\\1\\0\\0\\0\\3'; until [ -s hello ]; do sleep 0.1; done";
    desk.does(&format!(": >hello; ({ask}) | {client} >hello; cat hello"))
}

#[test]
fn putty() {
    let _world = world();
    let desk = Desk::new("putty");
    let fingerprint = desk.does("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key | cut -d' ' -f2");
    // What PuTTY's dialogues ask for: the host key once, and the user's key in its own format.
    let options = format!("-batch -P 2200 -i key.ppk -hostkey {}", fingerprint.trim());
    desk.does("puttygen $KEY -O private -o key.ppk; seq 100000 >file; mkdir tree; cp file 'tree/a b'");
    let told = desk.types(&format!("plink {options} $NAME@127.0.0.1 'echo out; echo err >&2; exit 42'"));
    assert_eq!((told.status, told.out.as_str()), (42, "out\n"), "{told:?}");
    assert!(told.err.contains("err\n") && !told.err.contains("sshbox"), "{told:?}");
    // A terminal, and a subsystem.
    let told = desk.manages(&format!("plink {options} -t $NAME@127.0.0.1 'tty; stty size'"));
    assert!(told.contains("/dev/pts/"), "{told}");
    let answer = hello(&desk, &format!("plink {options} -s $NAME@127.0.0.1 sftp"));
    assert!(answer.contains("posix-rename@openssh.com"), "{answer}");
    for protocol in ["-sftp", "-scp"] {
        desk.manages(&format!(
            "pscp {protocol} -q -r -p {options} tree file $NAME@127.0.0.1:; rm -rf back
             mkdir back; pscp {protocol} -q -r -p {options} $NAME@127.0.0.1:tree back; diff -r tree back/tree"
        ));
        assert_eq!(desk.user.says("md5sum <file; md5sum <'tree/a b'"), desk.does("md5sum <file").repeat(2));
        desk.user.says("rm -r tree file");
    }
    desk.file("batch", "mkdir d\ncd d\nput file f\nmv f g\nchmod 600 g\nget g h\nls\n");
    let told = desk.manages(&format!("psftp {options} -b batch $NAME@127.0.0.1"));
    assert!(told.contains(" g\n"), "{told}");
    assert_eq!(desk.does("md5sum <h"), desk.user.says("md5sum <d/g"));
    tried(
        "PuTTY: plink, pscp, psftp",
        &packaged("putty-tools"),
        "commands, exit status, pty, subsystem; pscp with both protocols, `-r -p`; psftp",
    );
}

#[test]
fn the_file_server_by_name_and_by_path() {
    let _world = world();
    let (desk, plain) = (Desk::new("subsystem"), Desk::plain("subsystem"));
    // `ssh -s` asks for the subsystem; `sftp -s /path`, as WinSCP can be told, runs a program.
    let answer = hello(&desk, "ssh -s $TO sftp");
    assert!(answer.contains("posix-rename@openssh.com"), "{answer}");
    assert_eq!(answer, hello(&plain, "ssh -s $TO sftp"));
    desk.does("echo content >file; echo 'put file' | sftp -q -b - -s /usr/lib/openssh/sftp-server $TO");
    assert_eq!(desk.user.says("cat file"), "content\n");
    let output = desk.user.ssh().run("/usr/lib/openssh/sftp-server -Q requests");
    assert!(text(&output.stdout).contains("symlink"), "{output:?}");
    tried(
        "sftp, ssh: other ways to the server",
        &packaged("openssh-client"),
        "`ssh -s … sftp`, `sftp -s /usr/lib/openssh/sftp-server`",
    );
}
