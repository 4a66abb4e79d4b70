//! Special commands of one user do not affect the boxes of others.

use crate::harness::{Changed, User, alice, run, world, world_alone};

#[test]
fn a8_users_cannot_stop_or_inspect_boxes_of_others() {
    let _world = world();
    let (alice, other) = (alice(), User::new("nosy"));
    other.says("true");
    // Tests of the reaper may have stopped the box.
    alice.says("true");
    let uid = other.uid().to_string();
    for verb in ["wake", "stop", "restart", "status", "why", "keys"] {
        let ask = format!(
            "import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); \
             s.connect('/run/sshbox/wake.sock'); s.send(b'{verb}={}\\0'); print(s.recv(9999))",
            alice.name
        );
        let answer = run(
            "setpriv",
            &["--reuid", &uid, "--regid", "1879048192", "--clear-groups", "/usr/bin/python3", "-c", &ask],
        );
        assert!(answer.contains("failed=this box is not yours") && answer.contains("status=77"), "{answer}");
    }
    assert_eq!(alice.inspect("{{.State.Status}}"), "running");
}

#[test]
fn a8_many_special_commands_of_one_user_do_not_block_others() {
    let _world = world_alone();
    let _config = Changed::config("\nconnections = 20\n", "\nconnections = 50\n");
    let (flooder, other) = (User::new("flooder"), User::new("unblocked"));
    flooder.says("true");
    let words: Vec<_> = (0..40).map(|_| flooder.ssh().begin(&["@status"])).collect();
    let waking = || {
        let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        crate::harness::processes().iter().filter(|pid| name(pid) == "sshbox-wake\n").count()
    };
    let most = std::thread::spawn(move || {
        (0..100)
            .map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                waking()
            })
            .max()
    });
    assert_eq!(other.says("echo in"), "in\n");
    for word in words {
        let (status, out, error) = word.output();
        assert_eq!((status, &*error), (0, ""), "{out}");
        assert!(out.starts_with(&format!("box        {}\n", flooder.container())), "{out}");
    }
    // One process for each user, and one that the next one is just replacing.
    let most = most.join().unwrap().unwrap();
    assert!((1..=4).contains(&most), "{most} at once");
}
