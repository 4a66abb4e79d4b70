"""probe.py: tries what its input names, all at once, and prints each line again with the result.

Each line of the input is "tcp ADDRESS PORT", "udp ADDRESS PORT" or "icmp ADDRESS 0". Results: "open", "refused" (the
kernel reports an error at once), "silent" (nothing comes back).
"""

import concurrent.futures
import os
import socket
import struct
import sys

PATIENCE = 1.0


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def echo(number, is_ipv6):
    head = lambda sum_: struct.pack("!BBHHH", 128 if is_ipv6 else 8, 0, sum_, number, 1)
    return head(0 if is_ipv6 else checksum(head(0)))


def answers_echo(family, address, number):
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.settimeout(PATIENCE)
        raw.sendto(echo(number, family == socket.AF_INET6), socket.getaddrinfo(address, 0)[0][4])
        while True:
            data, _ = raw.recvfrom(999)
            if family == socket.AF_INET:
                data = data[(data[0] & 15) * 4 :]
            kind, _, _, found, _ = struct.unpack("!BBHHH", data[:8])
            if kind in (0, 129) and found == number:
                return
            # An error contains the packet that it is about.
            if kind in (1, 3) and number.to_bytes(2, "big") in data[8:]:
                raise ConnectionRefusedError


def attempt(numbered):
    number, line = numbered
    protocol, address, port = line.split()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        if protocol == "icmp":
            answers_echo(family, address, (os.getpid() + number * 257) & 0xFFFF)
            return "open"
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with socket.socket(family, kind) as client:
            client.settimeout(PATIENCE)
            client.connect(socket.getaddrinfo(address, int(port))[0][4])
            if protocol == "udp":
                client.send(b"x")
                client.recv(9)
        return "open"
    except TimeoutError:
        return "silent"
    except OSError:
        return "refused"


lines = [line.strip() for line in sys.stdin if line.strip()]
with concurrent.futures.ThreadPoolExecutor(max(1, len(lines))) as pool:
    for line, result in zip(lines, pool.map(attempt, enumerate(lines))):
        print(line, result)
