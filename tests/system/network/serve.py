"""serve.py: answers at the ports that its input names, until its input ends; prints "ready" first.

Each line of the input is an address and ports. A TCP connection is accepted and kept, a UDP packet is sent back.
"""

import selectors
import socket
import sys

selector = selectors.DefaultSelector()
kept = []
for line in sys.stdin:
    if not line.strip():
        break
    address, *ports = line.split()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in map(int, ports):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            server = socket.socket(family, kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # A link-local address has its interface after a percent sign.
            server.bind(socket.getaddrinfo(address, port)[0][4])
            if kind == socket.SOCK_STREAM:
                server.listen(4096)
            server.setblocking(False)
            selector.register(server, selectors.EVENT_READ)
selector.register(sys.stdin, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in selector.select():
        if key.fileobj is sys.stdin:
            if not sys.stdin.read(1):
                sys.exit()
            continue
        try:
            if key.fileobj.type == socket.SOCK_STREAM:
                kept.append(key.fileobj.accept()[0])
            else:
                key.fileobj.sendto(*key.fileobj.recvfrom(9))
        except OSError:
            pass
