//! The end of a box: which programs can save their work, and that a program in the box can neither cause nor prevent
//! the end. Each program here takes 2 s to handle SIGTERM and reports its progress on its output.

use crate::harness::{
    Running, STATE, Terminal, User, journal, private_world, processes, reap, run, text, until, world,
    world_alone,
};
use session::presence::{RUN, UserRuntimeDir};
use session::wire::Socket;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A Python program that saves on SIGTERM. SIGHUP, or a write to a closed terminal or pipe, would end it before its
/// last line.
const SAVE: &str = "import signal, sys, time
def save(*_):
    print('saving', flush=True)
    time.sleep(2)
    print('saved', flush=True)
    open('saved', 'w').close()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
open('began', 'w').close()
while True:
    signal.pause()
";

const STOPPED: &str = "your box is stopped; the next login starts it\n";

/// A user with this program in the home.
fn user(name: &str) -> User {
    let user = User::new(name);
    let output = user.ssh().input(SAVE.as_bytes()).run("cat > save.py");
    assert!(output.status.success(), "{output:?}");
    user
}

fn exists(user: &User, file: &str) -> bool {
    fs::exists(format!("{}/{file}", user.home())).unwrap()
}

fn wait_for_start(user: &User) {
    until("the program runs", || exists(user, "began"));
}

/// Stops the box while the program runs, and checks that the program saves and the box ends by itself within the grace
/// period.
fn assert_saves_when_stopped(user: &User) {
    wait_for_start(user);
    assert_eq!(user.says("@stop"), STOPPED);
    assert!(exists(user, "saved"), "{}: the program was killed before it had saved", user.name);
    assert_eq!(user.inspect("{{.State.ExitCode}}"), "0", "the engine had to kill the box");
}

/// Starts a login shell at a terminal and types this text.
fn type_into_shell(user: &User, text: &str) -> Terminal {
    let mut terminal = user.ssh().terminal(24, 80, &[]);
    terminal.types(text);
    terminal
}

/// Starts a session through the sshd in the box.
fn inner_session(user: &User, terminal: &[&str], command: &str) -> Running {
    let options = format!("-F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -i {STATE}/key");
    let options = format!("{options} -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR");
    let outer = format!("ProxyCommand=ssh {options} -T -p 2200 {}@127.0.0.1 @sshd", user.name);
    let mut ssh = Command::new("ssh");
    ssh.args(options.split(' ')).args(["-o", &outer]).args(terminal).args(["user@box", command]);
    let ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::of(ssh.spawn().unwrap())
}

#[test]
fn a_program_under_setsid_saves() {
    let _world = world();
    let user = user("stop-setsid");
    user.says("setsid python3 save.py </dev/null >/dev/null 2>&1 &");
    assert_saves_when_stopped(&user);
}

#[test]
fn a_program_under_nohup_saves() {
    let _world = world();
    let user = user("stop-nohup");
    user.says("nohup python3 save.py </dev/null >/dev/null 2>&1 &");
    assert_saves_when_stopped(&user);
}

#[test]
fn a_program_in_tmux_saves() {
    let _world = world();
    for (name, start) in [
        ("stop-tmux", "tmux new-session -d 'exec python3 save.py'"),
        ("stop-tmux-shell", "tmux new-session -d && tmux send-keys 'python3 save.py' Enter"),
        ("stop-screen", "screen -d -m python3 save.py"),
    ] {
        let user = user(name);
        user.says(start);
        assert_saves_when_stopped(&user);
    }
}

#[test]
fn a_program_in_an_attached_tmux_saves() {
    let _world = world();
    let user = user("stop-tmux-seen");
    let mut terminal = type_into_shell(&user, "tmux\n");
    terminal.types("python3 save.py\n");
    assert_saves_when_stopped(&user);
    assert_eq!(terminal.ends(), 137);
}

#[test]
fn a_program_of_a_shell_at_a_terminal_saves() {
    let _world = world();
    for (name, line) in [
        ("stop-front", "python3 save.py\n"),
        ("stop-back", "python3 save.py &\n"),
        ("stop-nested", "bash\npython3 save.py\n"),
        ("stop-tee", "python3 save.py | tee log\n"),
        ("stop-halted", "python3 save.py &\nsleep 1; kill -STOP %1\n"),
    ] {
        let user = user(name);
        let mut terminal = type_into_shell(&user, line);
        if name == "stop-halted" {
            wait_for_start(&user);
            thread::sleep(Duration::from_secs(2));
        }
        assert_saves_when_stopped(&user);
        assert_eq!(terminal.ends(), 137);
        assert!(name != "stop-front" || terminal.seen().contains("saved"), "{}", terminal.seen());
    }
}

#[test]
fn a_program_of_a_script_saves_with_a_terminal_and_without() {
    let _world = world();
    let user = user("stop-script");
    for (file, terminal) in [("one", "-tt"), ("two", "-T")] {
        for old in ["began", "saved"] {
            let _ = fs::remove_file(format!("{}/{old}", user.home()));
        }
        let script = format!("python3 save.py; echo next > {file}; sleep 600");
        let mut session = user.ssh().args(&[terminal]).begin(&[&script]);
        assert_saves_when_stopped(&user);
        assert_eq!(session.line().trim_end(), "saving");
        assert_eq!(session.line().trim_end(), "saved");
        // Without a terminal the script ends at once and does not run its next step.
        assert!(terminal == "-tt" || !exists(&user, file));
    }
}

#[test]
fn a_script_with_a_trap_saves_although_its_program_catches_no_signal() {
    let _world = world();
    let user = user("stop-trap");
    // A script, run directly as a job is. Its output goes through a program that does not handle SIGTERM.
    let script = "#!/bin/bash
save() { echo saving; sleep 3; echo saved; touch saved; exit; }
trap save TERM
touch began
sleep 600
";
    let output = user.ssh().input(script.as_bytes()).run("cat > job && chmod +x job");
    assert!(output.status.success(), "{output:?}");
    user.says("setsid sh -c './job | tee log' </dev/null >/dev/null 2>&1 &");
    assert_saves_when_stopped(&user);
}

#[test]
fn a_program_whose_thread_waits_for_sigterm_saves() {
    let _world = world();
    let user = User::new("stop-sigwait");
    let program = "import signal, threading, time
def wait():
    signal.sigwait([signal.SIGTERM])
    print('saving', flush=True)
    time.sleep(2)
    print('saved', flush=True)
    open('saved', 'w').close()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
thread = threading.Thread(target=wait)
thread.start()
open('began', 'w').close()
thread.join()
";
    let output = user.ssh().input(program.as_bytes()).run("cat > wait.py");
    assert!(output.status.success(), "{output:?}");
    user.says("setsid sh -c 'python3 wait.py | tee log' </dev/null >/dev/null 2>&1 &");
    assert_saves_when_stopped(&user);
}

#[test]
fn the_longest_grace_runs_out_before_a_program_that_ignores_sigterm_is_killed() {
    let _world = private_world();
    let _config = crate::harness::Changed::config("grace = \"10s\"", "grace = \"30s\"");
    let user = User::new("stop-longest");
    user.says("setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' </dev/null >/dev/null 2>&1 &");
    assert_eq!(user.says("@stop"), STOPPED);
    assert_eq!(user.inspect("{{.State.ExitCode}}"), "137");
}

#[test]
fn a_jupyter_kernel_whose_server_ends_first_saves() {
    let _world = world();
    let user = user("stop-kernel");
    // jupyter_client starts a kernel like this: in a session of its own, with the server reading its output.
    let server = "import os, signal, subprocess, sys
kernel = subprocess.Popen([sys.executable, 'save.py'], start_new_session=True)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    signal.pause()
";
    let output = user.ssh().input(server.as_bytes()).run("cat > server.py");
    assert!(output.status.success(), "{output:?}");
    let mut terminal = type_into_shell(&user, "python3 server.py\n");
    assert_saves_when_stopped(&user);
    assert_eq!(terminal.ends(), 137);
}

#[test]
fn a_program_started_through_the_sshd_in_the_box_saves() {
    let _world = world();
    for (name, terminal) in [("stop-inner-tty", "-tt"), ("stop-inner", "-T")] {
        let user = user(name);
        let mut session = inner_session(&user, &[terminal], "python3 save.py; sleep 600");
        assert_saves_when_stopped(&user);
        assert_eq!(session.line().trim_end(), "saving", "{name}");
        assert_eq!(session.line().trim_end(), "saved", "{name}");
    }
}

#[test]
fn a_program_that_a_saving_program_starts_is_left_alone() {
    let _world = world();
    let user = user("stop-helper");
    let script = "trap 'sleep 2; cp save.py saved; exit' TERM; touch began; while :; do sleep 0.1; done";
    user.says(&format!("setsid sh -c {script:?} </dev/null >/dev/null 2>&1 &"));
    assert_saves_when_stopped(&user);
}

#[test]
fn an_idle_shell_is_hung_up_at_once_and_saves_its_history() {
    let _world = world();
    let user = user("stop-idle");
    let mut terminal = type_into_shell(&user, "PS1='$ '; echo rem''ember\n");
    terminal.shows("remember");
    // Much earlier than the end of the grace period.
    let stopped = Instant::now();
    assert_eq!(user.says("@stop"), STOPPED);
    assert!(stopped.elapsed() < Duration::from_secs(7), "{:?}", stopped.elapsed());
    assert_eq!(user.inspect("{{.State.ExitCode}}"), "0");
    assert_eq!(terminal.ends(), 137);
    let history = fs::read_to_string(format!("{}/.bash_history", user.home())).unwrap();
    assert!(history.contains("echo rem''ember"), "{history}");
}

#[test]
fn a_program_saves_when_the_reaper_or_docker_stops_the_box() {
    let _world = world_alone();
    let user = user("stop-others");
    for by_reaper in [true, false] {
        for old in ["began", "saved"] {
            let _ = fs::remove_file(format!("{}/{old}", user.home()));
        }
        user.says("setsid python3 save.py </dev/null >/dev/null 2>&1 &");
        wait_for_start(&user);
        if by_reaper {
            let _config = crate::harness::Changed::config("idle_timeout = \"30m\"", "idle_timeout = \"0s\"");
            let output = reap(&[]);
            assert!(text(&output.stdout).contains("stop-others: stopped"), "{output:?}");
        } else {
            run("docker", &["stop", &user.container()]);
        }
        assert!(exists(&user, "saved"), "by the reaper: {by_reaper}");
    }
}

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
