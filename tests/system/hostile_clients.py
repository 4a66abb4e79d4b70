"""hostile_clients.py PORT OWN FORGED: writes into sshd's log everything that a hostile client can, from the
address OWN, to get the address FORGED banned. Needs paramiko; tests/clients/prepare installs it.
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

# Texts that follow the address in lines that fail2ban counts.
TAILS = [
    f"{FORGED} port 1",
    f"{FORGED} port 1 [preauth]",
    f"{FORGED} port 1: Too many authentication failures",
    f"{FORGED} port 1: Too many authentication failures [preauth]",
]
# Texts before the address.
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
    """Opens a connection that is ready for authentication requests."""
    transport = paramiko.Transport(connect())
    transport.start_client(timeout=30)
    send(transport, common.cMSG_SERVICE_REQUEST, "ssh-userauth")
    time.sleep(0.1)
    return transport


def wait_for_close(stream):
    """Waits until the server has closed the connection."""
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


def request(transport, user, service="ssh-connection", method="none"):
    send(transport, common.cMSG_USERAUTH_REQUEST, user, service, method)


def close(transport, wait=0.3):
    """Closes the connection after the server has had time to read what was sent."""
    time.sleep(wait)
    transport.close()


def wait_for_disconnect(transport):
    """Waits until the server has closed the connection, which it does at once."""
    transport.join(30)
    transport.close()


def names():
    """Sends hostile user names."""
    for text in TEXTS + [f"{'x' * pad} {FORGED} port 1" for pad in (140, 160, 168, 176, 184, 200)]:
        transport = authenticating()
        request(transport, text)
        close(transport)
    # Each of these bytes becomes several characters in the log, so that sshd truncates the rest.
    for pad in range(130, 176, 5):
        transport = authenticating()
        request(transport, b"\xff" * pad + f" {FORGED} port 1 [preauth]".encode())
        close(transport)


def services():
    """Sends a second request with another name or service. sshd logs both after the address, and truncates
    them after 100 characters. Depending on the padding, different parts are at the end of the line."""
    for tail in TAILS:
        for pad in range(0, 56, 2):
            transport = authenticating()
            request(transport, "u")
            request(transport, "u", "x" * pad + " " + tail)
            wait_for_disconnect(transport)
        for first, then in [("ssh-connection", tail), (f"x {tail}", "ssh-connection"), (f"x {tail}", f"y {tail}")]:
            for user in ["root", "x", f"x {tail}", f"x: {tail}"]:
                transport = authenticating()
                request(transport, user, first)
                request(transport, user, then)
                wait_for_disconnect(transport)
        transport = authenticating()
        request(transport, "u")
        request(transport, f"v {tail}")
        wait_for_disconnect(transport)


def methods():
    """Sends a method, and so many failures that the server closes the connection."""
    for text in TAILS:
        transport = authenticating()
        for _ in range(20):
            request(transport, f"x {text}", method=text)
        wait_for_disconnect(transport)


def disconnects():
    """Sends a disconnect message with a text, which sshd logs after the address."""
    for text in TEXTS:
        transport = authenticating()
        request(transport, "u")
        time.sleep(0.1)
        send(transport, common.cMSG_DISCONNECT, more=struct.pack(">I", 11) + blob(text) + blob(""))
        close(transport)


def unknown_services():
    """Requests services that the server does not have."""
    for text in TEXTS:
        transport = paramiko.Transport(connect())
        transport.start_client(timeout=30)
        send(transport, common.cMSG_SERVICE_REQUEST, text)
        wait_for_disconnect(transport)


def versions():
    """Sends client versions, and first lines that are not a version."""
    for text in TEXTS:
        for line in [f"SSH-2.0-{text}", text, f"SSH-9.9-{text}"]:
            with connect() as stream:
                stream.sendall(line.encode() + b"\r\n")
                stream.shutdown(socket.SHUT_WR)
                wait_for_close(stream)


def algorithms():
    """Offers unknown algorithms, which the server logs."""
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
                wait_for_close(stream)


def blob(text):
    return struct.pack(">I", len(text)) + text.encode()


# paramiko logs every reply that it has not requested.
logging.disable()
with ThreadPoolExecutor() as pool:
    parts = [names, services, methods, disconnects, unknown_services, versions, algorithms]
    for done in [pool.submit(part) for part in parts]:
        done.result()
