//! Limits and privileges of a box, seen from inside.

use crate::harness::{Changed, User, alice, private_world, run, text, world};

#[test]
fn limits_are_visible_in_the_box() {
    let _world = world();
    let user = alice();
    // Half of Docker's own hard limit is the maximum.
    let most = run("sh", &["-c", "prlimit --nofile --output HARD --noheadings --pid $(cat /run/docker.pid)"]);
    let hard = (most.trim().parse().unwrap_or(u64::MAX) / 2).min(65536);
    assert_eq!(user.says("ulimit -Sn; ulimit -Hn"), format!("1024\n{hard}\n"));
    let read = |v1: &str, v2: &str| {
        user.says(&format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}"))
            .trim()
            .to_owned()
    };
    assert_eq!(read("memory/memory.limit_in_bytes", "memory.max"), (8_u64 << 30).to_string());
    assert_eq!(read("pids/pids.max", "pids.max"), "512");
    let quota = user.says("cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us 2>/dev/null || cat /sys/fs/cgroup/cpu.max");
    let quota: Vec<u64> = quota.split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!(quota[0], 2 * quota[1]);
    assert_eq!(user.inspect("{{.HostConfig.MemorySwap}}"), ((8_u64 << 30) + 4096).to_string());
}

#[test]
fn a9_no_privilege_is_left() {
    let _world = world();
    let user = alice();
    let status = user.says("grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status");
    let fields: Vec<(&str, &str)> = status.lines().filter_map(|line| line.split_once(":\t")).collect();
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(fields.contains(&(name, "0000000000000000")), "{status}");
    }
    assert!(fields.contains(&("NoNewPrivs", "1")) && fields.contains(&("Seccomp", "2")), "{status}");
    for (command, what) in [
        ("touch /x", "a file in the root"),
        ("touch /usr/bin/x", "a file in /usr"),
        ("touch /run/sshbox/x", "a file in the host's folder"),
        ("echo x > /sbin/sshbox-init", "init itself"),
        ("ls /proc/1/fd", "init's descriptors"),
        ("cat /proc/1/environ", "init's memory"),
        ("echo x > /proc/1/fd/1", "the container's log"),
        ("mount -t tmpfs x /mnt", "a mount"),
        ("unshare -m true", "a namespace"),
        ("unshare -U true", "a user namespace"),
        ("chroot / true", "a root of its own"),
        ("dmesg", "the kernel's log"),
        ("echo 1 > /proc/sys/kernel/hostname", "the host name"),
        ("cat /run/docker.sock /var/run/docker.sock", "the engine"),
        ("test -e /run/sshbox/init.sock", "its own door from outside"),
    ] {
        assert_ne!(user.ssh().status(&format!("{command} 2>/dev/null")), 0, "{what}");
    }
    // The box has no set-uid file.
    assert_eq!(user.says("find / -xdev -type f -perm /6000 2>/dev/null | wc -l"), "0\n");
}

#[test]
fn only_the_home_and_the_tmpfs_mounts_are_writable() {
    let _world = world();
    let user = alice();
    let writable = user.says("for d in / /etc /usr /var /opt /srv /home /root /tmp /var/tmp /run /dev/shm ~; do [ -w $d ] && echo $d; done; true");
    assert_eq!(writable, "/tmp\n/var/tmp\n/dev/shm\n/home/user\n");
    assert_eq!(user.inspect("{{.HostConfig.LogConfig.Type}} {{.HostConfig.RestartPolicy.Name}}"), "none no");
}

#[test]
fn shm_and_tmp_have_the_configured_sizes_and_half_of_memory_by_default() {
    const SIZES: &str = "df --block-size 1 --output=size /dev/shm /tmp /var/tmp | tail -n 3 | tr -d ' '";
    let _world = private_world();
    assert_eq!(alice().says(SIZES), "4294967296\n1073741824\n1073741824\n");
    let _config = Changed::config("shm = \"50%\"\ntmp = \"1GiB\"", "shm = \"64MiB\"\ntmp = \"1%\"");
    let user = User::new("loader");
    assert_eq!(user.says(SIZES), "67108864\n85901312\n85901312\n");
    user.says("head -c 60M /dev/zero > /dev/shm/full");
    assert_ne!(user.ssh().status("head -c 100M /dev/zero > /dev/shm/full 2>/dev/null"), 0);
    // The contents count as memory, and only once.
    assert!(user.says("@status").contains("memory     6"), "{}", user.says("@status"));
    run("docker", &["rm", "-f", &user.container()]);
}

#[test]
fn the_host_name_is_the_configured_one() {
    let _world = private_world();
    assert_eq!(alice().says("hostname; grep -c '[[:space:]]box$' /etc/hosts"), "box\n1\n");
    let _config = Changed::config("hostname = \"box\"", "hostname = \"{user}.boxes\"");
    let user = User::new("named");
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    terminal.shows("named@named:");
    assert_eq!(user.says("hostname"), "named.boxes\n");
    run("docker", &["rm", "-f", &user.container()]);
}

#[test]
fn a_box_at_its_process_limit_reports_it_and_recovers() {
    let _world = world();
    let user = User::new("bomber");
    let mut session =
        user.ssh().begin(&["echo began; for n in $(seq 600); do sleep 300 & done 2>/dev/null; sleep 300"]);
    session.line();
    crate::harness::until("the box is at its process limit", || user.ssh().status("true") != 0);
    let output = user.ssh().run("true");
    let error = text(&output.stderr);
    assert!(
        error.contains("as many tasks as it may")
            || error.contains("fork: retry")
            || error.contains("Resource temporarily"),
        "{output:?}"
    );
    // The end of the session frees all processes.
    session.kill();
    crate::harness::until("the box accepts sessions again", || user.ssh().status("true") == 0);
    // Other boxes are not affected.
    alice().says("true");
}

#[test]
fn f6_a_memory_bomb_is_killed_and_the_box_survives() {
    let _world = private_world();
    let _config = Changed::config("memory = \"8GiB\"", "memory = \"128MiB\"");
    let user = User::new("hungry");
    assert_eq!(user.says("echo in"), "in\n");
    let began = user.inspect("{{.State.StartedAt}}");
    let status = user.ssh().status("python3 -c 'x = bytearray(512 << 20)' 2>/dev/null");
    assert_ne!(status, 0);
    assert_eq!(user.says("echo in"), "in\n");
    assert_eq!(user.inspect("{{.State.StartedAt}}"), began, "the box was restarted");
    run("docker", &["rm", "-f", &user.container()]);
}
