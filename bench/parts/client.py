"""The client side: stock ssh, sftp and rsync, open connections, idle sessions, a terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import tempfile
import termios
import time
from pathlib import Path

CONFIG = Path(__file__).resolve().parent.parent / "ssh_config"
# sshd allows 32 sessions per connection (MaxSessions).
SESSIONS_PER_CONNECTION = 25
# Printed once a session is up; differs from the echo of a key.
READY = b"ready\n"


class Failed(Exception):
    """A subject did not work, so that there is nothing to compare."""


def ssh_to(subject, *command, options=()):
    return ["ssh", "-F", str(CONFIG), *options, subject, *command]


def run(arguments, **streams):
    """Run a program to its end. Return the seconds that it took."""
    with tempfile.TemporaryFile() as errors:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams}
        began = time.perf_counter()
        # No timeout: wait() with a timeout polls, which would round the measured time.
        status = subprocess.Popen(arguments, stderr=errors, **streams).wait()
        took = time.perf_counter() - began
        if status != 0:
            raise Failed(f"{' '.join(arguments)}: status {status}: {text_of(errors)}")
    return took


def ssh(subject, *command, options=(), **streams):
    return run(ssh_to(subject, *command, options=options), **streams)


def output_of(subject, *command):
    with tempfile.TemporaryFile() as output:
        ssh(subject, *command, stdout=output)
        return text_of(output)


def text_of(file):
    file.seek(0)
    return file.read().decode(errors="replace").strip()


def first_byte(subject, *command, options=()):
    """Return the seconds until the first byte of a command's output arrives."""
    began = time.perf_counter()
    program = subprocess.Popen(
        ssh_to(subject, *command, options=options),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    byte = os.read(program.stdout.fileno(), 1)
    took = time.perf_counter() - began
    program.stdout.read()
    program.stdout.close()
    if program.wait() != 0 or not byte:
        raise Failed(f"{subject}: no output of {' '.join(command)}")
    return took


class Master:
    """An open connection to a subject that sessions can share."""

    def __init__(self, subject, folder, name="master", options=()):
        self.subject = subject
        self.path = ["-o", f"ControlPath={folder}/{name}-{subject}"]
        persistent = ["-o", "ControlMaster=yes", "-o", "ControlPersist=yes", "-N", "-f"]
        ssh(subject, options=[*self.path, *persistent, *options])

    def close(self):
        # This fails if the connection was lost and commands opened connections of their own.
        ssh(self.subject, options=[*self.path, "-O", "exit"])


class Crowd:
    """Open, idle sessions, each running `cat`. Each has its own connection; with `folder`, sessions
    share connections."""

    def __init__(self, subject, count, folder=None, options=()):
        self.masters = []
        self.programs = []
        reader, writer = os.pipe()
        for number in range(count):
            if folder is not None and number % SESSIONS_PER_CONNECTION == 0:
                self.masters.append(Master(subject, folder, f"crowd{number}"))
            path = self.masters[-1].path if self.masters else []
            command = ssh_to(subject, "echo ready; exec cat", options=[*path, *options])
            # Each session has its own standard input; all share one pipe for output.
            self.programs.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writer))
        os.close(writer)
        received = b""
        while received.replace(b"\r", b"").count(READY) < count:
            data = os.read(reader, 1 << 16)
            if not data:
                raise Failed(f"{subject}: not all of {count} sessions started")
            received += data
        self.output = reader

    def close(self):
        for program in self.programs:
            # Ctrl-D ends the input of sessions with a terminal.
            program.stdin.write(b"\x04")
            program.stdin.close()
        for program in self.programs:
            program.wait()
        os.close(self.output)
        for master in self.masters:
            master.close()


class Terminal:
    """A user at a terminal. As in shells and editors, the program itself echoes each key; the
    terminals on the way are in raw mode without echo."""

    def __init__(self, subject):
        self.subject = subject
        self.terminal, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = ssh_to(subject, "stty raw -echo; echo ready; exec cat", options=["-tt"])
        self.program = subprocess.Popen(command, stdin=slave, stdout=slave)
        os.close(slave)
        received = b""
        while not received.endswith(READY):
            received += os.read(self.terminal, 1024)
        # `cat` starts a moment later.
        time.sleep(0.5)

    def key(self):
        """Return the seconds from a keystroke to its echo."""
        began = time.perf_counter()
        os.write(self.terminal, b"k")
        echo = os.read(self.terminal, 1024)
        took = time.perf_counter() - began
        if echo != b"k":
            raise Failed(f"{self.subject}: the echo of a key is {echo!r}")
        return took

    def close(self):
        # Kill the client: in raw mode, no key ends the session.
        self.program.terminate()
        self.program.wait()
        os.close(self.terminal)
