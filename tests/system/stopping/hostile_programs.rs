//! Programs in the box that try to end it, to keep it running, or to delay its end.

use super::{STOPPED, exists, wait_for_start};
use crate::harness::{User, journal, processes, reap, run, text, until, world, world_alone};
use session::presence::{RUN, UserRuntimeDir};
use session::wire::Socket;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Sends PID 1 each signal that it handles, with the host's pid as the forged sender: with `rt_sigqueueinfo`,
/// `rt_tgsigqueueinfo`, and a file descriptor that signals its owner (`F_SETSIG`). At last it does so while the
/// kernel has no memory left to record the sender of a signal.
const FORGE: &str = "import ctypes, fcntl, os, platform, resource, signal, struct
libc = ctypes.CDLL(None, use_errno=True)
queue, group = {'x86_64': (129, 297), 'aarch64': (138, 240)}[platform.machine()]
def info(number, code):
    return ctypes.create_string_buffer(struct.pack('iiiiii', number, 0, code, 0, 0, 0), 128)
def forge():
    for number in (signal.SIGTERM, signal.SIGUSR1):
        for code in (-1, -2, -3, -4, -5, -6, 0, 1, 0x80):
            libc.syscall(queue, 1, number, info(number, code))
            libc.syscall(group, 1, 1, number, info(number, code))
forge()
reader, writer = os.pipe()
fcntl.fcntl(reader, fcntl.F_SETOWN, 1)
fcntl.fcntl(reader, 10, signal.SIGTERM)
fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
os.write(writer, b'x')
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
queued = 0
while libc.syscall(queue, os.getpid(), signal.SIGRTMIN, info(signal.SIGRTMIN, -1)) == 0:
    queued += 1
print('queued', queued > 0)
forge()
";

#[test]
fn a_signal_with_a_forged_sender_does_not_end_a_box() {
    let _world = world();
    let user = User::new("signal-forger");
    user.says("true");
    let started = user.inspect("{{.State.StartedAt}}");
    let output = user.ssh().input(FORGE.as_bytes()).run("python3 -");
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "queued True\n".to_owned()),
        "{output:?}"
    );
    thread::sleep(Duration::from_secs(1));
    assert_eq!(user.says("echo in"), "in\n");
    assert_eq!(user.inspect("{{.State.StartedAt}}"), started);
    assert!(!journal().contains("box ended user=\"signal-forger\""));
}

/// CPU time of a process in ticks of 10 ms.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<u64> =
        stat.rsplit_once(") ").unwrap().1.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
    fields[11] + fields[12]
}

#[test]
fn an_init_whose_host_disconnects_early_stays_idle_and_can_be_woken_again() {
    let _world = world();
    let user = User::new("hung-up-on");
    user.says("true");
    let init: i32 = user.inspect("{{.State.Pid}}").parse().unwrap();
    let login = ::identity::Login::parse(user.name.as_bytes()).unwrap();
    let boot = UserRuntimeDir::of(Path::new(RUN), &login).boot_socket();
    let listener = Socket::listen(&boot).unwrap();
    fs::set_permissions(&boot, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    run("docker", &["kill", "--signal", "USR1", &user.container()]);
    drop(listener.accept().unwrap());
    drop(listener);
    let before = ticks(init);
    thread::sleep(Duration::from_secs(2));
    let spent = ticks(init) - before;
    assert!(spent < 10, "{spent} of 200 ticks");
    // Its listening socket still works. If the socket is removed, the init gets a new one.
    assert_eq!(user.says("echo in"), "in\n");
    fs::remove_file(UserRuntimeDir::of(Path::new(RUN), &login).init_socket()).unwrap();
    assert_eq!(user.says("echo again"), "again\n");
    assert_eq!(user.inspect("{{.State.Pid}}"), init.to_string());
}

/// Connects to `boot.sock` in place of the init and repeatedly sends sockets whose close blocks (`SO_LINGER` with
/// unsent data). It keeps running after the init has stopped accepting sessions.
const FAKE_INIT: &str = "import array, os, signal, socket, struct, time
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGHUP, lambda *_: None)
silent = socket.socket()
silent.bind(('127.0.0.1', 0))
silent.listen(64)
def trap():
    full = socket.socket()
    full.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 600))
    full.connect(silent.getsockname())
    full.setblocking(False)
    try:
        while True:
            full.send(b'x' * 65536)
    except BlockingIOError:
        pass
    return full
open('began', 'w').close()
posed = 0
while True:
    try:
        host = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        host.connect('/run/sshbox/boot.sock')
    except OSError:
        time.sleep(0.005)
        continue
    for text in (b'ready=1\\0', b'hello=1\\0'):
        full = trap()
        try:
            host.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [full.fileno()]))])
        except OSError:
            pass
        full.close()
    posed += 1
    open('posed', 'w').write(str(posed))
    time.sleep(0.5)
";

#[test]
fn a_fake_init_whose_file_descriptors_block_on_close_delays_only_its_own_login() {
    let _world = world_alone();
    let user = User::new("poser");
    let output = user.ssh().input(FAKE_INIT.as_bytes()).run("cat > pose.py");
    assert!(output.status.success(), "{output:?}");
    user.says("setsid python3 pose.py </dev/null >/dev/null 2>&1 &");
    wait_for_start(&user);
    // The init stops accepting sessions; the program keeps running.
    run("docker", &["kill", "--signal", "TERM", &user.container()]);
    let mut login = user.ssh().begin(&["echo in"]);
    until("the program has sent a socket", || exists(&user, "posed"));
    // The login fails after the timeout of the hand-over, with the message for it.
    let (status, out, err, took) = {
        login.closes_input();
        login.output_within(Duration::from_secs(60))
    };
    assert_eq!((status, out.as_str()), (Some(75), ""), "{err} after {took:?}");
    assert!(err.contains("your box runs but does not answer"), "{err}");
    // No lock is held, and no process is left on the host.
    let wakes = || {
        let named = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sshbox-wake\n")
        };
        processes().iter().filter(|pid| named(pid)).count()
    };
    until("sshbox-wake has ended", || wakes() == 0);
    let login = ::identity::Login::parse(user.name.as_bytes()).unwrap();
    assert!(UserRuntimeDir::of(Path::new(RUN), &login).try_lock_state().unwrap().is_some());
    // The reaper decides on the box, and stopping it works: by SIGKILL, since the program ignores SIGTERM.
    let output = reap(&["--dry-run"]);
    assert!(text(&output.stdout).contains("poser: kept: idle for less than"), "{output:?}");
    assert_eq!(user.says("@stop"), STOPPED);
    assert_eq!(user.says("echo in"), "in\n");
}
