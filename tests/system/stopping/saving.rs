//! Programs that save their work when a box stops, however they were started.

use super::{STOPPED, assert_saves_when_stopped, exists, user, wait_for_start};
use crate::harness::{Running, STATE, Terminal, User, private_world, reap, run, text, world, world_alone};
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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
