//! Clients that carry whole trees: rsync, git, lftp, rclone, sshfs.

use crate::desk::{Desk, packaged, tried};
use crate::harness::{Undo, signal, until, world};
use nix::sys::signal::Signal;
use std::fs;
use std::process::Command;

/// Files, links, modes and old times.
const TREE: &str =
    "mkdir -p tree/a/b; seq 100000 >tree/numbers; echo x >'tree/a/with space'; echo ü >tree/a/b/ünï
    ln -s ../numbers tree/a/link; touch -d '2001-02-03 04:05:06' tree/numbers; chmod 750 tree/a/b/ünï";

/// Bytes that no compression makes smaller, to have time for cutting a connection.
const LARGE: u64 = 24_000_000;

#[test]
fn rsync() {
    let _world = world();
    let desk = Desk::new("rsync");
    desk.does(TREE);
    let sums = "cd tree && find . -printf '%y %m %Ts %l %p\n' | grep -v ^d | sort; md5sum numbers";
    assert_eq!(desk.does("rsync -a --delete tree/ $TO:tree/"), "");
    assert_eq!(desk.user.says(sums), desk.does(sums));
    // What is the same stays; what went away here goes away there, and the other way round.
    assert_eq!(desk.does("rsync -a --delete --itemize-changes tree/ $TO:tree/"), "");
    desk.does("rm 'tree/a/with space'; echo more >>tree/numbers; rsync -a --delete tree/ $TO:tree/");
    assert_eq!(desk.user.says(sums), desk.does(sums));
    desk.user.says("echo new >tree/new; rm tree/a/b/*; chmod 700 tree/a");
    desk.does("rsync -a --delete $TO:tree/ tree/");
    assert_eq!(desk.user.says(sums), desk.does(sums));
    for (name, desk) in [("ours", desk), ("plain", Desk::plain("rsync"))] {
        cut_and_resume(name, &desk);
    }
    tried(
        "rsync",
        &packaged("rsync"),
        "`-a --delete` both ways, nothing sent twice, `--partial` resumed both ways after a cut connection",
    );
}

/// A transfer whose ssh is killed half-way leaves its part, and the next one sends the rest.
fn cut_and_resume(name: &str, desk: &Desk) {
    desk.does(&format!("head -c {LARGE} /dev/urandom >large"));
    desk.program("ssh", "#!/bin/sh\necho $$ >ssh.pid\nexec /usr/bin/ssh \"$@\"\n");
    let folder = if name == "plain" { "rsync/" } else { "" };
    let there = format!("$TO:{folder}part");
    for (from, to) in [("large", there.as_str()), (there.as_str(), "down")] {
        if to == "down" {
            desk.does(&format!("scp -q large {there}"));
        }
        let _ = fs::remove_file(format!("{}/ssh.pid", desk.folder));
        // Slow enough to be met half-way.
        let mut slow = Command::new("bash")
            .arg("-c")
            .arg(format!("exec rsync --partial --bwlimit=6m -e ./ssh {from} {to} 2>/dev/null"))
            .env("PATH", "/usr/bin:/bin")
            .env("TO", desk.address())
            .current_dir(&desk.folder)
            .spawn()
            .unwrap();
        // rsync writes under a name of its own first.
        let look =
            if to == "down" { &format!("{}/.down.*", desk.folder) } else { &format!("{folder}.part.*") };
        let arrived = |pattern: &str| {
            let size = format!("stat -c %s {pattern} 2>/dev/null || echo 0");
            let said = if to == "down" { desk.does(&size) } else { desk.user.says(&size) };
            said.trim().parse::<u64>().unwrap()
        };
        until("a part is there", || arrived(look) > LARGE / 8);
        let pid = fs::read_to_string(format!("{}/ssh.pid", desk.folder)).unwrap();
        signal(pid.trim().parse().unwrap(), Signal::SIGKILL);
        assert!(!slow.wait().unwrap().success());
        let kept = if to == "down" { "down".to_owned() } else { format!("{folder}part") };
        let kept =
            format!("{}{kept}", if to == "down" { format!("{}/", desk.folder) } else { String::new() });
        until("the part is kept", || arrived(&kept) > LARGE / 8);
        assert!(arrived(&kept) < LARGE, "{name}: cut too late");
        let stats = desk.does(&format!("rsync --partial --stats {from} {to}"));
        let matched = stats.lines().find_map(|line| line.strip_prefix("Matched data: ")).unwrap().to_owned();
        let matched = matched.replace([',', ' '], "").replace("bytes", "").parse::<u64>().unwrap();
        assert!(matched > LARGE / 10, "{name}: {stats}");
        let sum = "md5sum <";
        let got =
            if to == "down" { desk.does("md5sum <down") } else { desk.user.says(&format!("{sum}{kept}")) };
        assert_eq!(got, desk.does("md5sum <large"), "{name}");
    }
}

#[test]
fn git() {
    let _world = world();
    let desk = Desk::new("gitter");
    desk.does(
        "git config --global user.name n; git config --global user.email n@example.org
         git config --global init.defaultBranch main; git config --global advice.detachedHead false",
    );
    desk.user.says("git init -q --bare -b main repo.git");
    desk.does(
        "git init -q one; cd one; head -c 8000000 /dev/urandom >large; seq 50000 >text; git add .; git commit -q -m first
         git remote add origin $TO:repo.git; git push -q -u origin main",
    );
    // Both ways to write the address.
    desk.does("git clone -q ssh://$NAME@127.0.0.1:2200/home/user/repo.git two; git clone -q --depth 1 $TO:repo.git shallow");
    desk.does("cmp one/large two/large; cmp one/text shallow/text");
    desk.does("cd two; echo change >>text; git commit -q -a -m second; git tag v1; git push -q origin main v1; cd ../one; git pull -q; tail -n1 text");
    desk.does("test \"$(git -C one rev-parse HEAD)\" = \"$(git -C two rev-parse HEAD)\"");
    // A push that is refused says why, with git's own status.
    let told =
        desk.types("cd shallow; echo other >>text; git commit -q -a -m third; git push -q origin main");
    assert_eq!(told.status, 1, "{told:?}");
    assert!(told.err.contains("[rejected]") && !told.err.contains("sshbox"), "{told:?}");
    assert_eq!(
        desk.user.says("git -C repo.git log --format=%s main; git -C repo.git fsck"),
        "second\nfirst\n"
    );
    // What the box's hooks say arrives.
    desk.user.says("printf '#!/bin/sh\\necho from the hook\\n' >repo.git/hooks/post-receive; chmod +x repo.git/hooks/post-receive");
    let told = desk.types("cd one; git commit -q --allow-empty -m fourth; git push -q");
    assert_eq!((told.status, told.err.trim()), (0, "remote: from the hook"), "{told:?}");
    desk.does("git archive --remote=$TO:repo.git v1 | tar -t >names; grep -qx large names");
    tried(
        "git",
        &packaged("git"),
        "push, clone (`host:path` and `ssh://`), `--depth`, pull, tags, refused push, hook, `archive --remote`",
    );
}

#[test]
fn lftp() {
    let _world = world();
    let desk = Desk::new("lftp");
    desk.does(TREE);
    // The empty password is lftp's way of leaving the question to ssh.
    desk.does(
        "lftp -e 'mirror -R tree tree; mirror --parallel=3 tree back; bye' sftp://$NAME:@127.0.0.1:2200",
    );
    desk.does("diff -r tree back; test \"$(stat -c %Y tree/numbers)\" = \"$(stat -c %Y back/numbers)\"");
    assert_eq!(
        desk.user.says("md5sum <tree/numbers; readlink tree/a/link"),
        desk.does("md5sum <tree/numbers; echo ../numbers")
    );
    desk.does("rm 'tree/a/with space'; lftp -e 'mirror -R --delete tree tree; mv tree moved; chmod 600 moved/numbers; bye' sftp://$NAME:@127.0.0.1:2200");
    assert_eq!(desk.user.says("ls moved/a; stat -c %a moved/numbers"), "b\nlink\n600\n");
    let told = desk.types("lftp -e 'get nosuch; bye' sftp://$NAME:@127.0.0.1:2200");
    assert!(told.err.contains("No such file"), "{told:?}");
    tried("lftp", &packaged("lftp"), "`mirror -R`, `mirror`, `--delete`, `--parallel`, mv, chmod");
}

#[test]
fn rclone() {
    let _world = world();
    let desk = Desk::new("rclone");
    desk.does(TREE);
    desk.does(
        "printf '[box]\\ntype = sftp\\nhost = 127.0.0.1\\nport = 2200\\nuser = %s\\nkey_file = %s\\nknown_hosts_file = /root/.ssh/known_hosts\\n' $NAME $KEY >rclone.conf",
    );
    let rclone = |command: &str| format!("rclone --config rclone.conf {command}");
    desk.manages(&rclone("copy tree box:tree"));
    // Sums are made in the box, by md5sum and sha1sum.
    let there = desk.manages(&format!("{} | sort", rclone("hashsum md5 box:tree 2>/dev/null")));
    assert_eq!(there, desk.does("cd tree; find . -type f -printf '%P\\0' | xargs -0 md5sum | sort"));
    let told = desk.manages(&rclone("check tree box:tree"));
    assert!(told.contains("0 differences found") && !told.contains("could not be checked"), "{told}");
    // The same size and time, and still found.
    desk.user.says("cp -p tree/numbers time; sed -i s/^1$/2/ tree/numbers; touch -r time tree/numbers");
    let told = desk.types(&rclone("check tree box:tree"));
    assert!(told.status == 1 && told.err.contains("md5 differ"), "{told:?}");
    desk.manages(&format!(
        "{}; rm 'tree/a/with space'; {}",
        rclone("sync --checksum tree box:tree"),
        rclone("sync tree box:tree")
    ));
    assert_eq!(
        desk.user.says("md5sum <tree/numbers; ls tree/a"),
        desk.does("md5sum <tree/numbers; ls tree/a | grep -v link")
    );
    desk.manages(&format!("{}; diff -r back/numbers tree/numbers", rclone("sync box:tree back")));
    desk.manages(&format!(
        "{}; {} >cat; cmp cat tree/numbers",
        rclone("moveto box:tree/numbers box:tree/moved"),
        rclone("cat box:tree/moved")
    ));
    tried(
        "rclone",
        &packaged("rclone"),
        "sftp: copy, sync, `hashsum`, `check` by MD5 made in the box, moveto, cat",
    );
}

#[test]
fn sshfs() {
    let _world = world();
    let desk = Desk::new("sshfs");
    desk.does("mkdir mounted; sshfs $TO: mounted; findmnt -n -o FSTYPE mounted | grep -qx fuse.sshfs");
    let folder = desk.folder.clone();
    let _unmounted = Undo(move || {
        let _ = Command::new("fusermount3").args(["-u", "-z", "-q", &format!("{folder}/mounted")]).status();
    });
    desk.does("head -c 5000000 /dev/urandom >large; cp large mounted/large; cmp large mounted/large");
    assert_eq!(desk.user.says("md5sum <large"), desk.does("md5sum <large"));
    desk.does(
        "cd mounted; mkdir d; echo one >d/a; mv d/a d/b; echo two >>d/b; ln -s b d/link; cat d/link; chmod 640 d/b
         truncate -s 1000 large; touch -d '2001-02-03 04:05:06' d/b; cp d/b gone; rm gone; df . | grep -q :",
    );
    assert_eq!(
        desk.user.says("cat d/b; readlink d/link; stat -c '%a %Y' d/b; stat -c %s large; ls"),
        desk.does(
            "printf 'one\\ntwo\\nb\\n640 %s\\n1000\\nd\\nlarge\\n' $(date -d '2001-02-03 04:05:06' +%s)"
        )
    );
    desk.does("cd mounted; mkdir many; for n in $(seq 1000); do echo $n >many/$n; done; test $(ls many | wc -l) = 1000");
    assert_eq!(desk.user.says("cat many/* | sort -n | md5sum"), desk.does("seq 1000 | md5sum"));
    desk.user.says("echo from the box >there");
    assert_eq!(desk.does("cat mounted/there; rm -r mounted/many"), "from the box\n");
    desk.does("fusermount3 -u mounted; ! findmnt mounted; test -z \"$(ls mounted)\"");
    assert_eq!(desk.user.says("ls"), "d\nlarge\nthere\n");
    until("its file server has ended", || !desk.user.runs_in_box("sftp-server"));
    tried(
        "sshfs",
        &packaged("sshfs"),
        "mount, read, write, append, rename, links, chmod, truncate, 1,000 files, unmount",
    );
}
