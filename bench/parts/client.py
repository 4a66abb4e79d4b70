"""The client's side: stock ssh, sftp and rsync, open connections, and a person at a terminal."""

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
# Of sessions over one connection sshd allows 64.
SESSIONS_PER_CONNECTION = 50
# Tells that a session is up, and cannot be mistaken for the echo of a key.
READY = b"ready\n"


class Failed(Exception):
    """Something did not work, so there is nothing to compare."""


def ssh_to(subject, *command, options=()):
    return ["ssh", "-F", str(CONFIG), *options, subject, *command]


def run(arguments, **streams):
    """One program from beginning to end; the seconds that it took."""
    with tempfile.TemporaryFile() as errors:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams}
        began = time.perf_counter()
        # No timeout here: waiting with one polls, and would round what is measured.
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
    """Seconds until the first byte of what a command prints is here."""
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
    """An open connection to a subject, for sessions over it."""

    def __init__(self, subject, folder, name="master"):
        self.subject = subject
        self.path = ["-o", f"ControlPath={folder}/{name}-{subject}"]
        options = ["-o", "ControlMaster=yes", "-o", "ControlPersist=yes", "-N", "-f"]
        ssh(subject, options=[*self.path, *options])

    def close(self):
        # Fails if the connection was lost, and commands went their own way.
        ssh(self.subject, options=[*self.path, "-O", "exit"])


class Crowd:
    """Sessions that are open and idle: `cat` in each. Over connections of their own, or of
    few, where `folder` says."""

    def __init__(self, subject, count, folder=None, options=()):
        self.masters = []
        self.programs = []
        reader, writer = os.pipe()
        for number in range(count):
            if folder is not None and number % SESSIONS_PER_CONNECTION == 0:
                self.masters.append(Master(subject, folder, f"crowd{number}"))
            path = self.masters[-1].path if self.masters else []
            command = ssh_to(subject, "echo ready; exec cat", options=[*path, *options])
            # The end of each is its own, that of all output is one.
            self.programs.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writer))
        os.close(writer)
        came = b""
        while came.replace(b"\r", b"").count(READY) < count:
            some = os.read(reader, 1 << 16)
            if not some:
                raise Failed(f"{subject}: not all of {count} sessions came up")
            came += some
        self.output = reader

    def close(self):
        for program in self.programs:
            # The end of input by key where a terminal hides the other.
            program.stdin.write(b"\x04")
            program.stdin.close()
        for program in self.programs:
            program.wait()
        os.close(self.output)
        for master in self.masters:
            master.close()


class Terminal:
    """Somebody at a terminal, in a program that echoes each key itself, as shells and editors
    do: the terminals on the way do not, and take each key as it comes."""

    def __init__(self, subject):
        self.subject = subject
        self.terminal, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        command = ssh_to(subject, "stty raw -echo; echo ready; exec cat", options=["-tt"])
        self.program = subprocess.Popen(command, stdin=slave, stdout=slave)
        os.close(slave)
        came = b""
        while not came.endswith(READY):
            came += os.read(self.terminal, 1024)
        # `cat` begins a moment later.
        time.sleep(0.5)

    def key(self):
        """Seconds from the key to its echo."""
        began = time.perf_counter()
        os.write(self.terminal, b"k")
        echo = os.read(self.terminal, 1024)
        took = time.perf_counter() - began
        if echo != b"k":
            raise Failed(f"{self.subject}: the echo of a key is {echo!r}")
        return took

    def close(self):
        # Gone without a word: in this mode no key means the end.
        self.program.terminate()
        self.program.wait()
        os.close(self.terminal)
