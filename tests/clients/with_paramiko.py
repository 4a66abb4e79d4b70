"""Tests paramiko with the box of $NAME. Exits at the first failure, else prints its version."""

import hashlib
import io
import os
import stat
import time

import paramiko

client = paramiko.SSHClient()
client.load_host_keys("/root/.ssh/known_hosts")
client.connect(
    "127.0.0.1", 2200, os.environ["NAME"], key_filename=os.environ["KEY"], allow_agent=False, look_for_keys=False
)


def until(channel, text):
    """Read until the output ends with this text."""
    seen = ""
    channel.settimeout(60)
    while not seen.endswith(text):
        data = channel.recv(1)
        assert data, seen
        seen += data.decode()


# Commands.
stdin, stdout, stderr = client.exec_command("cat; echo err >&2; exit 42")
stdin.write("input\n")
stdin.channel.shutdown_write()
assert (stdout.read(), stderr.read()) == (b"input\n", b"err\n")
assert stdout.channel.recv_exit_status() == 42
_, stdout, _ = client.exec_command("kill -TERM $$")
assert stdout.channel.recv_exit_status() == -1  # paramiko's value for a signal
_, stdout, _ = client.exec_command("head -c 20000000 /dev/zero | tr '\\0' x")
assert hashlib.md5(stdout.read()).digest() == hashlib.md5(b"x" * 20_000_000).digest()

# A shell with a terminal, and a change of its size.
shell = client.invoke_shell(term="xterm", width=90, height=30)
shell.send("PS1=; stty size; tty\n")
until(shell, "30 90")
until(shell, "/dev/pts/")
shell.resize_pty(width=123, height=45)
shell.send("stty size\n")
until(shell, "45 123")
shell.send("exit 5\n")
assert shell.recv_exit_status() == 5

# Concurrent channels.
channels = []
for number in range(10):
    channel = client.get_transport().open_session()
    channel.exec_command(f"sleep 0.3; echo {number}; exit {number}")
    channels.append(channel)
assert [channel.recv_exit_status() for channel in channels] == list(range(10))

# Files.
sftp = client.open_sftp()
content = os.urandom(3_000_000)
sftp.putfo(io.BytesIO(content), "file")  # also checks the size afterwards
back = io.BytesIO()
sftp.getfo("file", back)  # with prefetch
assert back.getvalue() == content
with sftp.open("file", "r+b") as file:
    file.seek(10)
    file.write(b"0123456789")
    assert [bytes(part) for part in file.readv([(10, 4), (14, 6)])] == [b"0123", b"456789"]
sftp.chmod("file", 0o640)
sftp.utime("file", (1_000_000_000, 1_000_000_000))
status = sftp.stat("file")
assert (stat.S_IMODE(status.st_mode), status.st_mtime, status.st_size) == (0o640, 1_000_000_000, 3_000_000)
sftp.mkdir("folder")
sftp.rename("file", "folder/one")
sftp.open("folder/two", "w").close()
sftp.posix_rename("folder/one", "folder/two")
sftp.symlink("two", "folder/link")
assert sftp.readlink("folder/link") == "two"
assert sorted(sftp.listdir("folder")) == ["link", "two"]
assert sftp.normalize(".") == "/home/user"
sftp.truncate("folder/two", 5)
assert sftp.stat("folder/two").st_size == 5
try:
    sftp.stat("nosuch")
    raise SystemExit("nosuch exists")
except FileNotFoundError:
    pass
sftp.remove("folder/link")
sftp.remove("folder/two")
sftp.rmdir("folder")

# Close the connection while a command is running.
_, stdout, _ = client.exec_command("echo began; exec sleep 7300")
assert stdout.readline() == "began\n"
client.close()
print(paramiko.__version__)
