//! Clients that transfer whole directory trees: rsync, git, lftp, rclone, sshfs.

use crate::client::{Client, package_version, record};
use crate::harness::{Undo, signal, until, world};
use nix::sys::signal::Signal;
use std::fs;
use std::process::Command;

/// Creates files, links, modes and old times.
const TREE: &str =
    "mkdir -p tree/a/b; seq 100000 >tree/numbers; echo x >'tree/a/with space'; echo ü >tree/a/b/ünï
    ln -s ../numbers tree/a/link; touch -d '2001-02-03 04:05:06' tree/numbers; chmod 750 tree/a/b/ünï";

/// Size of a file of random bytes, large enough to cut the connection during its transfer.
const LARGE: u64 = 24_000_000;

#[test]
fn rsync() {
    let _world = world();
    let client = Client::new("rsync");
    client.run(TREE);
    let sums = "cd tree && find . -printf '%y %m %Ts %l %p\n' | grep -v ^d | sort; md5sum numbers";
    assert_eq!(client.run("rsync -a --delete tree/ $TO:tree/"), "");
    assert_eq!(client.user.says(sums), client.run(sums));
    // Unchanged files are not sent. Files deleted on one side are deleted on the other, in both directions.
    assert_eq!(client.run("rsync -a --delete --itemize-changes tree/ $TO:tree/"), "");
    client.run("rm 'tree/a/with space'; echo more >>tree/numbers; rsync -a --delete tree/ $TO:tree/");
    assert_eq!(client.user.says(sums), client.run(sums));
    client.user.says("echo new >tree/new; rm tree/a/b/*; chmod 700 tree/a");
    client.run("rsync -a --delete $TO:tree/ tree/");
    assert_eq!(client.user.says(sums), client.run(sums));
    for (name, client) in [("ours", client), ("plain", Client::plain("rsync"))] {
        cut_and_resume(name, &client);
    }
    record(
        "rsync",
        &package_version("rsync"),
        "`-a --delete` both ways, nothing sent twice, `--partial` resumed both ways after a cut connection",
    );
}

/// Checks that a transfer whose ssh is killed half-way keeps its part, and that the next one sends the rest.
fn cut_and_resume(name: &str, client: &Client) {
    client.run(&format!("head -c {LARGE} /dev/urandom >large"));
    client.program("ssh", "#!/bin/sh\necho $$ >ssh.pid\nexec /usr/bin/ssh \"$@\"\n");
    let folder = if name == "plain" { "rsync/" } else { "" };
    let remote = format!("$TO:{folder}part");
    for (from, to) in [("large", remote.as_str()), (remote.as_str(), "down")] {
        if to == "down" {
            client.run(&format!("scp -q large {remote}"));
        }
        let _ = fs::remove_file(format!("{}/ssh.pid", client.folder));
        // Slow enough to be killed half-way.
        let mut slow = Command::new("bash")
            .arg("-c")
            .arg(format!("exec rsync --partial --bwlimit=6m -e ./ssh {from} {to} 2>/dev/null"))
            .env("PATH", "/usr/bin:/bin")
            .env("TO", client.address())
            .current_dir(&client.folder)
            .spawn()
            .unwrap();
        // rsync writes to a temporary name first.
        let partial =
            if to == "down" { &format!("{}/.down.*", client.folder) } else { &format!("{folder}.part.*") };
        let size_of = |pattern: &str| {
            let size = format!("stat -c %s {pattern} 2>/dev/null || echo 0");
            let size = if to == "down" { client.run(&size) } else { client.user.says(&size) };
            size.trim().parse::<u64>().unwrap()
        };
        until("a part has arrived", || size_of(partial) > LARGE / 8);
        let pid = fs::read_to_string(format!("{}/ssh.pid", client.folder)).unwrap();
        signal(pid.trim().parse().unwrap(), Signal::SIGKILL);
        assert!(!slow.wait().unwrap().success());
        let kept = if to == "down" { "down".to_owned() } else { format!("{folder}part") };
        let kept =
            format!("{}{kept}", if to == "down" { format!("{}/", client.folder) } else { String::new() });
        until("the part is kept", || size_of(&kept) > LARGE / 8);
        assert!(size_of(&kept) < LARGE, "{name}: cut too late");
        let stats = client.run(&format!("rsync --partial --stats {from} {to}"));
        let matched = stats.lines().find_map(|line| line.strip_prefix("Matched data: ")).unwrap().to_owned();
        let matched = matched.replace([',', ' '], "").replace("bytes", "").parse::<u64>().unwrap();
        assert!(matched > LARGE / 10, "{name}: {stats}");
        let sum = "md5sum <";
        let got =
            if to == "down" { client.run("md5sum <down") } else { client.user.says(&format!("{sum}{kept}")) };
        assert_eq!(got, client.run("md5sum <large"), "{name}");
    }
}

#[test]
fn git() {
    let _world = world();
    let client = Client::new("gitter");
    client.run(
        "git config --global user.name n; git config --global user.email n@example.org
         git config --global init.defaultBranch main; git config --global advice.detachedHead false",
    );
    client.user.says("git init -q --bare -b main repo.git");
    client.run(
        "git init -q one; cd one; head -c 8000000 /dev/urandom >large; seq 50000 >text; git add .; git commit -q -m first
         git remote add origin $TO:repo.git; git push -q -u origin main",
    );
    // Both forms of the address.
    client.run("git clone -q ssh://$NAME@127.0.0.1:2200/home/user/repo.git two; git clone -q --depth 1 $TO:repo.git shallow");
    client.run("cmp one/large two/large; cmp one/text shallow/text");
    client.run("cd two; echo change >>text; git commit -q -a -m second; git tag v1; git push -q origin main v1; cd ../one; git pull -q; tail -n1 text");
    client.run("test \"$(git -C one rev-parse HEAD)\" = \"$(git -C two rev-parse HEAD)\"");
    // A refused push prints the reason and exits with git's status.
    let result =
        client.try_run("cd shallow; echo other >>text; git commit -q -a -m third; git push -q origin main");
    assert_eq!(result.status, 1, "{result:?}");
    assert!(result.err.contains("[rejected]") && !result.err.contains("sshbox"), "{result:?}");
    assert_eq!(
        client.user.says("git -C repo.git log --format=%s main; git -C repo.git fsck"),
        "second\nfirst\n"
    );
    // The client shows the output of a hook in the box.
    client.user.says("printf '#!/bin/sh\\necho from the hook\\n' >repo.git/hooks/post-receive; chmod +x repo.git/hooks/post-receive");
    let result = client.try_run("cd one; git commit -q --allow-empty -m fourth; git push -q");
    assert_eq!((result.status, result.err.trim()), (0, "remote: from the hook"), "{result:?}");
    client.run("git archive --remote=$TO:repo.git v1 | tar -t >names; grep -qx large names");
    record(
        "git",
        &package_version("git"),
        "push, clone (`host:path` and `ssh://`), `--depth`, pull, tags, refused push, hook, `archive --remote`",
    );
}

#[test]
fn lftp() {
    let _world = world();
    let client = Client::new("lftp");
    client.run(TREE);
    // With an empty password, lftp leaves authentication to ssh.
    client.run(
        "lftp -e 'mirror -R tree tree; mirror --parallel=3 tree back; bye' sftp://$NAME:@127.0.0.1:2200",
    );
    client.run("diff -r tree back; test \"$(stat -c %Y tree/numbers)\" = \"$(stat -c %Y back/numbers)\"");
    assert_eq!(
        client.user.says("md5sum <tree/numbers; readlink tree/a/link"),
        client.run("md5sum <tree/numbers; echo ../numbers")
    );
    client.run("rm 'tree/a/with space'; lftp -e 'mirror -R --delete tree tree; mv tree moved; chmod 600 moved/numbers; bye' sftp://$NAME:@127.0.0.1:2200");
    assert_eq!(client.user.says("ls moved/a; stat -c %a moved/numbers"), "b\nlink\n600\n");
    let result = client.try_run("lftp -e 'get nosuch; bye' sftp://$NAME:@127.0.0.1:2200");
    assert!(result.err.contains("No such file"), "{result:?}");
    record("lftp", &package_version("lftp"), "`mirror -R`, `mirror`, `--delete`, `--parallel`, mv, chmod");
}

#[test]
fn rclone() {
    let _world = world();
    let client = Client::new("rclone");
    client.run(TREE);
    client.run(
        "printf '[box]\\ntype = sftp\\nhost = 127.0.0.1\\nport = 2200\\nuser = %s\\nkey_file = %s\\nknown_hosts_file = /root/.ssh/known_hosts\\n' $NAME $KEY >rclone.conf",
    );
    let rclone = |command: &str| format!("rclone --config rclone.conf {command}");
    client.run_verbose(&rclone("copy tree box:tree"));
    // rclone computes checksums in the box, with md5sum and sha1sum.
    let remote_sums = client.run_verbose(&format!("{} | sort", rclone("hashsum md5 box:tree 2>/dev/null")));
    assert_eq!(remote_sums, client.run("cd tree; find . -type f -printf '%P\\0' | xargs -0 md5sum | sort"));
    let result = client.run_verbose(&rclone("check tree box:tree"));
    assert!(result.contains("0 differences found") && !result.contains("could not be checked"), "{result}");
    // rclone finds a change that keeps size and time.
    client.user.says("cp -p tree/numbers time; sed -i s/^1$/2/ tree/numbers; touch -r time tree/numbers");
    let result = client.try_run(&rclone("check tree box:tree"));
    assert!(result.status == 1 && result.err.contains("md5 differ"), "{result:?}");
    client.run_verbose(&format!(
        "{}; rm 'tree/a/with space'; {}",
        rclone("sync --checksum tree box:tree"),
        rclone("sync tree box:tree")
    ));
    assert_eq!(
        client.user.says("md5sum <tree/numbers; ls tree/a"),
        client.run("md5sum <tree/numbers; ls tree/a | grep -v link")
    );
    client.run_verbose(&format!("{}; diff -r back/numbers tree/numbers", rclone("sync box:tree back")));
    client.run_verbose(&format!(
        "{}; {} >cat; cmp cat tree/numbers",
        rclone("moveto box:tree/numbers box:tree/moved"),
        rclone("cat box:tree/moved")
    ));
    record(
        "rclone",
        &package_version("rclone"),
        "sftp: copy, sync, `hashsum`, `check` by MD5 made in the box, moveto, cat",
    );
}

#[test]
fn sshfs() {
    let _world = world();
    let client = Client::new("sshfs");
    client.run("mkdir mounted; sshfs $TO: mounted; findmnt -n -o FSTYPE mounted | grep -qx fuse.sshfs");
    let folder = client.folder.clone();
    let _unmounted = Undo(move || {
        let _ = Command::new("fusermount3").args(["-u", "-z", "-q", &format!("{folder}/mounted")]).status();
    });
    client.run("head -c 5000000 /dev/urandom >large; cp large mounted/large; cmp large mounted/large");
    assert_eq!(client.user.says("md5sum <large"), client.run("md5sum <large"));
    client.run(
        "cd mounted; mkdir d; echo one >d/a; mv d/a d/b; echo two >>d/b; ln -s b d/link; cat d/link; chmod 640 d/b
         truncate -s 1000 large; touch -d '2001-02-03 04:05:06' d/b; cp d/b gone; rm gone; df . | grep -q :",
    );
    assert_eq!(
        client.user.says("cat d/b; readlink d/link; stat -c '%a %Y' d/b; stat -c %s large; ls"),
        client.run(
            "printf 'one\\ntwo\\nb\\n640 %s\\n1000\\nd\\nlarge\\n' $(date -d '2001-02-03 04:05:06' +%s)"
        )
    );
    client.run("cd mounted; mkdir many; for n in $(seq 1000); do echo $n >many/$n; done; test $(ls many | wc -l) = 1000");
    assert_eq!(client.user.says("cat many/* | sort -n | md5sum"), client.run("seq 1000 | md5sum"));
    client.user.says("echo from the box >there");
    assert_eq!(client.run("cat mounted/there; rm -r mounted/many"), "from the box\n");
    client.run("fusermount3 -u mounted; ! findmnt mounted; test -z \"$(ls mounted)\"");
    assert_eq!(client.user.says("ls"), "d\nlarge\nthere\n");
    until("its sftp-server has ended", || !client.user.runs_in_box("sftp-server"));
    record(
        "sshfs",
        &package_version("sshfs"),
        "mount, read, write, append, rename, links, chmod, truncate, 1,000 files, unmount",
    );
}
