//! What a box gets from its host besides Docker: IPv6 on loopback, and the files of lxcfs.

use crate::harness::{Changed, Running, Undo, User, alice, journal, private_world, run, until, world_alone};
use std::fs;
use std::process::{Child, Command, Stdio};

/// Starts an asyncio server on `localhost`, as uvicorn does, and connects to each of its addresses.
const LOCALHOST: &str = r#"python3 - <<'END'
import asyncio

async def serve(reader, writer):
    writer.write(await reader.readline())
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "localhost", 8000)
    for address in "::1", "127.0.0.1", "localhost":
        reader, writer = await asyncio.open_connection(address, 8000)
        writer.write(address.encode() + b" answers\n")
        print((await reader.readline()).decode(), end="")
        writer.close()
    server.close()

asyncio.run(main())
END"#;

const BOTH: &str = "::1 answers\n127.0.0.1 answers\nlocalhost answers\n";

/// Prints the interfaces that have an IPv6 address.
const INTERFACES: &str = "awk '{print $6}' /proc/net/if_inet6 | sort -u";

#[test]
fn localhost_has_both_addresses_in_every_box() {
    let _world = private_world();
    assert_eq!(alice().says(LOCALHOST), BOTH);
    // No other interface has IPv6: boxes could reach each other by it.
    assert_eq!(alice().says(INTERFACES), "lo\n");
    // A custom network with IPv6.
    run("docker", &["network", "create", "--ipv6", "--subnet", "fd00:b0c5::/64", "six"]);
    let _network = Undo(|| drop(run("docker", &["network", "rm", "six"])));
    let _config = Changed::config("network = \"sshbox0\"", "network = \"six\"");
    let user = User::new("sixer");
    assert_eq!(user.says(LOCALHOST), BOTH);
    assert_eq!(user.says(INTERFACES), "eth0\nlo\n");
    run("docker", &["rm", "-f", &user.container()]);
}

#[test]
fn boxes_start_on_a_host_without_ipv6() {
    let _world = world_alone();
    let user = User::new("fourer");
    let sysctls = || user.inspect("{{.HostConfig.Sysctls}}");
    {
        // With ipv6.disable=1 the kernel has no such sysctl, and setting it fails.
        let without = "/proc/sys/net/ipv6";
        run("mount", &["-t", "tmpfs", "none", without]);
        let _back = Undo(|| drop(run("umount", &[without])));
        assert_eq!(user.says("cat /proc/sys/net/ipv6/conf/lo/disable_ipv6"), "1\n");
        assert_eq!(sysctls(), "map[]");
        assert_eq!(user.says("@stop"), "your box is stopped; the next login starts it\n");
    }
    // The kernel has the sysctl again: the next start recreates the box.
    assert_eq!(user.says(LOCALHOST), BOTH);
    assert_eq!(sysctls(), "map[net.ipv6.conf.lo.disable_ipv6:0]");
}

/// The lxcfs of this world, started and ended as its service does.
struct Lxcfs(Child);

impl Lxcfs {
    fn start(options: &[&str]) -> Self {
        let mut command = Command::new("lxcfs");
        command.arg("--foreground").args(options).arg("/var/lib/lxcfs");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("lxcfs replies", || fs::read("/var/lib/lxcfs/proc/uptime").is_ok());
        Self(child)
    }

    fn dies(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        crate::harness::signal(i32::try_from(self.0.id()).unwrap(), signal);
    }
}

impl Drop for Lxcfs {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = Command::new("umount").args(["--lazy", "/var/lib/lxcfs"]).status();
        let _ = fs::remove_file("/run/lxcfs.pid");
    }
}

#[test]
fn with_lxcfs_a_box_shows_its_own_memory_and_processors() {
    let _world = world_alone();
    let _config = Changed::config("cpus = 2.0\nmemory = \"8GiB\"", "cpus = 1.0\nmemory = \"512MiB\"");
    let _lxcfs = Lxcfs::start(&["--enable-cfs"]);
    let user = User::new("framed");
    assert_eq!(user.says("free --mebi | awk '/^Mem:/ {print $2}'"), "512\n");
    assert_eq!(user.says("grep -c ^processor /proc/cpuinfo; getconf _NPROCESSORS_ONLN"), "1\n1\n");
    assert_eq!(user.says("nproc"), "1\n");
    assert_eq!(user.says("python3 -c 'import os; print(os.cpu_count())'"), "1\n");
    assert_eq!(user.says("cut -d. -f1 /proc/uptime | awk '{print $1 < 600}'"), "1\n");
    // The files are read-only, and other files of /proc are unchanged.
    assert_ne!(user.ssh().status("echo 1 > /proc/uptime 2>/dev/null"), 0);
    run("docker", &["rm", "-f", &user.container()]);
}

#[test]
fn a_box_survives_a_restart_of_lxcfs_and_the_next_start_repairs_its_mounts() {
    let _world = world_alone();
    let mut lxcfs = Lxcfs::start(&[]);
    let user = User::new("reframed");
    let free = || user.ssh().status("free >/dev/null 2>&1");
    assert_eq!(free(), 0);
    let mut session = user.ssh().begin(&["echo in; read line; echo $line"]);
    assert_eq!(session.line(), "in");
    lxcfs.dies();
    drop(lxcfs);
    let lxcfs = Lxcfs::start(&[]);
    // The bind mounts are dead, but everything that sshbox does still works.
    assert_ne!(free(), 0);
    session.write(b"still here\n");
    assert_eq!(session.line(), "still here");
    drop(session);
    assert_eq!(user.says("echo in"), "in\n");
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    terminal.types("exit 7\r");
    assert_eq!(terminal.ends(), 7);
    assert!(user.says("@status").contains("running since"));
    // The next start repairs the mounts.
    assert_eq!(user.says("@restart"), "your box was restarted\n");
    assert_eq!(free(), 0);

    // An lxcfs that hangs, has died or is not installed prevents no login.
    lxcfs.signal(nix::sys::signal::Signal::SIGSTOP);
    assert_eq!(user.says("@restart"), "your box was restarted\n");
    assert_eq!(free(), 0, "it shows the host");
    lxcfs.signal(nix::sys::signal::Signal::SIGCONT);
    let mut lxcfs = lxcfs;
    lxcfs.dies();
    assert_eq!(user.says("@restart"), "your box was restarted\n");
    assert_eq!(free(), 0, "it shows the host");
    drop(lxcfs);
    assert_eq!(user.says("@restart"), "your box was restarted\n");
    assert_eq!(free(), 0);
}

/// Starts a wake service that sees an lxcfs which dockerd does not see.
const APART: &str = "lxcfs --foreground /var/lib/lxcfs >/dev/null 2>&1 &
    until [ -s /var/lib/lxcfs/proc/uptime ]; do sleep 0.1; done
    exec systemd-socket-activate --seqpacket --accept --inetd \
        --listen /run/sshbox/wake.sock /usr/lib/sshbox/sshbox-wake 2>/dev/null";

#[test]
fn an_engine_that_does_not_see_lxcfs_prevents_no_login() {
    const WAKE_SOCKET: &str = "/run/sshbox/wake.sock";
    let _world = world_alone();
    let user = User::new("unframed");
    fs::rename(WAKE_SOCKET, "/run/sshbox/wake.sock.aside").unwrap();
    let _back = Undo(|| fs::rename("/run/sshbox/wake.sock.aside", WAKE_SOCKET).unwrap());
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "bash", "-c", APART]);
    let _wake = Running::of(unshare.stdout(Stdio::piped()).spawn().unwrap());
    let _lxcfs = Undo(|| drop(run("sh", &["-c", "kill $(cat /run/lxcfs.pid); rm -f /run/lxcfs.pid"])));
    until("the wake service listens", || fs::exists(WAKE_SOCKET).unwrap());
    run("sh", &["-c", &format!("chgrp sshbox {WAKE_SOCKET} && chmod 0660 {WAKE_SOCKET}")]);
    assert_eq!(user.says("echo in"), "in\n");
    assert!(!user.inspect("{{.HostConfig.Mounts}}").contains("lxcfs"));
    assert!(journal().contains("the container engine cannot mount the files of lxcfs"));
}
