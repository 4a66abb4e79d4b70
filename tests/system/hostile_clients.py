"""hostile_clients.py PORT OWN FORGED: what a stranger can write into sshd's log, from the address OWN, in
the hope that the address FORGED is banned for it. Needs paramiko; tests/clients/prepare installs it.
"""

import contextlib
import logging
import socket
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import paramiko
from paramiko import common

PORT, OWN, FORGED = int(sys.argv[1]), sys.argv[2], sys.argv[3]

# What stands behind the address in lines that count.
TAILS = [
    f"{FORGED} port 1",
    f"{FORGED} port 1 [preauth]",
    f"{FORGED} port 1: Too many authentication failures",
    f"{FORGED} port 1: Too many authentication failures [preauth]",
]
# What stands before it.
HEADS = [
    "Connection closed by invalid user x",
    "Connection reset by authenticating user x",
    "Disconnecting invalid user x",
    "Disconnected from authenticating user root",
    "sshd[1]: Connection closed by invalid user x",
]
TEXTS = TAILS + [f"{head} {tail}" for head in HEADS for tail in TAILS]


def connect():
    return socket.create_connection(("127.0.0.1", PORT), timeout=30, source_address=(OWN, 0))


def authenticating():
    """A connection that may ask for authentication."""
    transport = paramiko.Transport(connect())
    transport.start_client(timeout=30)
    send(transport, common.cMSG_SERVICE_REQUEST, "ssh-userauth")
    time.sleep(0.1)
    return transport


def is_read(stream):
    """Waits until the server has ended the connection."""
    with contextlib.suppress(ConnectionError):
        while stream.recv(4096):
            pass


def send(transport, kind, *texts, more=b""):
    message = paramiko.Message()
    message.add_byte(kind)
    for text in texts:
        message.add_string(text)
    message.add_bytes(more)
    transport._send_message(message)


def asks(transport, user, service="ssh-connection", method="none"):
    send(transport, common.cMSG_USERAUTH_REQUEST, user, service, method)


def ends(transport, wait=0.3):
    """Takes leave once the server has had time to read what was sent."""
    time.sleep(wait)
    transport.close()


def is_sent_away(transport):
    """Waits until the server has ended the connection, which it does at once."""
    transport.join(30)
    transport.close()


def names():
    """A user name that is hostile."""
    for text in TEXTS + [f"{'x' * pad} {FORGED} port 1" for pad in (140, 160, 168, 176, 184, 200)]:
        transport = authenticating()
        asks(transport, text)
        ends(transport)
    # Bytes that become several characters each in the log, so that what follows is cut off.
    for pad in range(130, 176, 5):
        transport = authenticating()
        asks(transport, b"\xff" * pad + f" {FORGED} port 1 [preauth]".encode())
        ends(transport)


def services():
    """A second request with another name or service: both are logged behind the address, and cut off
    after 100 characters. The padding makes any part of them the end of the line."""
    for tail in TAILS:
        for pad in range(0, 56, 2):
            transport = authenticating()
            asks(transport, "u")
            asks(transport, "u", "x" * pad + " " + tail)
            is_sent_away(transport)
        for first, then in [("ssh-connection", tail), (f"x {tail}", "ssh-connection"), (f"x {tail}", f"y {tail}")]:
            for user in ["root", "x", f"x {tail}", f"x: {tail}"]:
                transport = authenticating()
                asks(transport, user, first)
                asks(transport, user, then)
                is_sent_away(transport)
        transport = authenticating()
        asks(transport, "u")
        asks(transport, f"v {tail}")
        is_sent_away(transport)


def methods():
    """A method, and so many failures that the server ends it."""
    for text in TAILS:
        transport = authenticating()
        for _ in range(20):
            asks(transport, f"x {text}", method=text)
        is_sent_away(transport)


def goodbyes():
    """A text with which the client takes its leave; in the log it is behind the address."""
    for text in TEXTS:
        transport = authenticating()
        asks(transport, "u")
        time.sleep(0.1)
        send(transport, common.cMSG_DISCONNECT, more=struct.pack(">I", 11) + blob(text) + blob(""))
        ends(transport)


def services_before():
    """A service that the server does not have."""
    for text in TEXTS:
        transport = paramiko.Transport(connect())
        transport.start_client(timeout=30)
        send(transport, common.cMSG_SERVICE_REQUEST, text)
        is_sent_away(transport)


def versions():
    """A version of the client, and a first line that is none."""
    for text in TEXTS:
        for line in [f"SSH-2.0-{text}", text, f"SSH-9.9-{text}"]:
            with connect() as stream:
                stream.sendall(line.encode() + b"\r\n")
                stream.shutdown(socket.SHUT_WR)
                is_read(stream)


def algorithms():
    """Names of algorithms that the server does not know; it logs those that were offered."""
    for text in TEXTS:
        for place in range(10):
            lists = ["none"] * 10
            lists[0], lists[1] = "curve25519-sha256", "ssh-ed25519"
            lists[place] = text
            kexinit = b"\x14" + bytes(16) + b"".join(map(blob, lists)) + bytes(5)
            padding = 8 - (len(kexinit) + 5) % 8
            padding += 8 if padding < 4 else 0
            packet = struct.pack(">IB", len(kexinit) + padding + 1, padding) + kexinit + bytes(padding)
            with connect() as stream:
                stream.sendall(b"SSH-2.0-x\r\n" + packet)
                is_read(stream)


def blob(text):
    return struct.pack(">I", len(text)) + text.encode()


# paramiko tells of every answer that it has not asked for.
logging.disable()
with ThreadPoolExecutor() as pool:
    parts = [names, services, methods, goodbyes, services_before, versions, algorithms]
    for done in [pool.submit(part) for part in parts]:
        done.result()
