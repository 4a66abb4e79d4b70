"""Ports forwarded through one open connection (`-L`), and what such a connection costs. bench/README.md defines each
result."""

import selectors
import shlex
import socket
import subprocess
import time

from parts import cost
from parts.client import Failed, Master, ssh_to

STREAM = 512 << 20
# How many streams go through one connection at once, and the size of each.
AT_ONCE = 100
EACH = 1 << 20
# Number of connections whose memory is measured together; the result is for one.
CONNECTIONS = 20
# The same Python in the box and on the host. The server sends as many zeros as each of its clients asks for. Its threads
# exist before, so that their start does not count. It ends with its standard input.
SERVER = f"""
import socket, sys, threading
zeros = memoryview(bytes(1 << 18))
listener = socket.create_server(("127.0.0.1", 0), backlog={AT_ONCE})
def serve():
    while True:
        client, _ = listener.accept()
        with client:
            left = int(client.recv(32))
            while left:
                left -= client.send(zeros[:left])
for _ in range({AT_ONCE}):
    threading.Thread(target=serve, daemon=True).start()
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""
# The kernel drops what is received, so it fills this buffer with nothing.
BUFFER = bytearray(1 << 20)


class Forward:
    """A server at the other end, and an open connection that forwards a port to it."""

    def __init__(self, bench, subject):
        self.subject = subject
        command = ssh_to(subject, f"exec /usr/bin/python3 -c {shlex.quote(SERVER)}")
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        served = self.server.stdout.readline().decode().strip()
        if not served:
            raise Failed(f"{subject}: the server of the forwards did not start")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        forward = ["-L", f"127.0.0.1:{self.port}:127.0.0.1:{served}"]
        options = [*forward, "-o", "ExitOnForwardFailure=yes"]
        self.connection = Master(subject, bench.folder, "forward", options)

    def ask(self, size):
        """Open a stream through the connection and ask for this many bytes."""
        stream = socket.create_connection(("127.0.0.1", self.port))
        stream.sendall(b"%d\n" % size)
        return stream

    def receive(self, stream, size):
        """Receive some bytes, at most `size`. Return how many."""
        received = stream.recv_into(BUFFER, min(size, len(BUFFER)), socket.MSG_TRUNC)
        if not received:
            raise Failed(f"{self.subject}: a forward ended early")
        return received

    def close(self):
        self.connection.close()
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()


def download(_, __, held):
    began = time.perf_counter()
    with held.ask(STREAM) as stream:
        left = STREAM
        while left:
            left -= held.receive(stream, left)
    return STREAM / 1e6 / (time.perf_counter() - began)


def first_byte(_, __, held):
    began = time.perf_counter()
    with held.ask(1) as stream:
        held.receive(stream, 1)
        return 1e3 * (time.perf_counter() - began)


def at_once(_, __, held):
    """Return the milliseconds until all streams have a byte, and until all are complete."""
    left, waiting, first_bytes = {}, selectors.DefaultSelector(), 0
    began = time.perf_counter()
    for _ in range(AT_ONCE):
        stream = held.ask(EACH)
        left[stream] = EACH
        waiting.register(stream, selectors.EVENT_READ)
    while left:
        for key, _ in waiting.select():
            stream = key.fileobj
            received = held.receive(stream, left[stream])
            if left[stream] == EACH:
                # The last stream to get here leaves its time.
                first_bytes = time.perf_counter() - began
            left[stream] -= received
            if not left[stream]:
                del left[stream]
                waiting.unregister(stream)
                stream.close()
    complete = time.perf_counter() - began
    waiting.close()
    return 1e3 * first_bytes, 1e3 * complete


def connection_pss(bench, subject, _):
    before = sum(cost.memory())
    connections = [Master(subject, bench.folder, f"idle{n}") for n in range(CONNECTIONS)]
    # Wait until the processes that only open a connection have exited.
    time.sleep(0.5)
    memory = sum(cost.memory()) - before
    for connection in connections:
        connection.close()
    # The same for those that close one.
    time.sleep(0.5)
    return memory / CONNECTIONS
